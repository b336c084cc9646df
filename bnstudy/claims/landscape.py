"""What the paper says of the loss landscape along the gradient."""

import math

import numpy as np

from bnstudy.claims.judging import Claim
from bnstudy.claims.reductions import (
    BATCH,
    BATCH_HIGH,
    LINEAR,
    LINEAR_BATCH,
    LOSS,
    STANDARD,
    change_ratio,
    first_third,
    log_width,
    median,
    orders,
    ratio,
    upper,
)
from bnstudy.claims.rules import Rule, as_large, at_least
from bnstudy.results import Run, effective_beta


def loss_range_ratio(standard: Run, *others: Run) -> float:
    """How much wider the loss range is without a norm than the widest with one, on a log axis."""
    return ratio(log_width(standard), max(log_width(run) for run in others))


def random_loss_range_ratio(standard: Run, batch: Run) -> float:
    """The same along a random direction."""
    key = "landscape/random_loss"
    return ratio(log_width(standard, key), log_width(batch, key))


def early_change_ratio(standard: Run, batch: Run) -> float:
    """The gradient change without BatchNorm over that with it, in the first third of training."""
    return ratio(*(median(first_third(run, upper(run))) for run in (standard, batch)))


def loss_orders(standard: Run, *others: Run) -> float:
    """The same for the loss."""
    return orders(standard, *others, key=LOSS)


def larger_beta_share(standard: Run, batch: Run) -> float:
    """The share of the probed steps at which effective beta is larger without BatchNorm."""
    (steps, ours), (others, theirs) = effective_beta(standard), effective_beta(batch)
    _, i, j = np.intersect1d(steps, others, return_indices=True)
    known = ~np.isnan(ours[i]) & ~np.isnan(theirs[j])
    return float((ours[i] > theirs[j])[known].mean()) if known.any() else math.nan


TOPIC = "Loss landscape"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="loss_range",
        title="The loss along the gradient varies less with BatchNorm",
        says="The highest loss is 1.67 times the lowest without BatchNorm, 1.17 times with it.",
        source="section 3.2, figure 4a",
        arms=(STANDARD, BATCH),
        quantity="logarithm of highest / lowest loss, median over steps, standard / BatchNorm",
        measure=loss_range_ratio,
        rule=as_large(0.511 / 0.159),
    ),
    Claim(
        topic=TOPIC,
        name="larger_distances",
        title="BatchNorm keeps the loss smooth over larger distances",
        says="It “continues to provide smoothing for even larger distances” than η = 0.4.",
        source="figure 4, caption",
        arms=(STANDARD, BATCH_HIGH),
        quantity="as above, standard up to η = 0.4 / BatchNorm up to η = 2 (trained at lr 0.5)",
        measure=loss_range_ratio,
        rule=Rule(at_least(1), at_least(1 / 2), unit="×"),
    ),
    Claim(
        topic=TOPIC,
        name="random_directions",
        title="The loss varies less with BatchNorm along random directions too",
        says="The loss “behaves in a similar way” along other (random) directions.",
        source="section 3.2",
        arms=(STANDARD, BATCH),
        quantity="logarithm of highest / lowest loss, median over steps, standard / BatchNorm",
        measure=random_loss_range_ratio,
        rule=Rule(at_least(1), unit="×"),
    ),
    Claim(
        topic=TOPIC,
        name="gradient_change",
        title="The gradient changes less along the gradient with BatchNorm",
        says="The largest change is 47 without BatchNorm, 22 with it (median over steps).",
        source="section 3.2, figure 4b",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change, median over steps, standard / BatchNorm",
        measure=change_ratio,
        rule=as_large(2.17),
    ),
    Claim(
        topic=TOPIC,
        name="gradient_change_orders",
        title="The gradient changes less by close to two orders of magnitude",
        says="“Close to two orders of magnitude”, especially early in training.",
        source="section 3.2 (text); number of figure 4b",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change, median over the first third, standard / BatchNorm",
        measure=early_change_ratio,
        rule=Rule(
            at_least(10**1.5), at_least(10), why="one and a half orders", paper=2.38, unit="×"
        ),
    ),
    Claim(
        topic=TOPIC,
        name="effective_beta",
        title="Effective β-smoothness is better with BatchNorm throughout",
        says="“Consistent differences” in effective β.",
        source="section 3.2, figure 4c",
        arms=(STANDARD, BATCH),
        quantity="share of the steps at which effective β is larger without BatchNorm",
        measure=larger_beta_share,
        rule=Rule(at_least(0.75), at_least(0.5), why="three steps in four", paper=0.57),
    ),
    Claim(
        topic=TOPIC,
        name="linear_loss_orders",
        title="The deep linear network's loss rises orders of magnitude less with BatchNorm",
        says="Up to 6e14 along the gradient without BatchNorm, 1e5 with it (lr 1e-6).",
        source="figure 10a",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="orders of magnitude between the highest losses, standard and BatchNorm",
        measure=loss_orders,
        rule=Rule(at_least(2), at_least(1), paper=14.79 - 5.04, unit=" orders"),
    ),
    Claim(
        topic=TOPIC,
        name="linear_change_orders",
        title="The deep linear network's gradient changes orders of magnitude less with BatchNorm",
        says="Up to 2e16 along the gradient without BatchNorm, 3e6 with it (lr 1e-6).",
        source="figure 10b",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="orders of magnitude between the largest gradient changes",
        measure=orders,
        rule=Rule(at_least(2), at_least(1), paper=16.29 - 6.48, unit=" orders"),
    ),
)
