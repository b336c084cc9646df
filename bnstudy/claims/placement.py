"""What is said of where BatchNorm belongs: before the activation function, or after it."""

import math
from collections.abc import Sequence

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.rules import at_least, greater
from bnstudy.measures.grids import matched
from bnstudy.measures.train import final_percent, trains
from bnstudy.results import Run

LR = ("optimizer.lr",)


def accuracy_difference(over: Run, under: Run) -> float:
    """How far the test accuracy of the first is ahead [points]."""
    return final_percent(over) - final_percent(under)


def worse_difference(standard: Run, *others: Run) -> float:
    """How far the worst of the others is ahead of the standard network [points]."""
    return min(accuracy_difference(run, standard) for run in others)


def lr_difference(over: Sequence[Run], under: Sequence[Run]) -> float:
    """How many learning rates more train; NaN without any."""
    blocks = matched(over, under, by=LR)
    counts = [sum(map(trains, runs)) for runs in blocks]
    return float(counts[0] - counts[1]) if blocks[0] else math.nan


def fewer_difference(standard: Sequence[Run], *others: Sequence[Run]) -> float:
    """How many learning rates more train in the worst of the others than without a norm."""
    return min(lr_difference(runs, standard) for runs in others)


PLACED = (("model.placement", "before"), ("init", "xavier_uniform"))
STANDARD = Arm("the standard network", "lr_by_init_vgg", "none", None, PLACED)
BEFORE = Arm("BatchNorm before the ReLU", "lr_by_init_vgg", "batch", None, PLACED)
AFTER = Arm(
    "BatchNorm after the ReLU",
    "placement",
    "batch",
    None,
    (("model.placement", "after"), ("init", "xavier_uniform")),
)
ALSO = ("model.placement", "init")
BEST_LR = "at the learning rate with the best mean over the other seeds"

TOPIC = "Before or after the activation function"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="before_is_no_worse",
        title="BatchNorm before the ReLU is no worse than after it",
        says="“We add the BN transform immediately before the nonlinearity”; others put it after.",
        source="Ioffe & Szegedy 2015, section 3.2; not in Santurkar et al. 2018",
        arms=(BEFORE, AFTER),
        quantity=f"final test accuracy {BEST_LR}, before − after",
        measure=accuracy_difference,
        rule=at_least(-1, unit=" points", why="no more than a point worse"),
        also=ALSO,
        pick=final_percent,
    ),
    Claim(
        topic=TOPIC,
        name="before_trains_from_as_many",
        title="VGG trains at as many learning rates with BatchNorm before the ReLU as after it",
        says="Inputs of the ReLU are more nearly Gaussian: normalizing them is “likely to produce "
        "activations with a stable distribution”.",
        source="Ioffe & Szegedy 2015, section 3.2",
        arms=(BEFORE, AFTER),
        quantity="learning rates of the grid that train, before − after",
        measure=lr_difference,
        rule=at_least(0, why="no fewer"),
        also=ALSO,
        needs=Needs(steps=4000),
    ),
    Claim(
        topic=TOPIC,
        name="either_is_better",
        title="BatchNorm on either side of the ReLU is better than none",
        says="That it helps does not depend on where it stands.",
        source="said of both; not in Santurkar et al. 2018",
        arms=(STANDARD, BEFORE, AFTER),
        quantity=f"final test accuracy {BEST_LR}, the worse of both − standard",
        measure=worse_difference,
        rule=greater(0, unit=" points"),
        also=ALSO,
        pick=final_percent,
    ),
    Claim(
        topic=TOPIC,
        name="either_trains_from_more",
        title="BatchNorm on either side of the ReLU trains at more learning rates than none",
        says="That it allows larger learning rates does not depend on where it stands.",
        source="said of both; not in Santurkar et al. 2018",
        arms=(STANDARD, BEFORE, AFTER),
        quantity="learning rates of the grid that train, the worse of both − standard",
        measure=fewer_difference,
        rule=greater(0, unit=""),
        also=ALSO,
        needs=Needs(steps=4000),
    ),
)
