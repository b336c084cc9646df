"""Sharpness against the edge of stability

Cohen et al. 2021: along full-batch gradient descent the largest eigenvalue of the Hessian, the
sharpness, rises to 2/lr and stays there, at every learning rate. Andreyev & Beneventano 2024: along
SGD it stays below, and batch sharpness is at 2/lr, the curvature of a batch along its own gradient.
So at one learning rate two networks differ by how close each is to its own edge. Ours, without and
with BatchNorm at every learning rate: both quantities, and in the last column both times lr, the
same at every scale of the weights and the loss. With statistics of the batch, the function that is
trained; with running statistics it is another one. Lines are at the edge of each run's optimizer.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import LogLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import batch_sharpness, sharpness
from bnstudy.measures.grids import at_lr, by_option
from bnstudy.measures.series import align, average
from bnstudy.measures.sharpness import converged, top_eigenvalue
from bnstudy.measures.stability import edge_formula, edge_of_stability
from bnstudy.measures.train import times_lr
from bnstudy.results import Run, Series

EXPERIMENTS = ("curvature", "curvature_deep_linear")
NETWORKS = {"curvature": "VGG", "curvature_deep_linear": "deep linear"}
# What is measured: as it is called, its keys by statistics, and the measure.
Row = tuple[str, dict[str, str], Callable[..., Series]]
ROWS: tuple[Row, ...] = (
    ("sharpness λ₁", sharpness.EIGENVALUES, top_eigenvalue),
    ("batch sharpness", batch_sharpness.CURVATURE, batch_sharpness.batch_sharpness),
)
RUNNING = (0, (5, 1.5))  # the line of running statistics


def draw(runs: Sequence[Run]) -> Figure:
    """Sharpness above batch sharpness over training: a column per lr, a block per network."""
    chosen = panels.choose(runs, *([name] for name in EXPERIMENTS))
    blocks = by_experiment(chosen)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.1 + 3.0 * len(blocks)), layout="constrained")
        parts = figure.subfigures(len(blocks), 1, squeeze=False)[:, 0]
        drawn: list[Axes] = []
        for part, (experiment, own) in zip(parts, blocks.items(), strict=True):
            drawn += network_panels(part, NETWORKS[experiment], own, arm_labels(chosen))
        panels.legend(figure, drawn)
        notes = (
            "H: mean over training batches, each with its own statistics where the legend says "
            "nothing else. Batch sharpness: gᵀHg / ‖g‖² of each batch, mean; gaps where that is "
            "negative. Last column: darker: larger lr.",
            edge_note(chosen, drawn),
            unconverged(chosen, *sharpness.EIGENVALUES.values()),
            *(f"No runs of {name}." for name in EXPERIMENTS if name not in blocks),
            panels.seeds_note(chosen),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by experiment, without those that have none."""
    found = {name: [run for run in runs if run.experiment == name] for name in EXPERIMENTS}
    return {name: own for name, own in found.items() if own}


def arm_labels(runs: Sequence[Run]) -> dict[str, str]:
    """The legend of every arm: how many runs of it there are in all panels."""
    cells = {norm: [run for run in runs if run.norm == norm] for norm in panels.PAIR}
    return {norm: sweeps.runs_label(cell) for norm, cell in cells.items() if cell}


def network_panels(
    part: SubFigure, name: str, runs: Sequence[Run], legend: dict[str, str]
) -> list[Axes]:
    """The panels of one network, which it returns."""
    lrs = sorted({run.lr for run in runs})
    grid = part.subplots(2, len(lrs) + 1, sharex=True, squeeze=False)
    for row, kind in zip(grid, ROWS, strict=True):
        for axes, lr in zip(row, lrs, strict=False):
            axes.sharey(row[0])
            one_lr(axes, runs, lr, kind, legend)
            axes.tick_params(labelleft=axes is row[0], which="both")
        all_lrs(row[-1], runs, kind)
        row[-1].set_ylabel(f"lr × {kind[0]}" if row[-1].axison else "")
        panels.outermost(row[:1]).set_ylabel(f"{kind[0]}\n(batch statistics)")
    for axes, lr in zip(grid[0], lrs, strict=False):
        axes.set_title(f"{name}, lr {style.number(lr)}")
    grid[0, -1].set_title("at every lr")
    for axes in grid.flat:
        if axes.axison:
            axes.yaxis.set_major_locator(LogLocator(numticks=12))  # every decade, small as it is
        panels.step_axis(axes, runs)
        axes.set_xlabel("step" if axes in grid[-1] else "")
    return list(grid.flat)


def one_lr(axes: Axes, runs: Sequence[Run], lr: float, kind: Row, legend: dict[str, str]) -> None:
    """Both arms at one lr, with either statistics where they differ, and the edge of stability."""
    _, keys, measure = kind
    batch, running = keys["batch"], keys["running"]
    for cell in panels.cells(axes, runs, [lr], batch):
        label = legend[cell[0].norm]
        panels.curve(axes, cell, lambda run: measure(run, "batch"), log=True, label=label)
        known = [run for run in cell if running in run and run.norm != "none"]
        if known:
            read, name = partial(measure, statistics="running"), style.arm(known[0].norm).name
            label = label.replace(name, f"{name}, running statistics", 1)
            panels.curve(axes, known, read, log=True, linestyle=RUNNING, label=label)
    draw_edge(axes, at_lr(runs, lr), batch)


def all_lrs(axes: Axes, runs: Sequence[Run], kind: Row) -> None:
    """lr times the measure at every lr, the mean over seeds, darker for larger ones; its edge."""
    _, keys, measure = kind
    batch = keys["batch"]
    if sweeps.absent(axes, runs, batch):
        return
    panels.log_axis(axes)
    for norm in panels.PAIR:
        cells = by_option([r for r in runs if r.norm == norm and batch in r], "optimizer.lr")
        for number, cell in enumerate(cells.values()):
            steps, values = align([times_lr(run, measure(run, "batch")) for run in cell])
            mean = panels.drawable(average(values, log=True), log=True)
            axes.plot(steps, mean, **shade_of(norm, number, len(cells)))
    draw_edge(axes, runs, batch, is_scaled=True)


def shade_of(norm: str, number: int, of: int) -> dict[str, Any]:
    """The line of an arm at the `number`-th of so many settings, the last one darkest."""
    arm = style.arm(norm)
    share = 0.65 * (1 - number / (of - 1)) if of > 1 else 0.0
    return {"color": arm.tint(share), "linewidth": 1.1, "marker": arm.marker, "markersize": 2}


# The edge of stability


def draw_edge(axes: Axes, runs: Sequence[Run], key: str, is_scaled: bool = False) -> None:
    """The edge of stability, times lr if `is_scaled`, if the panel shows anything and it is known.

    A line, or where the lr changes a curve at the steps of `key`.
    """
    if not axes.axison:
        return
    steps, levels = shared_edge([run for run in runs if key in run], key, is_scaled)
    known, name = levels[np.isfinite(levels)], edge_formula(runs[0])
    line: dict[str, Any] = {"linestyle": ":", "linewidth": 0.9}
    if not len(known):
        return
    if np.ptp(known) <= 1e-6 * known[0]:
        axes.axhline(known[0], color=style.GREY, zorder=1, **line)
    else:
        axes.plot(steps, panels.drawable(levels, log=True), color=style.GREY, zorder=1, **line)
    panels.explain(axes, f"{name} (times lr: {name.replace('/lr', '')})", **line)


def shared_edge(runs: Sequence[Run], key: str, is_scaled: bool) -> Series:
    """The edge of stability at the steps of `key`; NaN where it is not known or not one for all."""
    of = partial(edge_at, key=key)
    steps, levels = align([times_lr(run, of(run)) if is_scaled else of(run) for run in runs])
    low, high = np.fmin.reduce(levels, axis=0), np.fmax.reduce(levels, axis=0)
    return steps, np.where(np.isclose(low, high, rtol=1e-6, atol=0), low, np.nan)


def edge_at(run: Run, key: str) -> Series:
    """The edge of stability of a run at the steps of `key`."""
    steps, _ = run[key]
    return steps, edge_of_stability(run, steps, key == batch_sharpness.CURVATURE["batch"])


def scaled(run: Run, of: Callable[[Run], Series]) -> Series:
    """A measure times the lr of each step."""
    return times_lr(run, of(run))


# Notes


def edge_note(runs: Sequence[Run], axes: Sequence[Axes]) -> str:
    """What β is, and that panels lack the edge, for the lines below a figure; "" for plain SGD."""
    momenta = sorted({run.option("optimizer.momentum") or 0.0 for run in runs} - {0.0})
    says = f"Momentum: β = {', '.join(map(style.number, momenta))}. " if momenta else ""
    names = [panel.get_legend_handles_labels()[1] for panel in axes if panel.axison]
    if not all(any("/lr" in name for name in panel) for panel in names):
        says += (
            "No edge of stability where it is not known (optimizers other than SGD, batch "
            "sharpness with momentum) or not one for all runs."
        )
    return says


def unconverged(runs: Sequence[Run], *keys: str, count: int = 1) -> str:
    """How many of the `count` largest eigenvalues did not converge, in words; "" for none."""
    found: list[bool] = []
    for run in runs:
        for key in keys:
            if key in run:
                measured = np.isfinite(run[key][1][:, :count])
                found += converged(run, key)[:, :count][measured].tolist()
    missed = found.count(False)
    return f"{missed} of {len(found)} eigenvalues did not converge." if missed else ""
