"""Accuracy by learning rate and initialization

Ioffe & Szegedy 2015, section 3.3, and many after them say that BatchNorm makes training less
sensitive to the initialization and lets it use larger learning rates; Bjorck et al. 2018 that the
larger learning rates are what it gains by. Ours: the final test accuracy of a VGG and a ResNet for
every pair of a learning rate and an initialization, without and with BatchNorm; where runs diverged
and where they finished at chance.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import train
from bnstudy.measures.grids import at_lr
from bnstudy.measures.train import final_percent, stuck
from bnstudy.results import Run

EXPERIMENTS = ("lr_by_init_vgg", "lr_by_init_resnet")
NETWORKS = {"lr_by_init_vgg": "VGG", "lr_by_init_resnet": "ResNet"}
# About by the size of the weights, from the top of a panel on.
INITS = ("xavier_large", "kaiming", "orthogonal", "xavier_uniform", "torch_default", "xavier_small")
COLOURS = "cividis"
FATES = {"diverged": ("X", (0.33, 0.33)), "at chance": ("v", (-0.33, 0.33))}  # place in the cell


def draw(runs: Sequence[Run]) -> Figure:
    """Heat maps: a row of panels per network, a column per arm."""
    chosen = panels.choose(runs, *([name] for name in EXPERIMENTS), also=("init",))
    by_network = {name: [run for run in chosen if run.experiment == name] for name in EXPERIMENTS}
    shown = {name: own for name, own in by_network.items() if own}
    accuracy = Normalize(0, highest_percent(chosen))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.1 + 2.6 * len(shown)), layout="constrained")
        grid = figure.subplots(len(shown), len(panels.PAIR), squeeze=False)
        for row, (name, own) in zip(grid, shown.items(), strict=True):
            for axes, norm in zip(row, panels.PAIR, strict=True):
                heat_map(axes, own, norm, accuracy)
                axes.set_title(f"{NETWORKS[name]}, {style.arm(norm).name}")
            outer = panels.outermost(row)
            for axes in row:
                axes.set_ylabel("initialization" if axes is outer else "")
                axes.tick_params(labelleft=axes is outer)
        colours = ScalarMappable(accuracy, COLOURS)
        label = "final test accuracy (%)"
        figure.colorbar(colours, ax=list(grid.flat), label=label, aspect=40, pad=0.01)
        panels.legend(figure, list(grid.flat))
        notes = [f"No runs of {name}." for name in EXPERIMENTS if name not in shown]
        notes.append(
            "Numbers: final test accuracy in percent, mean over seeds; a run that diverged counts "
            "as guessing. At chance: finished less than 5 points above guessing."
        )
        if len(sweeps.ended(chosen)) < len(chosen):
            count = len(chosen) - len(sweeps.ended(chosen))
            notes.append(
                f"Not counted: {count} interrupted or not tested; cells of these alone: –."
            )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def highest_percent(runs: Sequence[Run]) -> int:
    """The highest final accuracy of a run in percent, up to the next ten."""
    return 10 * math.ceil(max(map(final_percent, sweeps.ended(runs)), default=100) / 10)


def heat_map(axes: Axes, runs: Sequence[Run], norm: str, accuracy: Normalize) -> None:
    """Final accuracy of one arm, learning rates from left to right, initializations down."""
    own = [run for run in runs if run.norm == norm]
    if sweeps.absent(axes, own, train.TEST_ACCURACY, norm):
        return
    inits = {run.option("init") for run in runs}
    rows = [name for name in INITS if name in inits] + sorted(inits - set(INITS))
    columns = sorted({run.lr for run in runs})
    for y, init in enumerate(rows):
        for x, lr in enumerate(columns):
            cell = [run for run in at_lr(own, lr) if run.option("init") == init]
            if cell:
                draw_cell(axes, x, y, cell, accuracy)
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="learning rate")
    axes.set_xticks(range(len(columns)), [style.number(lr) for lr in columns])
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_cell(axes: Axes, x: int, y: int, cell: Sequence[Run], accuracy: Normalize) -> None:
    """One cell: its mean accuracy as colour and number, and symbols for what did not train."""
    ended = sweeps.ended(cell)
    diverged = [run for run in ended if run.outcome == "diverged"]
    fates = {"diverged": len(diverged), "at chance": sum(map(stuck, ended))}
    colour, text, ink = "0.88", "–", "black"
    if len(diverged) < len(ended):
        mean = float(np.mean([final_percent(run) for run in ended]))
        colour, text = colormaps[COLOURS](accuracy(mean)), f"{mean:.0f}"
        ink = "white" if accuracy(mean) < 0.55 else "black"
    elif ended:
        text = ""
    axes.fill_between([x - 0.48, x + 0.48], y - 0.48, y + 0.48, color=colour, linewidth=0)
    axes.text(x, y + 0.12, text, ha="center", va="center", color=ink, fontsize=style.SMALL)
    for fate, (marker, (right, up)) in FATES.items():
        if fates[fate]:
            every = fates[fate] == len(ended)
            look: dict[str, Any] = {"marker": marker, "markersize": 4.5, "linestyle": ""}
            look |= {"markeredgewidth": 0.7} | ({} if every else {"markerfacecolor": "none"})
            axes.plot(x + right, y - up, color=ink, **look)
            label = f"{'all' if every else 'some'} seeds {fate}"
            panels.explain(axes, label, **look)
