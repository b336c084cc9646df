"""What is said of weights before a norm: weight decay, angles, sharpness on the sphere."""

import math

import numpy as np

from bnstudy.claims.judging import Arm, Claim, Needs
from bnstudy.claims.primary import SEEDS_FROM
from bnstudy.claims.rules import at_most, greater, less, within
from bnstudy.measures import train
from bnstudy.measures.series import ratio, together
from bnstudy.measures.sphere import last_spherical_sharpness, spherical_fall
from bnstudy.measures.weights import rotation_at_equilibrium, rotation_spread
from bnstudy.results import Run

FIRST = 100  # steps; later, at the edge of stability, rounding grows


def twin_difference(decayed: Run, twin: Run) -> float:
    """The largest relative difference of the losses of two runs in the first 100 steps [1].

    NaN if they have no such step in common.
    """
    steps, one, other = together(decayed[train.LOSS], twin[train.LOSS])
    early = steps < FIRST
    return float(np.abs(other / one - 1)[early].max()) if early.any() else math.nan


def spread_ratio(standard: Run, batch: Run) -> float:
    """How many times as much the angles differ over layers without BatchNorm."""
    return ratio(rotation_spread(standard), rotation_spread(batch))


def spherical_ratio(without: Run, decayed: Run) -> float:
    """Spherical sharpness at the end with weight decay over that without [1]."""
    return ratio(*(last_spherical_sharpness(run) for run in (decayed, without)))


def linear(weight_decay: float) -> Arm:
    """The linear network with BatchNorm alone, with or without weight decay."""
    name = "BatchNorm with weight decay" if weight_decay else "BatchNorm without weight decay"
    options = (("optimizer.weight_decay", weight_decay),)
    return Arm(name, "scale_invariance", "batch_no_affine", 1e-6, options)


def of_vgg(norm: str, weight_decay: float) -> Arm:
    """A VGG at lr 0.1 with weight decay."""
    name = {"none": "the standard VGG", "batch": "the VGG with BatchNorm"}[norm]
    options = (("optimizer.weight_decay", weight_decay),)
    return Arm(f"{name}, weight decay {weight_decay:g}", "rotation", norm, 0.1, options)


DECAYED, UNDECAYED = linear(500.0), linear(0.0)
TWIN = Arm("its twin with a growing lr", "scale_invariance_lr", "batch_no_affine", 1e-6)
ALSO = ("optimizer.weight_decay",)
ALSO_TWIN = (*ALSO, "schedule")
EQUILIBRIUM = Needs(steps=2000)  # 1 / (2 lr weight_decay) is 500
TOPIC = "Scale invariance"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="decay_is_growing_lr",
        title="Weight decay is an exponentially growing learning rate",
        says="Training with weight decay is training with an exponentially growing learning rate "
        "and without it.",
        source="Li & Arora 2020, theorem 1.1; an identity: this checks the measurement",
        arms=(DECAYED, TWIN),
        quantity=f"largest relative difference of the training losses in the first {FIRST} steps, "
        "linear network, float64",
        measure=twin_difference,
        rule=at_most(1e-6, why="rounding"),
        also=ALSO_TWIN,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="rotation_equilibrium",
        title="With weight decay the weights of a VGG turn by √(2 lr λ) in a step",
        says="The angle of a step settles where its growth and weight decay balance.",
        source="Kosson et al. 2024, section 3, table 1",
        arms=(of_vgg("batch", 0.01),),
        quantity="angle of a step / √(2 lr × weight decay), median over the last quarter and over "
        "the layers before a norm",
        measure=rotation_at_equilibrium,
        rule=within(0.8, 1.25, unit="×", why="within a quarter"),
        also=ALSO,
        needs=EQUILIBRIUM,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="rotation_alike",
        title="With weight decay all layers before a norm turn alike",
        says="“Balanced rotation”: the same angle in all layers.",
        source="Kosson et al. 2024, abstract",
        arms=(of_vgg("batch", 0.01),),
        quantity="largest angle of a step over layers / smallest, last quarter",
        measure=rotation_spread,
        rule=at_most(1.25, unit="×", why="within a quarter"),
        also=ALSO,
        needs=EQUILIBRIUM,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="rotation_differs_without",
        title="Without BatchNorm layers turn less alike",
        says="The balance needs weights that are scale-invariant.",
        source="Kosson et al. 2024, section 3",
        arms=(of_vgg("none", 0.01), of_vgg("batch", 0.01)),
        quantity="largest angle of a step over layers / smallest, last quarter, standard / "
        "BatchNorm",
        measure=spread_ratio,
        rule=greater(),
        also=ALSO,
        needs=EQUILIBRIUM,
        seeds_from=SEEDS_FROM,
    ),
    Claim(
        topic=TOPIC,
        name="sphere_falls_linear",
        title="With weight decay the linear network becomes flatter on the sphere",
        says="Gradient descent with weight decay at the edge of stability reduces spherical "
        "sharpness.",
        source="Lyu, Li & Arora 2022, abstract",
        arms=(DECAYED,),
        quantity="largest eigenvalue × ‖w‖², median over the last quarter of the run over that "
        "over the second quarter",
        measure=spherical_fall,
        rule=less(),
        also=ALSO,
        needs=Needs(steps=5000),
        seeds_from=SEEDS_FROM,
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"sphere_with_decay_{name}",
            title=f"Weight decay makes the {words} flatter on the sphere than no weight decay does",
            says="Weight decay is what drives the flow that reduces spherical sharpness.",
            source="Lyu, Li & Arora 2022, section 1",
            arms=arms,
            quantity="largest eigenvalue × ‖w‖², median over the last quarter, with weight decay / "
            "without",
            measure=spherical_ratio,
            rule=less(),
            also=ALSO,
            needs=needs,
            seeds_from=SEEDS_FROM,
        )
        for name, words, arms, needs in (
            ("linear", "linear network", (UNDECAYED, DECAYED), Needs(steps=5000)),
            ("vgg", "VGG", (of_vgg("batch", 0.0), of_vgg("batch", 0.01)), EQUILIBRIUM),
        )
    ),
)
