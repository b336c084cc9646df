"""Mean and variance of units over training, from `probes/moments.py`: figure 8."""

import math

import numpy as np

from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import mean, medians, spearman
from bnstudy.results import Run, Series, Values

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


def variance_growth(run: Run) -> Values:
    """The variance of units over that at step 0, layer by layer: [layers], from the input on.

    At the last probed step at which it is finite; geometric mean over the recorded units that vary.
    The last layer, of the outputs, counts too.
    """
    found = []
    for name in recorded_layers(run, VARIANCE):
        values = run[f"{VARIANCE}/{name}"][1]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(values / values[0])
        means = np.array([mean(row) for row in logs])
        known = means[np.isfinite(means)]
        found.append(float(np.exp(known[-1])) if len(known) else math.nan)
    return np.array(found)


def growth_with_depth(run: Run) -> float:
    """Spearman's correlation of the number of a layer and the growth of its variance [1].

    1 where each layer grows more than the one before it. NaN for fewer than four layers.
    """
    growths = variance_growth(run)
    known = ~np.isnan(growths)
    layers = np.arange(len(growths), dtype=np.float64)[known]
    return spearman(layers, growths[known]) if known.sum() >= 4 else math.nan
