"""Activations of VGG under l_p normalization over training

Santurkar et al. 2018, figure 6. The paper shows histograms of the activations of layer #11 over
training for the standard network, BatchNorm and normalization by the l_1, l_2 and l_inf norms. Ours
is at learning rate 0.1 and pools the recorded units of one run on one grid.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "vgg_lp")
LR = 0.1
LAYER = 11
CONVOLUTIONS = 13


def draw(runs: Sequence[Run]) -> Figure:
    """Histograms of activations over training, a panel per arm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        row = figure.subplots(1, len(panels.LP))
        for axes, norm in zip(row, panels.LP, strict=True):
            panels.ridges_of(axes, chosen, norm, lr, LAYER, CONVOLUTIONS)
            axes.set_ylabel("step" if axes is row[0] else "")
        shown = panels.lowest_seeds(at_lr(chosen, lr))
        panels.finish(
            figure, runs, chosen, f"lr {style.number(lr)}.", panels.RIDGES_NOTE, shown=shown
        )
    return figure
