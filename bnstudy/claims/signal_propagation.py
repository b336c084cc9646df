"""What is said of signals in deep networks with BatchNorm, and of large batches."""

from collections.abc import Sequence

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import greater, less, within
from bnstudy.measures.branches import branch_exponent
from bnstudy.measures.gradients import growth_per_layer
from bnstudy.measures.series import ratio
from bnstudy.measures.train import final_percent
from bnstudy.results import Run

DEPTH = 110


def growth_after_one_step(run: Run) -> float:
    """The growth of the gradient per layer at step 1 over that at step 0 [1]."""
    return ratio(growth_per_layer(run, 1), growth_per_layer(run))


# Batch sizes


def lr_of_large_batch(small: Run, large: Run) -> float:
    """The best learning rate of large batches over that of small ones [1]."""
    return large.lr / small.lr


def gain_difference(small: Run, small_batch: Run, large: Run, large_batch: Run) -> float:
    """How many points more BatchNorm gains with large batches than with small ones."""
    gains = [
        final_percent(batch) - final_percent(standard)
        for standard, batch in ((small, small_batch), (large, large_batch))
    ]
    return gains[1] - gains[0]


def gain_of_lr(runs: Sequence[Run]) -> float:
    """How many points the best learning rate is ahead of the smallest."""
    smallest = min(runs, key=lambda run: run.lr)
    return max(map(final_percent, runs)) - final_percent(smallest)


def of_batch(norm: str, size: int) -> Arm:
    """The VGG at one batch size, at every learning rate."""
    name = {"none": "the standard network", "batch": "BatchNorm"}[norm]
    return Arm(f"{name}, batch {size}", "batch_size", norm, None, (("batch_size", size),))


# With the batch size steps change, and how often is tested.
ALSO_BATCH = ("batch_size", "steps", "probe_every", "test_every", "protocol")
ALSO = ("model", "model.depth")
PLAIN = Arm(
    "the plain network with BatchNorm",
    *("signal_propagation", "batch", 0.1),
    (("model", "plain"), ("model.depth", DEPTH)),
)
RESNET = Arm(
    "the ResNet with BatchNorm",
    *("signal_propagation", "batch", 0.1),
    (("model", "resnet"), ("model.depth", DEPTH)),
)
SMALL, SMALL_BATCH = of_batch("none", 8), of_batch("batch", 8)
LARGE, LARGE_BATCH = of_batch("none", 512), of_batch("batch", 512)
TOPIC = "Signal propagation"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="growth_1.21",
        title="The gradient grows by the factor of mean field theory in plain BatchNorm networks",
        says="The gradient grows by at least π/(π − 1) = 1.21, squared 1.47, per ReLU layer.",
        source="Yang et al. 2019, abstract and section 4, of infinite width; here 4 to 16 channels",
        arms=(PLAIN,),
        quantity=f"growth of the norm of the weights' gradient per layer towards the input at step "
        f"0, plain network of {DEPTH} layers, mean over its stages",
        measure=growth_per_layer,
        rule=within(1.15, 1.27, unit="×", why="1.21, within 5 %"),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="growth_falls_at_once",
        title="After one step of training the gradient grows less from layer to layer",
        says="Gradient explosion is a property of the initial weights and is reduced at once.",
        source="Yang et al. 2019, section 5",
        arms=(PLAIN,),
        quantity="growth of the norm of the weights' gradient per layer at step 1 over that at "
        f"step 0, lr 0.1, plain network of {DEPTH} layers",
        measure=growth_after_one_step,
        rule=less(),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="branch_share",
        title="With BatchNorm branches of a ResNet are as 1 / depth beside their shortcuts",
        says="Normalised branches have variance 1, and the shortcut's grows with every block.",
        source="De & Smith 2020, section 2, of ResNets with the activation function first",
        arms=(RESNET,),
        quantity="exponent of the variance of the branch over that of the shortcut, by the number "
        f"of the block, first stage of a ResNet of {DEPTH} layers, at step 0",
        measure=branch_exponent,
        rule=within(-1.25, -0.75, why="−1, within a quarter"),
        also=ALSO,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="lr_with_batch",
        title="With BatchNorm the best learning rate is larger at large batches",
        says="Large learning rates help at large batches only.",
        source="De & Smith 2020, section 5; Smith et al. 2020",
        arms=(SMALL_BATCH, LARGE_BATCH),
        quantity="learning rate with the best mean test accuracy over the other seeds, 51,200 "
        "samples, batch 512 / batch 8",
        measure=lr_of_large_batch,
        rule=greater(),
        also=ALSO_BATCH,
        pick=final_percent,
        needs=Needs(samples=50_000),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="gain_with_batch",
        title="BatchNorm gains more at large batches than at small ones",
        says="What BatchNorm gains by large learning rates it gains at large batches.",
        source="De & Smith 2020, section 5",
        arms=(SMALL, SMALL_BATCH, LARGE, LARGE_BATCH),
        quantity="final test accuracy, BatchNorm − standard, each at the learning rate with the "
        "best mean over the other seeds, 51,200 samples: at batch 512 − at batch 8",
        measure=gain_difference,
        rule=greater(0, unit=" points"),
        also=ALSO_BATCH,
        pick=final_percent,
        needs=Needs(samples=50_000),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="small_lr_enough_at_small_batch",
        title="At batches of 8 a small learning rate is as good as any with BatchNorm",
        says="At small batches the best learning rate is below the largest stable one.",
        source="De & Smith 2020, section 5",
        arms=(SMALL_BATCH,),
        quantity="final test accuracy, best learning rate − smallest, batch 8",
        measure=gain_of_lr,
        rule=within(0, 5, unit=" points", why="no more than 5 points"),
        also=ALSO_BATCH,
        needs=Needs(samples=50_000),
        seeds_from=SEEDS_FROM,
    ),
)
