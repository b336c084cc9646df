"""What the paper says of internal covariate shift."""

import math

import numpy as np

from bnstudy.claims.judging import Claim
from bnstudy.claims.reductions import (
    BATCH,
    CONVOLUTIONS,
    DEPTH,
    LINEAR,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    SHIFT,
    STANDARD,
    first_third,
    layer,
    median,
    ratio,
)
from bnstudy.claims.rules import HALF, SIMILAR, Rule, at_least, at_most
from bnstudy.results import Run, Values

STANDARD_LOW = STANDARD._replace(lr=0.01)
BATCH_LOW = BATCH._replace(lr=0.01)


def shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| of BatchNorm over that of the standard network, geometric mean of layers 5, 10."""
    ratios = []
    for number in (5, 10):
        key = layer(standard, number, CONVOLUTIONS, f"{SHIFT}/l2")
        ratios.append(ratio(*(median(first_third(run, run[key])) for run in (batch, standard))))
    return math.sqrt(math.prod(ratios))


def shift_cosine_difference(standard: Run, batch: Run) -> float:
    """The cosine of BatchNorm minus that of the standard network, mean of layers 5 and 10."""
    differences = []
    for number in (5, 10):
        key = layer(standard, number, CONVOLUTIONS, f"{SHIFT}/cosine")
        of_batch, of_standard = (median(first_third(run, run[key])) for run in (batch, standard))
        differences.append(of_batch - of_standard)
    return float(np.mean(differences))


def linear_cosines(run: Run) -> list[Values]:
    """The cosines of layers 9 and 17 of the deep linear network at every probed step."""
    return [run[layer(run, number, DEPTH, f"{SHIFT}/cosine")][1] for number in (9, 17)]


def lowest_cosine(run: Run) -> float:
    """What the cosine exceeds at 95 % of the steps, in the lower of the two layers."""
    known = [cosines[~np.isnan(cosines)] for cosines in linear_cosines(run)]
    return min(float(np.percentile(cosines, 5)) if len(cosines) else math.nan for cosines in known)


def higher_cosine(run: Run) -> float:
    """The median cosine over steps, in the higher of the two layers."""
    return max(median(cosines) for cosines in linear_cosines(run))


def correlation(run: Run) -> float:
    """The median absolute cosine over steps, in the higher of the two layers."""
    return max(median(np.abs(cosines)) for cosines in linear_cosines(run))


FIRST_THIRD = "over the first third of training, because of the shift vanishing with convergence"
SIMILAR_OR_WORSE = "“Similar, or even worse, internal covariate shift” with BatchNorm"
NO_SHIFT = "“The standard network experiences almost no ICS for the entirety of training.”"
UNCORRELATED = "With BatchNorm G and G′ “are almost uncorrelated”."
TOPIC = "Internal covariate shift"
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"shift_l2_{standard.lr}",
            title=f"BatchNorm does not reduce ‖G − G′‖ in VGG at lr {standard.lr}",
            says=f"{SIMILAR_OR_WORSE}, lr {standard.lr}, layers 5 and 10.",
            source="section 2.2, figure 3a (layer 5 only)",
            arms=(standard, batch),
            quantity=f"median ‖G − G′‖ {FIRST_THIRD}, BatchNorm / standard",
            measure=shift_ratio,
            rule=Rule(
                at_least(1 / 1.25),
                at_least(1 / 2),
                why=f"{SIMILAR}, or larger",
                paper=paper,
                unit="×",
            ),
        )
        for standard, batch, paper in (
            (STANDARD, BATCH, 0.964 / 0.860),
            (STANDARD_LOW, BATCH_LOW, 2.619 / 0.889),
        )
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"shift_cosine_{standard.lr}",
            title=f"BatchNorm does not align G and G′ in VGG at lr {standard.lr}",
            says=f"{SIMILAR_OR_WORSE}, lr {standard.lr}, layers 5 and 10.",
            source="section 2.2, figure 3a",
            arms=(standard, batch),
            quantity=f"median cosine of G and G′ {FIRST_THIRD}, BatchNorm − standard",
            measure=shift_cosine_difference,
            rule=Rule(at_most(0.1), at_most(0.25), why="no more than a tenth above", paper=paper),
        )
        for standard, batch, paper in (
            (STANDARD, BATCH, (0.660 - 0.650 + 0.096 - 0.188) / 2),
            (STANDARD_LOW, BATCH_LOW, (0.708 - 0.866 + 0.515 - 0.544) / 2),
        )
    ),
    Claim(
        topic=TOPIC,
        name="linear_no_shift_1e-7",
        title="The standard deep linear network has almost no shift at lr 1e-7",
        says=NO_SHIFT,
        source="section 2.2, figure 3b",
        arms=(LINEAR_LOW,),
        quantity="cosine of G and G′ at 95 % of the steps, the lower of layers 9 and 17",
        measure=lowest_cosine,
        rule=Rule(at_least(0.99), at_least(0.9), paper=0.997),
    ),
    Claim(
        topic=TOPIC,
        name="linear_no_shift_1e-6",
        title="The standard deep linear network has almost no shift at lr 1e-6",
        says=NO_SHIFT,
        source="section 2.2 (text)",
        arms=(LINEAR,),
        quantity="cosine of G and G′ at 95 % of the steps, the lower of layers 9 and 17",
        measure=lowest_cosine,
        rule=Rule(at_least(0.99), at_least(0.9), paper=-0.995),
    ),
    Claim(
        topic=TOPIC,
        name="linear_shift_1e-7",
        title="With BatchNorm the deep linear network has shift at lr 1e-7",
        says="The cosine is 0.55 in layer 9 and 0.04 in layer 17 (1.00 without BatchNorm).",
        source="figure 3b",
        arms=(LINEAR_BATCH_LOW,),
        quantity="median cosine of G and G′, the higher of layers 9 and 17",
        measure=higher_cosine,
        rule=Rule(at_most(1 - 0.45 / 2), at_most(0.95), why=HALF, paper=0.55),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"linear_uncorrelated_{lr}",
            title=f"With BatchNorm G and G′ are uncorrelated at lr {lr}",
            says=UNCORRELATED,
            source="section 2.2 (text)",
            arms=(arm,),
            quantity="median absolute cosine of G and G′, the higher of layers 9 and 17",
            measure=correlation,
            rule=Rule(at_most(0.2), at_most(0.5), paper=paper),
        )
        for lr, arm, paper in (("1e-7", LINEAR_BATCH_LOW, 0.774), ("1e-6", LINEAR_BATCH, 0.901))
    ),
)
