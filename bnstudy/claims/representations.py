"""What is said of representations: networks collapse samples with depth, BatchNorm keeps them."""

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import Range, greater, less
from bnstudy.measures.representations import COSINE, deep_mean, gap_growth, rank_left
from bnstudy.measures.series import ratio
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run


def rank_kept(standard: Run, other: Run) -> float:
    """How many times as much of the effective rank the second keeps."""
    return ratio(rank_left(other), rank_left(standard))


def cosine_difference(standard: Run, other: Run) -> float:
    """By how much the mean cosine deep in the network is lower in the second [1]."""
    return deep_mean(standard, COSINE) - deep_mean(other, COSINE)


def trained_ahead(standard: Run, other: Run) -> float:
    """Points of training accuracy that the second is ahead at the end."""
    return training_accuracy(other, share=0.1) - training_accuracy(standard, share=0.1)


def representations_arm(norm: str, init: str) -> Arm:
    """The MLP with a norm and an init."""
    names = {"none": "the standard MLP", "batch": "the MLP with BatchNorm"}
    more = "" if init == "kaiming" else ", orthogonal init"
    return Arm(names[norm] + more, "representations", norm, 0.01, (("init", init),))


STANDARD, BATCH = representations_arm("none", "kaiming"), representations_arm("batch", "kaiming")
ORTHOGONAL = representations_arm("none", "orthogonal_relu")
DEEP = "last quarter of the hidden layers, before the activation function, at step 0"
TOPIC = "Representations"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="rank_collapses",
        title="Without BatchNorm the rank of representations collapses with depth",
        says="The rank of the representations of a randomly initialised network falls with depth.",
        source="Daneshmand et al. 2020, section 3",
        arms=(STANDARD,),
        quantity=f"effective rank, {DEEP}, over that of the first layer",
        measure=rank_left,
        rule=less(),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="batch_keeps_rank",
        title="BatchNorm keeps the rank of representations",
        says="“Batch normalization provably avoids rank collapse”.",
        source="Daneshmand et al. 2020, title and theorem 2",
        arms=(STANDARD, BATCH),
        quantity=f"effective rank, {DEEP}, over that of the first layer, BatchNorm / standard",
        measure=rank_kept,
        rule=greater(),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="batch_orthogonalises",
        title="With BatchNorm representations become more orthogonal with depth",
        says="BatchNorm and random linear maps “make hidden representations increasingly "
        "orthogonal across layers”; proved without activation functions.",
        source="Daneshmand et al. 2021, abstract",
        arms=(BATCH,),
        quantity=f"orthogonality gap, {DEEP}, over that of the first layer",
        measure=gap_growth,
        rule=less(),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="orthogonal_init_keeps_rank",
        title="An orthogonal init keeps a part of the rank without BatchNorm",
        says="Orthogonal weights keep angles, but for the activation functions.",
        source="Saxe et al. 2014; Meterez et al. 2024, of both",
        arms=(STANDARD, ORTHOGONAL),
        quantity=f"effective rank, {DEEP}, over that of the first layer, orthogonal / Kaiming init",
        measure=rank_kept,
        rule=greater(),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="batch_lowers_cosine",
        title="Deep in the network samples are less alike with BatchNorm",
        says="Without it all samples become one direction.",
        source="Daneshmand et al. 2020, section 3",
        arms=(STANDARD, BATCH),
        quantity=f"mean cosine of two samples, {DEEP}, standard − BatchNorm",
        measure=cosine_difference,
        rule=greater(0, unit="", zone=Range(-0.05, 0.05)),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="orthogonal_init_accelerates",
        title="An orthogonal init trains faster than a usual one without BatchNorm",
        says="“Starting from orthogonal representations is sufficient to accelerate SGD, with no "
        "need for BN”; their init looks at the data, ours does not.",
        source="Daneshmand et al. 2021, abstract",
        arms=(STANDARD, ORTHOGONAL),
        quantity="training accuracy over the last tenth, orthogonal − Kaiming init, lr 0.01",
        measure=trained_ahead,
        rule=greater(0, unit=" points"),
        also=("init",),
        seeds_from=SEEDS_FROM,
    ),
)
