"""Not gradient predictiveness: the difference between the gradients of consecutive batches

Much copied code takes ||g(t + 1) - g(t)||, often of the last layer alone, for the gradient
predictiveness of Santurkar et al. 2018, figure 4b. The two gradients are of different mini-batches:
the difference holds the noise of sampling them besides the change of the loss's gradient, and one
layer's share of it says little of the others. Ours: that, of the last layer and of all parameters,
beside the gradient change over the very same step, theta - lr g, on one batch; at learning rate
0.1, averaged over seeds, geometrically.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures import consecutive_gradients as consecutive
from bnstudy.measures import landscape
from bnstudy.measures.grids import at_lr
from bnstudy.measures.landscape import own_step
from bnstudy.results import Run

EXPERIMENTS = ("vgg",)
LR = 0.1


def draw(runs: Sequence[Run]) -> Figure:
    """Consecutive gradients: last layer, all parameters; beside them the change on one batch."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.8), layout="constrained")
        last, every, right = figure.subplots(1, 3, sharey=True)
        layer = chosen[0].layers[-1]
        change_curves(last, chosen, lr, f"{consecutive.CHANGE}/{layer}")
        change_curves(every, chosen, lr, consecutive.CHANGE)
        change_curves(right, chosen, lr, landscape.CHANGE)
        last.set(title=f"wrong: two batches,\nlast layer ({layer})", ylabel="‖g(t + 1) − g(t)‖")
        every.set(title="wrong: two batches,\nall parameters")
        right.set(title="right: one batch,\nall parameters", ylabel="‖∇L(θ − lr g) − ∇L(θ)‖")
        panels.outermost([last, every, right])
        panels.legend(figure, [last, every, right])
        notes = (
            f"lr {style.number(lr)}. "
            "Left, middle: what much copied code calls gradient predictiveness. The "
            "gradients of successive steps are of different batches, so their difference holds the "
            "noise of sampling besides the change of the gradient; right: the same step, on the "
            "batch of step t alone.",
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def change_curves(axes: Axes, runs: Sequence[Run], lr: float, key: str) -> None:
    """A change of the gradient over one step, one curve per arm."""
    read: panels.Read = own_step if key == landscape.CHANGE else lambda run: run[key]
    for cell in panels.cells(axes, runs, [lr], key):
        panels.curve(axes, cell, read, log=True)
    panels.step_axis(axes, runs)
