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

from bnstudy.figures import grids, panels, style
from bnstudy.results import Run, Series, Steps, Values, align, average

EXPERIMENTS = ("theory",)
LR = 0.1
KEY = "theory/positive"  # recorded of every layer that is measured
WITHIN = 95  # percent of the sampled units, whose error of theorem 4.2 is drawn
# What the legend adds, and the line, where several theorems are in one panel.
LINES: dict[str, tuple[str, Any]] = {
    "4.1": (", theorem 4.1", "-"),
    "4.2": (", theorem 4.2", (0, (5, 1.5))),
    "4.4": (", theorem 4.4", ":"),
}


def draw(runs: Sequence[Run]) -> Figure:
    """The terms of theorem 4.1 by layer over training; below, signs, failures and errors."""
    chosen = panels.choose(runs, EXPERIMENTS)
    shown = panels.at_lr(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.8), layout="constrained")
        grid = figure.subplots(3, 3)
        for axes, (title, one) in zip(grid.flat, PANELS.items(), strict=True):
            key = f"{KEY}/{next(iter(layers(shown)), 'layer')}"
            # Without a norm there is nothing to measure.
            for cell in panels.cells(axes, shown, [LR], key, norms=("batch",)):
                one(axes, cell)
            axes.set_title(title)
        panels.legend(figure, list(grid.flat))
        notes = (
            f"lr {LR}. y, z: before and after a norm; g = ∂L/∂z; ŷ: normalized y. Lines by layer: "
            "mean over seeds (geometric on logarithmic axes), darker: nearer to the outputs. "
            "(a)–(d): sums over the units of a layer; (c), (d): relative to γ²/σ²‖g‖², of which "
            "a random g loses 1/m, m being N × positions. (e): 15th to 85th percentile over units, "
            "and the median; left, light: at the first probed step; "
            "right, dark: at the last. (f): of the units with a gradient.",
            "(g): units for which the statement is false; 4.1 with 1/√m, 4.2: its second line, 4.4 "
            "with the square of what is a square; all layers. (h): difference of the two sides, "
            "relative to their terms; of 4.1 the largest over all units, of 4.2 the "
            f"{WITHIN}th percentile over sampled units: rounding. (i): median over sampled units; "
            "at most 1.",
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def layers(runs: Sequence[Run]) -> list[str]:
    """The layers that were measured, from the input on."""
    found = {name for run in runs for name in run.layers if f"{KEY}/{name}" in run}
    return sorted(found, key=lambda name: runs[0].layers.index(name))


# Reductions of a run and layer

Of = Callable[[Run, str], Values]  # values [n], at the steps of KEY


def terms(run: Run, layer: str, over: str, under: str) -> Values:
    """The ratio of two records of the layer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return run[f"theory/{over}/{layer}"][1] / run[f"theory/{under}/{layer}"][1]


def whole(run: Run, layer: str) -> Values:
    """||dL/dy||^2 / ||dL/dz||^2."""
    return terms(run, layer, "input_gradient", "output_gradient")


def variance(run: Run, layer: str) -> Values:
    """gamma^2 / sigma^2, weighted with ||dL/dz||^2."""
    return terms(run, layer, "scaled_gradient", "output_gradient")


def mean_part(run: Run, layer: str) -> Values:
    """What of it goes with the mean, in percent."""
    return 100 * terms(run, layer, "mean_term", "scaled_gradient")


def projected_part(run: Run, layer: str) -> Values:
    """What of it goes with the product with y_hat, in percent."""
    return 100 * terms(run, layer, "projection_term", "scaled_gradient")


def positive(run: Run, layer: str) -> Values:
    """The units with <y_hat, g> > 0, in percent."""
    return 100 * run[f"theory/positive/{layer}"][1]


def tightness(run: Run, layer: str) -> Values:
    """The gradient of the weights over its bound, both squared: the median over sampled units."""
    if f"theory/weight_bound/{layer}" not in run:
        return np.full(len(run[f"{KEY}/{layer}"][0]), np.nan)
    return grids.medians(terms(run, layer, "weight_gradient", "weight_bound"))


# Reductions over layers


def of_units(run: Run, *keys: str) -> tuple[Steps, list[Values]]:
    """Steps [n], and of each key the values of all layers' sampled units [n, units].

    Of the layers that have them all; without any, no units.
    """
    measured = layers([run])
    steps = run[f"{KEY}/{measured[0]}"][0]
    have = [name for name in measured if all(f"theory/{key}/{name}" in run for key in keys)]
    none = np.empty((len(steps), 0))
    return steps, [
        np.concatenate([none, *(run[f"theory/{key}/{name}"][1] for name in have)], axis=1)
        for key in keys
    ]


def violated(run: Run) -> Series:
    """Where theorem 4.1 as printed is false: percent of units, mean over layers."""
    found = [run[f"theory/violated/{name}"] for name in layers([run])]
    return found[0][0], 100 * average(np.stack([values for _, values in found]))


def second_line(run: Run) -> Series:
    """Where the second line of theorem 4.2 is false, percent of sampled units."""
    steps, (left, right) = of_units(run, "curvature", "curvature_second")
    return steps, exceeding(left, right)


def printed_bound(run: Run) -> Series:
    """Where theorem 4.4 as printed is less than what is attained, percent of sampled units."""
    steps, (attained, printed) = of_units(run, "weight_bound", "weight_bound_printed")
    return steps, exceeding(attained, printed)


def exceeding(over: Values, under: Values) -> Values:
    """In percent of every row, [n, units] to [n]; NaN where a row has no finite numbers."""
    known = np.isfinite(over) & np.isfinite(under)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * (known & (over > under)).sum(axis=1) / known.sum(axis=1)


def error_of_gradients(run: Run) -> Series:
    """Of theorem 4.1: the largest over units and layers."""
    found = [run[f"theory/error/{name}"] for name in layers([run])]
    return found[0][0], np.max([values for _, values in found], axis=0)


def error_of_curvature(run: Run) -> Series:
    """Of the first line of theorem 4.2, relative to its two terms: a high percentile of units."""
    steps, (left, right, term) = of_units(run, "curvature", "curvature_first", "curvature_term")
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(left - right) / (np.abs(term) + np.abs(right - term))
    rows = [row[np.isfinite(row)] for row in relative]
    return steps, np.array([np.percentile(row, WITHIN) if len(row) else np.nan for row in rows])


# Panels


def by_layer(
    axes: Axes, cell: panels.Cell, of: Of, log: bool = True, level: float | None = None
) -> None:
    """A line per layer over training, the mean over seeds; a grey one at `level`."""
    names, arm = layers(cell), style.ARMS[cell[0].norm]
    if log:
        panels.log_axis(axes)
    for number, name in enumerate(names):
        recorded = [run for run in cell if f"{KEY}/{name}" in run]
        steps, values = align([(run[f"{KEY}/{name}"][0], of(run, name)) for run in recorded])
        shade = arm.tint(0.75 * (1 - (number + 1) / len(names)))
        mean = panels.drawable(average(values, log), log)
        axes.plot(steps, mean, color=shade, linewidth=0.9, marker=".", markersize=2.5)
    if level is not None:
        axes.axhline(level, color=style.GREY, linewidth=0.5, zorder=1)
    panels.step_axis(axes, cell)


def scales(axes: Axes, cell: panels.Cell) -> None:
    """gamma^2 / sigma^2 of every layer at the first and the last probed step, mean over seeds."""
    panels.log_axis(axes)
    arm = style.ARMS[cell[0].norm]
    for number, name in enumerate(layers(cell), start=1):
        key = f"theory/scale_percentiles/{name}"
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


def theorems(axes: Axes, cell: panels.Cell, read: dict[str, panels.Read], log: bool) -> None:
    """A line per theorem over training, over all layers."""
    for name, one in read.items():
        more, linestyle = LINES[name]
        label = panels.describe(cell, more=more)
        panels.curve(axes, cell, one, log=log, linestyle=linestyle, label=label)
    panels.step_axis(axes, cell)
    if not log:
        axes.set_ylim(-4, 104)


PRINTED: dict[str, panels.Read] = {"4.1": violated, "4.2": second_line, "4.4": printed_bound}
ERRORS: dict[str, panels.Read] = {"4.1": error_of_gradients, "4.2": error_of_curvature}
PANELS: dict[str, Callable[[Axes, panels.Cell], None]] = {
    "(a) ‖∂L/∂y‖² / ‖∂L/∂z‖²": partial(by_layer, of=whole, level=1),
    "(b) of this, γ²/σ²": partial(by_layer, of=variance, level=1),
    "(c) taken by the mean (%)": partial(by_layer, of=mean_part),
    "(d) taken by ⟨ŷ, g⟩ (%)": partial(by_layer, of=projected_part),
    "(e) γ²/σ² of units": scales,
    "(f) units with ⟨ŷ, g⟩ > 0 (%)": partial(by_layer, of=positive, log=False, level=50),
    "(g) false as printed (%)": partial(theorems, read=PRINTED, log=False),
    "(h) error of the exact form": partial(theorems, read=ERRORS, log=True),
    "(i) ‖∂L/∂w‖² / bound of 4.4": partial(by_layer, of=tightness),
}
