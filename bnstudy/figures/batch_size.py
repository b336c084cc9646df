"""Accuracy over learning rates at every batch size

De & Smith 2020: BatchNorm makes large learning rates possible, and these help at large batches
only. Ours: the final test accuracy of a VGG over the learning rate, a panel per batch size, as many
samples in every run; and the best of each panel against the batch size.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import train
from bnstudy.measures.grids import best
from bnstudy.measures.train import chance, final_percent
from bnstudy.results import Run

EXPERIMENTS = ("batch_size",)
# With the batch size the number of steps and what hangs on it change.
ALSO = ("batch_size", "steps", "probe_every", "test_every", "protocol")


def draw(runs: Sequence[Run]) -> Figure:
    """A panel per batch size, and the best learning rate of every seed."""
    chosen = panels.choose(runs, EXPERIMENTS, also=ALSO)
    sizes = sorted({run.batch_size for run in chosen})
    with style.context():
        rows = -(-(len(sizes) + 1) // 3)
        figure = Figure(figsize=(style.WIDTH, 0.6 + 2.3 * rows), layout="constrained")
        grid = figure.subplots(rows, 3, squeeze=False)
        panels_of, rest = list(grid.flat)[: len(sizes)], list(grid.flat)[len(sizes) :]
        for axes, size in zip(panels_of, sizes, strict=True):
            accuracy_over_lr(axes, [run for run in chosen if run.batch_size == size])
            axes.set_title(f"batch {size}")
        for row in grid:
            if row[0] in panels_of:
                panels.outermost(row[:1]).set_ylabel("final test accuracy (%)")
        best_over_size(rest[0], chosen)
        for axes in rest[1:]:
            axes.set_axis_off()
        panels.legend(figure, list(grid.flat))
        counts = "A run that diverged counts as guessing, an interrupted one not at all."
        panels.finish(figure, runs, chosen, sweeps.SPREAD, counts)
    return figure


def accuracy_over_lr(axes: Axes, runs: Sequence[Run]) -> None:
    """Final test accuracy of both arms over the learning rate."""
    if sweeps.absent(axes, runs, train.TEST_ACCURACY):
        return
    ended = sweeps.ended(runs)
    for norm in panels.PAIR:
        own = [run for run in ended if run.norm == norm]
        label = sweeps.runs_label([run for run in runs if run.norm == norm])
        sweeps.against(axes, own, lambda run: run.lr, final_percent, label=label.split(" (")[0])
    known = next(run for run in runs if train.TEST_ACCURACY in run)
    axes.axhline(
        100 * chance(known), color=style.GREY, linewidth=0.8, linestyle=":", label="chance"
    )
    lrs = sorted({run.lr for run in runs})
    axes.set(xscale="log", xlabel="learning rate")
    axes.set_xticks(lrs, [style.number(lr) for lr in lrs])
    axes.xaxis.set_minor_locator(NullLocator())
    sweeps.missing(axes, runs, panels.PAIR)


def best_over_size(axes: Axes, runs: Sequence[Run]) -> None:
    """The best test accuracy over learning rates of every seed, against the batch size."""
    if sweeps.absent(axes, runs, train.TEST_ACCURACY):
        return
    sizes = sorted({run.batch_size for run in runs})
    for norm in panels.PAIR:
        own = [run for run in sweeps.ended(runs) if run.norm == norm]
        seeds = sorted({run.seed for run in own})
        values = [
            [best(runs_of_size(own, size, seed), final_percent) for seed in seeds] for size in sizes
        ]
        if own:
            sweeps.line(axes, own, np.arange(len(sizes)), values, label=style.arm(norm).name)
    axes.set(title="at the best learning rate", xlabel="batch size")
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])


def runs_of_size(runs: Sequence[Run], size: int, seed: int) -> list[Run]:
    """The runs of a batch size and a seed."""
    return [run for run in runs if (run.batch_size, run.seed) == (size, seed)]
