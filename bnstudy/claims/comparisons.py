"""The arms that several topics compare, and how: how fast they train, how rough they are."""

import math
from collections.abc import Callable

import numpy as np

from bnstudy.claims.judging import Arm
from bnstudy.claims.rules import in_words, listed
from bnstudy.measures import landscape
from bnstudy.measures.landscape import effective_beta, highest, loss_width, relative_change
from bnstudy.measures.matched_loss import at_matched_loss
from bnstudy.measures.series import ratio
from bnstudy.measures.train import SUBSET, final_loss, steps_to_level
from bnstudy.results import Run, Series

# Arms

STANDARD = Arm("the standard network", "vgg", "none", 0.1)
BATCH = Arm("BatchNorm", "vgg", "batch", 0.1)
STANDARD_HIGH = STANDARD._replace(lr=0.5)
BATCH_HIGH = BATCH._replace(lr=0.5)
LINEAR = Arm("the standard network", "deep_linear", "none", 1e-6)
LINEAR_BATCH = Arm("BatchNorm", "deep_linear", "batch", 1e-6)
LINEAR_LOW = LINEAR._replace(lr=1e-7)
LINEAR_BATCH_LOW = LINEAR_BATCH._replace(lr=1e-7)


# How fast runs train


def loss_ratio(over: Run, under: Run) -> float:
    """The ratio of two final losses."""
    return ratio(final_loss(over), final_loss(under))


LEVELS = (0.9, 0.7, 0.5)
TO_LEVEL = (
    "steps to the highest of 90, 70 and 50 % accuracy that all reach, on a fixed subset of the "
    "training images (linear interpolation between tests; ∞ if 50 % is never reached)"
)


def common_level(*runs: Run) -> float:
    """The highest level that all runs reach, the lowest if there is none."""
    reached = (a for a in LEVELS if all(steps_to_level(run, a) < math.inf for run in runs))
    return next(reached, LEVELS[-1])


def level_in_words(*runs: Run) -> str:
    """The level at which runs are compared, as a note.

    If some never reach it, it says how many times as many steps they need at least.
    """
    level = common_level(*runs)
    steps = [steps_to_level(run, level) for run in runs]
    never = [run for run, own in zip(runs, steps, strict=True) if own == math.inf]
    words = "" if all(SUBSET in run for run in runs) else "By a running mean over the batches. "
    words += f"Compared at {100 * level:.0f} %"
    if not never or len(never) == len(runs):
        return f"{words}{', which no run reached' if never else ''}."
    names = listed([f"{run.norm} at seed {run.seed}" for run in never])
    least = min(run.config["steps"] for run in never) / max(s for s in steps if s < math.inf)
    return f"{words}, which {names} never reached: at least {in_words(least)}×."


def times_faster(slow: Run, *fast: Run) -> float:
    """The steps that `slow` needs to the common level over those of the slowest of `fast` [1].

    Infinite if only `slow` never gets there, 0 if only one of `fast` does not, NaN if both.
    """
    level = common_level(slow, *fast)
    return ratio(steps_to_level(slow, level), max(steps_to_level(run, level) for run in fast))


def times_slower(fast: Run, *slow: Run) -> float:
    """The steps that the slowest of `slow` needs to the common level over those of `fast` [1]."""
    return 1 / times if (times := times_faster(fast, *slow)) else math.inf


# Landscapes


def smoother(of: Callable[[Run], Series], standard: Run, *others: Run) -> float:
    """How many times larger it is without a norm than with the worst of others, at matched loss."""
    ratios = [at_matched_loss((standard, of(standard)), (run, of(run))) for run in others]
    return math.nan if any(map(math.isnan, ratios)) else min(ratios)


def narrower_loss_range(standard: Run, *others: Run) -> float:
    """`smoother` of the absolute width of the loss range."""
    return smoother(loss_width, standard, *others)


def smaller_change(standard: Run, *others: Run) -> float:
    """`smoother` of the largest relative gradient change."""
    return smoother(relative_change, standard, *others)


def smaller_beta(standard: Run, *others: Run) -> float:
    """`smoother` of effective beta."""
    return smoother(effective_beta, standard, *others)


def orders(standard: Run, *others: Run, key: str = landscape.CHANGE) -> float:
    """Decades between the largest values along the gradient [1]."""
    with np.errstate(divide="ignore"):
        over = ratio(highest(standard, key), max(highest(run, key) for run in others))
        return float(np.log10(over))
