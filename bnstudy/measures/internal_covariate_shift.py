"""Internal covariate shift by definition 2.1, from `probes/internal_covariate_shift.py`: figure 3.

G is the gradient of a layer, G' that after the layers below it made their update.
"""

import math

import numpy as np

from bnstudy.measures.layers import CONVOLUTIONS, DEPTH, layer_key
from bnstudy.measures.series import late, median, medians
from bnstudy.results import Run, Series, Values

L2, COSINE = "internal_covariate_shift/l2", "internal_covariate_shift/cosine"
NORM, SHARE_BELOW = "internal_covariate_shift/norm", "internal_covariate_shift/share_below"
OF_LINEAR = (9, 17)  # the paper's layers of the deep linear network, which has 25


# By layer


def relative_shift(run: Run, layer: str) -> Series:
    """||G - G'|| / ||G|| of a layer [1]: steps [n], values [n]."""
    steps, shifts = run[f"{L2}/{layer}"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, shifts / run[f"{NORM}/{layer}"][1]


def shift_of(run: Run, number: int) -> Series:
    """`relative_shift` of the layer that stands for layer `number` of the paper's 13 [1]."""
    key = layer_key(run, number, CONVOLUTIONS, L2)
    return relative_shift(run, key.removeprefix(f"{L2}/"))


def cosine_of(run: Run, number: int) -> Series:
    """The cosine of G and G' of the layer that stands for layer `number` of the paper's 13 [1]."""
    return run[layer_key(run, number, CONVOLUTIONS, COSINE)]


def typical_shift(run: Run) -> Series:
    """`relative_shift`, the median over the layers but the first, which has nothing below it."""
    steps, found = np.array([], dtype=np.int64), []
    for name in run.layers[1:]:
        if f"{L2}/{name}" in run:
            steps, shift = relative_shift(run, name)
            found.append(shift)
    return steps, medians(np.stack(found, axis=1))


def mean_over_layers(run: Run, kind: str) -> float:
    """The median over steps of what <kind>/<layer> says, mean over the layers; NaN without any."""
    keys = [key for key in run.keys() if key.startswith(f"{kind}/")]  # noqa: SIM118  no mapping
    layers = [median(run[key][1]) for key in keys]
    return float(np.mean(layers)) if layers else math.nan


# The deep linear network


def linear_cosines(run: Run) -> list[Values]:
    """The cosines of layers 9 and 17 of the deep linear network at every probed step."""
    return [run[layer_key(run, number, DEPTH, COSINE)][1] for number in OF_LINEAR]


def typical_cosine(run: Run) -> float:
    """The median cosine of G and G' over steps, mean of layers 9 and 17 of 25 [1]."""
    return float(np.mean([median(cosines) for cosines in linear_cosines(run)]))


def lowest_cosine(run: Run) -> float:
    """What the cosine exceeds at 95 % of the steps, in the lower of the two layers [1]."""
    known = [cosines[~np.isnan(cosines)] for cosines in linear_cosines(run)]
    return min(float(np.percentile(cosines, 5)) if len(cosines) else math.nan for cosines in known)


def correlation(run: Run) -> float:
    """The median absolute cosine over steps, in the higher of the two layers [1]."""
    return max(median(np.abs(cosines)) for cosines in linear_cosines(run))


def sign_share(run: Run) -> float:
    """The share of late steps of layers 9, 17 at which the cosine has the sign of 1 - 2 share."""
    agree = []
    for number in OF_LINEAR:
        key = layer_key(run, number, DEPTH, COSINE)
        share_below = late(run[key.replace(COSINE, SHARE_BELOW)])
        agree.append(np.sign(late(run[key])) == np.sign(1 - 2 * share_below))
    pooled = np.concatenate(agree)
    return float(pooled.mean()) if len(pooled) else math.nan
