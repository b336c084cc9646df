"""What covariate shift does, and how much of it training makes

Ioffe & Szegedy 2015 trace what BatchNorm does to less internal covariate shift, the change of the
distribution of layer inputs while training. Ours, without and with BatchNorm: (a), (b), (c) the
test accuracy of the trained network while the inputs of a layer are moved on purpose, in units of
their standard deviation, with running statistics and with those of the moved inputs; (d) how far
the mean of what an activation function sees moves in one step; (e) how far the step of the layers
below changes a layer's gradient (Santurkar et al. 2018, definition 2.1), relative to the gradient.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import grids, panels, style
from bnstudy.results import Run, Series

EXPERIMENTS = ("covariate_shift",)
LR = 0.1
SIZE = "covariate_shift/size"
ACCURACIES = {
    "running": "covariate_shift/running_accuracy",
    "batch": "covariate_shift/batch_accuracy",
}
# By norm and statistics: what the legend adds, and the line. Without a norm there are no
# statistics; with it running ones are the usual, drawn as in the panels over training.
ARMS: dict[tuple[str, str], tuple[str, Any]] = {
    ("none", "running"): ("", "-"),
    ("batch", "running"): ("", "-"),
    ("batch", "batch"): (", statistics of the batch", (0, (5, 1.5))),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy over the size of a shift, three layers; below, the shifts that training makes."""
    chosen = panels.choose(runs, EXPERIMENTS)
    shown = panels.at_lr(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
        grid = figure.add_gridspec(2, 6)
        above = [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
        for axes, letter, layer in zip(above, "abc", layers(shown), strict=True):
            accuracies(axes, shown, layer)
            axes.set_title(f"({letter}) {place(shown, layer)}")
            axes.set_ylabel("test accuracy (%)" if letter == "a" else "")
        moved, gradient = (figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(2))
        over_training(moved, chosen, "moments/mean", mean_shift)
        moved.set(title="(d) per step of training", ylabel="shift of the mean / std")
        over_training(gradient, chosen, "internal_covariate_shift/l2", gradient_shift)
        gradient.set(title="(e) per step of training", ylabel="‖G − G′‖ / ‖G‖")
        panels.legend(figure, [*above, moved, gradient])
        notes = (
            f"lr {LR}. (a)–(c): at the last probed step, x + size × std of the channel; (a) moves "
            "the data, (b) and (c) the layer's inputs inside the network; solid: running "
            "statistics. (d): median over the recorded units of all layers.",
            "(e): median over all layers but the first.",
            panels.SHIFT_NOTE,
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def layers(runs: Sequence[Run]) -> list[str]:
    """The first, a middle and the last layer of those whose inputs were moved; "" for none."""
    for run in runs:
        recorded = [name for name in run.layers if f"{ACCURACIES['running']}/{name}" in run]
        if recorded:
            return [recorded[0], recorded[len(recorded) // 2], recorded[-1]]
    return ["", "", ""]


def place(runs: Sequence[Run], layer: str) -> str:
    """Where a layer is in the network, in words."""
    names = runs[0].layers if runs else []
    if layer not in names:
        return "shifted inputs"
    number = names.index(layer) + 1
    return "shifted test data" if number == 1 else f"inputs of layer {number} of {len(names)}"


def accuracies(axes: Axes, runs: Sequence[Run], layer: str) -> None:
    """Test accuracy over the size of the shift of one layer's inputs, at the last probed step."""
    found = panels.cells(axes, runs, [LR], f"{ACCURACIES['running']}/{layer}")
    for (norm, statistics), (more, linestyle) in ARMS.items():
        for cell in (cell for cell in found if cell[0].norm == norm):
            sizes, values = at_the_end(cell, f"{ACCURACIES[statistics]}/{layer}")
            if not len(sizes):
                continue
            look: dict[str, Any] = {
                "linestyle": linestyle,
                "label": panels.describe(cell, more=more),
            }
            look |= {"markerfacecolor": "white"} if statistics == "batch" else {}
            grids.line(axes, cell, sizes, values, **look)
    axes.set(xlabel="size of the shift (std)", ylim=(-3, 103))


def at_the_end(cell: Sequence[Run], key: str) -> tuple[list[float], list[list[float]]]:
    """Sizes [K] and, for each, the accuracies in percent of all runs at the last record."""
    points: dict[float, list[float]] = {}
    for run in cell:
        if key in run:
            for size, accuracy in zip(run[SIZE][1][-1], run[key][1][-1], strict=True):
                points.setdefault(float(size), []).append(100 * accuracy)
    return sorted(points), [points[size] for size in sorted(points)]


def over_training(axes: Axes, runs: Sequence[Run], kind: str, read: panels.Read) -> None:
    """A reduction over the layers that recorded `kind`, one curve per arm."""
    keys = [key for run in runs for key in run.records if key.startswith(f"{kind}/")]
    for cell in panels.cells(axes, runs, [LR], keys[0] if keys else f"{kind}/layer"):
        panels.curve(axes, cell, read, log=True, label=panels.describe(cell))
    panels.step_axis(axes, runs)


def mean_shift(run: Run) -> Series:
    """How far the mean moves to the next step, in standard deviations: median over units."""
    steps, found = np.array([], dtype=np.int64), []
    for name in run.layers:
        if f"moments/mean/{name}" in run:
            steps, mean = run[f"moments/mean/{name}"]
            distance = np.abs(run[f"moments/next_mean/{name}"][1] - mean)
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(distance / np.sqrt(run[f"moments/variance/{name}"][1]))
    return steps, grids.medians(np.concatenate(found, axis=1))


def gradient_shift(run: Run) -> Series:
    """||G - G'|| / ||G||: median over the layers but the first, below which there is nothing."""
    kind, steps, found = "internal_covariate_shift", np.array([], dtype=np.int64), []
    for name in run.layers[1:]:
        if f"{kind}/l2/{name}" in run:
            steps, shift = run[f"{kind}/l2/{name}"]
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(shift / run[f"{kind}/norm/{name}"][1])
    return steps, grids.medians(np.stack(found, axis=1))
