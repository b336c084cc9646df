"""What is said of covariate shift: of the data, and inside of the network."""

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.rules import Range, at_least, greater
from bnstudy.measures.covariate_shift import lost_inside, lost_to_data, recovered, share_lost
from bnstudy.results import Run


def lost_less(standard: Run, batch: Run) -> float:
    """How much smaller the share is with BatchNorm [1]."""
    return share_lost(standard) - share_lost(batch)


STANDARD = Arm("the standard network", "covariate_shift", "none", 0.1)
BATCH = Arm("BatchNorm", "covariate_shift", "batch", 0.1)

TOPIC = "Covariate shift"
CLAIMS = (
    Claim(
        topic=TOPIC,
        name="hurt_by_shift",
        title="A shift of the test data hurts a network with BatchNorm",
        says="Its running statistics are those of the training data.",
        source="Schneider et al. 2020; not in Santurkar et al. 2018",
        arms=(BATCH,),
        quantity="test accuracy lost if every channel of the data is moved by its standard "
        "deviation, running statistics",
        measure=lost_to_data,
        rule=greater(0, unit=" points"),
    ),
    Claim(
        topic=TOPIC,
        name="batch_statistics_recover",
        title="The statistics of the moved data recover most of it",
        says="Statistics of the shifted batch in place of the training's make up for the shift.",
        source="Schneider et al. 2020; Nado et al. 2020",
        arms=(BATCH,),
        quantity="share of the lost test accuracy that batch statistics give back",
        measure=recovered,
        rule=at_least(0.5, why="half of it"),
    ),
    Claim(
        topic=TOPIC,
        name="hurt_inside",
        title="A shift inside of the network hurts in the same way",
        says="Covariate shift can be “extended beyond the learning system as a whole, to apply to "
        "its parts, such as a sub-network or a layer”.",
        source="Ioffe & Szegedy 2015, section 1",
        arms=(BATCH,),
        quantity="test accuracy lost if the inputs of a middle layer are moved by their standard "
        "deviation, running statistics",
        measure=lost_inside,
        rule=greater(0, unit=" points"),
    ),
    Claim(
        topic=TOPIC,
        name="robust_to_shift",
        title="A shift of the test data hurts less with BatchNorm than without",
        says="A network that was normalized throughout training is robust to covariate shift.",
        source="said of its name; not in Ioffe & Szegedy 2015 or Santurkar et al. 2018",
        arms=(STANDARD, BATCH),
        quantity="share of the test accuracy above chance that is lost if every channel of the "
        "data is moved by its standard deviation, standard − BatchNorm with running statistics",
        measure=lost_less,
        rule=greater(0, unit="", zone=Range(-0.05, 0.05)),
    ),
)
