"""Training and gradients against depth

Ioffe & Szegedy 2015, section 3.3, and He et al. 2016, section 4.1, say that BatchNorm keeps the
gradients of deep networks from vanishing or exploding and so lets them train; De & Smith 2020
(SkipInit) and Zhang et al. 2019 (Fixup) that a ResNet needs only a small scale of its branches at
initialization. Ours: above, the steps to a training accuracy against the depth, for VGGs, ResNets
and the same networks without shortcuts; below, the norm of every layer's gradient at the first
step. The ResNets also with these two remedies in place of BatchNorm, and with BatchNorm whose last
gamma in every branch starts at zero (Goyal et al. 2017).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import gradients, train
from bnstudy.measures.gradients import first_gradients
from bnstudy.measures.grids import by_option
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import average
from bnstudy.measures.train import steps_to_batch_level
from bnstudy.results import Run, Values

EXPERIMENTS = ("depth_vgg", "depth_resnet", "depth_remedies", "depth_zero_gamma")
COLUMNS = {"vgg": "VGG", "resnet": "ResNet", "plain": "plain network"}
# By norm and init: what the legend adds, the line, and the marker, None for that of the norm.
LINES: dict[tuple[str, str], tuple[str, Any, str | None]] = {
    ("none", "kaiming"): ("", "-", None),
    ("batch", "kaiming"): ("", "-", None),
    ("none", "skipinit"): (", SkipInit", (0, (5, 1.5)), "<"),
    ("none", "fixup"): (", Fixup", ":", ">"),
    ("batch", "zero_gamma"): (", γ of branches 0", (0, (5, 1.5)), "D"),
}
LEVELS = (0.9, 0.7, 0.5, 0.4, 0.3)
LOST = (np.inf, 1.0)  # no run is known to get there
TOP = 0.95  # where runs are marked that never get there, in a panel's height
Cells = dict[tuple[tuple[str, str], int], list[Run]]  # by arm and depth: at every lr


def draw(runs: Sequence[Run]) -> Figure:
    """Steps to the target over depth above gradients over layers; a column per network."""
    given = [run for run in runs if norm_and_init(run) in LINES]
    vary = ("init", "model", "model.depth", "model.bias", "model.shortcut")
    chosen = panels.choose(given, EXPERIMENTS[:1], EXPERIMENTS[1:], also=vary)
    columns = {
        name: [run for run in chosen if run.choices["model"] == name]
        for name in COLUMNS
        if any(run.choices["model"] == name for run in chosen)
    }
    level = common_target([cells_by_depth(own) for own in columns.values()])
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.6), layout="constrained")
        grid = figure.subplots(2, len(columns), sharey="row", squeeze=False)
        for (above, below), (name, own) in zip(grid.T, columns.items(), strict=True):
            times_over_depth(above, own, level, {arm: arm_label(chosen, arm) for arm in LINES})
            first_gradients_by_layer(below, own)
            above.set_title(COLUMNS[name])
        make_room(grid[0], above=0.25)
        make_room(grid[1], below=0.3)
        panels.outermost(grid[0]).set_ylabel(f"steps to {100 * level:.0f} %\ntraining accuracy")
        panels.outermost(grid[1]).set_ylabel("norm of the layer's gradient")
        panels.legend(figure, list(grid.flat))
        tried = ", ".join(f"{100 * level:.0f}" for level in LEVELS)
        lrs = " or ".join(style.number(lr) for lr in sorted({run.lr for run in chosen}))
        absent = [name for name in EXPERIMENTS if all(run.experiment != name for run in chosen)]
        notes = (
            *(f"No runs of {name}." for name in absent),
            panels.running_note(chosen),
            f"Above: at the lr ({lrs}) that is fastest in the median over seeds; lines: that "
            "median; shaded: smallest to largest; dots: runs.",
            f"{100 * level:.0f}\u00a0%: the highest of {tried} that half of all points reach.",
            "Below: at step 0, mean over seeds; darker: deeper; remedies: the deepest alone.",
        )
        panels.finish(figure, given, chosen, *notes, label_of=sweeps.all_depths(chosen))
    return figure


def norm_and_init(run: Run) -> tuple[str, str]:
    """Norm and init, by which this figure tells arms apart."""
    return run.norm, run.option("init")


def cells_by_depth(runs: Sequence[Run]) -> Cells:
    """The runs that recorded their training accuracy by arm and depth."""
    cells: Cells = {}
    for run in runs:
        if train.ACCURACY in run:
            cells.setdefault((norm_and_init(run), run.option("model.depth")), []).append(run)
    return cells


def steps_until(run: Run, level: float) -> float:
    """Steps to the level; infinite if never; NaN if the run was interrupted before."""
    steps = steps_to_batch_level(run, level)
    return np.nan if np.isinf(steps) and run.outcome == "interrupted" else steps


def at_fastest_lr(runs: Sequence[Run], level: float) -> list[Run]:
    """The runs of a cell at the learning rate with the smallest median of steps to the level.

    Where most never get there, the one at which the largest part does, then the smallest.
    """

    def slowness(own: Sequence[Run]) -> tuple[float, float]:
        known = known_durations(own, level)
        return (float(np.median(known)), float(np.isinf(known).mean())) if len(known) else LOST

    return min(by_option(runs, "optimizer.lr").values(), key=slowness)


def known_durations(runs: Sequence[Run], level: float) -> Values:
    """Steps to the level of the runs of which they are known."""
    steps = np.array([steps_until(run, level) for run in runs], dtype=float)
    return steps[~np.isnan(steps)]


def common_target(columns: Sequence[Cells]) -> float:
    """The highest level that half of all cells reach at their fastest lr, or else the lowest."""
    cells = [cell for own in columns for cell in own.values()]
    for level in LEVELS:
        shown = [known_durations(at_fastest_lr(cell, level), level) for cell in cells]
        reached = [len(known) > 0 and np.isfinite(np.median(known)) for known in shown]
        if cells and 2 * sum(reached) >= len(cells):
            return level
    return LEVELS[-1]


def arm_label(runs: Sequence[Run], arm: tuple[str, str]) -> str:
    """The legend of an arm: how many runs of it there are in all panels."""
    own = [run for run in runs if norm_and_init(run) == arm]
    return sweeps.runs_label(own, LINES[arm][0]) if own else ""


def times_over_depth(
    axes: Axes, runs: Sequence[Run], level: float, labels: dict[tuple[str, str], str]
) -> None:
    """Steps to the level against depth, one line per arm; who never gets there at the top."""
    if sweeps.absent(axes, runs, train.ACCURACY):
        return
    cells, depths = cells_by_depth(runs), sorted({run.option("model.depth") for run in runs})
    arms = [arm for arm in LINES if any(arm == own for own, _ in cells)]
    for number, arm in enumerate(arms):
        # Depths are far from evenly spaced; and arms stand beside each other.
        aside = 0.07 * (number - (len(arms) - 1) / 2)
        shown = [
            at_fastest_lr(cells[arm, depth], level) if (arm, depth) in cells else []
            for depth in depths
        ]
        xs, values = (
            np.arange(len(depths)) + aside,
            [known_durations(cell, level) for cell in shown],
        )
        _, linestyle, marker = LINES[arm]
        everyone = [run for run in runs if norm_and_init(run) == arm]
        look: dict[str, Any] = {"linestyle": linestyle, "label": labels[arm]}
        look |= {"marker": marker, "markerfacecolor": "white"} if marker else {}
        sweeps.line(axes, everyone, xs, values, middle=np.median, **look)
        for x, cell, steps in zip(xs, shown, values, strict=True):
            finite = steps[np.isfinite(steps)]
            colour = style.arm(arm[0]).colour
            axes.plot(np.full(len(finite), x), finite, ".", color=colour, markersize=2.5)
            mark_lost(axes, x, cell, level)
    axes.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    axes.set(xlabel="depth", xlim=(-0.4, len(depths) - 0.6))
    panels.log_axis(axes)
    if axes.get_ylim()[0] <= 0:  # no run gets there: a log axis finds no limits of its own
        axes.set_ylim(1, max(run.config["steps"] for run in runs))
    sweeps.missing(axes, runs, panels.PAIR)


def make_room(row: Sequence[Axes], below: float = 0.0, above: float = 0.0) -> None:
    """Widens the axis that panels share by these parts of it, for marks at the edge."""
    low, high = row[0].get_ylim()
    if row[0].get_yscale() == "log":
        row[0].set_ylim(low / (high / low) ** below, high * (high / low) ** above)


def mark_lost(axes: Axes, x: float, cell: Sequence[Run], level: float) -> None:
    """At the top: a cross if any run of the cell diverged, a triangle if any never got there."""
    lost = [run for run in cell if np.isinf(steps_until(run, level))]
    never: dict[str, Any] = {"marker": "^", "linestyle": "", "markersize": 4.5}
    for diverged, label, look in (
        (True, "diverged before", sweeps.CROSS),
        (False, "not within the run", never),
    ):
        if any((run.outcome == "diverged") == diverged for run in lost):
            place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
            height = TOP if diverged else TOP - 0.07
            place |= {"markerfacecolor": "white"} if LINES[norm_and_init(lost[0])][0] else {}
            axes.plot(x, height, color=style.arm(lost[0].norm).colour, **place, **look)
            panels.explain(axes, label, **look)


def first_gradients_by_layer(axes: Axes, runs: Sequence[Run]) -> None:
    """The gradient's norm at step 0 from layer to layer, one thin line per arm and depth."""
    recorded = [run for run in runs if recorded_layers(run, gradients.NORM)]
    if sweeps.absent(axes, recorded or runs, gradients.NORM):
        return
    depths = sorted({run.option("model.depth") for run in recorded})
    panels.log_axis(axes)
    for number, (arm, (more, linestyle, _)) in enumerate(LINES.items()):
        for depth in depths[-1:] if more else depths:
            cell = [
                r for r in recorded if (norm_and_init(r), r.option("model.depth")) == (arm, depth)
            ]
            norms = mean_first_gradients(cell)
            if len(norms):
                places = np.linspace(0, 1, len(norms))
                share = 0.65 * (1 - depths.index(depth) / max(1, len(depths) - 1))
                colour = style.arm(arm[0]).tint(share if len(depths) > 1 else 0.0)
                look: dict[str, Any] = {"linestyle": linestyle, "linewidth": 0.9, "color": colour}
                # A layer between two without a gradient is a point.
                look |= {"marker": ".", "markersize": 3} if (norms == 0).any() else {}
                axes.plot(places, panels.drawable(norms, log=True), **look)
                mark_zeros(axes, places[norms == 0], colour, number)
    axes.set(xlabel="layer (0: first, 1: last)")


def mark_zeros(axes: Axes, places: Values, colour: style.Colour, number: int) -> None:
    """A tick at the bottom for every layer whose gradient is exactly zero; a row per arm."""
    if len(places):
        look: dict[str, Any] = {"marker": "|", "linestyle": "", "markersize": 3.5}
        height = np.full(len(places), 0.02 + 0.045 * number)
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(places, height, color=colour, **place, **look)
        panels.explain(axes, "gradient zero", **look)


def mean_first_gradients(cell: Sequence[Run]) -> Values:
    """The lengths of the layers' gradients at step 0, from the input on: mean over seeds.

    The learning rate has no part in it: of every seed one run counts.
    """
    rows = [first_gradients(run) for run in {run.seed: run for run in cell}.values()]
    rows = [row for row in rows if len(row) and len(row) == len(rows[0])]
    return average(np.array(rows), log=True) if rows else np.array([])
