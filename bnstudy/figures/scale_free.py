"""Curvature, steps and weights without their scale

Weights before a norm can be multiplied by any number without a change of the network's function;
||g|| and the eigenvalues of the Hessian then change with it (Ioffe & Szegedy 2015, section 3.3). So
they tell little of two networks one of which has norms. Ours, without and with BatchNorm at every
learning rate, are numbers that have no scale: (a) lr times sharpness; by layer (b) the length of a
step relative to that of the weights, (c) the weights' relative to the initial one, and (d) the
effective learning rate lr / ||w||^2 (van Laarhoven 2017), at which weights before a norm turn.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import grids, panels, style
from bnstudy.figures.sharpness import (
    SHARPNESS,
    arms,
    edge,
    edge_note,
    look,
    times_lr,
    top,
    unconverged,
)
from bnstudy.results import Run, Series, align, average

EXPERIMENTS = ("curvature",)
NORM, STEP = "weights/norm", "weights/step"
INITIAL, LR = "weights/initial_norm", "weights/lr"
MOST = 3  # layers


def draw(runs: Sequence[Run]) -> Figure:
    """Sharpness, relative step, weight norm, effective lr over training: a column per lr."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lrs, legend = sorted({run.lr for run in chosen}), arms(chosen)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.4), layout="constrained")
        grid = figure.subplots(
            1 + len(OF_LAYERS), len(lrs), sharex=True, sharey="row", squeeze=False
        )
        key = SHARPNESS.format("batch")
        for axes, lr in zip(grid[0], lrs, strict=True):
            for cell in panels.cells(axes, chosen, [lr], key):
                read = partial(scaled_sharpness, key=key)
                panels.curve(axes, cell, read, log=True, label=legend[cell[0].norm])
            edge(axes, panels.at_lr(chosen, lr), key, scaled=True)
            axes.set_title(f"lr {style.number(lr)}")
        for row, (label, of) in zip(grid[1:], OF_LAYERS.items(), strict=True):
            for axes, lr in zip(row, lrs, strict=True):
                by_layer(axes, panels.at_lr(chosen, lr), of)
            panels.outermost(row).set_ylabel(label)
        panels.outermost(grid[0]).set_ylabel("(a) lr × sharpness\n(batch statistics)")
        for axes in grid.flat:
            panels.step_axis(axes, chosen)
            axes.set_xlabel("step" if axes in grid[-1] else "")
        panels.legend(figure, list(grid[0]))
        notes = (
            f"(b)–(d): {layer_names(chosen)}; darker: later; lines: geometric mean over seeds.",
            edge_note(chosen, list(grid[0])),
            unconverged(chosen, key),
            panels.seeds_note(chosen).replace("Lines", "(a): lines"),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def hidden_layers(runs: Sequence[Run]) -> list[str]:
    """The first, a middle and the last layer before a norm, of those that were recorded."""
    for run in runs:
        recorded = [name for name in run.layers[:-1] if f"{NORM}/{name}" in run]
        if recorded:
            return list(dict.fromkeys([recorded[0], recorded[len(recorded) // 2], recorded[-1]]))
    return []


def layer_names(runs: Sequence[Run]) -> str:
    """The layers that are shown, in words."""
    numbers = [
        run_layers.index(name) + 1
        for run_layers in [runs[0].layers]
        for name in hidden_layers(runs)
    ]
    *first, last = map(str, numbers or [0])
    return f"layers {', '.join(first)} and {last} of {len(runs[0].layers)}"


def scaled_sharpness(run: Run, key: str) -> Series:
    """lr times the largest eigenvalue."""
    return times_lr(run, partial(top, key=key))


def relative_step(run: Run, layer: str) -> Series:
    """||w_new - w|| / ||w|| of a layer."""
    steps, lengths = run[f"{STEP}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, lengths / run[f"{NORM}/{layer}"][1]


def growth(run: Run, layer: str) -> Series:
    """||w|| / ||w_0|| of a layer."""
    steps, norms = run[f"{NORM}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, norms / run[f"{INITIAL}/{layer}"][1]


def effective_lr(run: Run, layer: str) -> Series:
    """lr / ||w||^2 of a layer."""
    steps, norms = run[f"{NORM}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, run[LR][1] / norms**2


OF_LAYERS: dict[str, Callable[[Run, str], Series]] = {
    "(b) ‖Δw‖ / ‖w‖": relative_step,
    "(c) ‖w‖ / ‖w₀‖": growth,
    "(d) lr / ‖w‖²": effective_lr,
}


def by_layer(axes: Axes, runs: Sequence[Run], of: Callable[[Run, str], Series]) -> None:
    """A line per arm and layer, the mean over seeds."""
    layers = hidden_layers(runs)
    if grids.absent(axes, runs, f"{NORM}/{layers[0]}" if layers else NORM):
        return
    panels.log_axis(axes)
    for norm in panels.PAIR:
        for number, layer in enumerate(layers):
            cell = [run for run in runs if run.norm == norm and f"{NORM}/{layer}" in run]
            if cell:
                steps, values = align([of(run, layer) for run in cell])
                mean = panels.drawable(average(values, log=True), log=True)
                axes.plot(steps, mean, **look(norm, number, len(layers)))
    grids.missing(axes, runs, panels.PAIR)
