"""How far the distributions of units move in a step, from `probes/drift.py`."""

import numpy as np

from bnstudy.measures.layers import needed_layers
from bnstudy.measures.series import mean
from bnstudy.results import Run, Series

PREFIX = "drift/"


def drift(run: Run, place: str, name: str) -> Series:
    """How far the distribution of a layer's units moves in a step [standard deviations].

    The Wasserstein-1 distance of a unit's distribution, mean over the units that vary. `place` is
    such as "norm_input_same": where, and on which batch. Without a norm "what the norm sees" is the
    preactivation.
    """
    key = f"{PREFIX}{place}/{name}"
    if key not in run and run.norm == "none":
        key = key.replace("norm_input", "preactivation")
    steps, values = run[key]
    return steps, np.array([mean(units) for units in values.reshape(len(steps), -1)])


def drift_layers(run: Run, place: str) -> list[str]:
    """The hidden layers whose drift was recorded at a place. Raises KeyError if there is none."""
    return needed_layers(run, f"{PREFIX}{place}")
