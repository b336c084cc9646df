"""Effective beta-smoothness against the curvature that it stands for

Santurkar et al. 2018, figure 4c, take the largest gradient change per distance over the step sizes
of their probe for a smoothness. Where the smallest step already changes the gradient completely,
that is 1/eta_min, whatever the network; and at the edge of stability it is 2/lr. Ours, times lr:
effective beta as in the paper; the same for the step eta = lr alone; and the exact curvature along
the gradient, which both stand for, from a Hessian-vector product on the same batch.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from bnstudy.figures import panels, style
from bnstudy.figures.sharpness import (
    NETWORKS,
    arm_labels,
    by_experiment,
    edge_note,
    scaled,
    shared_edge,
)
from bnstudy.measures import batch_sharpness, landscape
from bnstudy.measures.batch_sharpness import curvature_along_gradient
from bnstudy.measures.landscape import effective_beta, largest_beta, own_beta
from bnstudy.measures.stability import edge_formula
from bnstudy.results import Run, Series

EXPERIMENTS = ("curvature", "curvature_deep_linear")
SMALLEST_STEP = "1/η$_{min}$"
LINEAR = 0.1  # below it the axis is linear, because curvature may be negative
FEW = 4  # decades that leave room for a number between them


def draw(runs: Sequence[Run]) -> Figure:
    """Three measures of curvature along the gradient: a column per lr, a row per arm."""
    chosen = panels.choose(runs, *([name] for name in EXPERIMENTS))
    blocks = by_experiment(chosen)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.2 + 2.9 * len(blocks)), layout="constrained")
        parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
        drawn: list[Axes] = []
        for part, (experiment, own) in zip(parts, blocks.items(), strict=True):
            lrs = sorted({run.lr for run in own})
            # Each with its own y axis: a run that diverges would flatten all others.
            grid = part.subplots(2, len(lrs), sharex=True, squeeze=False)
            for row, norm in zip(grid, panels.PAIR, strict=True):
                for axes, lr in zip(row, lrs, strict=True):
                    curvatures(axes, own, norm, lr, arm_labels(chosen))
                    title = f"{NETWORKS[experiment]}, lr {style.number(lr)}"
                    axes.set(title=title if norm == panels.PAIR[0] else "")
                    axes.set_xlabel("" if norm == panels.PAIR[0] else "step")
                panels.outermost(row).set_ylabel(f"lr × curvature\n{style.arm(norm).name}")
            drawn += list(grid.flat)
        panels.legend(figure, drawn)
        notes = (
            "Effective β: max over η of ‖∇L(θ − ηg) − g‖ / (η ‖g‖); η = lr: that of this step "
            "alone. All of the training batch, with its own statistics.",
            f"Linear below {LINEAR}. {mean_note(chosen)}",
            edge_note(chosen, drawn),
            *(f"No runs of {name}." for name in EXPERIMENTS if name not in blocks),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def mean_note(runs: Sequence[Run]) -> str:
    """What lines and shaded areas are, where there is more than one seed."""
    several = len({run.seed for run in runs}) > 1
    return "Lines: arithmetic mean over seeds; shaded: smallest to largest." if several else ""


CURVES: tuple[tuple[str, str, Callable[[Run], Series], Any], ...] = (
    ("effective β", landscape.CHANGE, effective_beta, "-"),
    ("η = lr", landscape.CHANGE, own_beta, (0, (1, 1))),
    ("gᵀHg / ‖g‖²", batch_sharpness.CURVATURE["batch"], curvature_along_gradient, (0, (5, 1.5))),
)


def curvatures(
    axes: Axes, runs: Sequence[Run], norm: str, lr: float, legend: dict[str, str]
) -> None:
    """The three measures of one arm at one lr, times lr, and where they say nothing."""
    symmetric_log_axis(axes)  # first: the margins are those of the scale there is
    found = panels.cells(axes, runs, [lr], landscape.CHANGE, [norm])
    for cell in found:
        for says, key, of, linestyle in CURVES:
            known = [run for run in cell if key in run]
            if known:
                read, label = partial(scaled, of=of), legend[norm]
                # A label with an underscore is not in the legend: there the solid line is the arm.
                label = label if linestyle == "-" else f"_{label}"
                panels.curve(axes, known, read, linestyle=linestyle, label=label)
                panels.explain(axes, says, linestyle=linestyle)
        uninformative_levels(axes, cell)
    panels.step_axis(axes, runs)


def uninformative_levels(axes: Axes, cell: panels.Cell) -> None:
    """Where the measures sit when they say nothing of the network: the edge, and lr / eta_min."""
    edges = shared_edge(cell, landscape.CHANGE, is_scaled=True)[1]
    edge, name = float(np.fmax.reduce(edges)), edge_formula(cell[0])
    smallest = max(float(np.fmax.reduce(scaled(run, largest_beta)[1])) for run in cell)
    at = {name: (edge, ":"), SMALLEST_STEP: (smallest, "-.")}
    if math.isclose(edge, smallest, rel_tol=0.01):
        at = {f"{SMALLEST_STEP} = {name}": (edge, "--")}
    for says, (level, linestyle) in at.items():
        if math.isnan(level):
            continue
        line: dict[str, Any] = {"linestyle": linestyle, "linewidth": 0.9}
        axes.axhline(level, color=style.GREY, zorder=1, **line)
        panels.explain(axes, says, **line)


def symmetric_log_axis(axes: Axes) -> None:
    """A y axis that is logarithmic in both directions, and linear around zero.

    With a number at 3 of every decade where there are few.
    """

    def number(value: float, _: int) -> str:
        return style.number(value).replace("-", "−")

    def between(value: float, place: int) -> str:
        ends = axes.yaxis.get_transform().transform(np.array(axes.get_ylim()))
        return number(value, place) if np.ptp(ends) < FEW * LINEAR else ""

    axes.set_yscale("symlog", linthresh=LINEAR, linscale=0.7)
    decades = [10.0**power for power in range(-1, 12)]
    axes.yaxis.set_major_locator(FixedLocator([*(-d for d in decades), 0, *decades]))
    axes.yaxis.set_minor_locator(
        FixedLocator([*(-3 * d for d in decades), *(3 * d for d in decades)])
    )
    axes.yaxis.set_major_formatter(FuncFormatter(number))
    axes.yaxis.set_minor_formatter(FuncFormatter(between))
