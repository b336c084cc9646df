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

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.figures.sharpness import (
    arm_labels,
    draw_edge,
    edge_note,
    scaled,
    shade_of,
    unconverged,
)
from bnstudy.measures import sharpness, weights
from bnstudy.measures.grids import at_lr
from bnstudy.measures.layers import hidden_layers
from bnstudy.measures.series import align, average
from bnstudy.measures.sharpness import top_eigenvalue
from bnstudy.measures.weights import effective_lr, growth, relative_step
from bnstudy.results import Run, Series

EXPERIMENTS = ("curvature",)
MOST = 3  # layers


def draw(runs: Sequence[Run]) -> Figure:
    """Sharpness, relative step, weight norm, effective lr over training: a column per lr."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lrs, legend = sorted({run.lr for run in chosen}), arm_labels(chosen)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.4), layout="constrained")
        grid = figure.subplots(
            1 + len(OF_LAYERS), len(lrs), sharex=True, sharey="row", squeeze=False
        )
        key = sharpness.EIGENVALUES["batch"]
        for axes, lr in zip(grid[0], lrs, strict=True):
            for cell in panels.cells(axes, chosen, [lr], key):
                read = partial(scaled, of=top_eigenvalue)
                panels.curve(axes, cell, read, log=True, label=legend[cell[0].norm])
            draw_edge(axes, at_lr(chosen, lr), key, is_scaled=True)
            axes.set_title(f"lr {style.number(lr)}")
        for row, (label, of) in zip(grid[1:], OF_LAYERS.items(), strict=True):
            for axes, lr in zip(row, lrs, strict=True):
                curves_by_layer(axes, at_lr(chosen, lr), of)
            panels.outermost(row).set_ylabel(label)
        panels.outermost(grid[0]).set_ylabel("(a) lr × sharpness\n(batch statistics)")
        for axes in grid.flat:
            panels.step_axis(axes, chosen)
            axes.set_xlabel("step" if axes in grid[-1] else "")
        panels.legend(figure, list(grid[0]))
        notes = (
            f"(b)–(d): {layers_note(chosen)}; darker: later; lines: geometric mean over seeds.",
            edge_note(chosen, list(grid[0])),
            unconverged(chosen, key),
            panels.seeds_note(chosen).replace("Lines", "(a): lines"),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def layers_before_norms(runs: Sequence[Run]) -> list[str]:
    """The first, a middle and the last layer before a norm, of those that were recorded."""
    recorded = next((found for run in runs if (found := hidden_layers(run, weights.NORM))), [])
    wanted = [recorded[i] for i in (0, len(recorded) // 2, -1)] if recorded else []
    return list(dict.fromkeys(wanted))


def layers_note(runs: Sequence[Run]) -> str:
    """The layers that are shown, in words."""
    numbers = [
        run_layers.index(name) + 1
        for run_layers in [runs[0].layers]
        for name in layers_before_norms(runs)
    ]
    *first, last = map(str, numbers or [0])
    return f"layers {', '.join(first)} and {last} of {len(runs[0].layers)}"


OF_LAYERS: dict[str, Callable[[Run, str], Series]] = {
    "(b) ‖Δw‖ / ‖w‖": relative_step,
    "(c) ‖w‖ / ‖w₀‖": growth,
    "(d) lr / ‖w‖²": effective_lr,
}


def curves_by_layer(axes: Axes, runs: Sequence[Run], of: Callable[[Run, str], Series]) -> None:
    """A line per arm and layer, the mean over seeds."""
    layers = layers_before_norms(runs)
    if sweeps.absent(axes, runs, f"{weights.NORM}/{layers[0]}" if layers else weights.NORM):
        return
    panels.log_axis(axes)
    for norm in panels.PAIR:
        for number, layer in enumerate(layers):
            cell = [run for run in runs if run.norm == norm and f"{weights.NORM}/{layer}" in run]
            if cell:
                steps, values = align([of(run, layer) for run in cell])
                mean = panels.drawable(average(values, log=True), log=True)
                axes.plot(steps, mean, **shade_of(norm, number, len(layers)))
    sweeps.missing(axes, runs, panels.PAIR)
