"""What is said of the statistics that BatchNorm is tested with, and of those of smaller groups."""

from bnstudy.claims.comparisons import smaller_change
from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import at_most, greater
from bnstudy.measures.train import largest_precise_gain, precise_gain, precise_percent
from bnstudy.results import Run


def gain_grows(low: Run, high: Run) -> float:
    """How many points more the second gains by statistics that are estimated anew."""
    return largest_precise_gain(high) - largest_precise_gain(low)


def more_accurate(whole: Run, groups: Run) -> float:
    """Points of test accuracy, statistics estimated anew, that the second is ahead."""
    return precise_percent(groups) - precise_percent(whole)


def statistics_arm(norm: str, lr: float) -> Arm:
    """A VGG of the experiment `statistics`."""
    return Arm(
        {"batch": "BatchNorm", "noisy_batch": "noisy BatchNorm"}[norm], "statistics", norm, lr
    )


def ghost(samples: int, lr: float = 0.1) -> Arm:
    """A VGG whose statistics are of groups of the batch of 64."""
    options = (("norm.samples", samples),)
    return Arm(f"groups of {samples}", "ghost_batch", "ghost_batch", lr, options)


LONG_ENOUGH = Needs(steps=1000)
ANEW = "test accuracy with statistics estimated anew less that with running ones"
TOPIC = "Statistics of training and test"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="running_good_enough",
        title="At the end of training running averages are good enough",
        says="The running average lags behind; near the end of training the gap closes.",
        source="Wu & Johnson 2021, section 3",
        arms=(statistics_arm("batch", 0.1),),
        quantity=f"{ANEW}, at the end, lr 0.1",
        measure=precise_gain,
        rule=at_most(1, unit=" points", why="no more than a point"),
        needs=LONG_ENOUGH,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="lag_grows_with_lr",
        title="The larger the learning rate, the further running averages lag behind",
        says="A running average is wrong while the parameters move fast.",
        source="Wu & Johnson 2021, section 3",
        arms=(statistics_arm("batch", 0.1), statistics_arm("batch", 1.0)),
        quantity=f"{ANEW}, the largest over the tests, lr 1 − lr 0.1",
        measure=gain_grows,
        rule=greater(0, unit=" points"),
        needs=LONG_ENOUGH,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="lag_grows_with_noise",
        title="Noise makes running averages lag further behind",
        says="Noise after the norm makes the statistics of the next layers uncertain.",
        source="asked after Wu & Johnson 2021 and Santurkar et al. 2018; in neither",
        arms=(statistics_arm("batch", 0.1), statistics_arm("noisy_batch", 0.1)),
        quantity=f"{ANEW}, the largest over the tests, lr 0.1, noisy BatchNorm − BatchNorm",
        measure=gain_grows,
        rule=greater(0, unit=" points"),
        needs=LONG_ENOUGH,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="ghost_regularises",
        title="Statistics of smaller groups test better",
        says="Ghost batch normalization improves generalization, also at medium batch sizes.",
        source="Summers & Dinneen 2020, abstract",
        arms=(ghost(64), ghost(16)),
        quantity="final test accuracy, statistics estimated anew, lr 0.1, groups of 16 − the whole "
        "batch of 64",
        measure=more_accurate,
        rule=greater(0, unit=" points"),
        also=("norm.samples",),
        needs=LONG_ENOUGH,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="ghost_rougher",
        title="Statistics of smaller groups make the landscape rougher",
        says="Fewer samples make the loss depend more on each of them.",
        source="asked after Summers & Dinneen 2020; not measured there",
        arms=(ghost(4), ghost(64)),
        quantity="largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η at the same training loss, "
        "lr 0.1, groups of 4 / the whole batch of 64",
        measure=smaller_change,
        rule=greater(),
        also=("norm.samples",),
        needs=LONG_ENOUGH,
        seeds_from=SEEDS_FROM,
    ),
)
