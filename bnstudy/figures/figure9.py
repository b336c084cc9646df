"""Activations of the deep linear network over training

Santurkar et al. 2018, figure 9. The paper shows histograms of the activations of layers 1, 11 and
24 over training, of one network. Ours: standard and BatchNorm side by side, at learning rate 1e-6;
the recorded units of one run pooled on one grid.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run

EXPERIMENTS = ("deep_linear",)
LR = 1e-6
LAYERS = (1, 11, 24)
DEPTH = 25


def draw(runs: Sequence[Run]) -> Figure:
    """Histograms of activations over training: a row per layer, a column per arm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.0), layout="constrained")
        grid = figure.subplots(len(LAYERS), len(panels.PAIR))
        for row, layer in zip(grid, LAYERS, strict=True):
            for axes, norm in zip(row, panels.PAIR, strict=True):
                panels.ridges_of(axes, chosen, norm, lr, layer, DEPTH)
        for axes in grid[:-1].flat:
            axes.set_xlabel("")
        shown = panels.lowest_seeds(at_lr(chosen, lr))
        lr = f"lr {style.number(lr)}."
        panels.finish(figure, runs, chosen, lr, panels.RIDGES_NOTE, shown=shown)
    return figure
