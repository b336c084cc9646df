"""What is said of covariate shift: of the data, and inside of the network."""

import math

import numpy as np

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.rules import Range, at_least, greater
from bnstudy.results import Run, chance, trains

ACCURACY = "covariate_shift/{}_accuracy"


def accuracy_at(run: Run, kind: str, layer: str, size: float) -> float:
    """Percent, the inputs of a layer moved by `size`, at the last measured step.

    `kind` is running or batch, whose statistics. NaN for a size that was not measured.
    """
    values = run[f"{ACCURACY.format(kind)}/{layer}"][1][-1]
    found = np.flatnonzero(np.isclose(run["covariate_shift/size"][1][-1], size))
    return 100 * float(values[found[0]]) if len(found) else math.nan


def first_layer(run: Run) -> str:
    """The layer whose inputs are the data."""
    return run.layers[0]


def middle_layer(run: Run) -> str:
    """The middle one of the layers that were measured, the first not among them."""
    kind = ACCURACY.format("running")
    inside = [name for name in run.layers[1:] if f"{kind}/{name}" in run]
    if not inside:
        raise KeyError(f"{run.directory.name} has no {kind} of a layer inside")
    return inside[(len(inside) - 1) // 2]


def lost(run: Run, layer: str) -> float:
    """Points of test accuracy lost by a shift of 1 std, with running statistics.

    NaN of a run that does not train: it has none to lose.
    """
    unmoved, moved = (accuracy_at(run, "running", layer, size) for size in (0, 1))
    return unmoved - moved if trains(run) else math.nan


def lost_to_data(run: Run) -> float:
    """The points lost by a shift of the data."""
    return lost(run, first_layer(run))


def lost_inside(run: Run) -> float:
    """The points lost by a shift inside of the network."""
    return lost(run, middle_layer(run))


def recovered(run: Run) -> float:
    """The share of what a shift of the data costs that batch statistics give back.

    NaN where it costs less than a point.
    """
    layer = first_layer(run)
    points = lost(run, layer)
    back = accuracy_at(run, "batch", layer, 1) - accuracy_at(run, "running", layer, 1)
    return back / points if points >= 1 else math.nan


def share_lost(run: Run) -> float:
    """The share of the test accuracy above chance that a shift of the data costs [1]."""
    layer = first_layer(run)
    above = accuracy_at(run, "running", layer, 0) - 100 * chance(run)
    points = lost(run, layer)
    return points / above if above >= 1 else math.nan


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
