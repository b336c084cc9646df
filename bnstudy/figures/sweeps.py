"""What figures of whole grids of runs share: cells by option, lines against what is no step."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from bnstudy.figures import panels, style
from bnstudy.measures import train
from bnstudy.results import Run

SPREAD = "Lines: mean over seeds; shaded: smallest to largest."
CROSS: dict[str, Any] = {"marker": "x", "linestyle": "", "markersize": 6, "markeredgewidth": 1.6}


def ended(runs: Sequence[Run]) -> list[Run]:
    """The runs that have a final accuracy: those that finished or diverged and were tested."""
    return [run for run in runs if run.outcome != "interrupted" and train.TEST_ACCURACY in run]


def runs_label(runs: Sequence[Run], more: str = "") -> str:
    """The legend of an arm in several cells: how many runs there are in all; "" of none."""
    if not runs:
        return ""
    count = len(runs)
    runs_are = f"{count} {'run' if count == 1 else 'runs'}"
    return panels.seeds_label(list(runs), more=more).replace(f"n = {count}", runs_are, 1)


def absent(
    axes: Axes, runs: Sequence[Run], key: str, norm: str = "", lr: float | None = None
) -> bool:
    """Whether no run has recorded `key`; then the panel says so, or that there are no runs."""
    if any(key in run for run in runs):
        return False
    norms = [norm] if norm else []
    if runs:
        says = f"{key.rsplit('/layer')[0]} was not recorded"
    elif lr is None:
        says = f"no {panels.names_of(norms)} runs".replace("  ", " ")
    else:
        says = panels.no_runs_at(norms, lr)
    panels.write(axes, says)
    return True


def missing(axes: Axes, runs: Sequence[Run], norms: Sequence[str]) -> None:
    """Says in the panel of which norms there are no runs."""
    lacking = [norm for norm in norms if all(run.norm != norm for run in runs)]
    if lacking:
        panels.write(axes, f"no {panels.names_of(lacking)} runs", middle=False)


def line(
    axes: Axes,
    cell: panels.Cell,
    xs: ArrayLike,
    values: Sequence[ArrayLike],
    middle: Callable[..., Any] = np.mean,
    **look: Any,
) -> None:
    """One arm against what is no step: the `middle` over runs, and from smallest to largest.

    `values` holds, for every x, those of the runs that have any, NaN for what is not known.
    """
    columns = [np.asarray(column, dtype=float) for column in values]
    columns = [column[~np.isnan(column)] for column in columns]
    with np.errstate(invalid="ignore"):
        centre = [middle(column) if len(column) else np.nan for column in columns]
    arm = style.arm(cell[0].norm)
    usual: dict[str, Any] = {"color": arm.colour, "marker": arm.marker, "markersize": 4}
    axes.plot(xs, panels.drawable(np.array(centre), log=False), **(usual | look))
    finite = [column[np.isfinite(column)] for column in columns]
    low = [column.min() if len(column) else np.nan for column in finite]
    high = [column.max() if len(column) else np.nan for column in finite]
    if any(len(column) > 1 for column in columns):
        axes.fill_between(xs, low, high, color=arm.colour, alpha=0.15, linewidth=0)


def against(
    axes: Axes,
    runs: Sequence[Run],
    x: Callable[[Run], float],
    y: Callable[[Run], float],
    **look: Any,
) -> None:
    """One arm: a number of every run against another that its seeds share, as `line` draws it.

    Nothing where there are no runs.
    """
    if runs:
        xs = sorted({x(run) for run in runs})
        values = [[y(run) for run in runs if x(run) == place] for place in xs]
        line(axes, list(runs), xs, values, **look)


def seed_dots(
    axes: Axes, runs: Sequence[Run], place: float, values: Sequence[float], **look: Any
) -> None:
    """One arm at a place of an axis of names: a dot for each run, a bar at the median."""
    known = [value for value in values if np.isfinite(value)]
    if known:
        colour = style.arm(runs[0].norm).colour
        usual: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3, "color": colour}
        axes.plot([place] * len(known), known, **(usual | look))
        ends, middle = [place - 0.16, place + 0.16], float(np.median(known))
        axes.plot(ends, [middle, middle], color=colour, linewidth=1.6)


def name_places(axes: Axes, norms: Sequence[str]) -> None:
    """The names of norms below an axis of names."""
    axes.set_xticks(range(len(norms)), [style.arm(norm).short for norm in norms])
    axes.set_xlim(-0.5, len(norms) - 0.5)


def all_depths(runs: Sequence[Run]) -> Callable[[Run], str]:
    """What to call runs of several depths in a caption: "VGG-11, 16 on digits; batch 64 ..."."""

    def of_any_depth(run: Run) -> str:
        return run.label.replace(f"-{run.option('model.depth')}", "-*", 1)

    depths: dict[str, set[int]] = {}
    for run in runs:
        depths.setdefault(of_any_depth(run), set()).add(run.option("model.depth"))

    def label(run: Run) -> str:
        network = of_any_depth(run)
        return network.replace("*", ", ".join(map(str, sorted(depths[network]))), 1)

    return label
