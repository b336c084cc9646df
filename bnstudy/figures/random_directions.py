"""The landscape of VGG along the gradient and along random directions

Santurkar et al. 2018, section 3.2, where it says that the loss behaves in a similar way along other
(random) directions; the paper has no figure of it. Ours: as figure 4 at learning rate 0.1, and
beside it the same along a random direction of the gradient's length, drawn anew at every step. In
so many dimensions a random direction is nearly at a right angle to the gradient and the loss hardly
changes along it, so its range is shown relative to the loss too.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures import landscape
from bnstudy.measures.grids import at_lr
from bnstudy.measures.landscape import relative_range
from bnstudy.results import Run

EXPERIMENTS = ("vgg",)
LR = 0.1
ALONG = {  # by title of the column: the keys of the loss and of the gradient change
    "along the gradient g": (landscape.LOSS, landscape.CHANGE),
    "along a random direction r, ‖r‖ = ‖g‖": (
        landscape.RANDOM_LOSS,
        landscape.RANDOM_CHANGE,
    ),
}
LABELS = ("L(θ − ηd)", "largest / smallest L(θ − ηd) − 1", "‖∇L(θ − ηd) − ∇L(θ)‖")


def draw(runs: Sequence[Run]) -> Figure:
    """The loss, its relative range and the gradient change, a column per direction."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.4), layout="constrained")
        grid = figure.subplots(len(LABELS), len(ALONG), sharey="row")
        for column, (title, (loss, change)) in zip(grid.T, ALONG.items(), strict=True):
            panels.bands(column[0], chosen, lr, loss, log=True)
            relative_ranges(column[1], chosen, lr, loss)
            panels.bands(column[2], chosen, lr, change, log=True)
            column[0].set_title(title)
            for axes in column[:-1]:
                axes.set_xlabel("")
        for row, label in zip(grid, LABELS, strict=True):
            panels.outermost(row).set_ylabel(label)
        panels.legend(figure, list(grid.flat))
        notes = ("d: g or r. Top, bottom:", panels.bands_note(shown))
        notes += ("Middle: of the same range.", panels.seeds_note(shown))
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def relative_ranges(axes: Axes, runs: Sequence[Run], lr: float, key: str) -> None:
    """The relative range of the loss over the step sizes, one curve per arm."""
    for cell in panels.cells(axes, runs, [lr], key):
        panels.curve(axes, cell, lambda run: relative_range(run, key), log=True)
    panels.step_axis(axes, runs)
