"""What is said of norms in transformers: which, before or after the branches, and whether any."""

from bnstudy.claims.comparisons import smaller_change
from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM, drift_ratio
from bnstudy.claims.rules import at_least, greater, less
from bnstudy.measures.train import final_percent
from bnstudy.results import Run

PLACE = "model.placement"
SETTINGS = {  # experiment: what the transformer does
    "transformer": "on images with AdamW",
    "transformer_sgd": "on images with SGD",
    "transformer_text": "on text with AdamW",
}
NAMES = {
    "none": "no norm",
    "layer": "LayerNorm",
    "rms": "RMSNorm",
    "dyt": "DyT",
    "batch": "BatchNorm",
}


def transformer_arm(
    experiment: str, norm: str, placement: str = "pre", lr: float | None = None
) -> Arm:
    """The runs of one norm at one place: at every learning rate, or at one."""
    name = NAMES[norm] + (f", {placement}" if norm != "none" else "")
    return Arm(name, experiment, norm, lr, ((PLACE, placement),))


def ahead(other: Run, one: Run) -> float:
    """Points of test accuracy that the second is ahead at the end."""
    return final_percent(one) - final_percent(other)


AT_BEST = (
    "final test accuracy, each at the learning rate with the best mean over the other seeds, "
    "norm before the branches"
)
TOPIC = "Transformers"
LONG_ENOUGH = Needs(steps=800)
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"{name}_{experiment}",
            title=f"{title}: a transformer {words}",
            says=says,
            source=source,
            arms=(transformer_arm(experiment, under), transformer_arm(experiment, over)),
            quantity=f"{AT_BEST}: {NAMES[over]} − {NAMES[under]}",
            measure=ahead,
            rule=rule,
            also=(PLACE,),
            pick=final_percent,
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for experiment, words in SETTINGS.items()
        for name, title, under, over, says, source, rule in (
            (
                "layer_helps",
                "LayerNorm helps",
                "none",
                "layer",
                "Transformers are trained with a norm in every block.",
                "Vaswani et al. 2017, section 3.1",
                greater(0, unit=" points"),
            ),
            (
                "rms_like_layer",
                "RMSNorm is no worse than LayerNorm",
                "layer",
                "rms",
                "RMSNorm “achieves comparable performance against LayerNorm”.",
                "Zhang & Sennrich 2019, abstract",
                at_least(-1, unit=" points", why="no more than a point behind"),
            ),
            (
                "dyt_like_layer",
                "DyT is no worse than LayerNorm",
                "layer",
                "dyt",
                "“Transformers without normalization can achieve the same or better performance”.",
                "Zhu et al. 2025, abstract",
                at_least(-1, unit=" points", why="no more than a point behind"),
            ),
            (
                "batch_behind_layer",
                "BatchNorm is worse than LayerNorm",
                "layer",
                "batch",
                "BatchNorm in transformers leads to a significant loss of performance.",
                "Shen et al. 2020 (PowerNorm), of language; abstract",
                less(0, unit=" points"),
            ),
        )
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"pre_before_post_{experiment}",
            title=f"LayerNorm before the branches trains at a learning rate at which LayerNorm "
            f"after them is worse: a transformer {SETTINGS[experiment]}",
            says="Post-LN needs a warm-up; Pre-LN trains without one.",
            source="Xiong et al. 2020, abstract",
            arms=(
                transformer_arm(experiment, "layer", "post", lr),
                transformer_arm(experiment, "layer", "pre", lr),
            ),
            quantity=f"final test accuracy at lr {lr}, no warm-up, before − after",
            measure=ahead,
            rule=greater(0, unit=" points"),
            also=(PLACE,),
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for experiment, lr in (("transformer", 0.01), ("transformer_sgd", 0.3))
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"transformer_smoother_{norm}",
            title=f"The gradient of a transformer changes less with {NAMES[norm]}",
            says="What smooths a VGG is not measured in transformers.",
            source="asked after Santurkar et al. 2018, section 3; not measured there",
            arms=(
                transformer_arm("transformer_sgd", "none", lr=0.1),
                transformer_arm("transformer_sgd", norm, lr=0.1),
            ),
            quantity="largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η at the same training "
            f"loss, lr 0.1, norm before the branches, no norm / {NAMES[norm]}",
            measure=smaller_change,
            rule=greater(),
            also=(PLACE,),
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for norm in ("layer", "rms", "dyt", "batch")
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"transformer_drift_{place}",
            title=f"{what} drifts less in a transformer with LayerNorm",
            says="Norms are said to keep the distributions of layers stable.",
            source="Ioffe & Szegedy 2015, section 2, of BatchNorm",
            arms=(
                transformer_arm("transformer_sgd", "none", lr=0.1),
                transformer_arm("transformer_sgd", "layer", lr=0.1),
            ),
            quantity="Wasserstein distance of a unit's distribution between a step and the next, "
            "same batch, in standard deviations, lr 0.1, no norm / LayerNorm",
            measure=measure,
            rule=greater(),
            also=(PLACE,),
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for place, what, measure in (
            ("norm_input", "What the norm sees", drift_ratio),
            (
                "preactivation",
                "What the norm gives",
                lambda none, layer: drift_ratio(none, layer, "preactivation_same"),
            ),
        )
    ),
)
