"""How alike a network makes its samples, with depth and with training

Daneshmand et al. 2020 prove that the rank of the representations in random networks collapses with
depth without BatchNorm and does not with it, and 2021 that samples become orthogonal with it. Ours:
a deep MLP without BatchNorm and with it, from Kaiming's init and from an orthogonal one. Above, at
step 0, layer by layer; below, of the last hidden layer along training, and the training accuracy.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import representations, train
from bnstudy.measures.representations import (
    COSINE,
    GAP,
    RANK,
    first_profile,
    has_representations,
    last_layer,
)
from bnstudy.measures.train import smooth_accuracy
from bnstudy.results import Run

EXPERIMENTS = ("representations",)
KINDS = {RANK: "effective rank", GAP: "orthogonality gap", COSINE: "mean cosine"}
# By norm and init: what the legend adds, and the line.
LINES: dict[tuple[str, str], tuple[str, Any]] = {
    ("none", "kaiming"): ("", "-"),
    ("none", "orthogonal_relu"): (", orthogonal init", (0, (5, 1.5))),
    ("batch", "kaiming"): ("", "-"),
    ("batch", "orthogonal_relu"): (", orthogonal init", (0, (5, 1.5))),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Rank, gap and cosine over layers above rank, cosine and accuracy over steps."""
    given = [run for run in runs if (run.norm, run.option("init")) in LINES]
    chosen = panels.choose(given, EXPERIMENTS, also=("init",))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.9), layout="constrained")
        grid = figure.subplots(2, 3)
        for axes, (kind, name) in zip(grid[0], KINDS.items(), strict=True):
            profiles(axes, chosen, kind)
            axes.set(title=f"{name}, step 0", xlabel="layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes, kind in zip(grid[1], (RANK, COSINE), strict=False):
            over_training(axes, chosen, kind)
            axes.set_title(f"{KINDS[kind]}, last hidden layer")
        accuracies(grid[1, 2], chosen)
        panels.legend(figure, list(grid.flat))
        counts = sorted({int(run[representations.SAMPLES][1][0]) for run in recorded(chosen)})
        says = [f"Of {n} samples of the batch, before the activation function." for n in counts]
        panels.finish(figure, given, chosen, *says, sweeps.SPREAD)
    return figure


def recorded(runs: Sequence[Run]) -> list[Run]:
    """The runs that recorded their representations."""
    return [run for run in runs if has_representations(run) and representations.SAMPLES in run]


def arms(runs: Sequence[Run]) -> list[tuple[list[Run], dict[str, Any]]]:
    """The runs of every arm and their look."""
    found = []
    for (norm, init), (more, linestyle) in LINES.items():
        own = [run for run in runs if (run.norm, run.option("init")) == (norm, init)]
        if own:
            label = sweeps.runs_label(own, more)
            found.append((own, {"linestyle": linestyle, "label": label}))
    return found


def profiles(axes: Axes, runs: Sequence[Run], kind: str) -> None:
    """A number of every hidden layer at step 0, the mean over seeds."""
    known = recorded(runs)
    if not known:
        sweeps.absent(axes, runs, kind)
        return
    for own, look in arms(known):
        values = np.array([first_profile(run, kind) for run in own])
        layers = np.arange(1, values.shape[1] + 1)
        sweeps.line(axes, own, layers, list(values.T), markersize=2.5, **look)
    if kind == RANK:
        panels.log_axis(axes)
    sweeps.missing(axes, known, panels.PAIR)


def over_training(axes: Axes, runs: Sequence[Run], kind: str) -> None:
    """A number of the last hidden layer along training."""
    known = recorded(runs)
    if not known:
        sweeps.absent(axes, runs, kind)
        return
    for own, look in arms(known):
        panels.curve(axes, own, partial(last_layer, kind=kind), log=kind == RANK, **look)
    panels.step_axis(axes, known)


def accuracies(axes: Axes, runs: Sequence[Run]) -> None:
    """The training accuracy, a running mean."""
    if sweeps.absent(axes, runs, train.ACCURACY):
        return
    known = [run for run in runs if train.ACCURACY in run]
    for own, look in arms(known):
        panels.curve(axes, own, percent, **look)
    panels.step_axis(axes, known)
    axes.set(title="training accuracy (%)", ylim=(0, 100))


def percent(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The training accuracy as a running mean [percent]."""
    steps, values = smooth_accuracy(run)
    return steps, 100 * values
