"""Training the deep linear network with l_p normalization

Santurkar et al. 2018, figure 5b. The paper shows the training loss of the standard network,
BatchNorm and normalization by the l_1, l_2 and l_inf norms (section 3.3), at learning rate 1e-6.
Ours is the same over seeds, each with its own A, x and initial weights; the mean is geometric. The
plateaus are saddles at which some singular directions of A are not learnt yet, so a single run, as
in the paper, says little of its norm.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("deep_linear", "deep_linear_lp")
LR = 1e-6


def draw(runs: Sequence[Run]) -> Figure:
    """Training loss over training, one curve per arm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        panels.training_losses(axes, chosen, lr, "fig5b_dln_lp_loss", panels.LP)
        panels.legend(figure, [axes])
        notes = (f"lr {style.number(lr)}.", panels.seeds_note(shown))
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure
