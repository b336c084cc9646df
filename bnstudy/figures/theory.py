"""What the theorems on BatchNorm say, term by term

Santurkar et al. 2018, theorems 4.1, 4.2 and 4.4, bound the gradient and the curvature in a unit's
values y before a BatchNorm by those in its values z after it, which a network without it would have
there. Ours, at every BatchNorm of a VGG while it trains: (a) how many times larger the gradient is
before it than after it; of this (b) the factor gamma^2 / sigma^2, the part that goes with (c) the
mean and (d) the inner product <y_hat, g>, and (e) gamma^2 / sigma^2 itself; (f) the sign of that
product, on which the curvature depends; (g) how often the statements as printed fail, (h) the
error of the exact ones, and (i) the gradient of the weights relative to its bound.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnstudy.figures import panels, style
from bnstudy.measures import theory
from bnstudy.measures.grids import at_lr
from bnstudy.measures.series import align, average
from bnstudy.results import Run, Values

EXPERIMENTS = ("theory",)
LR = 0.1
# What the legend adds, and the line, where several theorems are in one panel.
LINES: dict[str, tuple[str, Any]] = {
    "4.1": (", theorem 4.1", "-"),
    "4.2": (", theorem 4.2", (0, (5, 1.5))),
    "4.4": (", theorem 4.4", ":"),
}


def draw(runs: Sequence[Run]) -> Figure:
    """The terms of theorem 4.1 by layer over training; below, signs, failures and errors."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.8), layout="constrained")
        grid = figure.subplots(3, 3)
        for axes, (title, one) in zip(grid.flat, PANELS.items(), strict=True):
            key = f"{theory.POSITIVE}/{next(iter(measured_layers(shown)), 'layer')}"
            # Without a norm there is nothing to measure.
            for cell in panels.cells(axes, shown, [lr], key, norms=("batch",)):
                one(axes, cell)
            axes.set_title(title)
        panels.legend(figure, list(grid.flat))
        notes = (
            f"lr {style.number(lr)}. "
            "y, z: before and after a norm; g = ∂L/∂z; ŷ: normalized y. Lines by layer: "
            "mean over seeds (geometric on logarithmic axes), darker: nearer to the outputs. "
            "(a)–(d): sums over the units of a layer; (c), (d): relative to γ²/σ²‖g‖², of which "
            "a random g loses 1/m, m being N × positions. (e): 15th to 85th percentile over units, "
            "and the median; left, light: at the first probed step; "
            "right, dark: at the last. (f): of the units with a gradient.",
            "(g): units for which the statement is false; 4.1 with 1/√m, 4.2: its second line, 4.4 "
            "with the square of what is a square; all layers. (h): difference of the two sides, "
            "relative to their terms; of 4.1 the largest over all units, of 4.2 the "
            f"{theory.WITHIN}th percentile over sampled units: rounding. (i): median over sampled "
            "units; at most 1.",
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def measured_layers(runs: Sequence[Run]) -> list[str]:
    """The layers that were measured, from the input on."""
    found = {name for run in runs for name in run.layers if f"{theory.POSITIVE}/{name}" in run}
    return sorted(found, key=lambda name: runs[0].layers.index(name))


Of = Callable[[Run, str], Values]  # of a layer: values [n], at the steps of theory.POSITIVE


def curve_per_layer(
    axes: Axes, cell: panels.Cell, of: Of, log: bool = True, level: float | None = None
) -> None:
    """A line per layer over training, the mean over seeds; a grey one at `level`."""
    names, arm = measured_layers(cell), style.arm(cell[0].norm)
    if log:
        panels.log_axis(axes)
    for number, name in enumerate(names):
        recorded = [run for run in cell if f"{theory.POSITIVE}/{name}" in run]
        steps, values = align(
            [(run[f"{theory.POSITIVE}/{name}"][0], of(run, name)) for run in recorded]
        )
        shade = arm.tint(0.75 * (1 - (number + 1) / len(names)))
        mean = panels.drawable(average(values, log), log)
        axes.plot(steps, mean, color=shade, linewidth=0.9, marker=".", markersize=2.5)
    if level is not None:
        axes.axhline(level, color=style.GREY, linewidth=0.5, zorder=1)
    panels.step_axis(axes, cell)


def scale_ranges(axes: Axes, cell: panels.Cell) -> None:
    """gamma^2 / sigma^2 of every layer at the first and the last probed step, mean over seeds."""
    panels.log_axis(axes)
    arm = style.arm(cell[0].norm)
    for number, name in enumerate(measured_layers(cell), start=1):
        key = f"{theory.SCALE}/{name}"
        recorded = [run[key][1] for run in cell if key in run]
        for record, aside, colour in ((0, -0.17, arm.light), (-1, 0.17, arm.colour)):
            levels = average(np.stack([values[record] for values in recorded]), log=True)
            low, middle, high = panels.drawable(levels, log=True)
            axes.plot([number + aside] * 2, [low, high], color=colour, linewidth=1.6)
            look: dict[str, Any] = {"marker": arm.marker, "markersize": 3, "linestyle": ""}
            axes.plot(number + aside, middle, color=colour, **look)
    axes.axhline(1, color=style.GREY, linewidth=0.5, zorder=1)
    axes.set(xlabel="layer with a norm")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def curve_per_theorem(
    axes: Axes, cell: panels.Cell, read: dict[str, panels.Read], log: bool
) -> None:
    """A line per theorem over training, over all layers."""
    for name, one in read.items():
        more, linestyle = LINES[name]
        label = panels.seeds_label(cell, more=more)
        panels.curve(axes, cell, one, log=log, linestyle=linestyle, label=label)
    panels.step_axis(axes, cell)
    if not log:
        axes.set_ylim(-4, 104)


PRINTED: dict[str, panels.Read] = {
    "4.1": theory.violated_percent,
    "4.2": theory.second_line_false,
    "4.4": theory.printed_bound_false,
}
ERRORS: dict[str, panels.Read] = {"4.1": theory.gradient_errors, "4.2": theory.curvature_errors}
PANELS: dict[str, Callable[[Axes, panels.Cell], None]] = {
    "(a) ‖∂L/∂y‖² / ‖∂L/∂z‖²": partial(curve_per_layer, of=theory.gradient_gain, level=1),
    "(b) of this, γ²/σ²": partial(curve_per_layer, of=theory.scale_gain, level=1),
    "(c) taken by the mean (%)": partial(curve_per_layer, of=theory.mean_part),
    "(d) taken by ⟨ŷ, g⟩ (%)": partial(curve_per_layer, of=theory.projected_part),
    "(e) γ²/σ² of units": scale_ranges,
    "(f) units with ⟨ŷ, g⟩ > 0 (%)": partial(
        curve_per_layer, of=theory.positive_percent, log=False, level=50
    ),
    "(g) false as printed (%)": partial(curve_per_theorem, read=PRINTED, log=False),
    "(h) error of the exact form": partial(curve_per_theorem, read=ERRORS, log=True),
    "(i) ‖∂L/∂w‖² / bound of 4.4": partial(curve_per_layer, of=theory.median_tightness),
}
