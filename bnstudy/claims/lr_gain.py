"""What is said of the gain by BatchNorm: it comes with the learning rate, and from explosions."""

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import Range, at_most, greater
from bnstudy.measures.moments import growth_with_depth
from bnstudy.measures.series import ratio
from bnstudy.measures.train import trained_steps, training_accuracy
from bnstudy.results import Run


def gain(standard: Run, batch: Run) -> float:
    """Points of training accuracy over the last tenth that BatchNorm is ahead."""
    return training_accuracy(batch, share=0.1) - training_accuracy(standard, share=0.1)


def gain_growth(low: Run, low_batch: Run, high: Run, high_batch: Run) -> float:
    """How many points more BatchNorm gains at the larger learning rate."""
    return gain(high, high_batch) - gain(low, low_batch)


def times_longer(standard: Run, batch: Run) -> float:
    """The steps that BatchNorm trains over those of the standard network [1]."""
    return ratio(trained_steps(batch) + 1, trained_steps(standard) + 1)


def tolerance_arm(norm: str, lr: float) -> Arm:
    """A VGG of the grid, from Kaiming's init."""
    name = {"none": "the standard network", "batch": "BatchNorm"}[norm]
    return Arm(name, "tolerance_vgg", norm, lr, (("init", "kaiming"),))


LOW = (tolerance_arm("none", 0.003), tolerance_arm("batch", 0.003))
HIGH = (tolerance_arm("none", 0.1), tolerance_arm("batch", 0.1))
DIVERGING = (
    Arm("the standard network", "divergence", "none", 3.0),
    Arm("BatchNorm", "divergence", "batch", 3.0),
)
GAIN = "training accuracy over the last tenth, BatchNorm − standard, Kaiming's init"
TOPIC = "The gain and the learning rate"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="no_gain_at_small_lr",
        title="At a small learning rate BatchNorm gains nothing",
        says="With the learning rate of the network without BatchNorm the gain is gone.",
        source="Bjorck et al. 2018, section 3",
        arms=LOW,
        quantity=f"{GAIN}, lr 0.003",
        measure=gain,
        rule=at_most(2, unit=" points", why="no more than two points"),
        also=("init",),
        needs=Needs(steps=4000),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="gain_grows_with_lr",
        title="The gain by BatchNorm grows with the learning rate",
        says="What BatchNorm gains comes from the larger learning rates that it allows.",
        source="Bjorck et al. 2018, abstract and section 3",
        arms=(*LOW, *HIGH),
        quantity=f"{GAIN}: at lr 0.1 − at lr 0.003",
        measure=gain_growth,
        rule=greater(0, unit=" points"),
        also=("init",),
        needs=Needs(steps=4000),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="deep_layers_explode",
        title="When a network diverges the activations of deep layers grow most",
        says="Before divergence means and variances grow with depth, which BatchNorm prevents.",
        source="Bjorck et al. 2018, section 3.2, figures 3 and 4",
        arms=DIVERGING[:1],
        quantity="rank correlation over layers of depth and growth of the variance since step 0 "
        "(last step at which it is finite), lr 3",
        measure=growth_with_depth,
        rule=greater(0, unit="", zone=Range(-0.2, 0.2)),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="batch_diverges_later",
        title="At a learning rate at which a VGG diverges BatchNorm goes on longer",
        says="BatchNorm allows larger learning rates, because it stops activations from exploding.",
        source="Bjorck et al. 2018, section 3.2",
        arms=DIVERGING,
        quantity="steps of training until it diverges or the run is over, lr 3, BatchNorm / "
        "standard",
        measure=times_longer,
        rule=greater(),
        seeds_from=SEEDS_FROM,
    ),
)
