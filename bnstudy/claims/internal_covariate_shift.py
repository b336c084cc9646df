"""What the paper says of internal covariate shift, beside the primary claims."""

from bnstudy.claims.comparisons import (
    BATCH,
    LINEAR,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    STANDARD,
)
from bnstudy.claims.judging import Claim, Needs
from bnstudy.claims.primary import (
    LINEAR_STEPS,
    SEEDS_FROM,
    relative_shift_ratio,
    shift_cosine_difference,
)
from bnstudy.claims.rules import SIMILAR, at_least, at_most
from bnstudy.measures.internal_covariate_shift import correlation, lowest_cosine

STANDARD_LOW = STANDARD._replace(lr=0.01)
BATCH_LOW = BATCH._replace(lr=0.01)


SIMILAR_OR_WORSE = "“Similar, or even worse, internal covariate shift” with BatchNorm"
NO_SHIFT = "“The standard network experiences almost no ICS for the entirety of training.”"
UNCORRELATED = "With BatchNorm G and G′ “are almost uncorrelated”."
TOPIC = "Internal covariate shift"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="shift_relative_0.01",
        title="BatchNorm does not reduce internal covariate shift in VGG at lr 0.01",
        says=f"{SIMILAR_OR_WORSE}, lr 0.01, layers 5 and 10.",
        source="section 2.2, figure 3a; not relative to the gradient there",
        arms=(STANDARD_LOW, BATCH_LOW),
        quantity="‖G − G′‖ / ‖G‖, median over the first third of training, geometric mean of "
        "layers 5 and 10, BatchNorm / standard",
        measure=relative_shift_ratio,
        rule=at_least(1 / 1.25, unit="×", why=f"{SIMILAR}, or larger"),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="shift_cosine_0.01",
        title="BatchNorm does not align G and G′ in VGG at lr 0.01",
        says=f"{SIMILAR_OR_WORSE}, lr 0.01, layers 5 and 10.",
        source="section 2.2, figure 3a",
        arms=(STANDARD_LOW, BATCH_LOW),
        quantity="cosine of G and G′, median over the first third of training, mean of layers 5 "
        "and 10, BatchNorm − standard",
        measure=shift_cosine_difference,
        rule=at_most(
            0.1, paper=(0.708 - 0.866 + 0.515 - 0.544) / 2, why="no more than a tenth above"
        ),
        needs=Needs(steps=1500),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"linear_no_shift_{lr}",
            title=f"The standard deep linear network has almost no shift at lr {lr}",
            says=NO_SHIFT,
            source=source,
            arms=(arm,),
            quantity="cosine of G and G′ at 95 % of the steps, the lower of layers 9 and 17",
            measure=lowest_cosine,
            rule=at_least(0.99, paper=paper),
            needs=Needs(steps=LINEAR_STEPS),
            seeds_from=SEEDS_FROM,
        )
        for lr, arm, source, paper in (
            ("1e-7", LINEAR_LOW, "section 2.2, figure 3b", 0.997),
            ("1e-6", LINEAR, "section 2.2 (text)", -0.995),
        )
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
            rule=at_most(0.2, paper=paper),
            needs=Needs(steps=LINEAR_STEPS),
            seeds_from=SEEDS_FROM,
        )
        for lr, arm, paper in (("1e-7", LINEAR_BATCH_LOW, 0.774), ("1e-6", LINEAR_BATCH, 0.901))
    ),
)
