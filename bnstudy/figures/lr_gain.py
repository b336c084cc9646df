"""The gain by BatchNorm over learning rates, and what explodes without it

Bjorck et al. 2018: at a small learning rate BatchNorm gains nothing; it gains because it allows
large ones. At these a network without it explodes, deep layers first. Ours: (a) training accuracy
of a VGG at the end over the learning rate and (b) the difference; (c) the variance of every layer
before its activation function over that at step 0, at the last step at which it is finite, at the
largest learning rates.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import moments, train
from bnstudy.measures.grids import at_lr
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.moments import variance_growth
from bnstudy.measures.series import average
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run

EXPERIMENTS = ("tolerance_vgg", "divergence")
INIT = "kaiming"
SHADES = ("-", (0, (5, 1.5)))


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy and gain over the learning rate, variance over layers."""
    init = init_of(runs)
    given = [run for run in runs if run.option("init") == init]
    chosen = panels.choose(given, EXPERIMENTS[:1], EXPERIMENTS[1:])
    grid = [run for run in chosen if run.experiment == EXPERIMENTS[0]]
    diverging = [run for run in chosen if run.experiment == EXPERIMENTS[1]]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4), layout="constrained")
        accuracy, gain, growth = figure.subplots(1, 3)
        accuracies_at_lrs(accuracy, grid)
        gains(gain, grid)
        growth_by_layer(growth, diverging)
        panels.legend(figure, [accuracy, gain, growth])
        absent = [name for name in EXPERIMENTS if all(run.experiment != name for run in chosen)]
        notes = (
            f"init {init}.",
            *(f"No runs of {name}." for name in absent),
            "A run that diverged counts as guessing.",
            sweeps.SPREAD,
        )
        panels.finish(figure, given, chosen, *notes)
    return figure


def init_of(runs: Sequence[Run]) -> str:
    """The usual init, or of runs without it that of the first."""
    found = [run.option("init") for run in runs]
    return INIT if INIT in found or not found else found[0]


def at_the_end_of(run: Run) -> float:
    """Training accuracy over the last tenth [percent]."""
    return training_accuracy(run, share=0.1)


def known_runs(runs: Sequence[Run]) -> list[Run]:
    """The runs that have ended and recorded their training accuracy."""
    return [run for run in runs if run.outcome != "interrupted" and train.ACCURACY in run]


def accuracies_at_lrs(axes: Axes, runs: Sequence[Run]) -> None:
    """Training accuracy of both arms over the learning rate."""
    if sweeps.absent(axes, runs, train.ACCURACY):
        return
    for norm in panels.PAIR:
        own = [run for run in known_runs(runs) if run.norm == norm]
        label = sweeps.runs_label([run for run in runs if run.norm == norm])
        sweeps.against(axes, own, lambda run: run.lr, at_the_end_of, label=label)
    axes.set(title="(a) training accuracy", ylabel="last tenth (%)")
    lr_axis(axes, runs)
    sweeps.missing(axes, runs, panels.PAIR)


def gains(axes: Axes, runs: Sequence[Run]) -> None:
    """BatchNorm less standard, seed by seed."""
    if sweeps.absent(axes, runs, train.ACCURACY):
        return
    known = known_runs(runs)
    lrs = sorted({run.lr for run in known})
    values = [differences(at_lr(known, lr)) for lr in lrs]
    batch = [run for run in known if run.norm == "batch"]
    if batch:
        sweeps.line(axes, batch, lrs, values)
    axes.axhline(0, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.set(title="(b) gain by BatchNorm", ylabel="points")
    lr_axis(axes, runs)


def differences(runs: Sequence[Run]) -> list[float]:
    """By how much BatchNorm is ahead, of every seed that has both."""
    by_seed = {(run.norm, run.seed): at_the_end_of(run) for run in runs}
    seeds = sorted({run.seed for run in runs})
    both = [s for s in seeds if all((norm, s) in by_seed for norm in panels.PAIR)]
    return [by_seed["batch", seed] - by_seed["none", seed] for seed in both]


def lr_axis(axes: Axes, runs: Sequence[Run]) -> None:
    """A logarithmic axis of learning rates, every decade named."""
    lrs = sorted({run.lr for run in runs})
    named = [lr for lr in lrs if len(lrs) < 5 or np.isclose(np.log10(lr) % 1, 0)] or lrs
    axes.set(xscale="log", xlabel="learning rate")
    axes.set_xticks(named, [style.number(lr) for lr in named])
    axes.xaxis.set_minor_locator(NullLocator())


def growth_by_layer(axes: Axes, runs: Sequence[Run]) -> None:
    """How the variance of every layer has grown, at the two largest learning rates."""
    known = [run for run in runs if recorded_layers(run, moments.VARIANCE)]
    if not known:
        sweeps.absent(axes, runs, moments.VARIANCE)
        return
    panels.log_axis(axes)
    for lr, linestyle in zip(sorted({run.lr for run in known})[:-3:-1], SHADES, strict=False):
        for norm in panels.PAIR:
            own = [run for run in at_lr(known, lr) if run.norm == norm]
            if own:
                values = np.array([variance_growth(run) for run in own])
                label = panels.seeds_label(own, lr=True)
                middle = panels.drawable(average(values, log=True), log=True)
                look = {"color": style.arm(norm).colour, "marker": style.arm(norm).marker}
                layers = np.arange(1, values.shape[1] + 1)
                axes.plot(layers, middle, linestyle=linestyle, markersize=3, label=label, **look)
    axes.set(title="(c) variance / that at step 0", xlabel="layer")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    sweeps.missing(axes, runs, panels.PAIR)
