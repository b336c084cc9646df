"""The landscape of VGG along the gradient and along random directions

Santurkar et al. 2018, section 3.2, where it says that the loss behaves in a similar way along other
(random) directions; the paper has no figure of it. Ours: as figure 4 at learning rate 0.1, and
beside it the same along a random direction of the gradient's length, drawn anew at every step. A
random direction in so many dimensions is nearly at a right angle to all that training does, so its
loss changes less; what can be compared is standard with BatchNorm.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.results import Run

EXPERIMENTS = ("vgg",)
LR = 0.1
ALONG = {
    "along the gradient g": (panels.LOSS, panels.CHANGE),
    "along a random direction r, ‖r‖ = ‖g‖": (
        "landscape/random_loss",
        "landscape/random_gradient_change",
    ),
}


def draw(runs: Sequence[Run]) -> Figure:
    """The range of loss (above) and gradient change, along the gradient and a random direction."""
    chosen = panels.choose(runs, EXPERIMENTS)
    shown = panels.at_lr(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
        grid = figure.subplots(2, 2, sharey="row")
        for column, (title, keys) in zip(grid.T, ALONG.items(), strict=True):
            for axes, key in zip(column, keys, strict=True):
                panels.bands(axes, chosen, LR, key, log=True)
            column[0].set(title=title, xlabel="")
        for row, label in zip(grid, ("L(θ − ηd)", "‖∇L(θ − ηd) − ∇L(θ)‖"), strict=True):
            panels.outermost(row).set_ylabel(label)
        panels.legend(figure, list(grid.flat))
        panels.finish(figure, runs, chosen, "d: g or r.", panels.bands_note(shown), shown=shown)
    return figure
