"""Weight decay before a norm: a growing learning rate, and one angle for all layers

Li & Arora 2020: to weights before a norm weight decay is, exactly, a learning rate that grows
exponentially. Kosson et al. 2024: with weight decay the angle by which a step turns the weights
settles at sqrt(2 lr weight_decay), alike in all layers. Ours: (a) the linear network with BatchNorm
in float64 with weight decay, and its twin with a growing learning rate and none; (b) how far their
losses differ; (c, d) the angle of a step of every layer of a VGG over training, with BatchNorm and
without.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import train, weights
from bnstudy.measures.layers import hidden_layers
from bnstudy.measures.series import align, average, together
from bnstudy.measures.weights import equilibrium_rotation, rotation
from bnstudy.results import Run, comparable

EXPERIMENTS = ("rotation", "scale_invariance", "scale_invariance_lr")
DECAY = "optimizer.weight_decay"
TWIN: dict[str, Any] = {"linestyle": (0, (2, 2))}


def draw(runs: Sequence[Run]) -> Figure:
    """Losses of twins and their difference above the angles of a VGG without and with BatchNorm."""
    vgg = comparable([run for run in runs if run.experiment == EXPERIMENTS[0]], (DECAY,))
    linear = [run for run in runs if run.experiment in EXPERIMENTS[1:]]
    linear = comparable(linear, (DECAY, "schedule"))
    chosen = [*vgg, *linear] or panels.choose([], EXPERIMENTS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
        grid = figure.subplots(2, 2)
        twins(grid[0, 0], linear)
        differences_of_twins(grid[0, 1], linear)
        largest = max((run.option(DECAY) or 0.0 for run in vgg), default=0.0)
        for axes, norm, letter in zip(grid[1], panels.PAIR, "cd", strict=True):
            own = [r for r in vgg if r.norm == norm and (r.option(DECAY) or 0.0) == largest]
            angles(axes, own, norm)
            axes.set_title(f"({letter}) {style.arm(norm).name}, weight decay {largest:g}")
        panels.outermost(grid[1]).set_ylabel("angle of a step (radians)")
        panels.legend(figure, list(grid[1]))
        notes = (
            "(c), (d): a line per layer, darker: later; geometric mean over seeds; dashed: all "
            "layers at the smallest weight decay that is not 0; dotted: √(2 lr × weight decay).",
        )
        others(grid[1], vgg, largest)
        panels.finish(figure, runs, chosen, *notes)
    return figure


def pairs(runs: Sequence[Run]) -> list[tuple[Run, Run]]:
    """The runs with weight decay and their twins, seed by seed."""
    known = [run for run in runs if train.LOSS in run]
    twins = {run.seed: run for run in known if run.experiment == EXPERIMENTS[2]}
    decayed = [run for run in known if run.experiment == EXPERIMENTS[1] and run.option(DECAY)]
    return [(run, twins[run.seed]) for run in decayed if run.seed in twins]


def twins(axes: Axes, runs: Sequence[Run]) -> None:
    """The training losses of one seed: with weight decay, with a growing lr, with neither."""
    if not pairs(runs):
        panels.write(axes, f"{train.LOSS} was not recorded of a run and its twin")
        return
    decayed, twin = min(pairs(runs), key=lambda pair: pair[0].seed)
    plain = [run for run in runs if run.experiment == EXPERIMENTS[1] and not run.option(DECAY)]
    plain = [run for run in plain if run.seed == decayed.seed and train.LOSS in run]
    lines: list[tuple[Run, str, dict[str, Any]]] = [
        *((run, "neither", {"color": style.GREY, "linewidth": 0.7}) for run in plain),
        (decayed, "weight decay", {"color": style.arm("batch").colour, "linewidth": 2.2}),
        (twin, "growing lr, no decay", {"color": "white", "linewidth": 0.8} | TWIN),
    ]
    for run, label, look in lines:
        steps, losses = run[train.LOSS]
        every = max(1, len(steps) // 400)
        axes.plot(steps[::every], losses[::every], label=label, **look)
    panels.log_axis(axes)
    axes.set(title=f"(a) linear network, seed {decayed.seed}", ylabel="training loss")
    axes.set_xlabel("step")
    axes.legend(loc="best", facecolor="0.8", frameon=True, edgecolor="none")


def differences_of_twins(axes: Axes, runs: Sequence[Run]) -> None:
    """The relative difference of the losses of twins, a line per seed."""
    if not pairs(runs):
        panels.write(axes, f"{train.LOSS} was not recorded of a run and its twin")
        return
    for decayed, twin in pairs(runs):
        steps, one, other = together(decayed[train.LOSS], twin[train.LOSS])
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where losses are equal to the bit: a logarithmic axis has no zero.
            gap = np.maximum(np.maximum.accumulate(np.abs(other / one - 1)), 1e-17)
        axes.plot(steps, panels.drawable(gap, log=True), color=style.arm("batch").colour)
    panels.log_axis(axes)
    axes.set(title="(b) difference of the losses", ylabel="largest until then, relative")
    axes.set_xlabel("step")


def angles(axes: Axes, runs: Sequence[Run], norm: str) -> None:
    """The angle of a step of every hidden layer, and that of the equilibrium."""
    known = [run for run in runs if hidden_layers(run, weights.ROTATION)]
    if not known:
        sweeps.absent(axes, runs, weights.ROTATION, norm)
        return
    names = hidden_layers(known[0], weights.ROTATION)
    arm = style.arm(norm)
    for number, name in enumerate(names):
        steps, values = align([rotation(run, name) for run in known])
        share = 0.6 * (1 - number / max(1, len(names) - 1))
        middle = panels.drawable(average(values, log=True), log=True)
        label = panels.seeds_label(known) if number == len(names) - 1 else None
        axes.plot(steps, middle, color=arm.tint(share) if share else arm.colour, label=label)
    if equilibrium_rotation(known[0]):
        axes.axhline(equilibrium_rotation(known[0]), color=style.GREY, linestyle=":", linewidth=1)
    panels.log_axis(axes)
    panels.step_axis(axes, known)


def others(row: Sequence[Axes], runs: Sequence[Run], largest: float) -> None:
    """The median over layers at the smallest weight decay that is not the largest and not 0."""
    decays = sorted({run.option(DECAY) or 0.0 for run in runs} - {0.0, largest})
    for axes, norm in zip(row, panels.PAIR, strict=True):
        own = [r for r in runs if r.norm == norm and decays and r.option(DECAY) == decays[0]]
        known = [run for run in own if hidden_layers(run, weights.ROTATION)]
        if known and axes.axison:
            series = [
                rotation(run, name)
                for run in known
                for name in hidden_layers(run, weights.ROTATION)
            ]
            steps, values = align(series)
            middle = panels.drawable(average(values, log=True), log=True)
            axes.plot(steps, middle, color=style.arm(norm).dark, linestyle="--", linewidth=0.9)
