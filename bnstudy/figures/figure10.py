"""The landscape of the deep linear network along the gradient

Santurkar et al. 2018, figure 10. As figure 4 for the deep linear network at learning rate 1e-6,
with step sizes from 1/100 to 10^1.5 of it, on logarithmic axes. Ours: edges and curves are averaged
over seeds, geometrically.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("deep_linear",)
LR = 1e-6
CURVES = ("fig10a_dln_loss_band", "fig10b_dln_gradpred_band", "fig10c_dln_beta")


def draw(runs: Sequence[Run]) -> Figure:
    """Loss, gradient change and effective beta along the gradient, over training."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
        panels.landscape_panels(figure, chosen, lr, CURVES, log=True)
        shown = at_lr(chosen, lr)
        panels.finish(figure, runs, chosen, panels.landscape_note(shown), shown=shown)
    return figure
