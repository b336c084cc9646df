"""How alike a network makes its samples, from `probes/representations.py`."""

import math

import numpy as np

from bnstudy.measures.layers import hidden_layers, needed_layers
from bnstudy.measures.series import mean
from bnstudy.results import Run, Series, Values

RANK, GAP = "representations/effective_rank", "representations/orthogonality_gap"
COSINE = "representations/mean_cosine"
SAMPLES = "representations/samples"


def first_profile(run: Run, kind: str) -> Values:
    """What was recorded of every hidden layer at the first probed step, from the input on: [L].

    Raises KeyError if no layer has it.
    """
    return np.array([run[f"{kind}/{name}"][1][0] for name in needed_layers(run, kind)])


def last_layer(run: Run, kind: str) -> Series:
    """A number of the last hidden layer over training: steps [n], values [n]."""
    return run[f"{kind}/{needed_layers(run, kind)[-1]}"]


def deep_mean(run: Run, kind: str) -> float:
    """The mean over the last quarter of the hidden layers at the first probed step."""
    values = first_profile(run, kind)
    return mean(values[-max(1, len(values) // 4) :])


def rank_left(run: Run) -> float:
    """The effective rank deep in the network over that of the first layer, at step 0 [1].

    Deep: geometric mean over the last quarter of the hidden layers.
    """
    values = first_profile(run, RANK)
    deep = values[-max(1, len(values) // 4) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(deep).mean()) / values[0])


def gap_growth(run: Run) -> float:
    """The orthogonality gap deep in the network over that of the first layer, at step 0 [1]."""
    values = first_profile(run, GAP)
    return deep_mean(run, GAP) / float(values[0]) if values[0] > 0 else math.nan


def has_representations(run: Run) -> bool:
    """Whether any hidden layer has a record."""
    return bool(hidden_layers(run, RANK))
