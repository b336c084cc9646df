"""What the paper says of l_p normalization, beside the primary claim."""

import math

from bnstudy.claims.comparisons import (
    BATCH,
    LINEAR,
    LINEAR_BATCH,
    STANDARD,
    TO_LEVEL,
    level_in_words,
    loss_ratio,
    orders,
    smaller_change,
    times_faster,
)
from bnstudy.claims.judging import Claim, Needs
from bnstudy.claims.primary import AT_MATCHED_LOSS, LINEAR_STEPS, LP, SEEDS_FROM, drift_ratio
from bnstudy.claims.rules import SIMILAR, at_least, at_most, greater
from bnstudy.results import Run

LINEAR_LP = tuple(arm._replace(experiment="deep_linear_lp", lr=1e-6) for arm in LP)


def worst_loss_ratio(batch: Run, *others: Run) -> float:
    """The largest of the others' final losses over BatchNorm's [1]."""
    return max(loss_ratio(run, batch) for run in others)


def least_drift_ratio(standard: Run, *others: Run) -> float:
    """The drift of what the next layer sees under a norm over that without, the least [1]."""
    return min(1 / drift_ratio(standard, run, "activation_same") for run in others)


def worst_change_ratio(batch: Run, *others: Run) -> float:
    """The relative gradient change of the worst of the others over BatchNorm's, matched loss."""
    best = smaller_change(batch, *others)
    return 1 / best if best else math.inf


CHANGE_IN_WORDS = f"largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η, {AT_MATCHED_LOSS}"
TOPIC = "l_p normalization"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="lp_faster",
        title="VGG trains faster with any l_p norm than without a norm",
        says="90 % training accuracy after at most 1800 steps, 3300 for the standard network.",
        source="section 3.3, figures 5a, 12a",
        arms=(STANDARD, *LP),
        quantity=f"{TO_LEVEL}: standard / the slowest of L1, L2, L∞",
        measure=times_faster,
        rule=greater(paper=3300 / 1800),
        detail=level_in_words,
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="lp_drift_more",
        title="Activations drift more under any l_p norm than without a norm",
        says="They lead “to larger distributional covariate shift compared to normal networks”.",
        source="section 3.3, figure 6; not in standard deviations there",
        arms=(STANDARD, *LP),
        quantity="Wasserstein distance of a unit's distribution after the activation function "
        "between a step and the next, same batch, in standard deviations (mean over units, median "
        "over steps, geometric mean over layers), the least of L1, L2, L∞ / standard",
        measure=least_drift_ratio,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="lp_smoother",
        title="VGG's landscape is smoother with any l_p norm than without a norm",
        says="“Networks with any normalization strategy have improved performance and smoothness.”",
        source="section 3.3, figure 12; neither relative nor at the same loss there",
        arms=(STANDARD, *LP),
        quantity=f"{CHANGE_IN_WORDS}, standard / the worst of L1, L2, L∞",
        measure=smaller_change,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="lp_as_smooth",
        title="VGG's landscape is as smooth with any l_p norm as with BatchNorm",
        says="The largest gradient change is 22, 20 and 19 with L1, L2, L∞, 22 with BatchNorm.",
        source="figure 12; neither relative nor at the same loss there",
        arms=(BATCH, *LP),
        quantity=f"{CHANGE_IN_WORDS}, the worst of L1, L2, L∞ / BatchNorm",
        measure=worst_change_ratio,
        rule=at_most(1.25, unit="×", why=SIMILAR),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="lp_linear_like_batch",
        title="The deep linear network trains as far with any l_p norm as with BatchNorm",
        says="All l_p norms “perform comparably or even better than BatchNorm”.",
        source="section 3.3, figure 5b",
        arms=(LINEAR_BATCH, *LINEAR_LP),
        quantity="final training loss, the largest of L1, L2, L∞ / BatchNorm",
        measure=worst_loss_ratio,
        rule=at_most(1.25, unit="×", paper=986.1 / 479.5, why=SIMILAR),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="l1_linear",
        title="The deep linear network trains further with the L1 norm than with BatchNorm",
        says="“For deep linear networks, ℓ1-normalization performs even better than BatchNorm.”",
        source="section 3.3, figure 5b",
        arms=(LINEAR_BATCH, LINEAR_LP[0]),
        quantity="final training loss, BatchNorm / L1",
        measure=loss_ratio,
        rule=greater(paper=479.5 / 97.49),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="lp_linear_orders",
        title="The deep linear network's gradient changes orders less with any l_p norm",
        says="Up to 2e16 along the gradient without a norm, 5e6 with any (lr 1e-6).",
        source="figure 13",
        arms=(LINEAR, *LINEAR_LP),
        quantity="orders of magnitude between the largest gradient changes, standard and any l_p",
        measure=orders,
        rule=at_least(2, unit=" orders", paper=16.29 - 6.70, why="orders, so two"),
        needs=Needs(steps=LINEAR_STEPS),
        seeds_from=SEEDS_FROM,
    ),
)
