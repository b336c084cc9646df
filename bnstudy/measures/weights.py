"""How long the weights are and how far they move, from `probes/weights.py`."""

import math
from collections.abc import Sequence

import numpy as np

from bnstudy.measures.layers import needed_layers
from bnstudy.measures.series import at_the_end, median, ratio
from bnstudy.results import Run, Series, Values

NORM, STEP = "weights/norm", "weights/step"
ROTATION = "weights/rotation"
INITIAL, LR = "weights/initial_norm", "weights/lr"


def relative_step(run: Run, layer: str) -> Series:
    """||w_new - w|| / ||w|| of a layer [1]."""
    steps, lengths = run[f"{STEP}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, lengths / run[f"{NORM}/{layer}"][1]


def growth(run: Run, layer: str) -> Series:
    """||w|| / ||w_0|| of a layer [1]."""
    steps, norms = run[f"{NORM}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, norms / run[f"{INITIAL}/{layer}"][1]


def effective_lr(run: Run, layer: str) -> Series:
    """lr / ||w||^2 of a layer, with the lr of the step."""
    steps, norms = run[f"{NORM}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, run[LR][1] / norms**2


def weight_norms(run: Run) -> Values:
    """||w|| of every layer but the last at the probed steps: [layers, n].

    The last layer of a VGG has no norm. Raises KeyError if none was recorded.
    """
    return np.array([run[f"{NORM}/{name}"][1] for name in needed_layers(run, NORM)])


def growing_share(run: Run) -> float:
    """The share of layers and pairs of successive probed steps between which ||w|| does not fall.

    But by a millionth, for rounding. NaN with one probed step.
    """
    norms = weight_norms(run)
    grows = norms[:, 1:] >= (1 - 1e-6) * norms[:, :-1]
    return float(grows.mean()) if grows.size else math.nan


def effective_lr_fall(run: Run) -> float:
    """lr / ||w||^2 at the first probed step over that at the last, median over the layers.

    At one lr, so that no schedule has a part in it. NaN if the run diverged: it has no end.
    """
    norms = weight_norms(run)
    fall = median((norms[:, -1] / norms[:, 0]) ** 2)
    return math.nan if run.outcome == "diverged" else fall


def spread_left(runs: Sequence[Run]) -> float:
    """How much of the spread of lrs is left in the effective lrs at the end, on a log scale.

    The log of the largest effective lr over the smallest at the last probed step, median over the
    layers, over the same at step 0. NaN for one learning rate.
    """
    logs = [math.log(run.lr) - 2 * np.log(weight_norms(run)[:, [0, -1]]) for run in runs]
    first, last = np.median(np.ptp(np.array(logs), axis=0), axis=0)
    return ratio(float(last), float(first))


# How far weights turn


def rotation(run: Run, layer: str) -> Series:
    """The angle by which a step turns the weights of a layer [radians]."""
    return run[f"{ROTATION}/{layer}"]


def last_rotations(run: Run) -> Values:
    """The angle of a step of every layer but the last, medians over the last quarter: [layers].

    Radians. NaN if the run diverged. Raises KeyError if none was recorded.
    """
    names = needed_layers(run, ROTATION)
    values = [median(at_the_end(run, rotation(run, name), 0.25)) for name in names]
    return np.full(len(names), math.nan) if run.outcome == "diverged" else np.array(values)


def equilibrium_rotation(run: Run) -> float:
    """sqrt(2 lr weight_decay) [radians]: Kosson et al. 2024, of SGD without momentum."""
    return math.sqrt(2 * run.lr * (run.option("optimizer.weight_decay") or 0.0))


def rotation_at_equilibrium(run: Run) -> float:
    """The angle of a step over that of the equilibrium, median over the layers [1].

    NaN without weight decay.
    """
    return ratio(median(last_rotations(run)), equilibrium_rotation(run) or math.nan)


def rotation_spread(run: Run) -> float:
    """The largest angle of a step over the smallest, of all layers but the last [1]."""
    angles = last_rotations(run)
    return ratio(float(angles.max()), float(angles.min()))


def squared_length(run: Run) -> Series:
    """||w||^2 of all layers but the last together, those that may have a norm."""
    names = needed_layers(run, NORM)
    return run.steps(f"{NORM}/{names[0]}"), (weight_norms(run) ** 2).sum(axis=0)
