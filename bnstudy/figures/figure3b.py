"""Internal covariate shift in the deep linear network

Santurkar et al. 2018, figure 3b. The paper shows the training loss and, for layers #9 and #17,
||G - G'|| and the cosine of the angle between G and G' (definition 2.1), at learning rates 1e-6 and
1e-7. Ours is the same over seeds; means on logarithmic axes are geometric.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("deep_linear",)
LRS = (1e-6, 1e-7)
LAYERS = (9, 17)
DEPTH = 25


def draw(runs: Sequence[Run]) -> Figure:
    """Training loss and internal covariate shift over training, one row per learning rate."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lrs = panels.lrs_of(chosen, LRS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.4), layout="constrained")
        left = panels.shift_panels(figure, chosen, lrs, LAYERS, DEPTH)
        for axes, lr in zip(left, lrs, strict=True):
            name = style.number(lr)
            panels.training_losses(axes, chosen, lr, f"fig3b_dln_loss_lr{name}", name_lr=True)
            axes.set(title=f"lr {name}")
        panels.legend(figure, left)
        shown = [run for lr in lrs for run in at_lr(chosen, lr)]
        panels.finish(
            figure, runs, chosen, panels.SHIFT_NOTE, panels.seeds_note(shown), shown=shown
        )
    return figure
