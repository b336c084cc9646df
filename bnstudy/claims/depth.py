"""What is said of depth: BatchNorm makes deep networks trainable, and shortcuts do the rest."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.comparisons import LEVELS
from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.rules import Range, at_most, greater, within
from bnstudy.measures.gradients import growth_per_layer
from bnstudy.measures.series import geometric_mean, ratio
from bnstudy.measures.train import final_percent, steps_to_batch_level, training_accuracy
from bnstudy.results import Run

LOWER_LEVELS = (*LEVELS, 0.35, 0.2)  # these runs are short


def depths(*blocks: Sequence[Run]) -> list[int]:
    """The depths that every block has, the shallowest first."""
    return sorted(set.intersection(*({run.option("model.depth") for run in b} for b in blocks)))


def of_depth(runs: Sequence[Run], depth: int) -> list[Run]:
    """The runs of one depth."""
    return [run for run in runs if run.option("model.depth") == depth]


def trained(runs: Sequence[Run], depth: int) -> float:
    """Training accuracy over the last tenth [percent], learning rate with the best test accuracy.

    The learning rate is picked by another number than the one that is reported.
    """
    return training_accuracy(max(of_depth(runs, depth), key=final_percent), share=0.1)


def deepest_difference(under: Sequence[Run], over: Sequence[Run]) -> float:
    """Points that the second is ahead at the largest depth that both have."""
    shared = depths(under, over)
    return trained(over, shared[-1]) - trained(under, shared[-1]) if shared else math.nan


def degradation(runs: Sequence[Run]) -> float:
    """Points that the shallowest network is ahead of the deepest; NaN where there is one depth."""
    found = depths(runs)
    return trained(runs, found[0]) - trained(runs, found[-1]) if len(found) > 1 else math.nan


def compared(standard: Sequence[Run], batch: Sequence[Run]) -> dict[int, list[float]]:
    """By depth the steps that either needs to the highest of LOWER_LEVELS that both reach.

    Each with its faster learning rate. Infinite for who never reaches the lowest.
    """
    found = {}
    for depth in depths(standard, batch):
        arms = [of_depth(runs, depth) for runs in (standard, batch)]
        levels = (
            level for level in LOWER_LEVELS if max(fewest_steps(a, level) for a in arms) < np.inf
        )
        level = next(levels, LOWER_LEVELS[-1])
        found[depth] = [fewest_steps(arm, level) for arm in arms]
    return found


def times_faster_where_both_train(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """The steps that the standard network needs over BatchNorm's [1]: geometric mean over depths.

    Of the depths at which both reach the lowest of LOWER_LEVELS; NaN if there is none. Elsewhere
    the ratio would be set by the length of the run.
    """
    steps = compared(standard, batch).values()
    return geometric_mean([ratio(*own) for own in steps if max(own) < math.inf])


def depths_in_words(standard: Sequence[Run], batch: Sequence[Run]) -> str:
    """At how many depths only one of the networks gets anywhere, as a note."""
    steps = compared(standard, batch).values()
    alone = [sum(own[i] < math.inf == own[1 - i] for own in steps) for i in (0, 1)]
    return (
        f"Not compared: {alone[1]} depths at which only BatchNorm reaches 20 %, {alone[0]} at "
        "which only the standard network does."
    )


def fewest_steps(runs: Sequence[Run], level: float) -> float:
    """The fewest steps to a level."""
    return min(steps_to_batch_level(run, level) for run in runs)


def growth_in_deepest(runs: Sequence[Run]) -> float:
    """`growth_per_layer` of the deepest network [1]; the learning rate plays no part in it yet."""
    return growth_per_layer(of_depth(runs, depths(runs)[-1])[0])


def block(
    name: str, experiment: str, model: str, norm: str = "none", init: str | None = "kaiming"
) -> Arm:
    """The runs of one network at all depths and learning rates."""
    return Arm(name, experiment, norm, None, (("model", model), ("init", init)))


ALSO = ("model", "model.depth", "init")
# Before a norm a bias does nothing; remedies need it.
ALSO_BIAS = (*ALSO, "model.bias")
NETWORKS = {
    network: (
        block(f"the standard {network}", experiment, model),
        block(f"the {network} with BatchNorm", experiment, model, "batch"),
    )
    for network, model, experiment in (
        ("VGG", "vgg", "depth_vgg"),
        ("ResNet", "resnet", "depth_resnet"),
        ("plain network", "plain", "depth_resnet"),
    )
}
PLAIN, PLAIN_BATCH = NETWORKS["plain network"]
RESNET_BATCH = NETWORKS["ResNet"][1]
SKIPINIT = block("the ResNet with SkipInit", "depth_remedies", "resnet", init="skipinit")
FIXUP = block("the ResNet with Fixup", "depth_remedies", "resnet", init="fixup")
ZERO_GAMMA = block(
    "the ResNet with γ = 0", "depth_zero_gamma", "resnet", norm="batch", init="zero_gamma"
)

TEN_EPOCHS = Needs(samples=500_000)  # of CIFAR-10
NO_GROWTH = Range(1 / 1.02, 1.02)
GROWTH = (
    "growth of the norm of the weights' gradient per layer towards the input at step 0, deepest "
    "plain network, mean over its stages"
)
TOPIC = "Depth"
SHALLOWEST_LESS_DEEPEST = (
    "training accuracy over the last tenth, learning rate with the better test accuracy, "
    "shallowest − deepest network"
)
AT_THE_END = (
    "training accuracy over the last tenth at the largest depth, learning rate with the better "
    "test accuracy"
)
SAID = {
    "VGG": (
        "Norms “are widely believed to stabilize training, enable higher learning rate, accelerate "
        "convergence and improve generalization”.",
        "said of all deep networks, as Zhang et al. 2019 (Fixup), abstract",
    ),
    "ResNet": (
        "BatchNorm makes very deep ResNets trainable: it scales the residual branches down.",
        "De & Smith 2020 (SkipInit)",
    ),
    "plain network": (
        "BatchNorm in plain networks keeps signals and gradients from vanishing.",
        "He et al. 2015 (ResNet), section 4.1",
    ),
}
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"deepest_{arms[0].options[0][1]}",
            title=f"BatchNorm makes the deepest {network} trainable",
            says=SAID[network][0],
            source=SAID[network][1],
            arms=arms,
            quantity=f"{AT_THE_END}, BatchNorm − standard",
            measure=deepest_difference,
            rule=greater(0, unit=" points"),
            also=ALSO,
            needs=TEN_EPOCHS,
        )
        for network, arms in NETWORKS.items()
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"faster_at_all_depths_{arms[0].options[0][1]}",
            title=f"Where both train, the {network} trains faster with BatchNorm",
            says="BatchNorm speeds up training: “14 times fewer training steps” for Inception.",
            source="Ioffe & Szegedy 2015, abstract",
            arms=arms,
            quantity="steps to the highest of 90, 70, 50, 35 and 20 % training accuracy that both "
            "reach at a depth, faster learning rate each, geometric mean over the depths at which "
            "both reach 20 %: standard / BatchNorm",
            measure=times_faster_where_both_train,
            rule=greater(),
            detail=depths_in_words,
            also=ALSO,
        )
        for network, arms in NETWORKS.items()
    ),
    Claim(
        topic=TOPIC,
        name="plain_degrades",
        title="Plain networks get worse with depth even with BatchNorm",
        says="Degradation: a plain network of 56 layers has a higher training error than of 20.",
        source="He et al. 2015 (ResNet), figures 1 and 6",
        arms=(PLAIN_BATCH,),
        quantity=SHALLOWEST_LESS_DEEPEST,
        measure=degradation,
        rule=greater(0, unit=" points"),
        also=ALSO,
        needs=TEN_EPOCHS,
    ),
    Claim(
        topic=TOPIC,
        name="resnet_does_not_degrade",
        title="ResNets with BatchNorm do not get worse with depth",
        says="With shortcuts the deeper network has the lower training error.",
        source="He et al. 2015 (ResNet), figure 6",
        arms=(RESNET_BATCH,),
        quantity=SHALLOWEST_LESS_DEEPEST,
        measure=degradation,
        rule=at_most(1, unit=" points", why="no more than a point"),
        also=ALSO,
        needs=TEN_EPOCHS,
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"{init}_replaces_batch",
            title=f"With {name} the deepest ResNet trains as well without BatchNorm",
            says=says,
            source=source,
            arms=(arm, RESNET_BATCH),
            quantity=f"{AT_THE_END}, BatchNorm − {name}",
            measure=deepest_difference,
            rule=at_most(5, unit=" points", why="no 5 points behind"),
            also=ALSO_BIAS,
            needs=TEN_EPOCHS,
        )
        for init, name, arm, says, source in (
            (
                "skipinit",
                "SkipInit",
                SKIPINIT,
                "Such a scheme “can train deep residual networks without normalization”.",
                "De & Smith 2020 (SkipInit), abstract",
            ),
            (
                "fixup",
                "Fixup",
                FIXUP,
                "Fixup is “as stable as training with normalization”, at any depth.",
                "Zhang et al. 2019 (Fixup), abstract",
            ),
        )
    ),
    Claim(
        topic=TOPIC,
        name="zero_gamma_helps",
        title="The deepest ResNet trains better if the last γ of every branch begins at zero",
        says="γ = 0 eases optimization at the start of training and improves all models.",
        source="Goyal et al. 2017, section 5.1",
        arms=(RESNET_BATCH, ZERO_GAMMA),
        quantity=f"{AT_THE_END}, γ = 0 − γ = 1",
        measure=deepest_difference,
        rule=greater(0, unit=" points"),
        also=ALSO,
        needs=TEN_EPOCHS,
    ),
    Claim(
        topic=TOPIC,
        name="batch_explodes",
        title="BatchNorm makes gradients explode in deep plain networks at the start",
        says="The gradient grows by about 1.21 per layer towards the input, and so with depth.",
        source="Yang et al. 2019 (mean field theory of BatchNorm); not in Santurkar et al. 2018",
        arms=(PLAIN_BATCH,),
        quantity=GROWTH,
        measure=growth_in_deepest,
        rule=greater(zone=NO_GROWTH),
        also=ALSO,
    ),
    Claim(
        topic=TOPIC,
        name="kaiming_keeps_gradients",
        title="Kaiming's init alone keeps gradients from growing in deep plain networks",
        says="With the right variance of the weights gradients neither explode nor vanish.",
        source="He et al. 2015 (rectifiers), section 2.2",
        arms=(PLAIN,),
        quantity=GROWTH,
        measure=growth_in_deepest,
        rule=within(1 / 1.02, 1.02, unit="×", why="a fiftieth a layer"),
        also=ALSO,
    ),
)
