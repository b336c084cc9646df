"""What the theorems of section 4 say of a network that trains."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import median
from bnstudy.claims.rules import Rule, at_least, at_most, less_than, more_than
from bnstudy.results import Run, Values

KEY = "theory/positive"  # recorded of every layer that is measured
SIDES = ("input_gradient", "output_gradient")  # of a norm


def layers(run: Run, key: str = KEY) -> list[str]:
    """The layers that recorded it, from the input on; KeyError if none did."""
    found = [name for name in run.layers if f"{key}/{name}" in run]
    if not found:
        raise KeyError(f"{run.directory.name} has no {key}")
    return found


def pooled(run: Run, *keys: str) -> list[Values]:
    """Of each of the keys, all numbers of all layers and steps, where all of them are finite."""
    names = layers(run, f"theory/{keys[-1]}")
    found = [
        np.concatenate([run[f"theory/{key}/{name}"][1].ravel() for name in names]) for key in keys
    ]
    known = np.all(np.isfinite(found), axis=0)
    return [values[known] for values in found]


def fraction(holds: ArrayLike) -> float:
    """For how many of them it holds; NaN for none."""
    values = np.asarray(holds, dtype=float)
    return float(values.mean()) if len(values) else math.nan


# Theorem 4.1


def gradient_error(run: Run) -> float:
    """The largest relative difference of the two sides, over units, layers and steps.

    Infinite if it is not finite anywhere where both gradients are.
    """
    found = []
    for name in layers(run, "theory/error"):
        errors, *gradients = (run[f"theory/{key}/{name}"][1] for key in ("error", *SIDES))
        found.append(errors[np.isfinite(gradients).all(axis=0)])
    errors = np.concatenate(found)
    return float(np.where(np.isnan(errors), np.inf, errors).max()) if len(errors) else math.nan


def violated(run: Run) -> float:
    """The fraction of units with a gradient for which the printed form is false."""
    return fraction(*pooled(run, "violated"))


def share(run: Run, term: str) -> float:
    """The share of gamma^2 / sigma^2 ||g||^2 that a term subtracts, median over layers, steps."""
    over, under = pooled(run, term, "scaled_gradient")
    return median(over[under > 0] / under[under > 0])


def mean_share(run: Run) -> float:
    """That of the mean."""
    return share(run, "mean_term")


def projected_share(run: Run) -> float:
    """That of the inner product with y_hat."""
    return share(run, "projection_term")


def scale(run: Run) -> float:
    """The median of gamma^2 / sigma^2 over units; of that the median over layers and steps."""
    levels = [run[f"theory/scale_percentiles/{name}"][1][:, 1] for name in layers(run)]
    return median(np.concatenate(levels))


# Theorem 4.2


def curvature_error(run: Run) -> float:
    """The relative difference of the two sides of the first line: 95th percentile."""
    left, right, term = pooled(run, "curvature", "curvature_first", "curvature_term")
    size = np.abs(term) + np.abs(right - term)
    relative = np.abs(left - right)[size > 0] / size[size > 0]
    return float(np.percentile(relative, 95)) if len(relative) else math.nan


def second_line(run: Run) -> float:
    """The fraction of sampled units for which the second line holds."""
    left, right = pooled(run, "curvature", "curvature_second")
    return fraction(left <= right)


def positive(run: Run) -> float:
    """The fraction of units with <y_hat, g> > 0."""
    return fraction(*pooled(run, KEY.removeprefix("theory/")))


def convex(run: Run) -> float:
    """The fraction of sampled units with a term in the Hessian that is not negative."""
    (term,) = pooled(run, "curvature_term")
    return fraction(term >= 0)


# Theorem 4.4


def tightness(run: Run) -> float:
    """The largest ratio of a unit's gradient to its bound, both squared."""
    actual, bound = pooled(run, "weight_gradient", "weight_bound")
    ratios = actual[bound > 0] / bound[bound > 0]
    return float(ratios.max()) if len(ratios) else math.nan


def printed_bound(run: Run) -> float:
    """The fraction of sampled units whose largest gradient is within the printed bound."""
    attained, printed = pooled(run, "weight_bound", "weight_bound_printed")
    return fraction(attained <= printed)


# Lemma 4.5


def at_last(run: Run, key: str, names: Sequence[str]) -> Values:
    """The last record of every layer."""
    return np.array([float(run[f"weights/{key}/{name}"][1][-1]) for name in names])


def within_lemma(standard: Run, batch: Run) -> float:
    """The fraction of layers with a norm for which the lemma holds.

    W* and its counterpart with BatchNorm are the weights at the last probed step; of the layers
    with <W0, W*> > 0. NaN if there is none, or a run diverged.
    """
    names = layers(batch)
    squared = at_last(standard, "norm", names) ** 2
    product = at_last(standard, "initial_product", names)
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = at_last(standard, "distance", names) ** 2 - (squared - product) ** 2 / squared
    known = np.isfinite(bound) & (product > 0)
    holds = (at_last(batch, "distance", names) ** 2 <= bound)[known]
    return math.nan if diverged(standard, batch) else fraction(holds)


def relative_distance(standard: Run, batch: Run) -> float:
    """How far the weights move with BatchNorm over how far without, median over layers.

    NaN if a run diverged.
    """
    names = layers(batch)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = at_last(batch, "distance", names) / at_last(standard, "distance", names)
    return math.nan if diverged(standard, batch) else median(ratios)


def diverged(*runs: Run) -> bool:
    """Whether any did: its last weights are no optimum."""
    return any(run.outcome == "diverged" for run in runs)


STANDARD = Arm("the standard network", "theory", "none", 0.1)
BATCH = Arm("BatchNorm", "theory", "batch", 0.1)
ROUNDING = "rounding in single precision"
NO_EXCEPTION = "a theorem has no exceptions, rounding has"
OVER_ALL = "all layers with a norm and probed steps"
SAMPLED = f"sampled units of {OVER_ALL}"
TOPIC = "Theory"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="theorem_4.1_exact",
        title="The gradient before a BatchNorm is what theorem 4.1 says, with 1/m",
        says="‖∂L̂/∂y‖² ≤ γ²/σ² (‖g‖² − ⟨1, g⟩²/m − ⟨g, ŷ⟩²/m); that is an equality.",
        source="theorem 4.1, with the constant of arXiv v5 and, exactly, eps",
        arms=(BATCH,),
        quantity=f"difference of the two sides / γ²/σ² ‖g‖², the largest over units of {OVER_ALL}",
        measure=gradient_error,
        rule=Rule(at_most(1e-3), at_most(1e-2), why=ROUNDING),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.1_printed",
        title="The gradient before a BatchNorm is within theorem 4.1 as printed, with 1/√m",
        says="‖∂L̂/∂y‖² ≤ γ²/σ² (‖g‖² − ⟨1, g⟩²/m − ⟨g, ŷ⟩²/√m).",
        source="theorem 4.1, as printed in arXiv v3",
        arms=(BATCH,),
        quantity=f"fraction of units with a gradient for which that is false, {OVER_ALL}",
        measure=violated,
        rule=Rule(at_most(0.01), at_most(0.1), why=NO_EXCEPTION),
    ),
    *(
        Claim(
            topic=TOPIC,
            name=name,
            title=title,
            says=says,
            source="section 4.2, on theorem 4.1; the size is ours",
            arms=(BATCH,),
            quantity=f"its share of γ²/σ² ‖g‖², median over {OVER_ALL}",
            measure=measure,
            rule=Rule(at_least(0.1), at_least(0.01), why="a tenth"),
        )
        for name, title, says, measure in (
            (
                "theorem_4.1_mean",
                "What BatchNorm subtracts for the mean of the gradient is significant",
                "⟨1, g⟩² grows quadratically with the dimension, so it is significant.",
                mean_share,
            ),
            (
                "theorem_4.1_projection",
                "What BatchNorm subtracts for the product of gradient and values is significant",
                "A gradient is rarely uncorrelated with its variable, so it is not near zero.",
                projected_share,
            ),
        )
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.1_scale",
        title="The scaling by γ/σ makes gradients smaller",
        says="σ tends to be large in practice, so the scaling by γ/σ contributes to flatness.",
        source="section 4.2, on theorem 4.1; the size is ours",
        arms=(BATCH,),
        quantity=f"γ²/σ², median over units; of that over {OVER_ALL}",
        measure=scale,
        rule=Rule(at_most(0.8), less_than(1), why="smaller by a fifth"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.2_exact",
        title="The curvature before a BatchNorm is what the first line of theorem 4.2 says",
        says="v′(∂²L̂/∂y²)v ≤ γ²/σ² v′Hv − γ/(mσ²) ⟨g, ŷ⟩‖v‖², v = ∂L̂/∂y; that is an equality.",
        source="theorem 4.2, with, exactly, eps",
        arms=(BATCH,),
        quantity="difference of the two sides / size of the two terms, 95th percentile over "
        f"{SAMPLED}",
        measure=curvature_error,
        rule=Rule(at_most(1e-3), at_most(1e-2), why=ROUNDING),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.2_second",
        title="The second line of theorem 4.2, with g in the place of v, holds",
        says="If H preserves the relative norms of g and v: ≤ γ²/σ² (g′Hg − ⟨g, ŷ⟩‖v‖²/(mγ)).",
        source="theorem 4.2; the sizes are ours",
        arms=(BATCH,),
        quantity=f"fraction for which it does, {SAMPLED}",
        measure=second_line,
        rule=Rule(at_least(0.95), at_least(0.5), why="all but a twentieth"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.2_product",
        title="The product of gradient and values is positive",
        says="⟨g, ŷ⟩ > 0 is a mild assumption; with it and H ⪰ 0 the curvature is smaller.",
        source="section 4.2, on theorem 4.2; the sizes are ours",
        arms=(BATCH,),
        quantity=f"fraction of units with a gradient for which it is, mean over {OVER_ALL}",
        measure=positive,
        rule=Rule(at_least(0.9), more_than(0.5), why="nine of ten"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.2_convex",
        title="The Hessian in the values after a BatchNorm is not negative along the gradient",
        says="H ⪰ 0 is a mild assumption; with it and ⟨g, ŷ⟩ > 0 the curvature is smaller.",
        source="section 4.2, on theorem 4.2; the sizes are ours",
        arms=(BATCH,),
        quantity=f"fraction with v′Hv ≥ 0, {SAMPLED}",
        measure=convex,
        rule=Rule(at_least(0.9), more_than(0.5), why="nine of ten"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.4_bound",
        title="The gradient of the weights before a BatchNorm is within theorem 4.4",
        says="‖∂L̂/∂w‖² ≤ γ²/σ² (λ²‖g‖² − λ²⟨1, g⟩²/m − λ²⟨g, ŷ⟩²/m), the largest over ‖X‖ ≤ λ.",
        source="theorem 4.4, in the form whose parts have one unit",
        arms=(BATCH,),
        quantity=f"gradient / bound, both squared, the largest over {SAMPLED}",
        measure=tightness,
        rule=Rule(at_most(1.001), why="1, and rounding"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.4_printed",
        title="The largest gradient of the weights is within theorem 4.4 as printed",
        says="ĝ ≤ γ²/σ² (g² − mμ² − λ²⟨g, ŷ⟩²), with the largest squared gradients ĝ and g.",
        source="theorem 4.4, as printed in arXiv v3",
        arms=(BATCH,),
        quantity=f"fraction for which λ²‖∂L̂/∂y‖² is, {SAMPLED}",
        measure=printed_bound,
        rule=Rule(at_least(0.99), at_least(0.9), why=NO_EXCEPTION),
    ),
    Claim(
        topic=TOPIC,
        name="lemma_4.5",
        title="With BatchNorm weights end as near to where they began as lemma 4.5 says",
        says="‖W₀ − Ŵ*‖² ≤ ‖W₀ − W*‖² − (‖W*‖² − ⟨W*, W₀⟩)²/‖W*‖² if ⟨W₀, W*⟩ > 0.",
        source="lemma 4.5, of the closest optima; here of the weights after training",
        arms=(STANDARD, BATCH),
        quantity="fraction of layers with a norm and ⟨W₀, W*⟩ > 0 for which it holds, last probed "
        "step",
        measure=within_lemma,
        rule=Rule(at_least(0.9), more_than(0.5), why="nine of ten"),
    ),
    Claim(
        topic=TOPIC,
        name="lemma_4.5_nearer",
        title="With BatchNorm weights end nearer to where they began",
        says="BatchNorm gives a better initialization: its closest optimum is nearer.",
        source="section 4.2, on lemma 4.5; here of the weights after training",
        arms=(STANDARD, BATCH),
        quantity="‖W₀ − W‖ at the last probed step, BatchNorm / standard, median over layers with "
        "a norm",
        measure=relative_distance,
        rule=Rule(at_most(0.8), at_most(1), why="by a fifth", unit="×"),
    ),
)
