"""BatchNorm before or after the activation function

Ioffe & Szegedy 2015, section 3.2, normalize what the activation function sees, before it; whether
the norm belongs before or after it is disputed ever since. Ours: the final test accuracy of a VGG
against the learning rate, without BatchNorm and with it at either place.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import train
from bnstudy.measures.grids import at_lr
from bnstudy.measures.train import chance, final_percent
from bnstudy.results import Run

EXPERIMENTS = ("placement", "lr_by_init_vgg")
INIT = "xavier_uniform"  # the one of the experiment `placement`
# By norm and placement: the line, its marker, and what the legend adds.
LINES = {
    ("none", "before"): ("-", "o", ""),
    ("batch", "before"): ("-", "s", ", before the activation function"),
    ("batch", "after"): ((0, (5, 1.5)), "D", ", after the activation function"),
}


def draw(runs: Sequence[Run]) -> Figure:
    """Final test accuracy over the learning rate."""
    # The other initializations are another figure's.
    given = [run for run in runs if run.option("init") == INIT]
    chosen = panels.choose(given, EXPERIMENTS, also=("model.placement",))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.6), layout="constrained")
        axes = figure.subplots()
        if not sweeps.absent(axes, chosen, train.TEST_ACCURACY):
            accuracies_over_lr(axes, chosen)
        panels.legend(figure, [axes])
        counts = "A run that diverged counts as guessing, an interrupted one not at all."
        notes = (f"init {INIT}.", sweeps.SPREAD, counts)
        panels.finish(figure, given, chosen, *notes)
    return figure


def accuracies_over_lr(axes: Axes, runs: Sequence[Run]) -> None:
    """Final test accuracy of every arm; a cross for every run that diverged."""
    lacking = []
    for number, ((norm, placement), (linestyle, marker, more)) in enumerate(LINES.items()):
        cell = [run for run in runs if (run.norm, placement_of(run)) == (norm, placement)]
        if not cell:
            lacking.append(f"no {style.arm(norm).name} runs{more}")
            continue
        ended = sweeps.ended(cell)
        lrs = sorted({run.lr for run in ended})
        values = [[final_percent(run) for run in at_lr(ended, lr)] for lr in lrs]
        look: dict[str, Any] = {"linestyle": linestyle, "marker": marker}
        look |= {"label": sweeps.runs_label(cell, more)}
        look |= {"markerfacecolor": "white"} if placement == "after" else {}
        sweeps.line(axes, cell, lrs, values, **look)
        for run in ended:
            if run.outcome == "diverged":
                # Beside each other, where several arms diverge.
                place = run.lr * 1.08 ** (number - 1), final_percent(run)
                axes.plot(*place, color=style.arm(norm).colour, **sweeps.CROSS)
                panels.explain(axes, "diverged", **sweeps.CROSS)
    guessing = 100 * chance(next(run for run in runs if train.TEST_ACCURACY in run))
    axes.axhline(guessing, color=style.GREY, linewidth=0.8, linestyle=":", label="chance")
    axes.set(xscale="log", xlabel="learning rate", ylabel="final test accuracy (%)", ylim=(-3, 103))
    ticks = sorted({run.lr for run in runs})
    axes.set_xticks(ticks, [style.number(lr) for lr in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if lacking:
        panels.write(axes, "\n".join(lacking), middle=False)


def placement_of(run: Run) -> str:
    """Where the norm is; a network without one is the same either way."""
    return "before" if run.norm == "none" else run.option("model.placement") or "before"
