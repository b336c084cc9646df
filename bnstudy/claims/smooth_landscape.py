"""What is said of a smoother landscape: gradients that predict, and no flat regions."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.comparisons import BATCH, BATCH_HIGH, STANDARD, STANDARD_HIGH, smoother
from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import AT_MATCHED_LOSS
from bnstudy.claims.rules import Range, at_least, greater
from bnstudy.measures.landscape import flat_share, own_change
from bnstudy.measures.matched_loss import at_matched_loss
from bnstudy.results import Run


def own_change_ratio(standard: Run, batch: Run) -> float:
    """`smoother` of the relative gradient change over the step taken."""
    return smoother(own_change, standard, batch)


def share_more_predictable(standard: Run, runs: Sequence[Run]) -> float:
    """The share of the norms with a smaller `own_change` than without one, at matched loss [1]."""
    without = (standard, own_change(standard))
    ratios = [at_matched_loss(without, (r, own_change(r))) for r in runs if r.norm != "none"]
    known = [one for one in ratios if not math.isnan(one)]
    return float(np.mean([one > 1 for one in known])) if known else math.nan


def flat_difference(standard: Run, batch: Run) -> float:
    """How much more of the probed steps are in a flat region without BatchNorm [1]."""
    return flat_share(standard) - flat_share(batch)


OF_NORMS = Arm("the standard network", "norms", "none", 0.1)
ALL = Arm("all norms", "norms", None, 0.1)
OWN_CHANGE = "‖∇L(θ − lr g) − g‖ / ‖g‖"

TOPIC = "A smoother landscape"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="predictable_gradients",
        title="Over the step that is taken the gradient changes less with BatchNorm",
        says="Smoothness induces “a more predictive and stable behavior of the gradients”.",
        source="Santurkar et al. 2018, abstract; not relative to the gradient there",
        arms=(STANDARD, BATCH),
        quantity=f"{OWN_CHANGE}, {AT_MATCHED_LOSS}, standard / BatchNorm",
        measure=own_change_ratio,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="predictable_gradients_norms",
        title="Over the step that is taken the gradient changes less with every norm",
        says="“Networks with any normalization strategy have improved performance and smoothness.”",
        source="Santurkar et al. 2018, figure 12; not relative to the gradient there",
        arms=(OF_NORMS, ALL),
        quantity=f"share of the norms with which {OWN_CHANGE} is smaller than without one, "
        f"{AT_MATCHED_LOSS}",
        measure=share_more_predictable,
        rule=at_least(1, why="every norm"),
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
            rule=greater(0, unit="", zone=Range(-0.05, 0.05)),
            needs=Needs(steps=1500),
        )
        for standard, batch in ((STANDARD, BATCH), (STANDARD_HIGH, BATCH_HIGH))
    ),
)
