"""Not a landscape: the envelope of runs at several learning rates

Much copied code trains one network per learning rate, fills the area between the smallest and the
largest training loss of these runs at every step, and calls it the loss landscape of Santurkar et
al. 2018, figure 4a. After the first step the runs are at different parameters: the area says how
much the learning rate matters to training, and nothing about the loss around any one point. Ours:
that envelope over learning rates 0.01, 0.1 and 0.5, of running means over 1/150 of the run, beside
the range along the gradient on one trajectory; both averaged over seeds, geometrically.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures import landscape, train
from bnstudy.measures.grids import at_lr
from bnstudy.measures.series import align, smooth
from bnstudy.results import Run, Series, Steps, Values

EXPERIMENTS = ("vgg",)
LR = 0.1
LRS = (0.01, 0.1, 0.5)


def draw(runs: Sequence[Run]) -> Figure:
    """The envelope over learning rates (left) beside the range along the gradient."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr, lrs = panels.lr_of(chosen, LR), panels.lrs_of(chosen, LRS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.8), layout="constrained")
        wrong, right = figure.subplots(1, 2, sharey=True)
        envelopes(wrong, chosen, lrs)
        panels.bands(right, chosen, lr, landscape.LOSS, log=True)
        listed = ", ".join(map(style.number, lrs))
        wrong.set(title=f"wrong: several runs\nmin to max over lr {listed}", ylabel="training loss")
        right.set(title=f"right: one trajectory, lr {style.number(lr)}\nrange along the gradient")
        right.set(ylabel=panels.LABELS[landscape.LOSS])
        panels.outermost([wrong, right])
        panels.legend(figure, [wrong, right])
        notes = (
            "Left: what much copied code calls the loss landscape. Runs at several learning rates "
            "are at different parameters after the first step, so the area between them says how "
            "much the learning rate matters, not how the loss varies around a point. Right:",
            panels.bands_note(at_lr(chosen, lr)),
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def envelopes(axes: Axes, runs: Sequence[Run], lrs: Sequence[float]) -> None:
    """Per arm the envelope over learning rates of every seed that has all of them, averaged."""
    found = panels.cells(axes, runs, lrs, train.LOSS)
    for norm in panels.PAIR:
        arm = [run for cell in found for run in cell if run.norm == norm]
        by_seed = [[run for run in arm if run.seed == seed] for seed in {run.seed for run in arm}]
        complete = [own for own in by_seed if len(own) == len(lrs)]
        if complete:
            cell = [run for own in complete for run in own]
            label = f"envelope, {panels.seeds_label(cell)}"
            panels.area(axes, cell, [envelope_of(own) for own in complete], log=True, label=label)
            panels.mark_diverged(axes, cell, [smooth_loss(run) for run in cell], log=True)
    panels.step_axis(axes, runs)


def envelope_of(runs: Sequence[Run]) -> tuple[Steps, Values, Values]:
    """Steps [n], the smallest and the largest training loss of the runs at each."""
    steps, losses = align([smooth_loss(run) for run in runs])
    return steps, np.fmin.reduce(losses, axis=0), np.fmax.reduce(losses, axis=0)


def smooth_loss(run: Run) -> Series:
    """The training loss, a running mean."""
    return smooth(run, train.LOSS)
