"""What is asked of every norm in every network: does it smooth, does it train, do these agree?"""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.claims.comparisons import smaller_change
from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import Range, greater, less
from bnstudy.measures.landscape import roughness
from bnstudy.measures.series import spearman
from bnstudy.measures.train import final_percent
from bnstudy.results import Run

NETWORKS = {  # experiment: the network
    "networks_vgg": "a VGG",
    "networks_resnet": "a ResNet",
    "transformer_sgd": "a transformer",
}
NAMES = {"layer": "LayerNorm", "rms": "RMSNorm", "dyt": "DyT", "batch": "BatchNorm"}
PLACE = "model.placement"


def smooth_and_accurate_norms(runs: Sequence[Run]) -> float:
    """Spearman's correlation over norms of test accuracy and relative gradient change [1].

    Each norm at its best learning rate; the network without a norm counts too. NaN for fewer than
    four norms.
    """
    best: dict[str, Run] = {}
    for run in runs:
        best[run.norm] = max(best.get(run.norm, run), run, key=final_percent)
    points = np.array([(final_percent(run), roughness(run)) for run in best.values()])
    known = points[~np.isnan(points).any(axis=1)] if len(points) else points
    return spearman(*known.T) if len(known) >= 4 else math.nan


def arm_of(experiment: str, norm: str | None, lr: float | None = 0.1) -> Arm:
    """A network with a norm, in a transformer before the branches."""
    options = ((PLACE, "pre"),) if experiment == "transformer_sgd" else ()
    name = "all norms" if norm is None else NAMES.get(norm, "no norm")
    return Arm(f"{NETWORKS[experiment]} with {name}", experiment, norm, lr, options)


TOPIC = "Norms by networks"
LONG_ENOUGH = Needs(steps=800)
CLAIMS = (
    *(
        Claim(
            topic=TOPIC,
            name=f"{norm}_smooths_{experiment}",
            title=f"{name} makes the gradient of {network} change less",
            says="Whatever is put in the place of BatchNorm smooths as it does.",
            source="asked after Santurkar et al. 2018, section 3.3; of DyT Zhu et al. 2025",
            arms=(arm_of(experiment, "none"), arm_of(experiment, norm)),
            quantity="largest ‖∇L(θ − η g) − g‖ / ‖g‖ over the step sizes η at the same training "
            f"loss, lr 0.1, no norm / {name}",
            measure=smaller_change,
            rule=greater(),
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for experiment, network in NETWORKS.items()
        if experiment != "transformer_sgd"  # with the claims on transformers
        for norm, name in NAMES.items()
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"smooth_is_accurate_{experiment}",
            title=f"What smooths {network} trains it",
            says="The impact of BatchNorm is its smoothing.",
            source="Santurkar et al. 2018, section 3; no correlation there",
            arms=(arm_of(experiment, None, None),),
            quantity="rank correlation over norms of final test accuracy and relative change of "
            "the gradient at η = lr (median over steps), each norm at its best learning rate",
            measure=smooth_and_accurate_norms,
            rule=less(0, unit="", zone=Range(-0.2, 0.2)),
            also=(PLACE,) if experiment == "transformer_sgd" else (),
            needs=LONG_ENOUGH,
            seeds_from=SEEDS_FROM,
        )
        for experiment, network in NETWORKS.items()
    ),
)
