"""How far the moments of activations drift from where they began

Santurkar et al. 2018, figure 8b. The paper shows mean(t) - mean(0) and variance(t) - variance(0) of
an example activation of layers #2, #9 and #13 of VGG, for the standard network, BatchNorm and noisy
BatchNorm; for the last the moments are those after the noise. Ours is at learning rate 0.1: the
line is one recorded unit of one run, the shaded area reaches over all recorded units of all seeds,
because units drift in both directions and their average hardly at all.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.measures.moments import moment_since_start
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_noise")
LR = 0.1
NORMS = ("none", "batch", "noisy_batch")
LABELS = {"mean": "μ(t) − μ(0)", "variance": "σ²(t) − σ²(0)"}


def draw(runs: Sequence[Run]) -> Figure:
    """The distance from the first step: a row per moment, a column per layer."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.6), layout="constrained")
        panels.moment_panels(figure, chosen, lr, NORMS, LABELS, since_start)
        notes = (
            f"lr {style.number(lr)}. μ, σ²: mean and variance of a unit over batch and positions,",
        )
        notes += ("after the norm and its noise. Lines: the first recorded unit of the lowest",)
        notes += ("seed; shaded: smallest to largest over the recorded units and seeds.",)
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def since_start(axes: Axes, cell: panels.Cell, moment: str) -> None:
    """The line and the area of one arm."""
    panels.units(axes, cell, lambda run: moment_since_start(run, moment))
