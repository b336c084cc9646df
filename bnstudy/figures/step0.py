"""The first step of a VGG with and without BatchNorm

Santurkar et al. 2018 do not say it, but their figures 3a, 4b and 4c begin with BatchNorm as the
rougher network. Ours: the step from the initial weights, at learning rate 0.1, one network per
seed, not trained any further. (a) How much the gradient changes along itself, relative to its own
length. (b) Effective β-smoothness, the largest slope of (a) over the step sizes. (c) Internal
covariate shift relative to the gradient, in the layers where it was measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bnstudy.figures import panels, style
from bnstudy.measures import internal_covariate_shift as shift
from bnstudy.measures import landscape
from bnstudy.measures.grids import at_lr
from bnstudy.measures.internal_covariate_shift import relative_shift
from bnstudy.measures.landscape import effective_beta, first_changes
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.stability import edge_formula, edge_of_stability
from bnstudy.results import Run

EXPERIMENTS = ("step0",)
LR = 0.1


def draw(runs: Sequence[Run]) -> Figure:
    """Gradient change over step sizes, effective beta and internal covariate shift at step 0."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = [run for run in at_lr(chosen, lr) if landscape.CHANGE in run]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.1), layout="constrained")
        change, beta, shifts = figure.subplots(1, 3, width_ratios=(1.25, 0.75, 1.25))
        cells = panels.cells(change, chosen, [lr], landscape.CHANGE)
        for place, cell in enumerate(cells):
            changes_over_step_size(change, cell)
            strip(beta, cell, place, [effective_beta(run)[1][0] for run in cell])
        change.set(title="(a) gradient change", xlabel="step size η", xscale="log", yscale="log")
        change.set_ylabel("‖∇L(θ − ηg) − g‖ / ‖g‖")
        ticked(change.xaxis, change.get_xlim())
        ticked(change.yaxis, change.get_ylim())
        beta.set(title="(b) effective β", ylim=(0, None), xlim=(-0.6, len(cells) - 0.4), xticks=[])
        if shown:
            edge = float(edge_of_stability(shown[0], np.zeros(1, dtype=np.int64))[0])
            beta.axhline(edge, color=style.GREY, linewidth=0.8, linestyle=":")
            look: dict[str, Any] = {"va": "bottom", "fontsize": style.SMALL}
            beta.annotate(edge_formula(shown[0]), (-0.55, edge), **look)
        shifts_by_layer(shifts, cells)
        panels.legend(figure, [change])
        notes = ("Lines: geometric means over seeds. Dots: one seed each.",)
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def ticked(axis: Axis, limits: tuple[float, float]) -> None:
    """Label 1, 2 and 5 of a decade where a logarithmic axis has few decades, else 1 alone."""
    low, high = limits
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: style.number(value)))
    axis.set_minor_formatter(NullFormatter())


def changes_over_step_size(axes: Axes, cell: Sequence[Run]) -> None:
    """One arm: the relative gradient change over all step sizes, a dot per seed."""
    etas, values = zip(*(first_changes(run) for run in cell), strict=True)
    arm = style.arm(cell[0].norm)
    axes.plot(np.ravel(etas), np.ravel(values), linestyle="", **dots(arm))
    middle = np.exp(np.log(np.array(values)).mean(axis=0))
    axes.plot(etas[0], middle, color=arm.colour, label=panels.seeds_label(list(cell)))


def shifts_by_layer(axes: Axes, cells: Sequence[Sequence[Run]]) -> None:
    """Relative internal covariate shift of every measured layer, the arms side by side."""
    names = [*recorded_layers(cells[0][0], shift.L2)] if cells else []
    for side, cell in enumerate(cells):
        for place, name in enumerate(names):
            values = [relative_shift(run, name)[1][0] for run in cell]
            strip(axes, cell, place + 0.3 * side - 0.15, values)
    axes.set(
        title="(c) internal covariate shift", yscale="log", ylabel="‖G − G′‖ / ‖G‖", xlabel="layer"
    )
    ticked(axes.yaxis, axes.get_ylim())
    axes.set_xticks(range(len(names)), [name.removeprefix("layer") for name in names])


def strip(axes: Axes, cell: Sequence[Run], place: float, values: Sequence[float]) -> None:
    """A dot per seed around `place`, and their geometric mean as a line."""
    arm = style.arm(cell[0].norm)
    beside = place + 0.08 * np.sin(2.4 * np.arange(len(values)))  # apart, and always alike
    axes.plot(beside, values, linestyle="", **dots(arm))
    middle = np.exp(np.log(np.array(values)).mean())
    axes.plot([place - 0.14, place + 0.14], [middle, middle], color=arm.dark, linewidth=1.6)


def dots(arm: style.Look) -> dict[str, Any]:
    """The look of single seeds."""
    look: dict[str, Any] = {
        "color": arm.colour,
        "marker": arm.marker,
        "markersize": 2.6,
        "alpha": 0.6,
    }
    return look | {"markeredgewidth": 0}
