"""What the theorems of section 4 say of a network that trains."""

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.rules import at_least, at_most, greater
from bnstudy.measures.theory import (
    convex,
    curvature_error,
    gradient_error,
    largest_tightness,
    mean_over_chance,
    positive_share,
    projection_over_chance,
    second_line_holds,
    violated_share,
)

# Theorem 4.1


# Theorem 4.2


# Theorem 4.4


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
                measure=violated_share,
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
        title="The second line of theorem 4.2 holds even without its assumption",
        says="If H preserves the relative norms of g and v: ≤ γ²/σ² (g′Hg − ⟨g, ŷ⟩‖v‖²/(mγ)).",
        source="theorem 4.2; the sizes are ours",
        arms=(BATCH,),
        quantity=f"fraction for which it does, {SAMPLED}",
        measure=second_line_holds,
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
        measure=positive_share,
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
        measure=largest_tightness,
        rule=at_most(1.001, why=f"1, and rounding; {IDENTITY}"),
    ),
)
