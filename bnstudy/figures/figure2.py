"""Training VGG with noise after BatchNorm

Santurkar et al. 2018, figure 2. The paper shows the training accuracy of a mini-batch every 100
steps for the standard network, BatchNorm and noisy BatchNorm (algorithm 1: after every norm, noise
whose mean and scale are drawn anew at every step), and histograms of the activations of layers #2,
#9 and #13 over training, at learning rate 0.1. It says of the standard network that the same noise
keeps it from training, without showing it. Ours: a running mean over 1/150 of the run; that control
too, where there are runs of it; the recorded units of one run pooled on one grid.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_noise")
LR = 0.1
NORMS = ("none", "batch", "noisy_batch")
CONTROL = "noise"
LAYERS = (2, 9, 13)
CONVOLUTIONS = 13


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy above histograms of activations, a row per layer, a column per arm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 8.4), layout="constrained")
        grid = figure.add_gridspec(1 + len(LAYERS), len(NORMS), height_ratios=[1.25, 1, 1, 1])
        train = figure.add_subplot(grid[0, :])
        control = [CONTROL] if any(run.norm == CONTROL for run in shown) else []
        panels.training_accuracies(train, chosen, lr, "fig2_train_acc", [*NORMS, *control])
        panels.legend(figure, [train])
        for i, layer in enumerate(LAYERS):
            for j, norm in enumerate(NORMS):
                axes = figure.add_subplot(grid[1 + i, j])
                panels.ridges_of(axes, chosen, norm, lr, layer, CONVOLUTIONS)
                axes.set_ylabel("" if j else "step")
                axes.set_xlabel("activation" if layer == LAYERS[-1] else "")
        notes = (f"lr {style.number(lr)}.", panels.running_note(chosen), panels.seeds_note(shown))
        panels.finish(figure, runs, chosen, *notes, panels.RIDGES_NOTE, shown=shown)
    return figure
