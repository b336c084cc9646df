"""What is said of other norms: anything that smooths the landscape helps alike."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.rules import at_least, at_most
from bnstudy.measures.landscape import roughness
from bnstudy.measures.series import spearman
from bnstudy.measures.train import final_percent, training_accuracy
from bnstudy.results import Run


def share_of_gain(standard: Run, batch: Run, other: Run) -> float:
    """The share of BatchNorm's gain in final training accuracy that another norm has too [1].

    NaN where BatchNorm gains less than a point.
    """
    without, batched, own = (training_accuracy(run, share=0.1) for run in (standard, batch, other))
    gain = batched - without
    return (own - without) / gain if gain >= 1 else math.nan


def smooth_and_accurate(runs: Sequence[Run]) -> float:
    """Spearman's correlation over norms of training accuracy and relative gradient change [1].

    The network without a norm does not count. A run that diverged ranks as the roughest. NaN for
    fewer than four norms.
    """
    points = [
        (training_accuracy(run, share=0.1), roughness(run)) for run in runs if run.norm != "none"
    ]
    known = np.array([point for point in points if not np.isnan(point).any()])
    return spearman(*known.T) if len(known) >= 4 else math.nan


STANDARD = Arm("the standard network", "norms", "none", None)
BATCH = Arm("BatchNorm", "norms", "batch", None)
ALL = Arm("all norms", "norms", None, 0.1)
OTHERS = {  # option of the norm: its name, and who proposed it
    "layer": ("layer normalization", "Ba et al. 2016"),
    "group": ("group normalization", "Wu & He 2018"),
    "instance": ("instance normalization", "Ulyanov et al. 2016"),
    "position": ("layer normalization of each position", "Ba et al. 2016"),
    "rms": ("RMS normalization", "Zhang & Sennrich 2019"),
    "dyt": ("the dynamic tanh", "Zhu et al. 2025"),
    "weight": ("weight normalization", "Salimans & Kingma 2016"),
    "weight_standardized": ("weight standardization", "Qiao et al. 2019"),
    "l1": ("the L1 norm", "that section"),
    "l2": ("the L2 norm", "that section"),
    "linf": ("the L∞ norm", "that section"),
}

TOPIC = "Other norms"
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"{norm}_helps_alike",
            title=f"{name[0].upper()}{name[1:]} helps as BatchNorm does, each at its best lr",
            says="Anything that smooths the landscape helps alike.",
            source=f"said after Santurkar et al. 2018, section 3.3; norm of {source}",
            arms=(STANDARD, BATCH, Arm(name, "norms", norm, None)),
            quantity="training accuracy over the last tenth above the standard network's, share of "
            "what BatchNorm gains, each at the learning rate with the best mean test accuracy over "
            "the other seeds",
            measure=share_of_gain,
            rule=at_least(0.75, why="within a quarter, or more"),
            pick=final_percent,
            needs=Needs(steps=1500),
        )
        for norm, (name, source) in OTHERS.items()
    ),
    Claim(
        topic=TOPIC,
        name="smooth_is_accurate",
        title="The smoother the landscape under a norm, the better it trains",
        says="The impact of BatchNorm is its smoothing, which other norms share.",
        source="Santurkar et al. 2018, section 3.3; no correlation there",
        arms=(ALL,),
        quantity="rank correlation over norms, the network without one left out, of training "
        "accuracy (last tenth) and relative change of the gradient at η = lr (median over steps)",
        measure=smooth_and_accurate,
        rule=at_most(-0.7, why="which nine norms reach by chance once in forty times"),
        needs=Needs(steps=1500),
    ),
)
