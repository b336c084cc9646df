"""The landscape of the deep linear network with l_p normalization along the gradient

Santurkar et al. 2018, figure 13. As figure 10 for the standard network, BatchNorm and normalization
by the l_1, l_2 and l_inf norms (section 3.3), at learning rate 1e-6, with their training loss.
Ours: a panel per arm where the paper draws the ranges over each other; averages over seeds as in
figure 10.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("deep_linear", "deep_linear_lp")
LR = 1e-6
CURVES = ("fig13b_dln_lp_loss_band", "fig13c_dln_lp_gradpred_band", "fig13d_dln_lp_beta")


def draw(runs: Sequence[Run]) -> Figure:
    """Training loss, and loss, gradient change and effective beta along the gradient."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.2), layout="constrained")
        train, beta = panels.landscape_panels_of_arms(figure, chosen, lr, CURVES, log=True)
        panels.training_losses(train, chosen, lr, "fig5b_dln_lp_loss", panels.LP)
        train.set(title="(a) training")
        panels.legend(figure, [train, beta])
        panels.finish(figure, runs, chosen, panels.landscape_note(shown, "bcd"), shown=shown)
    return figure
