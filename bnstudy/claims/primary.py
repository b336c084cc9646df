"""The primary claims: named, with their rules, before the runs that judge them were made."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bnstudy.claims.comparisons import (
    BATCH,
    BATCH_HIGH,
    LINEAR_BATCH,
    LINEAR_BATCH_LOW,
    LINEAR_LOW,
    STANDARD,
    TO_LEVEL,
    level_in_words,
    narrower_loss_range,
    smaller_beta,
    smaller_change,
    times_faster,
    times_slower,
)
from bnstudy.claims.judging import Arm, Claim, Control, Needs
from bnstudy.claims.rules import SIMILAR, Range, at_least, at_most, greater, in_words, within
from bnstudy.measures.drift import drift, drift_layers
from bnstudy.measures.grids import matched
from bnstudy.measures.internal_covariate_shift import cosine_of, shift_of, typical_cosine
from bnstudy.measures.landscape import beta_at_edge, effective_beta, own_change
from bnstudy.measures.series import (
    FEWEST,
    at_first_step,
    first_third,
    geometric_mean,
    median,
    median_ratio,
    ratio,
)
from bnstudy.measures.train import above_chance, progress, trains
from bnstudy.results import Run

TRAINED = 5  # points of test accuracy above chance
LINEAR_STEPS = 5000
SEEDS_FROM = 10  # those below were looked at before the rules were written
NOISY = Arm("noisy BatchNorm", "vgg_noise", "noisy_batch", 0.1)
NOISE = Arm("noise without norm", "vgg_noise", "noise", 0.1)
LP = (
    Arm("L1 norm", "vgg_lp", "l1", 0.1),
    Arm("L2 norm", "vgg_lp", "l2", 0.1),
    Arm("L∞ norm", "vgg_lp", "linf", 0.1),
)
TOLERANCE = (
    Arm("the standard network", "tolerance_vgg", "none", None),
    Arm("BatchNorm", "tolerance_vgg", "batch", None),
)
FIRST = (
    Arm("the standard network", "step0", "none", 0.1),
    Arm("BatchNorm", "step0", "batch", 0.1),
)


def picked_in_words(standard: Run, batch: Run) -> str:
    """Which learning rate and init each arm was compared at, as a note."""
    cells = [
        f"{run.norm} at lr {in_words(run.lr)}, {run.option('init')}" for run in (standard, batch)
    ]
    return f"Seed {batch.seed}: {'; '.join(cells)}. {level_in_words(standard, batch)}"


def noise_control(standard: Run, noise: Run) -> bool:
    """Whether the standard network trains without the noise."""
    return trains(standard)


def gain_with_noise(standard: Run, noise: Run) -> float:
    """Points of test accuracy above chance at the end, with noise and no norm."""
    return above_chance(noise)


# Internal covariate shift


def relative_shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| / ||G||, BatchNorm / standard [1]: geometric mean of layers 5 and 10.

    Medians over the probed steps of the first third that both have; NaN for fewer than FEWEST.
    """
    ratios = []
    for number in (5, 10):
        ours, theirs = (first_third(run, shift_of(run, number)) for run in (batch, standard))
        ratios.append(median_ratio((batch, ours), (standard, theirs)))
    return geometric_mean(ratios)


def shift_cosine_difference(standard: Run, batch: Run) -> float:
    """The cosine of G and G', BatchNorm - standard [1]: mean of layers 5 and 10.

    Medians over the probed steps of the first third that both recorded; NaN for fewer than FEWEST.
    """
    differences = []
    for number in (5, 10):
        ours, theirs = (first_third(run, cosine_of(run, number)) for run in (batch, standard))
        _, i, j = np.intersect1d(ours[0], theirs[0], return_indices=True)
        known = len(i) >= FEWEST
        differences.append(median(ours[1][i]) - median(theirs[1][j]) if known else math.nan)
    return float(np.mean(differences))


# Step 0


def first_shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| / ||G|| at step 0, BatchNorm / standard [1]: geometric mean of layers 5, 10."""
    ratios = [
        ratio(*(at_first_step(shift_of(run, number)) for run in (batch, standard)))
        for number in (5, 10)
    ]
    return geometric_mean(ratios)


def first_change_ratio(standard: Run, batch: Run) -> float:
    """||grad L(theta - lr g) - g|| / ||g|| at step 0, BatchNorm / standard [1]."""
    return ratio(*(at_first_step(own_change(run)) for run in (batch, standard)))


def first_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta at step 0, BatchNorm / standard [1]."""
    return ratio(*(at_first_step(effective_beta(run)) for run in (batch, standard)))


def full_width(*runs: Run) -> bool:
    """Whether the networks have the paper's width."""
    return all(run.option("model.width") == 1 for run in runs)


# The deep linear network


def linear_cosine_difference(standard: Run, batch: Run) -> float:
    """By how much the typical cosine is lower with BatchNorm [1]."""
    return typical_cosine(standard) - typical_cosine(batch)


# Drift


def drift_ratio(standard: Run, batch: Run, place: str = "norm_input_same") -> float:
    """The drift without a norm over the drift with BatchNorm [1]: geometric mean over layers.

    Of each layer medians over the steps that both have.
    """
    pairs = [
        [(r, drift(r, place, name)) for r in (standard, batch)]
        for name in drift_layers(batch, place)
    ]
    return geometric_mean([median_ratio(*pair) for pair in pairs])


# Tolerance


def percent_that_train(runs: Sequence[Run]) -> float:
    """The runs that finish 5 points or more above chance [percent]; NaN of none."""
    return 100 * sum(map(trains, runs)) / len(runs) if runs else math.nan


def share_difference(standard: Sequence[Run], batch: Sequence[Run]) -> float:
    """How much more of the grid trains with BatchNorm [points]."""
    blocks = matched(standard, batch, by=("optimizer.lr", "init"))
    shares = [percent_that_train(runs) for runs in blocks]
    return shares[1] - shares[0]


AT_MATCHED_LOSS = (
    "at the same training loss (bins of a quarter of its natural logarithm, geometric mean over "
    "the bins that both visit)"
)
FIRST_THIRD = "median over the first third of training, geometric mean of layers 5 and 10"
AT_FIRST = "at step 0"
FULL_WIDTH = Control("the network has the paper's full width", full_width)
TOPIC = "Primary claims"


NUMBERED = (
    Claim(
        topic=TOPIC,
        name="faster_training",
        title="1. BatchNorm trains faster at the same learning rate",
        says="VGG at lr 0.1 reaches 90 % training accuracy after 1600 steps, 3300 without it.",
        source="section 2, figure 1a",
        arms=(STANDARD, BATCH),
        quantity=f"{TO_LEVEL}: standard / BatchNorm",
        measure=times_faster,
        rule=greater(paper=3300 / 1600),
        detail=level_in_words,
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="faster_at_best",
        title="2. BatchNorm trains faster with the best learning rate and init of each arm",
        says="The paper searched the learning rate of the networks; it shows one of them.",
        source="appendix A.1; not measured there",
        arms=TOLERANCE,
        quantity=f"{TO_LEVEL}, learning rate and init with the highest mean accuracy on the "
        "training subset over all tests of the other seeds: standard / BatchNorm",
        measure=times_faster,
        rule=greater(),
        detail=picked_in_words,
        also=("init",),
        pick=progress,
        needs=Needs(steps=4000),
    ),
    Claim(
        topic=TOPIC,
        name="high_lr_batch",
        title="3. BatchNorm trains at lr 0.5",
        says="VGG with BatchNorm at lr 0.5 reaches 80.2 % test accuracy, from 10 %.",
        source="figure 1b",
        arms=(BATCH_HIGH,),
        quantity="test accuracy above chance at the end (none if it diverges)",
        measure=above_chance,
        rule=at_least(TRAINED, unit=" points", paper=70.2, why="so much counts as training"),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="noisy_faster",
        title="4. Noise after BatchNorm does not undo its speed",
        says="90 % training accuracy after 2400 steps, 3300 for the standard network.",
        source="section 2.1, figure 2",
        arms=(STANDARD, NOISY),
        quantity=f"{TO_LEVEL}: standard / noisy BatchNorm",
        measure=times_faster,
        rule=greater(paper=3300 / 2400),
        detail=level_in_words,
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="noise_alone",
        title="4b. The same noise keeps the standard network from training",
        says="It “prevents it from training entirely”.",
        source="section 2.1",
        arms=(STANDARD, NOISE),
        quantity="test accuracy above chance at the end, noise without norm (none if it diverges)",
        measure=gain_with_noise,
        rule=at_most(TRAINED, unit=" points", why="more counts as training"),
        control=Control("the standard network trains without the noise", noise_control),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="shift_relative",
        title="5a. BatchNorm does not reduce internal covariate shift, relative to the gradient",
        says="“Similar, or even worse, internal covariate shift” with BatchNorm.",
        source="section 2.2, figure 3a; not relative to the gradient there",
        arms=(STANDARD, BATCH),
        quantity=f"‖G − G′‖ / ‖G‖, {FIRST_THIRD}, BatchNorm / standard",
        measure=relative_shift_ratio,
        rule=at_least(1 / 1.25, unit="×", why=f"{SIMILAR}, or larger"),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="shift_cosine",
        title="5b. BatchNorm does not align G and G′",
        says="“Similar, or even worse, internal covariate shift” with BatchNorm.",
        source="section 2.2, figure 3a",
        arms=(STANDARD, BATCH),
        quantity="cosine of G and G′, median over the first third of training, mean of layers 5 "
        "and 10, BatchNorm − standard",
        measure=shift_cosine_difference,
        rule=at_most(
            0.1, paper=(0.660 - 0.650 + 0.096 - 0.188) / 2, why="no more than a tenth above"
        ),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="loss_range",
        title="6a. The loss along the gradient varies less with BatchNorm",
        says="The highest loss is 1.67 times the lowest without BatchNorm, 1.17 times with it; "
        "that loss has a weight penalty in it.",
        source="section 3.2, figure 4a; not at the same loss there",
        arms=(STANDARD, BATCH),
        quantity=f"highest − lowest loss over the step sizes, {AT_MATCHED_LOSS}, standard / "
        "BatchNorm",
        measure=narrower_loss_range,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="gradient_change",
        title="6b. The gradient changes less along the gradient with BatchNorm",
        says="The largest change is 47 without BatchNorm, 22 with it (median over steps).",
        source="section 3.2, figure 4b; neither relative nor at the same loss there",
        arms=(STANDARD, BATCH),
        quantity=f"largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η, {AT_MATCHED_LOSS}, "
        "standard / BatchNorm",
        measure=smaller_change,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="effective_beta",
        title="6c. Effective β is smaller with BatchNorm",
        says="“Consistent differences” in effective β.",
        source="section 3.2, figure 4c; not at the same loss there",
        arms=(STANDARD, BATCH),
        quantity=f"effective β, {AT_MATCHED_LOSS}, standard / BatchNorm",
        measure=smaller_beta,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="first_change",
        title="7a. At step 0 the gradient changes more with BatchNorm",
        says="Not in the text; the gradient change begins at 145, at 2.4 without BatchNorm.",
        source="figure 4b, read closely; not relative to the gradient there",
        arms=FIRST,
        quantity=f"‖∇L(θ − lr g) − g‖ / ‖g‖ {AT_FIRST}, BatchNorm / standard",
        measure=first_change_ratio,
        rule=greater(),
        control=FULL_WIDTH,
    ),
    Claim(
        topic=TOPIC,
        name="first_beta",
        title="7b. At step 0 effective β is larger with BatchNorm",
        says="Not in the text; effective β begins at 25.3, at 11.5 without BatchNorm.",
        source="figure 4c, read closely",
        arms=FIRST,
        quantity=f"effective β {AT_FIRST}, BatchNorm / standard",
        measure=first_beta_ratio,
        rule=greater(paper=25.32 / 11.52),
        control=FULL_WIDTH,
    ),
    Claim(
        topic=TOPIC,
        name="first_shift",
        title="7c. At step 0 BatchNorm has more internal covariate shift",
        says="Not in the text; ‖G − G′‖ of layer 5 begins at 14.7, at 0.04 without BatchNorm.",
        source="figure 3a, read closely; not relative to the gradient there",
        arms=FIRST,
        quantity=f"‖G − G′‖ / ‖G‖ {AT_FIRST}, geometric mean of layers 5 and 10, BatchNorm / "
        "standard",
        measure=first_shift_ratio,
        rule=greater(),
        control=FULL_WIDTH,
    ),
    Claim(
        topic=TOPIC,
        name="lp_like_batch",
        title="8. VGG trains as fast with any l_p norm as with BatchNorm",
        says="All l_p norms “perform comparably or even better than BatchNorm”.",
        source="section 3.3, figure 5a",
        arms=(BATCH, *LP),
        quantity=f"{TO_LEVEL}: the slowest of L1, L2, L∞ / BatchNorm",
        measure=times_slower,
        rule=at_most(1.25, unit="×", paper=1800 / 1600, why=SIMILAR),
        detail=level_in_words,
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="edge_1e-6",
        title="9a. The linear network with BatchNorm sits at its edge of stability 2/lr",
        says="Not in the text; effective β is 2.01e6 all along, lr 1e-6.",
        source="figure 10c, read closely",
        arms=(LINEAR_BATCH,),
        quantity="effective β / (2/lr), deep linear network, median from step 1000 on",
        measure=beta_at_edge,
        rule=within(0.95, 1.05, paper=1.006, why="2/lr, within 5 %"),
        needs=Needs(steps=LINEAR_STEPS),
    ),
    Claim(
        topic=TOPIC,
        name="linear_shift_1e-7",
        title="9b. In the linear network at lr 1e-7 BatchNorm makes the shift larger",
        says="The cosine is 0.55 in layer 9 and 0.04 in layer 17, 1.00 without BatchNorm.",
        source="section 2.2, figure 3b",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="median cosine of G and G′ over steps, mean of layers 9 and 17, standard − "
        "BatchNorm",
        measure=linear_cosine_difference,
        rule=greater(0, unit="", zone=Range(-0.05, 0.05), paper=0.705),
        needs=Needs(steps=LINEAR_STEPS),
    ),
    Claim(
        topic=TOPIC,
        name="drift_norm_input",
        title="10. What the norm sees drifts less with BatchNorm",
        says="The difference in distributional stability with and without BatchNorm is “marginal”; "
        "Ioffe & Szegedy 2015 say that it is reduced. Before the norm neither is by construction.",
        source="section 2, figure 1c; Ioffe & Szegedy 2015, section 2",
        arms=(STANDARD, BATCH),
        quantity="Wasserstein distance of a unit's distribution before the norm between a step and "
        "the next, same batch, in standard deviations (mean over units, median over steps, "
        "geometric mean over layers), standard / BatchNorm",
        measure=drift_ratio,
        rule=greater(),
        needs=Needs(steps=1500),
    ),
    Claim(
        topic=TOPIC,
        name="tolerance",
        title="11. VGG trains from more learning rates and inits with BatchNorm",
        says="One can “use much higher learning rates and be less careful about initialization”.",
        source="Ioffe & Szegedy 2015, abstract; Santurkar et al. 2018, section 3",
        arms=TOLERANCE,
        quantity="share of the grid of learning rates and inits that ends 5 points above chance, "
        "BatchNorm − standard",
        measure=share_difference,
        rule=greater(0, unit=" points", zone=Range(-5, 5)),
        also=("init",),
        needs=Needs(steps=4000),
    ),
)
CLAIMS = tuple(replace(claim, primary=True, seeds_from=SEEDS_FROM) for claim in NUMBERED)
