"""The arms and the reductions of runs that several topics share."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnstudy.claims.judging import Arm
from bnstudy.results import (
    Run,
    Series,
    Values,
    edges,
    final_accuracy,
    find_layer,
    own_step,
    steps_to,
)

# Arms

STANDARD = Arm("the standard network", "vgg", "none", 0.1)
BATCH = Arm("BatchNorm", "vgg", "batch", 0.1)
STANDARD_HIGH = STANDARD._replace(lr=0.5)
BATCH_HIGH = BATCH._replace(lr=0.5)
LINEAR = Arm("the standard network", "deep_linear", "none", 1e-6)
LINEAR_BATCH = Arm("BatchNorm", "deep_linear", "batch", 1e-6)
LINEAR_LOW = LINEAR._replace(lr=1e-7)
LINEAR_BATCH_LOW = LINEAR_BATCH._replace(lr=1e-7)


# Of one run

LOSS, CHANGE = "landscape/loss", "landscape/gradient_change"
GRADIENT = "landscape/gradient_norm"
SHIFT = "internal_covariate_shift"
CONVOLUTIONS, DEPTH = 13, 25  # the layers that the paper counts


def layer(run: Run, number: int, of: int, kind: str) -> str:
    """The key <kind>/<layer> of the layer that stands for layer `number` of the paper's `of`.

    KeyError if no layer has it.
    """
    found = find_layer(run, number, of, kind)
    if found is None:
        raise KeyError(f"{run.directory.name} has no {kind}")
    return f"{kind}/{run.layers[found - 1]}"


def first_third(run: Run, series: Series) -> Values:
    """The values of a series in the first third of the run."""
    steps, values = series
    return values[3 * steps < run.config["steps"]]


def late(series: Series, step: int = 1000) -> Values:
    """The values of a series from a step on."""
    steps, values = series
    return values[steps >= step]


def median(values: Values) -> float:
    """The median of what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def mean(values: Values) -> float:
    """The mean of what is finite; NaN if nothing is left."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def upper(run: Run) -> Series:
    """The largest gradient change over the step sizes: the upper edge of figure 4b."""
    steps, _, high = edges(run, CHANGE)
    return steps, high


def log_width(run: Run, key: str = LOSS) -> float:
    """The width of the loss range along the line on a log axis, median over the steps."""
    _, low, high = edges(run, key)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.log(high / low)
    return median(np.where(np.isfinite(width), width, np.inf))


def ratio(over: float, under: float) -> float:
    """over / under; NaN where neither is finite, or both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


def at_first_step(series: Series) -> float:
    """The value of a series at step 0, NaN if there is none."""
    steps, values = series
    return float(values[0]) if len(steps) and steps[0] == 0 else math.nan


def untrained_accuracy(run: Run) -> float:
    """Percent of the test set before the first step: chance, whatever the number of classes."""
    return 100 * float(run["test/accuracy"][1][0])


def at_the_end(run: Run, key: str, share: float) -> Values:
    """The values of a metric over the last `share` of the run, one step at least."""
    return at_the_end_of(run, run[key], share)


def at_the_end_of(run: Run, series: Series, share: float) -> Values:
    """The same of a series."""
    steps, values = series
    planned = run.config["steps"]
    return values[steps >= planned - max(1, round(share * planned))]


def training_accuracy(run: Run, share: float) -> float:
    """Percent, over the last `share` of the run; the untrained network's if it diverged."""
    last = 100 * mean(at_the_end(run, "train/accuracy", share))
    return untrained_accuracy(run) if run.outcome == "diverged" else last


def test_accuracy(run: Run) -> float:
    """Percent, at the end of the run; the untrained network's if it diverged."""
    last = 100 * float(run["test/accuracy"][1][-1])
    return untrained_accuracy(run) if run.outcome == "diverged" else last


def training_gain(run: Run) -> float:
    """Points by which training accuracy, over the last tenth, exceeds the untrained network's."""
    return training_accuracy(run, share=0.1) - untrained_accuracy(run)


def final_loss(run: Run) -> float:
    """The median training loss over the last hundredth of the run; infinite if it diverged."""
    return math.inf if run.outcome == "diverged" else median(at_the_end(run, "train/loss", 0.01))


def loss_ratio(over: Run, under: Run) -> float:
    """The ratio of two final losses."""
    return ratio(final_loss(over), final_loss(under))


def accuracy(run: Run) -> float:
    """Percent of the test set, at the end of the run; that of guessing if it diverged."""
    return 100 * final_accuracy(run)


# Of the runs of a block


def best(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """The largest value over the runs, say over their learning rates; NaN without any."""
    return max((of(run) for run in runs), default=math.nan)


def cells(runs: Sequence[Run], *paths: str) -> dict[tuple[Any, ...], Run]:
    """The runs by their options."""
    return {tuple(run.option(path) for path in paths): run for run in runs}


def matched(*blocks: Sequence[Run], by: Sequence[str]) -> list[list[Run]]:
    """Of every block the runs whose options `by` every other block has too, in the same order."""
    by_cell = [cells(block, *by) for block in blocks]
    shared = [cell for cell in by_cell[0] if all(cell in other for other in by_cell)]
    return [[own[cell] for cell in shared] for own in by_cell]


# How fast runs train

LEVELS = (0.9, 0.7, 0.5)
TO_LEVEL = (
    "steps to the highest of 90, 70 and 50 % training accuracy that all reach (running mean over "
    "1/150 of the run; who never reaches 50 % counts with the whole run)"
)


def common_level(*runs: Run) -> float:
    """The highest level that all runs reach, the lowest if there is none."""
    reached = (level for level in LEVELS if all(steps_to(r, level) < math.inf for r in runs))
    return next(reached, LEVELS[-1])


def level_in_words(*runs: Run) -> str:
    """The level at which runs are compared, as a note."""
    level = common_level(*runs)
    never = sum(steps_to(run, level) == math.inf for run in runs)
    reached = f", which {never} of {len(runs)} runs never reached" if never else ""
    return f"Compared at {100 * level:.0f} %{reached}."


def steps_needed(*runs: Run) -> Values:
    """The steps of every run to their common level, all of its own if it never gets there.

    So a ratio that involves such a run errs towards 1. NaN if none gets there.
    """
    needed = [steps_to(run, common_level(*runs)) for run in runs]
    if min(needed) == math.inf:
        return np.full(len(runs), math.nan)
    return np.minimum(needed, [run.config["steps"] for run in runs])


def times_faster(slow: Run, *fast: Run) -> float:
    """The steps that `slow` needs over those of the slowest of `fast`."""
    steps = steps_needed(slow, *fast)
    return float(steps[0] / steps[1:].max())


def times_slower(fast: Run, *slow: Run) -> float:
    """The steps that the slowest of `slow` needs over those of `fast`."""
    steps = steps_needed(fast, *slow)
    return float(steps[1:].max() / steps[0])


# Landscapes


def relative_change(run: Run) -> float:
    """||grad L(theta - lr g) - g|| / ||g||, median over steps: the change over the step taken.

    NaN if eta = lr was not measured.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return median(own_step(run)[1] / run[GRADIENT][1])


def change_ratio(standard: Run, *others: Run) -> float:
    """The gradient change without a norm over the largest with one, medians over steps."""
    return ratio(median(upper(standard)[1]), max(median(upper(run)[1]) for run in others))


def orders(standard: Run, *others: Run, key: str = CHANGE) -> float:
    """Decades between the largest values along the gradient, over all steps and step sizes."""
    highest = [edges(run, key)[2].max() for run in (standard, *others)]
    return float(np.log10(ratio(highest[0], max(highest[1:]))))
