"""What the paper says of training and test curves, beside the primary claims."""

from bnstudy.claims.comparisons import (
    BATCH,
    LINEAR,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    STANDARD,
    STANDARD_HIGH,
    loss_ratio,
)
from bnstudy.claims.judging import Claim, Control, Needs
from bnstudy.claims.primary import LINEAR_STEPS, SEEDS_FROM, TRAINED
from bnstudy.claims.rules import at_most, greater
from bnstudy.measures.train import above_chance, final_percent, training_accuracy, trains
from bnstudy.results import Run


def test_difference(standard: Run, batch: Run) -> float:
    """Points of test accuracy that BatchNorm is ahead at the end."""
    return final_percent(batch) - final_percent(standard)


def training_difference(standard: Run, batch: Run) -> float:
    """Points of training accuracy that BatchNorm is ahead over the last third."""
    return training_accuracy(batch, share=1 / 3) - training_accuracy(standard, share=1 / 3)


def gain_at_high_lr(standard: Run, high: Run) -> float:
    """Points of test accuracy above chance at the higher learning rate."""
    return above_chance(high)


def trains_at_low_lr(standard: Run, high: Run) -> bool:
    """Whether the network trains at the lower learning rate."""
    return trains(standard)


TOPIC = "Training"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="test_accuracy",
        title="BatchNorm ends at a higher test accuracy",
        says="VGG at lr 0.1 ends at 83 % test accuracy, at 80 % without BatchNorm.",
        source="appendix A.1, figure 1b",
        arms=(STANDARD, BATCH),
        quantity="final test accuracy, BatchNorm − standard",
        measure=test_difference,
        rule=greater(0, unit=" points", paper=2.86),
        needs=Needs(samples=500_000, plateau=True),
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
        rule=at_most(0.5, unit=" points", paper=98.75 - 99.31, why="no more than half a point"),
        needs=Needs(samples=500_000, plateau=True),
    ),
    Claim(
        topic=TOPIC,
        name="high_lr_standard",
        title="The standard network does not train at lr 0.5",
        says="VGG without BatchNorm at lr 0.5 stays at 10 % test accuracy.",
        source="figure 1b",
        arms=(STANDARD, STANDARD_HIGH),
        quantity="test accuracy above chance at the end at lr 0.5 (none if it diverges)",
        measure=gain_at_high_lr,
        rule=at_most(TRAINED, unit=" points", paper=0.0, why="more counts as training"),
        control=Control("the standard network trains at lr 0.1", trains_at_low_lr),
        needs=Needs(steps=1500),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"linear_loss_{lr}",
            title=f"BatchNorm trains the deep linear network further at lr {lr}",
            says=says,
            source="section 2.2, figure 3b",
            arms=arms,
            quantity="final training loss, standard / BatchNorm",
            measure=loss_ratio,
            rule=greater(paper=paper),
            needs=Needs(steps=LINEAR_STEPS),
            seeds_from=SEEDS_FROM,
        )
        for lr, arms, paper, says in (
            (
                "1e-6",
                (LINEAR, LINEAR_BATCH),
                1661 / 479.2,
                "The loss after 10 000 steps is 479 with BatchNorm, 1661 without.",
            ),
            (
                "1e-7",
                (LINEAR_LOW, LINEAR_BATCH_LOW),
                3969 / 709.8,
                "The loss after 10 000 steps is 710 with BatchNorm, 3969 without.",
            ),
        )
    ),
)
