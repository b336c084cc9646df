"""Mean and variance of units over training, from `probes/moments.py`: figure 8."""

import numpy as np

from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import medians
from bnstudy.results import Run, Series

MEAN, NEXT_MEAN, VARIANCE = "moments/mean", "moments/next_mean", "moments/variance"
PREFIX, NEXT = "moments/", "moments/next_"


def moment_distance(run: Run, moment: str) -> Series:
    """|moment(t + 1) - moment(t)|, averaged over the recorded units: figure 8a.

    `moment` is mean/<layer> or variance/<layer>. Steps [n], values [n].
    """
    steps, now = run[f"{PREFIX}{moment}"]
    return steps, np.abs(run[f"{NEXT}{moment}"][1] - now).mean(axis=1)


def moment_since_start(run: Run, moment: str) -> Series:
    """moment(t) - moment(0) of every recorded unit: steps [n], values [n, units]; figure 8b."""
    steps, values = run[f"{PREFIX}{moment}"]
    return steps, values - values[0]


def mean_shift(run: Run) -> Series:
    """How far the mean moves to the next step [standard deviations]: the median over units."""
    steps, found = np.array([], dtype=np.int64), []
    for name in recorded_layers(run, MEAN):
        steps, mean = run[f"{MEAN}/{name}"]
        distance = np.abs(run[f"{NEXT_MEAN}/{name}"][1] - mean)
        with np.errstate(divide="ignore", invalid="ignore"):
            found.append(distance / np.sqrt(run[f"{VARIANCE}/{name}"][1]))
    return steps, medians(np.concatenate(found, axis=1))
