"""The landscape of VGG with l_p normalization along the gradient

Santurkar et al. 2018, figure 12. As figure 4 for the standard network, BatchNorm and normalization
by the l_1, l_2 and l_inf norms (section 3.3), at learning rate 0.1, with their training accuracy.
Ours: a panel per arm where the paper draws the ranges over each other; averages over seeds as in
figure 4.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_lp")
LR = 0.1
CURVES = ("fig12b_vgg_lp_loss_band", "fig12c_vgg_lp_gradpred_band", "fig12d_vgg_lp_beta")


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy, and loss, gradient change and effective beta along the gradient."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.2), layout="constrained")
        train, beta = panels.landscape_panels_of_arms(figure, chosen, lr, CURVES, log=False)
        panels.training_accuracies(train, chosen, lr, "fig5a_vgg_lp_train_acc", panels.LP)
        train.set(title="(a) training")
        panels.legend(figure, [train, beta])
        caveat = panels.PENALTY_NOTE if panels.comparable_to_paper(chosen) else ""
        notes = (panels.landscape_note(shown, "bcd"), panels.running_note(chosen), caveat)
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure
