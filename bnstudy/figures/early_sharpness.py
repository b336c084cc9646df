"""Sharpness in the first steps, and the learning rates that train

Gilmer et al. 2022: BatchNorm, a good init and a warm-up all work by bringing the sharpness of the
first steps below 2/lr, so that a warm-up does what BatchNorm does. Ours: (a) the largest learning
rate that trains a VGG against its sharpness at step 0, a point per norm, init and seed; the line
is lr = 2 / sharpness. (b) The final accuracy over the learning rate, over all inits, with a warm-up
and without. (c, d) Sharpness over its edge of stability in the first steps at one learning rate.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import sharpness as eigenvalues
from bnstudy.measures import train
from bnstudy.measures.grids import at_lr, largest_lr
from bnstudy.measures.series import at_first_step
from bnstudy.measures.sharpness import sharpness
from bnstudy.measures.stability import at_edge
from bnstudy.measures.train import final_percent, trains
from bnstudy.results import Run, Series

EXPERIMENTS = ("early_sharpness",)
LR = 0.1
LINES: dict[str, tuple[str, Any]] = {
    "constant": ("", "-"),
    "warmup": (", warm-up", (0, (5, 1.5))),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Largest learning rate over first sharpness, accuracy over lr, sharpness over its edge."""
    chosen = panels.choose(runs, EXPERIMENTS, also=("init", "schedule"))
    inits = list(dict.fromkeys(run.option("init") for run in chosen))
    lr = panels.lr_of(chosen, LR)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.4), layout="constrained")
        grid = figure.subplots(2, 2)
        lr_against_sharpness(grid[0, 0], chosen)
        accuracy_over_lrs(grid[0, 1], chosen)
        for axes, init, letter in zip(grid[1], (inits[0], inits[-1]), "cd", strict=True):
            own = [run for run in at_lr(chosen, lr) if run.option("init") == init]
            early_curves(axes, own, chosen)
            axes.set_title(f"({letter}) {init}, lr {style.number(lr)}")
        panels.outermost(grid[1]).set_ylabel("sharpness / (2/lr of the step)")
        panels.legend(figure, list(grid.flat))
        notes = (
            "Trains: 5 points above chance at the end of these few steps. (a): where no learning "
            "rate trains, half of the smallest.",
            panels.seeds_note(chosen),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def schedule_of(run: Run) -> str:
    """With a warm-up or without; runs before there were schedules have none."""
    return run.option("schedule") or "constant"


def arm_cells(runs: Sequence[Run]) -> list[tuple[list[Run], str, Any]]:
    """The runs by norm and schedule, what the legend adds, and the line."""
    found = []
    for norm in panels.PAIR:
        for schedule, (more, linestyle) in LINES.items():
            own = [run for run in runs if (run.norm, schedule_of(run)) == (norm, schedule)]
            if own:
                found.append((own, more, linestyle))
    return found


def lr_against_sharpness(axes: Axes, runs: Sequence[Run]) -> None:
    """A point per norm, init and seed, without a warm-up."""
    key = eigenvalues.EIGENVALUES["batch"]
    if sweeps.absent(axes, runs, key):
        return
    known = [r for r in sweeps.ended(runs) if key in r and schedule_of(r) == "constant"]
    for own in by_cell(known):
        x = at_first_step(sharpness(own[0]))
        y = largest_lr(own, trains) or min(run.lr for run in own) / 2
        arm = style.arm(own[0].norm)
        axes.plot(x, y, color=arm.colour, marker=arm.marker, markersize=4, linestyle="", alpha=0.7)
    axes.set(xscale="log", yscale="log", title="(a) largest lr that trains", ylabel="learning rate")
    axes.set_xlabel("sharpness at step 0")
    ticks = sorted({run.lr for run in runs})
    axes.set_yticks(ticks, [style.number(lr) for lr in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    if known:
        xs = np.array(axes.get_xlim())
        low, high = axes.get_ylim()
        axes.plot(xs, 2 / xs, color=style.GREY, linestyle=":", linewidth=0.9)
        axes.set(xlim=xs, ylim=(low / 1.3, high * 1.3))


def by_cell(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs by norm, init and seed: of each those at every learning rate."""
    cells: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        cells.setdefault((run.norm, run.option("init"), run.seed), []).append(run)
    return list(cells.values())


def accuracy_over_lrs(axes: Axes, runs: Sequence[Run]) -> None:
    """Final test accuracy of every arm over the learning rate, inits and seeds together."""
    if sweeps.absent(axes, runs, train.TEST_ACCURACY):
        return
    for own, more, linestyle in arm_cells(sweeps.ended(runs)):
        label = sweeps.runs_label(own, more)
        look = {"linestyle": linestyle, "label": label}
        sweeps.against(axes, own, lambda run: run.lr, final_percent, **look)
    axes.set(xscale="log", title="(b) test accuracy, all inits (%)", xlabel="learning rate")
    ticks = sorted({run.lr for run in runs})
    axes.set_xticks(ticks, [style.number(lr) for lr in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    sweeps.missing(axes, runs, panels.PAIR)


def early_curves(axes: Axes, runs: Sequence[Run], everyone: Sequence[Run]) -> None:
    """Sharpness over its edge in the first steps."""
    key = eigenvalues.EIGENVALUES["batch"]
    known = [run for run in runs if key in run]
    if not known:
        sweeps.absent(axes, runs, key)
        return
    for own, more, linestyle in arm_cells(known):
        own_everywhere = [
            run
            for run in sweeps.ended(everyone)
            if (run.norm, schedule_of(run)) == (own[0].norm, schedule_of(own[0]))
        ]
        label = sweeps.runs_label(own_everywhere or own, more)
        panels.curve(axes, own, over_edge, log=True, linestyle=linestyle, label=label)
    axes.axhline(1, color=style.GREY, linewidth=0.8, linestyle=":")
    panels.step_axis(axes, known)


def over_edge(run: Run) -> Series:
    """Sharpness over its edge of stability."""
    return at_edge(run, sharpness(run))
