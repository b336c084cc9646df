"""Statistics of training and of test, and those of smaller groups

Wu & Johnson 2021: BatchNorm is tested with running averages, which lag behind; statistics that are
estimated anew do not. Summers & Dinneen 2020: statistics of groups smaller than the batch
regularise. Ours: (a) how much test accuracy a VGG gains by statistics that are estimated anew over
an epoch, at the end and at the test at which it gains most, over the learning rate, with noise and
without; (b) test accuracy with them over the size of the groups; (c) the relative gradient change.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import landscape, train
from bnstudy.measures.landscape import roughness
from bnstudy.measures.train import largest_precise_gain, precise_gain, precise_percent
from bnstudy.results import Run, comparable

EXPERIMENTS = ("statistics", "ghost_batch")
SAMPLES = "norm.samples"
NORMS = ("none", "batch", "noisy_batch")
GAINS: dict[str, tuple[Callable[[Run], float], Any]] = {
    "at the end": (precise_gain, "-"),
    "most at any test": (largest_precise_gain, (0, (5, 1.5))),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Gain by statistics estimated anew over lr; accuracy and roughness over the group's size."""
    arms = comparable([run for run in runs if run.experiment == EXPERIMENTS[0]])
    ghosts = comparable([run for run in runs if run.experiment == EXPERIMENTS[1]], (SAMPLES,))
    chosen = [*arms, *ghosts] or panels.choose([], EXPERIMENTS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.5), layout="constrained")
        gain, accuracy, change = figure.subplots(1, 3)
        gains_over_lr(gain, arms)
        over_samples(accuracy, ghosts, train.PRECISE_ACCURACY, precise_percent)
        accuracy.set(title="(b) test accuracy (%)")
        over_samples(change, ghosts, landscape.CHANGE, roughness)
        change.set(title="(c) ‖∇L(θ − lr g) − g‖ / ‖g‖")
        for axes in (accuracy, change):
            if axes.axison and axes.get_legend_handles_labels()[1]:
                axes.legend(title="lr", loc="best", frameon=True, framealpha=0.6, edgecolor="none")
        panels.legend(figure, [gain])
        notes = (
            "(a): solid at the end, dashed at the test at which it is largest.",
            sweeps.SPREAD,
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def gains_over_lr(axes: Axes, runs: Sequence[Run]) -> None:
    """Test accuracy with statistics estimated anew less that with running ones."""
    if sweeps.absent(axes, runs, train.PRECISE_ACCURACY):
        return
    known = [run for run in sweeps.ended(runs) if train.PRECISE_ACCURACY in run]
    known = [run for run in known if run.outcome == "finished"]
    for norm in NORMS:
        own = [run for run in known if run.norm == norm]
        label = sweeps.runs_label([run for run in runs if run.norm == norm])
        for number, (read, linestyle) in enumerate(GAINS.values()):
            look = {"linestyle": linestyle, "label": label if number == 0 else None}
            sweeps.against(axes, own, lambda run: run.lr, read, **look)
    axes.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(title="(a) gain by statistics anew", ylabel="points", xscale="log")
    axes.set_xlabel("learning rate")
    lrs = sorted({run.lr for run in runs})
    axes.set_xticks(lrs, [style.number(lr) for lr in lrs])
    axes.xaxis.set_minor_locator(NullLocator())
    sweeps.missing(axes, runs, NORMS)


def over_samples(axes: Axes, runs: Sequence[Run], key: str, read: Callable[[Run], float]) -> None:
    """A number over the size of the groups, a line per learning rate, larger ones darker."""
    if sweeps.absent(axes, runs, key, "ghost_batch"):
        return
    known = [run for run in runs if key in run and run.outcome != "interrupted"]
    sizes = sorted({run.option(SAMPLES) for run in known})
    lrs = sorted({run.lr for run in known})
    for number, lr in enumerate(lrs):
        own = [run for run in known if run.lr == lr]
        values = [[read(run) for run in own if run.option(SAMPLES) == size] for size in sizes]
        share = 0.65 * (1 - number / max(1, len(lrs) - 1)) if len(lrs) > 1 else 0.0
        look = {"color": style.arm("ghost_batch").tint(share), "label": style.number(lr)}
        sweeps.line(axes, own, np.arange(len(sizes)), values, middle=np.median, **look)
    axes.set(xlabel="samples in a group")
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
