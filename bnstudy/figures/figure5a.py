"""Training VGG with l_p normalization

Santurkar et al. 2018, figure 5a. The paper shows the training accuracy of a mini-batch every 100
steps for the standard network, BatchNorm and normalization by the l_1, l_2 and l_inf norms
(section 3.3), at learning rate 0.1. Ours: a running mean over 1/150 of the run.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_lp")
LR = 0.1


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy over training, one curve per arm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        panels.training_accuracies(axes, chosen, lr, "fig5a_vgg_lp_train_acc", panels.LP)
        panels.legend(figure, [axes])
        notes = (f"lr {style.number(lr)}.", panels.running_note(chosen), panels.seeds_note(shown))
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure
