"""What is said of a smoother landscape: gradients that predict, and no flat regions."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import (
    BATCH,
    BATCH_HIGH,
    LOSS,
    STANDARD,
    STANDARD_HIGH,
    ratio,
    relative_change,
)
from bnstudy.claims.rules import Rule, at_least, more_than
from bnstudy.results import Run, chance, edges, window

NEAR_CHANCE = 0.05  # of training accuracy
FLAT = 0.01  # highest over lowest loss along the line, less 1


def relative_change_ratio(standard: Run, batch: Run) -> float:
    """How many times more the gradient changes over the step without BatchNorm."""
    return ratio(relative_change(standard), relative_change(batch))


def share_more_predictable(standard: Run, runs: Sequence[Run]) -> float:
    """The share of the norms under which the gradient changes less than without one."""
    changes = np.array([relative_change(run) for run in runs if run.norm != "none"])
    without, known = relative_change(standard), changes[~np.isnan(changes)]
    return float((known < without).mean()) if len(known) and without >= 0 else math.nan


def flat_share(run: Run) -> float:
    """The share of the probed steps in a flat region.

    There the network guesses (running mean of the training accuracy within 5 points of chance) and
    the loss along the line varies by less than 1 %. NaN if nothing was probed.
    """
    steps, low, high = edges(run, LOSS)
    trained, accuracies = run["train/accuracy"]
    width = min(window(run), len(trained))
    # At either end the mean is over the steps there are.
    count = np.convolve(np.ones(len(trained)), np.ones(width), mode="same")
    means = np.convolve(accuracies, np.ones(width), mode="same") / count
    _, probed, of_training = np.intersect1d(steps, trained, return_indices=True)
    if not len(probed):
        return math.nan
    guesses = np.abs(means[of_training] - chance(run)) <= NEAR_CHANCE
    return float((guesses & (high < (1 + FLAT) * low)[probed]).mean())


def flat_difference(standard: Run, batch: Run) -> float:
    """How much more of the probed steps are in a flat region without BatchNorm."""
    return flat_share(standard) - flat_share(batch)


OF_NORMS = Arm("the standard network", "norms", "none", 0.1)
ALL = Arm("all norms", "norms", None, 0.1)

TOPIC = "A smoother landscape"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="predictable_gradients",
        title="Over the step that is taken the gradient changes less with BatchNorm",
        says="Smoothness induces “a more predictive and stable behavior of the gradients”.",
        source="Santurkar et al. 2018, abstract; not relative to the gradient there",
        arms=(STANDARD, BATCH),
        quantity="‖∇L(θ − lr g) − g‖ / ‖g‖, median over steps, standard / BatchNorm",
        measure=relative_change_ratio,
        rule=Rule(at_least(1.25), more_than(1), why="more than a quarter", unit="×"),
    ),
    Claim(
        topic=TOPIC,
        name="predictable_gradients_norms",
        title="Over the step that is taken the gradient changes less with every norm",
        says="“Networks with any normalization strategy have improved performance and smoothness.”",
        source="Santurkar et al. 2018, figure 12; not relative to the gradient there",
        arms=(OF_NORMS, ALL),
        quantity="share of the norms with which ‖∇L(θ − lr g) − g‖ / ‖g‖, median over steps, is "
        "smaller than without one",
        measure=share_more_predictable,
        rule=Rule(at_least(1), at_least(0.5), why="every norm"),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"flat_regions_{standard.lr}",
            title=f"BatchNorm avoids the standard network's flat regions at lr {standard.lr}",
            says="Without BatchNorm the loss has “a large number of ‘kinks’, flat regions, and "
            "sharp minima”.",
            source="Santurkar et al. 2018, section 3.1; not measured there",
            arms=(standard, batch),
            quantity="share of the probed steps within 5 points of chance and with a loss that "
            "varies by less than 1 % along the line, standard − BatchNorm",
            measure=flat_difference,
            rule=Rule(at_least(0.05), more_than(0), why="a step in twenty"),
        )
        for standard, batch in ((STANDARD, BATCH), (STANDARD_HIGH, BATCH_HIGH))
    ),
)
