"""How far the moments of activations move in one step of training

Santurkar et al. 2018, figure 8a. The paper shows |mean(t + 1) - mean(t)| and
|variance(t + 1) - variance(t)| of an example activation of layers #2, #9 and #13 of VGG, for the
standard network, BatchNorm and noisy BatchNorm; for the last the moments are those after the noise.
Every step has its own mini-batch. Ours is at learning rate 0.1, averaged over the recorded units.
The noise of algorithm 1 alone moves the mean by 1/3 on average.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.measures.moments import moment_distance
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_noise")
LR = 0.1
NORMS = ("none", "batch", "noisy_batch")
LABELS = {"mean": "|μ(t + 1) − μ(t)|", "variance": "|σ²(t + 1) − σ²(t)|"}


def draw(runs: Sequence[Run]) -> Figure:
    """The distance between successive steps: a row per moment, a column per layer."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
        panels.moment_panels(figure, chosen, lr, NORMS, LABELS, one_step)
        notes = (
            f"lr {style.number(lr)}. μ, σ²: mean and variance of a unit over batch and positions,",
        )
        notes += ("after the norm and its noise; averaged over the recorded units.",)
        panels.finish(figure, runs, chosen, *notes, panels.seeds_note(shown), shown=shown)
    return figure


def one_step(axes: Axes, cell: panels.Cell, moment: str) -> None:
    """The curve of one arm."""
    panels.curve(axes, cell, lambda run: moment_distance(run, moment))
