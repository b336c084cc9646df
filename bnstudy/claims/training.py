"""What the paper says of training and test curves."""

from bnstudy.claims.judging import Claim
from bnstudy.claims.reductions import (
    BATCH,
    BATCH_HIGH,
    LINEAR,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    STANDARD,
    STANDARD_HIGH,
    TO_LEVEL,
    level_in_words,
    loss_ratio,
    test_accuracy,
    times_faster,
    training_accuracy,
    untrained_accuracy,
)
from bnstudy.claims.rules import HALF, Rule, as_large, at_least, at_most
from bnstudy.results import Run


def test_gain(run: Run) -> float:
    """Points of test accuracy gained by training."""
    return test_accuracy(run) - untrained_accuracy(run)


def test_difference(standard: Run, batch: Run) -> float:
    """Points of test accuracy that BatchNorm is ahead at the end."""
    return test_accuracy(batch) - test_accuracy(standard)


def training_difference(standard: Run, batch: Run) -> float:
    """Points of training accuracy that BatchNorm is ahead over the last third."""
    return training_accuracy(batch, share=1 / 3) - training_accuracy(standard, share=1 / 3)


TOPIC = "Training"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="faster_training",
        title="BatchNorm trains faster",
        says="VGG at lr 0.1 reaches 90 % training accuracy after 1600 steps, 3300 without it.",
        source="section 2, figure 1a",
        arms=(STANDARD, BATCH),
        quantity=f"{TO_LEVEL}: standard / BatchNorm",
        measure=times_faster,
        rule=as_large(3300 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=TOPIC,
        name="test_accuracy",
        title="BatchNorm ends at a higher test accuracy",
        says="VGG at lr 0.1 ends at 83 % test accuracy, at 80 % without BatchNorm.",
        source="appendix A.1, figure 1b",
        arms=(STANDARD, BATCH),
        quantity="final test accuracy, BatchNorm − standard",
        measure=test_difference,
        rule=Rule(
            at_least(2.86 / 2), at_least(0), why=HALF, paper=2.86, unit=" points", scales=("paper",)
        ),
    ),
    Claim(
        topic=TOPIC,
        name="final_training_accuracy",
        title="BatchNorm does not end at a higher training accuracy",
        says="VGG at lr 0.1 ends at 98.8 % training accuracy, at 99.3 % without BatchNorm.",
        source="figure 1a",
        arms=(STANDARD, BATCH),
        quantity="training accuracy over the last third of the run, BatchNorm − standard",
        measure=training_difference,
        rule=Rule(at_most(0), at_most(0.5), paper=98.75 - 99.31, unit=" points", scales=("paper",)),
    ),
    Claim(
        topic=TOPIC,
        name="high_lr_batch",
        title="BatchNorm trains at lr 0.5",
        says="VGG with BatchNorm at lr 0.5 reaches 80.2 % test accuracy, from 10 %.",
        source="figure 1b",
        arms=(BATCH_HIGH,),
        quantity="test accuracy gained by training at lr 0.5",
        measure=test_gain,
        rule=Rule(at_least(35), at_least(5), why=HALF, paper=70.2, unit=" points"),
    ),
    Claim(
        topic=TOPIC,
        name="high_lr_standard",
        title="The standard network does not train at lr 0.5",
        says="VGG without BatchNorm at lr 0.5 stays at 10 % test accuracy.",
        source="figure 1b",
        arms=(STANDARD_HIGH,),
        quantity="test accuracy gained by training at lr 0.5 (none if it diverges)",
        measure=test_gain,
        rule=Rule(at_most(5), at_most(35), paper=0.0, unit=" points"),
    ),
    Claim(
        topic=TOPIC,
        name="linear_loss_1e-6",
        title="BatchNorm trains the deep linear network further at lr 1e-6",
        says="The loss after 10 000 steps is 479 with BatchNorm, 1661 without.",
        source="section 2.2, figure 3b",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="final training loss, standard / BatchNorm",
        measure=loss_ratio,
        rule=as_large(1661 / 479.2),
    ),
    Claim(
        topic=TOPIC,
        name="linear_loss_1e-7",
        title="BatchNorm trains the deep linear network further at lr 1e-7",
        says="The loss after 10 000 steps is 710 with BatchNorm, 3969 without.",
        source="section 2.2, figure 3b",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="final training loss, standard / BatchNorm",
        measure=loss_ratio,
        rule=as_large(3969 / 709.8),
    ),
)
