"""What is said of curvature: sharpness and its edge, spectra, effective beta, scale invariance."""

import math

from bnstudy.claims.judging import Arm, Claim, Control, Needs
from bnstudy.claims.primary import LINEAR_STEPS
from bnstudy.claims.rules import at_least, at_most, greater, within
from bnstudy.measures.batch_sharpness import (
    batch_sharpness_at_edge,
    beta_over_curvature,
    pinned_wrong_share,
)
from bnstudy.measures.series import positive_ratio, ratio
from bnstudy.measures.sharpness import (
    HESSIAN_SAMPLES,
    final_sharpness_at_edge,
    late_sharpness,
    late_sharpness_at_edge,
    samples_of,
    sharpness_at_edge,
)
from bnstudy.measures.spectrum import median_share, running_ratio, typical_outlier_ratio
from bnstudy.measures.weights import effective_lr_fall, growing_share, spread_left
from bnstudy.results import Run


def final_edge_ratio(standard: Run, batch: Run) -> float:
    """Sharpness over its edge of stability, last quarter, median, standard / BatchNorm [1].

    Infinite if only the standard network diverged, 0 if only BatchNorm did.
    """
    diverged = [run.outcome == "diverged" for run in (standard, batch)]
    if any(diverged):
        return math.nan if all(diverged) else (math.inf if diverged[0] else 0.0)
    return positive_ratio(*(final_sharpness_at_edge(run) for run in (standard, batch)))


def linear_sharpness_ratio(standard: Run, batch: Run) -> float:
    """Sharpness, median from step 1000 on, BatchNorm over standard [1]; the lr is the same."""
    return positive_ratio(*(late_sharpness(run) for run in (batch, standard)))


def enough_samples(*runs: Run) -> bool:
    """Whether the sharpness of all runs was measured on enough samples."""
    return all(samples_of(run, "sharpness") >= HESSIAN_SAMPLES for run in runs)


def enough_in_spectrum(*runs: Run) -> bool:
    """Whether the spectrum of all runs was measured on enough samples."""
    return all(samples_of(run, "spectrum") >= HESSIAN_SAMPLES for run in runs)


# Spectra


def outliers(standard: Run, batch: Run) -> float:
    """How many times further out the largest eigenvalue is without BatchNorm."""
    return ratio(typical_outlier_ratio(standard), typical_outlier_ratio(batch))


# Effective beta


# Scale invariance


STANDARD = Arm("the standard network", "curvature", "none", 0.1)
BATCH = Arm("BatchNorm", "curvature", "batch", 0.1)
LRS = (0.01, 0.1, 0.5)
LINEAR_LOW = Arm("the standard network", "curvature_deep_linear", "none", 1e-7)
LINEAR_BATCH = Arm("BatchNorm", "curvature_deep_linear", "batch", 1e-6)
LINEAR_BATCH_LOW = LINEAR_BATCH._replace(lr=1e-7)
OF_SPECTRA = Arm("the standard network", "spectra", "none", 0.1)
BATCH_OF_SPECTRA = Arm("BatchNorm", "spectra", "batch", 0.1)

TEN_EPOCHS = Needs(samples=500_000)  # of CIFAR-10
SAID_OF_SAMPLES = f"the Hessian is that of {HESSIAN_SAMPLES} training samples or more"
ENOUGH_SAMPLES = Control(SAID_OF_SAMPLES, enough_samples)
ENOUGH_IN_SPECTRUM = Control(SAID_OF_SAMPLES, enough_in_spectrum)
EDGE = "(2/lr; with momentum β 2(1 + β)/lr)"
KNOWN = ", of the steps at which it has converged"
COHEN = "Cohen et al. 2021"
GHORBANI = "Ghorbani et al. 2019, abstract"
ABSENT = "“In batch normalized networks, these two effects are almost absent.”"
OUT_OF_TEXT = "not in Santurkar et al. 2018"

TOPIC = "Curvature"
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"below_edge_{lr}",
            title=f"With BatchNorm sharpness is not above 2/lr at lr {lr}",
            says="Along gradient descent sharpness rises to 2/lr and not further, along SGD it "
            "stays below.",
            source=f"{COHEN}; Andreyev & Beneventano 2024; of networks in general",
            arms=(BATCH._replace(lr=lr),),
            quantity=f"sharpness / {EDGE}, training batch, statistics of the batch, median over "
            f"the second half of the run{KNOWN}",
            measure=sharpness_at_edge,
            rule=at_most(1.05, why="2/lr, within 5 %"),
            control=ENOUGH_SAMPLES,
            needs=TEN_EPOCHS,
        )
        for lr in LRS
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"batch_sharpness_edge_{lr}",
            title=f"With BatchNorm batch sharpness is at 2/lr at lr {lr}",
            says="Along SGD “what stabilizes at 2/η is Batch Sharpness: the expected directional "
            "curvature of mini-batch Hessians along their corresponding stochastic gradients”.",
            source="Andreyev & Beneventano 2024, abstract; of networks in general",
            arms=(BATCH._replace(lr=lr),),
            quantity="mean of gᵀHg / ‖g‖² over batches / (2/lr), statistics of the batch, median "
            "over the second half of the run",
            measure=batch_sharpness_at_edge,
            rule=within(0.8, 1.25, why="2/lr, within a quarter"),
            needs=TEN_EPOCHS,
        )
        for lr in LRS
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"linear_sharpness_{lr}",
            title=f"In the deep linear network BatchNorm's sharpness is at 2/lr at lr {lr}",
            says="Along full-batch gradient descent the sharpness rises to 2/lr and stays there.",
            source=f"{COHEN}; a pilot study of this network",
            arms=(arm,),
            quantity=f"sharpness / {EDGE}, all samples, median from step 1000 on{KNOWN}",
            measure=late_sharpness_at_edge,
            rule=within(0.95, 1.05, why="2/lr, within 5 %"),
            needs=Needs(steps=LINEAR_STEPS),
        )
        for lr, arm in (("1e-6", LINEAR_BATCH), ("1e-7", LINEAR_BATCH_LOW))
    ),
    Claim(
        topic=TOPIC,
        name="linear_standard_below_edge_1e-7",
        title="At lr 1e-7 the standard deep linear network stays below its edge",
        says="Effective β was 1e4 to 2e4 there, a thousandth of 2/lr.",
        source="a pilot study of this network; not shown in Santurkar et al. 2018",
        arms=(LINEAR_LOW,),
        quantity=f"sharpness / {EDGE}, all samples, median from step 1000 on{KNOWN}",
        measure=late_sharpness_at_edge,
        rule=at_most(0.1, why="a tenth"),
        needs=Needs(steps=LINEAR_STEPS),
    ),
    Claim(
        topic=TOPIC,
        name="linear_sharper_1e-7",
        title="At lr 1e-7 the deep linear network is sharper with BatchNorm",
        says="Effective β, along the gradient, is a thousand times larger: see less_smooth_1e-7.",
        source=f"a pilot study of this network; {OUT_OF_TEXT}",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity=f"sharpness, all samples, median from step 1000 on{KNOWN}, BatchNorm / standard "
        "at the same lr",
        measure=linear_sharpness_ratio,
        rule=greater(),
        needs=Needs(steps=LINEAR_STEPS),
    ),
    Claim(
        topic=TOPIC,
        name="gradient_concentrates",
        title="Without BatchNorm the gradient lies in the top eigenspace of the Hessian",
        says="There is “a surprising concentration of the gradient in the corresponding "
        "eigenspaces” of large isolated eigenvalues.",
        source=GHORBANI,
        arms=(OF_SPECTRA,),
        quantity="share of ‖g‖² in the span of the top ten eigenvectors, median over the steps at "
        "which they have converged",
        measure=median_share,
        rule=at_least(0.5, why="half of it"),
        control=ENOUGH_IN_SPECTRUM,
    ),
    Claim(
        topic=TOPIC,
        name="gradient_spread",
        title="With BatchNorm the gradient does not lie in the top eigenspace",
        says=ABSENT,
        source=GHORBANI,
        arms=(BATCH_OF_SPECTRA,),
        quantity="share of ‖g‖² in the span of the top ten eigenvectors, statistics of the batch, "
        "median over the steps at which they have converged",
        measure=median_share,
        rule=at_most(0.1, why="a tenth of it"),
        control=ENOUGH_IN_SPECTRUM,
    ),
    Claim(
        topic=TOPIC,
        name="outliers",
        title="With BatchNorm the Hessian has no large isolated eigenvalues",
        says=f"Without it there are large isolated eigenvalues. {ABSENT}",
        source=GHORBANI,
        arms=(OF_SPECTRA, BATCH_OF_SPECTRA),
        quantity="largest eigenvalue / eleventh (there are ten classes; ∞ where that is not "
        "positive), median over the steps at which they have converged, standard / BatchNorm with "
        "statistics of the batch",
        measure=outliers,
        rule=greater(),
        control=ENOUGH_IN_SPECTRUM,
    ),
    Claim(
        topic=TOPIC,
        name="running_statistics_sharper",
        title="With running statistics a network with BatchNorm is sharper than it is in training",
        says="With the population's statistics in place of the batch's the outliers are back.",
        source="Ghorbani et al. 2019, of networks that are trained with them; ours are not",
        arms=(BATCH_OF_SPECTRA,),
        quantity="largest eigenvalue, statistics running / of the batch, median over the probed "
        "steps after the first at which both have converged",
        measure=running_ratio,
        rule=greater(),
        control=ENOUGH_IN_SPECTRUM,
    ),
    Claim(
        topic=TOPIC,
        name="pinned_is_no_curvature",
        title="Where effective β is pinned by the smallest step size, the curvature is another",
        says="Where the smallest step changes the gradient completely, effective β is 1/η_min.",
        source=f"{OUT_OF_TEXT}; by the definition",
        arms=(STANDARD, BATCH),
        quantity="share of the steps at which effective β is within 5 % of 1/η_min, and "
        "gᵀHg / ‖g‖² not within a quarter of it, of those at which that is known, both "
        "networks together",
        measure=pinned_wrong_share,
        rule=at_least(0.25, why="a quarter of the steps"),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"beta_is_curvature_{name}",
            title=f"Over the step taken effective β agrees with the curvature: {words}",
            says="“Effective” β-smoothness stands for the curvature along the gradient.",
            source=f"implied in Santurkar et al. 2018, section 3.2; {OUT_OF_TEXT}",
            arms=(arm,),
            quantity="‖∇L(θ − lr g) − g‖ / (lr ‖g‖) over |gᵀHg| / ‖g‖², median over steps",
            measure=beta_over_curvature,
            rule=within(0.8, 1.25, unit="×", why="within a quarter"),
        )
        for name, words, arm in (
            ("standard", "the standard VGG", STANDARD),
            ("batch", "the VGG with BatchNorm", BATCH),
            ("linear", "the deep linear network with BatchNorm", LINEAR_BATCH),
        )
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"sharp_minima_{lr}",
            title=f"At lr {lr} BatchNorm ends farther below its edge of stability",
            says="Without BatchNorm the loss has “a large number of ‘kinks’, flat regions, and "
            "sharp minima”.",
            source="Santurkar et al. 2018, section 3.1; not measured there",
            arms=(STANDARD._replace(lr=lr), BATCH._replace(lr=lr)),
            quantity=f"sharpness / {EDGE}, training batches, statistics of each, median over the "
            f"last quarter of the run{KNOWN}, standard / BatchNorm",
            measure=final_edge_ratio,
            rule=greater(),
            control=ENOUGH_SAMPLES,
            needs=Needs(samples=500_000, plateau=True),
        )
        for lr in (0.01, 0.1)
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"weights_grow_{name}",
            title=f"Before a norm weights only grow: {words}",
            says="The gradient of weights before a norm is orthogonal to them, so without weight "
            "decay every step of SGD makes them longer.",
            source="van Laarhoven 2017; Arora, Li & Lyu 2018; " + OUT_OF_TEXT,
            arms=(arm,),
            quantity="share of the layers and pairs of successive probed steps between which ‖w‖ "
            "does not fall",
            measure=growing_share,
            rule=at_least(0.99, why="always, but for ε of the norm; an identity"),
        )
        for name, words, arm in (
            ("vgg", "VGG", BATCH),
            ("linear", "the deep linear network", LINEAR_BATCH),
        )
    ),
    Claim(
        topic=TOPIC,
        name="effective_lr_falls",
        title="With BatchNorm the effective learning rate falls by itself",
        says="“Larger weights lead to smaller gradients, and Batch Normalization will stabilize "
        "the parameter growth.”",
        source="Ioffe & Szegedy 2015, section 3.3; van Laarhoven 2017",
        arms=(BATCH,),
        quantity="lr / ‖w‖² at step 0 over that at the last probed step, median over the layers "
        "before a norm",
        measure=effective_lr_fall,
        rule=greater(),
        needs=TEN_EPOCHS,
    ),
    Claim(
        topic=TOPIC,
        name="lrs_converge",
        title="With BatchNorm the effective learning rates come closer to each other",
        says="Of scale-invariant weights the learning rate tunes itself.",
        source="Arora, Li & Lyu 2018; " + OUT_OF_TEXT,
        arms=(Arm("BatchNorm", "curvature", "batch", None),),
        quantity="log of the largest over the smallest lr / ‖w‖² of all lrs, median over the "
        "layers before a norm, at the last probed step / at step 0",
        measure=spread_left,
        rule=at_most(0.5, why="half of the distance"),
        needs=TEN_EPOCHS,
    ),
)
