"""What the paper says of l_p normalization."""

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import (
    BATCH,
    CONVOLUTIONS,
    LINEAR,
    LINEAR_BATCH,
    STANDARD,
    TO_LEVEL,
    change_ratio,
    layer,
    level_in_words,
    loss_ratio,
    mean,
    median,
    orders,
    ratio,
    times_faster,
    times_slower,
    upper,
)
from bnstudy.claims.rules import Rule, as_large, at_least, comparable_to
from bnstudy.results import Run

LP = (
    Arm("L1 norm", "vgg_lp", "l1", 0.1),
    Arm("L2 norm", "vgg_lp", "l2", 0.1),
    Arm("L∞ norm", "vgg_lp", "linf", 0.1),
)
LINEAR_LP = tuple(arm._replace(experiment="deep_linear_lp", lr=1e-6) for arm in LP)


def worst_loss_ratio(batch: Run, *others: Run) -> float:
    """The largest of the others' final losses over BatchNorm's."""
    return max(loss_ratio(run, batch) for run in others)


def wandering(run: Run) -> float:
    """How far a unit's mean in layer 11 is from where it began, averaged over steps and units."""
    means = run[layer(run, 11, CONVOLUTIONS, "activations/mean")][1]
    return mean(np.abs(means[1:] - means[0]))


def wander_more(standard: Run, *others: Run) -> float:
    """In how many of the others the means wander further than in the standard network."""
    return float(sum(wandering(run) > wandering(standard) for run in others))


def worst_change_ratio(batch: Run, *others: Run) -> float:
    """The largest of the others' gradient changes over BatchNorm's, medians over steps."""
    return max(ratio(median(upper(run)[1]), median(upper(batch)[1])) for run in others)


TOPIC = "l_p normalization"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="lp_like_batch",
        title="VGG trains as fast with any l_p norm as with BatchNorm",
        says="All l_p norms “perform comparably or even better than BatchNorm”.",
        source="section 3.3, figure 5a",
        arms=(BATCH, *LP),
        quantity=f"{TO_LEVEL}: the slowest of L1, L2, L∞ / BatchNorm",
        measure=times_slower,
        rule=comparable_to(1800 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=TOPIC,
        name="lp_faster",
        title="VGG trains faster with any l_p norm than without a norm",
        says="90 % training accuracy after at most 1800 steps, 3300 for the standard network.",
        source="section 3.3, figures 5a, 12a",
        arms=(STANDARD, *LP),
        quantity=f"{TO_LEVEL}: standard / the slowest of L1, L2, L∞",
        measure=times_faster,
        rule=as_large(3300 / 1800),
        detail=level_in_words,
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
        rule=comparable_to(986.1 / 479.5),
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
        rule=as_large(479.5 / 97.49),
    ),
    Claim(
        topic=TOPIC,
        name="lp_shift_more",
        title="Activations shift more under any l_p norm than without a norm",
        says="They lead “to larger distributional covariate shift compared to normal networks”.",
        source="section 3.3, figure 6",
        arms=(STANDARD, *LP),
        quantity="of L1, L2, L∞ those in which the units' means in layer 11 wander further",
        measure=wander_more,
        rule=Rule(at_least(3), at_least(2), unit=" of 3"),
    ),
    Claim(
        topic=TOPIC,
        name="lp_smoother",
        title="VGG's landscape is smoother with any l_p norm than without a norm",
        says="“Networks with any normalization strategy have improved performance and smoothness.”",
        source="section 3.3, figure 12",
        arms=(STANDARD, *LP),
        quantity="largest gradient change, median over steps, standard / the worst of L1, L2, L∞",
        measure=change_ratio,
        rule=as_large(47.01 / 22.08),
    ),
    Claim(
        topic=TOPIC,
        name="lp_as_smooth",
        title="VGG's landscape is as smooth with any l_p norm as with BatchNorm",
        says="The largest gradient change is 22, 20 and 19 with L1, L2, L∞, 22 with BatchNorm.",
        source="figure 12",
        arms=(BATCH, *LP),
        quantity="largest gradient change, median over steps, the worst of L1, L2, L∞ / BatchNorm",
        measure=worst_change_ratio,
        rule=comparable_to(22.08 / 21.7),
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
        rule=Rule(at_least(2), at_least(1), paper=16.29 - 6.70, unit=" orders"),
    ),
)
