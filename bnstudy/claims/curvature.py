"""What is said of curvature: sharpness and its edge, spectra, effective beta, scale invariance."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.judging import Arm, Claim, Control, Needs
from bnstudy.claims.primary import LINEAR_STEPS
from bnstudy.claims.reductions import (
    GRADIENT,
    at_the_end_of,
    late,
    mean,
    median,
    pinned,
    ratio,
    smallest_step,
    together,
)
from bnstudy.claims.rules import at_least, at_most, greater, within
from bnstudy.results import (
    OUTLIERS,
    Run,
    Series,
    Values,
    converged,
    edge_of_stability,
    effective_beta,
    gradient_share,
    learning_rates,
    outlier_ratio,
    own_step,
)

SHARPNESS = "sharpness/batch_eigenvalues"
SPECTRUM = "spectrum/{}_eigenvalues"
CURVATURE = "batch_sharpness/batch_curvature"
NORM = "weights/norm"
LAST = 0.25  # of the run
QUARTER = 0.25  # by which two numbers may differ that agree
HESSIAN_SAMPLES = 1000  # on fewer the sharpness of a network depends on their number


def second_half(run: Run, series: Series) -> Values:
    """The values of a series in the second half of the run."""
    steps, values = series
    return values[2 * steps >= run.config["steps"]]


def sharpness(run: Run) -> Series:
    """The largest eigenvalue of the Hessian, statistics of the batch; NaN if not converged."""
    steps, eigenvalues = known_eigenvalues(run, SHARPNESS)
    return steps, eigenvalues[:, 0]


def known_eigenvalues(run: Run, key: str) -> Series:
    """Eigenvalues, NaN where they have not converged: steps [n], values [n, K]."""
    steps, eigenvalues = run[key]
    return steps, np.where(converged(run, key), eigenvalues, np.nan)


def batch_sharpness(run: Run) -> Series:
    """g'Hg / ||g||^2 on a batch, the mean over the batches that were measured."""
    steps, curvatures = run[CURVATURE]
    return steps, curvatures.mean(axis=1)


def at_edge(run: Run, series: Series, of_batches: bool = False) -> Series:
    """A series over the edge of stability, NaN where that is not known."""
    steps, values = series
    return steps, values / edge_of_stability(run, steps, of_batches)


def sharpness_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability, the median over the second half of the run."""
    return median(second_half(run, at_edge(run, sharpness(run))))


def batch_sharpness_at_edge(run: Run) -> float:
    """Batch sharpness over its edge of stability, the median over the second half of the run."""
    return median(second_half(run, at_edge(run, batch_sharpness(run), of_batches=True)))


def late_sharpness_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability, the median from step 1000 on."""
    return median(late(at_edge(run, sharpness(run))))


def final_edge_ratio(standard: Run, batch: Run) -> float:
    """Sharpness over its edge of stability, last quarter, median, standard / BatchNorm [1].

    Infinite if only the standard network diverged, 0 if only BatchNorm did.
    """
    diverged = [run.outcome == "diverged" for run in (standard, batch)]
    if any(diverged):
        return math.nan if all(diverged) else (math.inf if diverged[0] else 0.0)
    at_edges = [at_edge(run, sharpness(run)) for run in (standard, batch)]
    over, under = (
        at_the_end_of(run, series, LAST)
        for run, series in zip((standard, batch), at_edges, strict=True)
    )
    return positive_ratio(median(over), median(under))


def linear_sharpness_ratio(standard: Run, batch: Run) -> float:
    """Sharpness, median from step 1000 on, BatchNorm over standard [1]; the lr is the same."""
    return positive_ratio(*(median(late(sharpness(run))) for run in (batch, standard)))


def samples_of(run: Run, probe: str) -> int:
    """How many training samples a probe of the Hessian takes."""
    return run.batch_size * (run.option(f"probes.{probe}.batches") or 1)


def enough_samples(*runs: Run) -> bool:
    """Whether the sharpness of all runs was measured on enough samples."""
    return all(samples_of(run, "sharpness") >= HESSIAN_SAMPLES for run in runs)


def enough_in_spectrum(*runs: Run) -> bool:
    """Whether the spectrum of all runs was measured on enough samples."""
    return all(samples_of(run, "spectrum") >= HESSIAN_SAMPLES for run in runs)


def positive_ratio(over: float, under: float) -> float:
    """over / under; NaN unless both are positive, because of others a ratio says nothing."""
    return ratio(over, under) if over > 0 and under > 0 else math.nan


# Spectra


def median_share(run: Run) -> float:
    """The share of ||g||^2 in the span of the top ten eigenvectors, median over steps."""
    known = converged(run, SPECTRUM.format("batch"))[:, :OUTLIERS].all(axis=1)
    return median(gradient_share(run)[1][known])


def median_ratio(run: Run) -> float:
    """The largest eigenvalue over the eleventh, median over steps."""
    known = converged(run, SPECTRUM.format("batch"))[:, : OUTLIERS + 1].all(axis=1)
    return median(outlier_ratio(run)[1][known])


def running_ratio(run: Run) -> float:
    """The largest eigenvalue with running statistics over that with the batch's, median."""
    keys = (SPECTRUM.format(statistics) for statistics in ("running", "batch"))
    running, batch = (known_eigenvalues(run, key)[1] for key in keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        return median(running[1:, 0] / batch[1:, 0])


def outliers(standard: Run, batch: Run) -> float:
    """How many times further out the largest eigenvalue is without BatchNorm."""
    return ratio(median_ratio(standard), median_ratio(batch))


# Effective beta


def curvature_along_gradient(run: Run) -> Series:
    """g'Hg / ||g||^2 on the batch of the step."""
    steps, curvatures = run[CURVATURE]
    return steps, curvatures[:, 0]


def pinned_wrong_share(*runs: Run) -> float:
    """The share of the steps at which effective beta is pinned and the curvature another.

    It is another if it differs from 1 / eta_min by more than a quarter. Of all runs together, of
    the steps that have a curvature; NaN if none has.
    """
    wrong = []
    for run in runs:
        _, betas, curvatures = together(effective_beta(run), curvature_along_gradient(run))
        differs = np.abs(curvatures * smallest_step(run) - 1) > QUARTER
        wrong.append(np.where(np.isnan(curvatures), np.nan, differs & pinned(run, betas)))
    return mean(np.concatenate(wrong))


def beta_over_curvature(run: Run) -> float:
    """Effective beta of the step taken over |g'Hg| / ||g||^2, the median over steps."""
    steps, changes = own_step(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        betas = changes / (learning_rates(run, steps) * run[GRADIENT][1])
        _, betas, curvatures = together((steps, betas), curvature_along_gradient(run))
        return median(betas / np.abs(curvatures))


# Scale invariance


def norms_of_weights(run: Run) -> list[Values]:
    """||w|| of every layer but the last at the probed steps.

    The last layer of a VGG has no norm. KeyError if none was recorded.
    """
    keys = [key for name in run.layers[:-1] if (key := f"{NORM}/{name}") in run]
    if not keys:
        raise KeyError(f"{run.directory.name} has no {NORM} of a layer")
    return [run[key][1] for key in keys]


def growing_share(run: Run) -> float:
    """The share of layers and pairs of successive probed steps between which ||w|| does not fall.

    But by a millionth, for rounding. NaN with one probed step.
    """
    norms = np.array(norms_of_weights(run))
    grows = norms[:, 1:] >= (1 - 1e-6) * norms[:, :-1]
    return float(grows.mean()) if grows.size else math.nan


def effective_lr_fall(run: Run) -> float:
    """lr / ||w||^2 at the first probed step over that at the last, median over the layers.

    NaN if the run diverged: it has no end.
    """
    norms = np.array(norms_of_weights(run))
    fall = median((norms[:, -1] / norms[:, 0]) ** 2)
    return math.nan if run.outcome == "diverged" else fall


def spread_left(runs: Sequence[Run]) -> float:
    """How much of the spread of lrs is left in the effective lrs at the end, on a log scale.

    The log of the largest effective lr over the smallest at the last probed step, median over the
    layers, over the same at step 0. NaN for one learning rate.
    """
    logs = [
        math.log(run.lr) - 2 * np.log(np.array(norms_of_weights(run))[:, [0, -1]]) for run in runs
    ]
    first, last = np.median(np.ptp(np.array(logs), axis=0), axis=0)
    return ratio(float(last), float(first))


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
