"""What the theorems of section 4 say of a network that trains."""

import math

import numpy as np
from numpy.typing import ArrayLike

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.reductions import median
from bnstudy.claims.rules import at_least, at_most, greater
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


def share_over_chance(run: Run, term: str) -> float:
    """m times the share of gamma^2 / sigma^2 ||g||^2 that a term subtracts [1].

    Median over layers and steps. A gradient in a random direction has 1: its share is 1 / m. Of
    fully connected layers, where m is the batch size.
    """
    over, under = pooled(run, term, "scaled_gradient")
    return run.batch_size * median(over[under > 0] / under[under > 0])


def mean_over_chance(run: Run) -> float:
    """That of the mean."""
    return share_over_chance(run, "mean_term")


def projection_over_chance(run: Run) -> float:
    """That of the inner product with y_hat."""
    return share_over_chance(run, "projection_term")


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


BATCH = Arm("BatchNorm", "theory", "batch", 0.1)
MLP = Arm("BatchNorm", "theory_mlp", "batch", 0.1)
NETWORKS = {"": ("VGG", BATCH), "_mlp": ("the MLP", MLP)}
IDENTITY = "an identity: this checks the measurement"
ROUNDING = "rounding in single precision"
NO_EXCEPTION = "a theorem has no exceptions, rounding has"
OVER_ALL = "all layers with a norm and probed steps"
SAMPLED = f"sampled units of {OVER_ALL}"
TOPIC = "Theory"
CLAIMS = (
    *(
        claim
        for suffix, (network, arm) in NETWORKS.items()
        for claim in (
            Claim(
                topic=TOPIC,
                name=f"theorem_4.1_exact{suffix}",
                title=f"The gradient before a BatchNorm is that of theorem 4.1, 1/m: {network}",
                says="‖∂L̂/∂y‖² ≤ γ²/σ² (‖g‖² − ⟨1, g⟩²/m − ⟨g, ŷ⟩²/m); that is an equality.",
                source="theorem 4.1, with the constant of arXiv v5 and, exactly, eps",
                arms=(arm,),
                quantity="difference of the two sides / γ²/σ² ‖g‖², the largest over units of "
                f"{OVER_ALL}",
                measure=gradient_error,
                rule=at_most(1e-3, why=f"{ROUNDING}; {IDENTITY}"),
            ),
            Claim(
                topic=TOPIC,
                name=f"theorem_4.1_printed{suffix}",
                title="The gradient before a BatchNorm is within theorem 4.1 as printed, with "
                f"1/√m: {network}",
                says="‖∂L̂/∂y‖² ≤ γ²/σ² (‖g‖² − ⟨1, g⟩²/m − ⟨g, ŷ⟩²/√m).",
                source="theorem 4.1, as printed in arXiv v3",
                arms=(arm,),
                quantity=f"fraction of units with a gradient for which that is false, {OVER_ALL}",
                measure=violated,
                rule=at_most(0.01, why=NO_EXCEPTION),
            ),
        )
    ),
    *(
        Claim(
            topic=TOPIC,
            name=name,
            title=title,
            says=says,
            source="section 4.2, on theorem 4.1; of fully connected layers, as there",
            arms=(MLP,),
            quantity=f"m times its share of γ²/σ² ‖g‖², 1 by chance, median over {OVER_ALL}",
            measure=measure,
            rule=greater(),
        )
        for name, title, says, measure in (
            (
                "theorem_4.1_mean",
                "What BatchNorm subtracts for the mean of the gradient is more than chance",
                "⟨1, g⟩² grows quadratically with the dimension, so it is significant.",
                mean_over_chance,
            ),
            (
                "theorem_4.1_projection",
                "What BatchNorm subtracts for the product of gradient and values is more than "
                "chance",
                "A gradient is rarely uncorrelated with its variable, so it is not near zero.",
                projection_over_chance,
            ),
        )
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
        rule=at_most(1e-3, why=f"{ROUNDING}; {IDENTITY}"),
    ),
    Claim(
        topic=TOPIC,
        name="theorem_4.2_second",
        title="The second line of theorem 4.2 holds where its assumption is not asked for",
        says="If H preserves the relative norms of g and v: ≤ γ²/σ² (g′Hg − ⟨g, ŷ⟩‖v‖²/(mγ)).",
        source="theorem 4.2; the sizes are ours",
        arms=(BATCH,),
        quantity=f"fraction for which it does, {SAMPLED}",
        measure=second_line,
        rule=at_least(0.95, why="all but a twentieth"),
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
        rule=at_least(0.9, why="nine of ten"),
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
        rule=at_least(0.9, why="nine of ten"),
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
        rule=at_most(1.001, why=f"1, and rounding; {IDENTITY}"),
    ),
)
