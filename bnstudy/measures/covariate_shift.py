"""What inputs that are moved on purpose do to a network, from `probes/covariate_shift.py`."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.train import chance, trains
from bnstudy.results import Run

SIZE = "covariate_shift/size"  # in units of the standard deviation
ACCURACY = {  # by whose statistics: the training's, or those of the inputs that are moved
    "running": "covariate_shift/running_accuracy",
    "batch": "covariate_shift/batch_accuracy",
}


def accuracy_at(run: Run, kind: str, layer: str, size: float) -> float:
    """Accuracy with the inputs of a layer moved by `size`, at the last measured step [percent].

    `kind` is running or batch, whose statistics. NaN for a size that was not measured.
    """
    values = run[f"{ACCURACY[kind]}/{layer}"][1][-1]
    found = np.flatnonzero(np.isclose(run[SIZE][1][-1], size))
    return 100 * float(values[found[0]]) if len(found) else math.nan


def accuracies_by_size(
    runs: Sequence[Run], kind: str, layer: str
) -> tuple[list[float], list[list[float]]]:
    """Sizes [K] and, for each, the accuracies [percent] of all runs at the last measured step."""
    key = f"{ACCURACY[kind]}/{layer}"
    points: dict[float, list[float]] = {}
    for run in runs:
        if key in run:
            for size, accuracy in zip(run[SIZE][1][-1], run[key][1][-1], strict=True):
                points.setdefault(float(size), []).append(100 * accuracy)
    return sorted(points), [points[size] for size in sorted(points)]


def moved_layers(run: Run) -> list[str]:
    """The layers whose inputs were moved, from the input on."""
    return recorded_layers(run, ACCURACY["running"])


def middle_layer(run: Run) -> str:
    """The middle one of the layers that were moved, the first of all not among them.

    Raises KeyError if there is none.
    """
    inside = [name for name in moved_layers(run) if name != run.layers[0]]
    if not inside:
        raise KeyError(f"{run.directory.name} has no {ACCURACY['running']} of a layer inside")
    return inside[(len(inside) - 1) // 2]


def lost(run: Run, layer: str) -> float:
    """Test accuracy lost by a shift of 1 std, with running statistics [points].

    NaN of a run that does not train: it has none to lose.
    """
    unmoved, moved = (accuracy_at(run, "running", layer, size) for size in (0, 1))
    return unmoved - moved if trains(run) else math.nan


def lost_to_data(run: Run) -> float:
    """Test accuracy lost by a shift of the data [points]."""
    return lost(run, run.layers[0])


def lost_inside(run: Run) -> float:
    """Test accuracy lost by a shift inside of the network [points]."""
    return lost(run, middle_layer(run))


def recovered(run: Run) -> float:
    """The share of what a shift of the data costs that batch statistics give back.

    NaN where it costs less than a point.
    """
    layer = run.layers[0]
    points = lost(run, layer)
    back = accuracy_at(run, "batch", layer, 1) - accuracy_at(run, "running", layer, 1)
    return back / points if points >= 1 else math.nan


def share_lost(run: Run) -> float:
    """The share of the test accuracy above chance that a shift of the data costs [1]."""
    layer = run.layers[0]
    above = accuracy_at(run, "running", layer, 0) - 100 * chance(run)
    points = lost(run, layer)
    return points / above if above >= 1 else math.nan
