"""The landscape of VGG along the gradient

Santurkar et al. 2018, figure 4. At a step of training, the paper walks along the gradient of the
training batch and shows the range of (a) the loss and (b) the change of the gradient over the step
sizes, and (c) effective beta-smoothness, at learning rate 0.1. Ours: the edges of (a) and (b) and
the curve (c) are averaged over seeds, with the levels at which (c) says nothing of the network.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg",)
LR = 0.1
CURVES = ("fig4a_vgg_loss_band", "fig4b_vgg_gradpred_band", "fig4c_vgg_beta")


def draw(runs: Sequence[Run]) -> Figure:
    """Loss, gradient change and effective beta along the gradient, over training."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
        panels.landscape_panels(figure, chosen, lr, CURVES, log=False)
        shown = at_lr(chosen, lr)
        caveat = panels.PENALTY_NOTE if panels.comparable_to_paper(chosen) else ""
        panels.finish(figure, runs, chosen, panels.landscape_note(shown), caveat, shown=shown)
    return figure
