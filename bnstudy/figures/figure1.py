"""Training VGG with and without BatchNorm

Santurkar et al. 2018, figure 1. The paper shows (a) the training accuracy of a mini-batch every 100
steps, (b) the test accuracy, at learning rates 0.1 and 0.5, and (c) histograms of the activations
of layers #3 and #11 over training. Ours: (a) is a running mean of the mini-batch accuracies over
1/150 of the run; (c) is at learning rate 0.1 and pools the recorded units of one run on one grid.
"""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures import train
from bnstudy.measures.series import smooth
from bnstudy.measures.train import chance
from bnstudy.results import Run, Series

EXPERIMENTS = ("vgg",)
LRS = (0.1, 0.5)
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)))  # of either
LAYERS = (3, 11)
CONVOLUTIONS = 13


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy, test accuracy and activations over training."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LRS[0])
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.8), layout="constrained")
        grid = figure.add_gridspec(2, 4)
        training = figure.add_subplot(grid[0, :2])
        test = figure.add_subplot(grid[0, 2:])
        accuracy_curves(training, chosen, train.ACCURACY, "fig1a_train_acc")
        accuracy_curves(test, chosen, train.TEST_ACCURACY, "fig1b_test_acc")
        training.set(title="(a) training", ylabel="training accuracy (%)")
        test.set(title="(b) test", ylabel="test accuracy (%)")
        panels.legend(figure, [training, test])
        for i, layer in enumerate(LAYERS):
            for j, norm in enumerate(panels.PAIR):
                axes = figure.add_subplot(grid[1, 2 * i + j])
                title = "" if i or j else "(c) "
                panels.ridges_of(axes, chosen, norm, lr, layer, CONVOLUTIONS, title)
                axes.set_ylabel("" if i or j else "step")
        running, seeds = panels.running_note(chosen), panels.seeds_note(chosen)
        running = running.replace("Accuracy", "(a)")
        notes = (running, seeds, f"(c): lr\u00a0{style.number(lr)}.", panels.RIDGES_NOTE)
        panels.finish(figure, runs, chosen, *notes)
    return figure


def accuracy_curves(axes: Axes, runs: Sequence[Run], key: str, curves: str) -> None:
    """Accuracy in percent over steps, one curve per arm and learning rate, and chance level."""

    def percent(run: Run) -> Series:
        if key == train.ACCURACY:
            return smooth(run, key, 100)
        steps, values = run[key]
        return steps, 100 * values

    lrs = panels.lrs_of(runs, LRS)
    for cell in panels.cells(axes, runs, lrs, key):
        at = next(lr for lr in lrs if math.isclose(lr, cell[0].lr))
        lr = style.number(at)
        label = panels.seeds_label(cell, lr=True)
        panels.curve(axes, cell, percent, linestyle=LINES[lrs.index(at)], label=label)
        panels.paper(axes, cell, curves, f"_lr{lr}")
    guessing = 100 * chance(runs[0])
    axes.axhline(guessing, color=style.GREY, linewidth=0.8, linestyle=":", label="chance")
    panels.step_axis(axes, runs)
    axes.set_ylim(-3, 103)
