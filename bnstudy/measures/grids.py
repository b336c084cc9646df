"""Runs of a grid by their options: what the runs of one seed are that a comparison takes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from bnstudy.results import Run


def best(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """The largest value over the runs, say over their learning rates; NaN without any."""
    return max((of(run) for run in runs), default=math.nan)


def by_options(runs: Sequence[Run], *paths: str) -> dict[tuple[Any, ...], Run]:
    """The runs by their options; of several with the same options the last."""
    return {tuple(run.option(path) for path in paths): run for run in runs}


def by_option(runs: Sequence[Run], path: str) -> dict[Any, list[Run]]:
    """The runs by what was chosen or set at `path`, sorted by it."""
    options = sorted({run.option(path) for run in runs})
    return {option: [run for run in runs if run.option(path) == option] for option in options}


def at_lr(runs: Sequence[Run], lr: float) -> list[Run]:
    """The runs at one learning rate."""
    return [run for run in runs if math.isclose(run.lr, lr)]


def matched(*blocks: Sequence[Run], by: Sequence[str]) -> list[list[Run]]:
    """The runs of every block whose options `by` occur in all other blocks too, in one order."""
    by_cell = [by_options(block, *by) for block in blocks]
    shared = [cell for cell in by_cell[0] if all(cell in other for other in by_cell)]
    return [[own[cell] for cell in shared] for own in by_cell]


def largest_lr(runs: Sequence[Run], works: Callable[[Run], bool]) -> float:
    """The largest learning rate of the runs for which `works` says so; 0 for none, NaN of none."""
    return max((run.lr if works(run) else 0.0 for run in runs), default=math.nan)
