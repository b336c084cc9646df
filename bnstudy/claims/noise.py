"""What the paper says of stable distributions of activations, and of noise."""

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import (
    BATCH,
    CONVOLUTIONS,
    STANDARD,
    TO_LEVEL,
    layer,
    level_in_words,
    mean,
    ratio,
    times_faster,
    times_slower,
    training_gain,
)
from bnstudy.claims.rules import SIMILAR, Range, Rule, as_large, at_most, comparable_to
from bnstudy.results import Run

NOISY = Arm("noisy BatchNorm", "vgg_noise", "noisy_batch", 0.1)
NOISE = Arm("noise without norm", "vgg_noise", "noise", 0.1)
MOMENT_LAYERS = (2, 9, 13)


def mean_change(run: Run) -> float:
    """|mean(t + 1) - mean(t)| of a unit, averaged over steps, units and layers #2, #9, #13."""
    changes = []
    for number in MOMENT_LAYERS:
        key = layer(run, number, CONVOLUTIONS, "moments/mean")
        now, then = run[key][1], run[key.replace("moments/", "moments/next_", 1)][1]
        changes.append(mean(np.abs(then - now)))
    return float(np.mean(changes))


def mean_change_ratio(over: Run, *under: Run) -> float:
    """How much more the means move than in the one of `under` in which they move most."""
    return ratio(mean_change(over), max(mean_change(run) for run in under))


TOPIC = "Stable distributions and noise"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="marginal_stability",
        title="BatchNorm hardly stabilizes the distributions of activations",
        says="The difference in distributional stability with and without it is “marginal”.",
        source="section 2, figure 1c; numbers of figure 8a",
        arms=(STANDARD, BATCH),
        quantity="change of a unit's mean in a step (layers 2, 9, 13), standard / BatchNorm",
        measure=mean_change_ratio,
        rule=Rule(
            Range(1 / 1.25, 1.25),
            Range(1 / 2, 2),
            why=SIMILAR,
            paper=(0.039 + 0.079 + 0.018) / (0.002 + 0.001),
            unit="×",
        ),
    ),
    Claim(
        topic=TOPIC,
        name="noisy_faster",
        title="Noisy BatchNorm still trains faster than the standard network",
        says="90 % training accuracy after 2400 steps, 3300 for the standard network.",
        source="section 2.1, figure 2",
        arms=(STANDARD, NOISY),
        quantity=f"{TO_LEVEL}: standard / noisy BatchNorm",
        measure=times_faster,
        rule=as_large(3300 / 2400),
        detail=level_in_words,
    ),
    Claim(
        topic=TOPIC,
        name="noisy_like_batch",
        title="Noisy BatchNorm trains about as fast as BatchNorm",
        says="Nearly no difference in training (90 % accuracy after 2400 and 1600 steps).",
        source="section 2.1, figure 2",
        arms=(BATCH, NOISY),
        quantity=f"{TO_LEVEL}: noisy BatchNorm / BatchNorm",
        measure=times_slower,
        rule=comparable_to(2400 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=TOPIC,
        name="noise_alone",
        title="The same noise keeps the standard network from training",
        says="It “prevents it from training entirely”.",
        source="section 2.1",
        arms=(NOISE,),
        quantity="training accuracy of the last tenth above that of the untrained network",
        measure=training_gain,
        rule=Rule(at_most(5), at_most(35), unit=" points"),
    ),
    Claim(
        topic=TOPIC,
        name="noise_third",
        title="The noise moves a unit's mean by 1/3 in a step",
        says="0.33, 0.30 and 0.37 in layers 2, 9 and 13: two draws of U(−½, ½) differ by 1/3.",
        source="appendix B, figure 8a",
        arms=(NOISY,),
        quantity="change of a unit's mean in a step, noisy BatchNorm",
        measure=mean_change,
        rule=Rule(
            Range(0.9 / 3, 1.1 / 3),
            Range(0.75 / 3, 1.25 / 3),
            why="1/3, within a tenth",
            paper=(0.33 + 0.30 + 0.37) / 3,
        ),
    ),
    Claim(
        topic=TOPIC,
        name="noise_moves_more",
        title="With the noise the activations are less stable than without any norm",
        says="The means move by 0.33 in a step, by 0.05 in the standard network.",
        source="section 2.1, appendix B, figure 8a",
        arms=(NOISY, STANDARD, BATCH),
        quantity="change of a unit's mean in a step, noisy BatchNorm / the larger of the others",
        measure=mean_change_ratio,
        rule=as_large((0.33 + 0.30 + 0.37) / (0.039 + 0.079 + 0.018)),
    ),
)
