"""Norms by networks: what trains, what smooths, and whether these agree

Santurkar et al. 2018 hold that BatchNorm trains a VGG because it smooths its landscape. Ours: other
norms in other networks, with SGD, a column per network. Above the final test accuracy; below, as
ratios to the network without a norm at the same training loss, how much the gradient changes over
the step taken, relative to itself, and lr times sharpness. A dot per seed, a bar at the median with
its number; each norm at its own best learning rate.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.figures.transformer import at_best_lr
from bnstudy.measures import landscape, sharpness, train
from bnstudy.measures.landscape import own_change
from bnstudy.measures.matched_loss import at_matched_loss
from bnstudy.measures.sharpness import sharpness as sharpness_of
from bnstudy.measures.train import final_percent, times_lr
from bnstudy.results import Run, Series, comparable

EXPERIMENTS = ("networks_vgg", "networks_resnet", "transformer_sgd")
COLUMNS = {"networks_vgg": "VGG", "networks_resnet": "ResNet", "transformer_sgd": "transformer"}
NORMS = ("none", "batch", "layer", "rms", "dyt")
PLACE = "model.placement"


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy, gradient change and lr times sharpness: a row each, a column per network."""
    given = [run for run in runs if run.option(PLACE) != "post"]
    columns = {e: comparable([r for r in given if r.experiment == e]) for e in EXPERIMENTS}
    chosen = [run for own in columns.values() for run in own] or panels.choose([], EXPERIMENTS)
    present = {name: own for name, own in columns.items() if own}
    norms = [norm for norm in NORMS if any(run.norm == norm for run in chosen)]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.0), layout="constrained")
        grid = figure.subplots(len(ROWS) + 1, len(present), sharey="row", squeeze=False)
        for column, (name, own) in zip(grid.T, present.items(), strict=True):
            best = {norm: at_best_lr([r for r in own if r.norm == norm]) for norm in norms}
            accuracy_strips(column[0], own, best, norms)
            for axes, (key, read) in zip(column[1:], ROWS.values(), strict=True):
                ratio_strips(axes, own, best, norms, key, read)
            column[0].set_title(f"{COLUMNS[name]} ({counts(best)})")
        for row, label in zip(grid, ("test accuracy (%)", *ROWS), strict=True):
            panels.outermost(row).set_ylabel(label)
            widen(row)
        panels.legend(figure, list(grid.flat))
        absent = [name for name, own in columns.items() if not own]
        lacking = [norm for norm in panels.PAIR if all(run.norm != norm for run in chosen)]
        notes = (
            *(f"No runs of {name}." for name in absent),
            *(f"There are no {style.arm(norm).name} runs." for norm in lacking),
            f"Learning rates: {lrs_in_words(present, norms)}. Dots: seeds; bars and numbers: "
            "medians. Below 1: smoother than without a norm.",
        )
        panels.finish(figure, given, chosen, *notes)
    return figure


def lr_sharpness(run: Run) -> Series:
    """lr times the largest eigenvalue of the Hessian."""
    return times_lr(run, sharpness_of(run))


# By label: what has to be recorded, and the series.
ROWS: dict[str, tuple[str, Callable[[Run], Series]]] = {
    "relative gradient change\n/ no norm": (landscape.CHANGE, own_change),
    "lr × sharpness\n/ no norm": (sharpness.EIGENVALUES["batch"], lr_sharpness),
}


def counts(best: dict[str, list[Run]]) -> str:
    """How many runs a norm has, in words."""
    found = sorted({len(runs) for runs in best.values() if runs}) or [0]
    return f"n = {found[0]}" + (f" to {found[-1]}" if len(found) > 1 else "")


def lrs_in_words(columns: dict[str, list[Run]], norms: Sequence[str]) -> str:
    """The best learning rates of every network in the order of the norms."""
    words = []
    for name, own in columns.items():
        best = [at_best_lr([run for run in own if run.norm == norm]) for norm in norms]
        lrs = [style.number(runs[0].lr) if runs else "–" for runs in best]
        words.append(f"{COLUMNS[name]} {', '.join(lrs)}")
    return "; ".join(words)


def accuracy_strips(
    axes: Axes, runs: Sequence[Run], best: dict[str, list[Run]], norms: Sequence[str]
) -> None:
    """Final test accuracy of every norm."""
    if sweeps.absent(axes, runs, train.TEST_ACCURACY):
        return
    for place, norm in enumerate(norms):
        numbered(axes, best[norm], place, [final_percent(run) for run in best[norm]], "{:.0f}")
    sweeps.name_places(axes, norms)


def ratio_strips(
    axes: Axes,
    runs: Sequence[Run],
    best: dict[str, list[Run]],
    norms: Sequence[str],
    key: str,
    read: Callable[[Run], Series],
) -> None:
    """A number at the same training loss over that without a norm, seed by seed."""
    if sweeps.absent(axes, runs, key):
        return
    standard = {run.seed: run for run in best.get("none", []) if key in run}
    for place, norm in enumerate(norms):
        pairs = [(r, standard[r.seed]) for r in best[norm] if r.seed in standard and key in r]
        values = [at_matched_loss((run, read(run)), (one, read(one))) for run, one in pairs]
        if norm != "none":
            numbered(axes, [run for run, _ in pairs], place, values, "{:.2g}")
    axes.axhline(1, color=style.GREY, linewidth=0.8, linestyle=":")
    panels.log_axis(axes)
    sweeps.name_places(axes, norms)


def numbered(
    axes: Axes, runs: Sequence[Run], place: int, values: Sequence[float], form: str
) -> None:
    """Dots, and the median beside its bar."""
    known = [value for value in values if np.isfinite(value)]
    if known:
        sweeps.seed_dots(axes, runs, place, known)
        where = (place, max(known))
        look = {"ha": "center", "va": "bottom", "fontsize": style.SMALL}
        text = form.format(np.median(known))
        offset = {"xytext": (0, 4), "textcoords": "offset points"}
        axes.annotate(text, where, color=style.arm(runs[0].norm).dark, **offset, **look)


def widen(row: Sequence[Axes]) -> None:
    """Room for the numbers above the dots, on the axis that panels share."""
    shown = [axes for axes in row if axes.axison]
    if not shown:
        return
    low, high = shown[0].get_ylim()
    if shown[0].get_yscale() == "log":
        low, high = min(low, 0.7), max(high, 1.5)
        shown[0].set_ylim(low / 1.15, high * (high / low) ** 0.2)
    else:
        shown[0].set_ylim(low, high + 0.2 * (high - low))
