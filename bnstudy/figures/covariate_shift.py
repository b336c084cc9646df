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

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import covariate_shift, internal_covariate_shift, moments
from bnstudy.measures.covariate_shift import accuracies_by_size, moved_layers
from bnstudy.measures.grids import at_lr
from bnstudy.measures.internal_covariate_shift import typical_shift
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.moments import mean_shift
from bnstudy.results import Run

EXPERIMENTS = ("covariate_shift",)
LR = 0.1
# By norm and statistics: what the legend adds, and the line. Without a norm there are no
# statistics; with it running ones are the usual, drawn as in the panels over training.
LINES: dict[tuple[str, str], tuple[str, Any]] = {
    ("none", "running"): ("", "-"),
    ("batch", "running"): ("", "-"),
    ("batch", "batch"): (", statistics of the batch", (0, (5, 1.5))),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy over the size of a shift, three layers; below, the shifts that training makes."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
        grid = figure.add_gridspec(2, 6)
        above = [figure.add_subplot(grid[0, 2 * i : 2 * i + 2]) for i in range(3)]
        for axes, letter, layer in zip(above, "abc", shown_layers(shown), strict=True):
            accuracies_over_size(axes, shown, lr, layer)
            axes.set_title(f"({letter}) {place_of(shown, layer)}")
            axes.set_ylabel("test accuracy (%)" if letter == "a" else "")
        moved, gradient = (figure.add_subplot(grid[1, 3 * i : 3 * i + 3]) for i in range(2))
        over_layers(moved, chosen, lr, moments.MEAN, mean_shift)
        moved.set(title="(d) per step of training", ylabel="shift of the mean / std")
        over_layers(gradient, chosen, lr, internal_covariate_shift.L2, typical_shift)
        gradient.set(title="(e) per step of training", ylabel="‖G − G′‖ / ‖G‖")
        panels.legend(figure, [*above, moved, gradient])
        notes = (
            f"lr {style.number(lr)}. "
            "(a)–(c): at the last probed step, x + size × std of the channel; (a) moves "
            "the data, (b) and (c) the layer's inputs inside the network; solid: running "
            "statistics. (d): median over the recorded units of all layers.",
            "(e): median over all layers but the first.",
            panels.SHIFT_NOTE,
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def shown_layers(runs: Sequence[Run]) -> list[str]:
    """The first, a middle and the last layer of those whose inputs were moved; "" for none."""
    recorded = next((found for run in runs if (found := moved_layers(run))), ["", "", ""])
    return [recorded[0], recorded[len(recorded) // 2], recorded[-1]]


def place_of(runs: Sequence[Run], layer: str) -> str:
    """Where a layer is in the network, in words."""
    names = runs[0].layers if runs else []
    if layer not in names:
        return "shifted inputs"
    number = names.index(layer) + 1
    return "shifted test data" if number == 1 else f"inputs of layer {number} of {len(names)}"


def accuracies_over_size(axes: Axes, runs: Sequence[Run], lr: float, layer: str) -> None:
    """Test accuracy over the size of the shift of one layer's inputs, at the last probed step."""
    found = panels.cells(axes, runs, [lr], f"{covariate_shift.ACCURACY['running']}/{layer}")
    for (norm, statistics), (more, linestyle) in LINES.items():
        for cell in (cell for cell in found if cell[0].norm == norm):
            sizes, values = accuracies_by_size(cell, statistics, layer)
            if not len(sizes):
                continue
            look: dict[str, Any] = {
                "linestyle": linestyle,
                "label": panels.seeds_label(cell, more=more),
            }
            look |= {"markerfacecolor": "white"} if statistics == "batch" else {}
            sweeps.line(axes, cell, sizes, values, **look)
    axes.set(xlabel="size of the shift (std)", ylim=(-3, 103))


def over_layers(axes: Axes, runs: Sequence[Run], lr: float, kind: str, read: panels.Read) -> None:
    """A reduction over the layers that recorded `kind`, one curve per arm."""
    layer = next((found[0] for run in runs if (found := recorded_layers(run, kind))), "layer")
    for cell in panels.cells(axes, runs, [lr], f"{kind}/{layer}"):
        panels.curve(axes, cell, read, log=True, label=panels.seeds_label(cell))
    panels.step_axis(axes, runs)
