"""Internal covariate shift in VGG

Santurkar et al. 2018, figure 3a. G is the gradient of a layer, G' the same after the layers below
it made their update (definition 2.1). The paper shows training accuracy, ||G - G'|| and the cosine
of the angle between G and G' for layers #5 and #10, at learning rates 0.1 and 0.01. Ours is the
same over seeds; the training accuracy is a running mean over 1/150 of the run.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg",)
LRS = (0.1, 0.01)
LAYERS = (5, 10)
CONVOLUTIONS = 13


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy and internal covariate shift over training, one row per learning rate."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lrs = panels.lrs_of(chosen, LRS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.4), layout="constrained")
        left = panels.shift_panels(figure, chosen, lrs, LAYERS, CONVOLUTIONS)
        for axes, lr in zip(left, lrs, strict=True):
            curves = f"fig3a_train_acc_lr{lr}"
            panels.training_accuracies(axes, chosen, lr, curves, name_lr=True)
            axes.set(title=f"lr {style.number(lr)}")
        panels.legend(figure, left)
        shown = [run for lr in lrs for run in at_lr(chosen, lr)]
        notes = (panels.SHIFT_NOTE, panels.running_note(chosen), panels.seeds_note(shown))
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure
