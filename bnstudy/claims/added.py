"""What this study adds to the paper's claims, from the same runs."""

import math

import numpy as np

from bnstudy.claims.judging import Claim
from bnstudy.claims.reductions import (
    BATCH,
    CONVOLUTIONS,
    DEPTH,
    LINEAR,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    SHIFT,
    STANDARD,
    at_first_step,
    final_loss,
    late,
    layer,
    median,
    ratio,
    upper,
)
from bnstudy.claims.rules import Range, Rule, as_large, at_least
from bnstudy.results import Run, Values, effective_beta


def first_shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| of layer 5 at step 0, BatchNorm over standard."""
    key = layer(standard, 5, CONVOLUTIONS, f"{SHIFT}/l2")
    return ratio(at_first_step(batch[key]), at_first_step(standard[key]))


def first_change_ratio(standard: Run, batch: Run) -> float:
    """The largest gradient change at step 0, BatchNorm over standard."""
    return ratio(at_first_step(upper(batch)), at_first_step(upper(standard)))


def first_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta at step 0, BatchNorm over standard."""
    return ratio(at_first_step(effective_beta(batch)), at_first_step(effective_beta(standard)))


def pinned_share(*runs: Run) -> float:
    """The share of the steps at which effective beta is 1 / eta_min within 5 %, the smaller."""
    shares = []
    for run in runs:
        smallest = run["landscape/step_size"][1].min()
        shares.append(float((np.abs(effective_beta(run)[1] * smallest - 1) <= 0.05).mean()))
    return min(shares)


def edge_of_stability(run: Run) -> float:
    """Effective beta over 2 / lr, the median from step 1000 on."""
    return median(late(effective_beta(run))) * run.lr / 2


def late_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta of BatchNorm over the standard network's, medians from step 1000 on."""
    return ratio(*(median(late(effective_beta(run))) for run in (batch, standard)))


def sign_share(run: Run) -> float:
    """The share of late steps of layers 9, 17 at which the cosine has the sign of 1 - 2 share."""
    agree = []
    for number in (9, 17):
        key = layer(run, number, DEPTH, f"{SHIFT}/cosine")
        share_below = late(run[key.replace("/cosine/", "/share_below/")])
        agree.append(np.sign(late(run[key])) == np.sign(1 - 2 * share_below))
    together = np.concatenate(agree)
    return float(together.mean()) if len(together) else math.nan


def log_losses(standard: Run, batch: Run) -> tuple[float, float]:
    """The logarithms of the two final losses."""
    return float(np.log10(final_loss(standard))), float(np.log10(final_loss(batch)))


def spread(logs: Values, axis: int) -> Values:
    """Standard deviation over seeds, root mean square of the arms, over their mean difference."""
    seeds = logs.shape[axis]
    if seeds < 2:
        return np.array(math.nan)
    deviation = np.sqrt(logs.var(axis=axis, ddof=1).mean(axis=-1))
    return deviation / np.abs(np.diff(logs.mean(axis=axis), axis=-1)[..., 0])


TOPIC = "Added by this study"
EDGE = Range(0.95, 1.05)
NEAR_EDGE = Range(0.8, 1.25)
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="first_shift",
        title="At step 0 BatchNorm has far more internal covariate shift",
        says="Not in the text; ‖G − G′‖ of layer 5 begins at 14.7, at 0.04 without BatchNorm.",
        source="figure 3a, read closely",
        arms=(STANDARD, BATCH),
        quantity="‖G − G′‖ of layer 5 at step 0, BatchNorm / standard",
        measure=first_shift_ratio,
        rule=as_large(14.7 / 0.0405),
    ),
    Claim(
        topic=TOPIC,
        name="first_change",
        title="At step 0 the gradient changes far more with BatchNorm",
        says="Not in the text; the gradient change begins at 145, at 2.4 without BatchNorm.",
        source="figure 4b, read closely",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change at step 0, BatchNorm / standard",
        measure=first_change_ratio,
        rule=as_large(145 / 2.4),
    ),
    Claim(
        topic=TOPIC,
        name="first_beta",
        title="At step 0 effective β is larger with BatchNorm",
        says="Not in the text; effective β begins at 25.3, at 11.5 without BatchNorm.",
        source="figure 4c, read closely",
        arms=(STANDARD, BATCH),
        quantity="effective β at step 0, BatchNorm / standard",
        measure=first_beta_ratio,
        rule=as_large(25.32 / 11.52),
    ),
    Claim(
        topic=TOPIC,
        name="pinned_beta",
        title="Effective β of VGG is pinned by the smallest step size of the probe",
        says="Not in the text; both curves lie at 20 = 1/η_min (= 2/lr) most of the time.",
        source="figure 4c, read closely",
        arms=(STANDARD, BATCH),
        quantity="share of the steps with effective β within 5 % of 1/η_min, the smaller of both",
        measure=pinned_share,
        rule=Rule(at_least(0.5), at_least(0.25), why="most of the time", paper=0.67),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"edge_{lr}",
            title=f"BatchNorm sits at its edge of stability 2/lr at lr {lr}",
            says=said,
            source=source,
            arms=(arm,),
            quantity="effective β / (2/lr), deep linear network, median from step 1000 on",
            measure=edge_of_stability,
            rule=Rule(
                EDGE, NEAR_EDGE, why="2/lr, within 5 %", paper=paper, scales=("small", "paper")
            ),
        )
        for lr, arm, said, source, paper in (
            (
                "1e-6",
                LINEAR_BATCH,
                "Not in the text; 2.01e6 all along.",
                "figure 10c, read closely",
                1.006,
            ),
            (
                "1e-7",
                LINEAR_BATCH_LOW,
                "The paper shows no landscape at lr 1e-7.",
                "not shown",
                None,
            ),
        )
    ),
    Claim(
        topic=TOPIC,
        name="less_smooth_1e-7",
        title="At lr 1e-7 the deep linear network is less smooth with BatchNorm",
        says="The paper shows no landscape at lr 1e-7. A pilot study found a factor of about 1000.",
        source="not shown",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="effective β, median from step 1000 on, BatchNorm / standard",
        measure=late_beta_ratio,
        rule=Rule(
            at_least(math.sqrt(1000)),
            at_least(1),
            why="half of the pilot's effect",
            unit="×",
            scales=("small", "paper"),
        ),
    ),
    Claim(
        topic=TOPIC,
        name="sign_of_cosine",
        title="At the edge of stability the shift follows from the share of the gradient below",
        says="Not in the paper: there G′ = (1 − 2f) G, f the preceding layers' share of ‖g‖².",
        source="figure 3b, explained",
        arms=(LINEAR_BATCH,),
        quantity="share of late steps (layers 9, 17) at which cos(G, G′) has the sign of 1 − 2f",
        measure=sign_share,
        rule=Rule(at_least(0.9), at_least(0.75), why="nine in ten", scales=("small", "paper")),
    ),
    Claim(
        topic=TOPIC,
        name="loss_is_seed",
        title="How far the deep linear network trains is as much a matter of seed as of norm",
        says="The paper shows one run of each; the plateaus are saddles of low rank.",
        source="figures 3b, 5b, read closely",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="standard deviation of log final loss over seeds / difference of the arms",
        measure=log_losses,
        rule=Rule(at_least(1), at_least(1 / 2), why="as large as the difference", unit="×"),
        over_seeds=spread,
    ),
)
