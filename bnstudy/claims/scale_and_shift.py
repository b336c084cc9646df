"""What is said of gamma and beta, and of what an activation function gets to see."""

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.rules import Range, at_least, greater, within
from bnstudy.measures.activations import linear_share, zeros
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run


def more_linear(over: Run, *under: Run) -> float:
    """By how much that fraction is larger than in the others."""
    return linear_share(over) - max(linear_share(run) for run in under)


def restored(without: Run, batch: Run) -> float:
    """Points of training accuracy, over the last tenth, gained by gamma and beta."""
    return training_accuracy(batch, share=0.1) - training_accuracy(without, share=0.1)


def mlp_arm(name: str, norm: str, activation: str) -> Arm:
    """An MLP with one norm and activation function."""
    options = (("model.activation", activation),)
    return Arm(f"{name} ({activation})", "scale_and_shift", norm, 0.1, options)


ACTIVATIONS = {"relu": "ReLU", "sigmoid": "sigmoid", "tanh": "tanh"}
STANDARD = {key: mlp_arm("the standard network", "none", key) for key in ACTIVATIONS}
BATCH = {key: mlp_arm("BatchNorm", "batch", key) for key in ACTIVATIONS}
WITHOUT = {key: mlp_arm("BatchNorm without γ, β", "batch_no_affine", key) for key in ACTIVATIONS}
ALSO = ("model.activation",)

TOPIC = "Scale and shift"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="half_are_zero",
        title="Without γ and β half of what a ReLU sees is negative",
        says="A normalized input has mean 0, so the ReLU is off half of the time.",
        source="said of ReLUs; not in Santurkar et al. 2018",
        arms=(WITHOUT["relu"],),
        quantity="fraction of zeros after the ReLU, hidden layers, last third, BatchNorm without "
        "γ and β",
        measure=zeros,
        rule=within(0.4, 0.6, why="a half, within a tenth"),
        also=ALSO,
    ),
    Claim(
        topic=TOPIC,
        name="constrained_to_linear",
        title="Without γ and β a sigmoid sees its linear range only",
        says="“Normalizing the inputs of a sigmoid would constrain them to the linear regime of "
        "the nonlinearity.”",
        source="Ioffe & Szegedy 2015, section 3",
        arms=(WITHOUT["sigmoid"],),
        quantity="fraction of inputs with |z| < 1, hidden layers, last third, BatchNorm without γ "
        "and β",
        measure=linear_share,
        rule=at_least(0.6, why="0.68 for a unit normal"),
        also=ALSO,
    ),
    Claim(
        topic=TOPIC,
        name="more_linear_than_others",
        title="Without γ and β a sigmoid sees its linear range more than otherwise",
        says="γ and β let the network leave the linear regime; without a norm it saturates.",
        source="Ioffe & Szegedy 2015, section 3",
        arms=(WITHOUT["sigmoid"], STANDARD["sigmoid"], BATCH["sigmoid"]),
        quantity="fraction of inputs with |z| < 1, hidden layers, last third: BatchNorm without γ "
        "and β − the larger of BatchNorm and standard",
        measure=more_linear,
        rule=greater(0, unit="", zone=Range(-0.02, 0.02)),
        also=ALSO,
    ),
    *(
        Claim(
            topic=TOPIC,
            name=f"gamma_and_beta_{key}",
            title=f"γ and β restore what BatchNorm takes from a network with {name}",
            says="Normalizing “may change what the layer can represent”; γ and β “restore the "
            "representation power of the network”.",
            source="Ioffe & Szegedy 2015, section 3",
            arms=(WITHOUT[key], BATCH[key]),
            quantity=f"training accuracy over the last tenth, {name}, with − without γ and β",
            measure=restored,
            rule=greater(0, unit=" points"),
            also=ALSO,
        )
        for key, name in ACTIVATIONS.items()
    ),
)
