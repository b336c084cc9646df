"""Two runs compared at the same training loss."""

import math

import numpy as np

from bnstudy.measures.series import geometric_mean, median, ratio
from bnstudy.measures.train import loss_around
from bnstudy.results import Run, Series

BIN = 0.25  # width of a bin of the natural logarithm of the training loss


def by_loss(run: Run, series: Series) -> dict[int, float]:
    """The median of a series in every bin of the training loss that the run visits.

    Bin k holds the steps with k <= ln(loss) / BIN < k + 1. Steps without a value do not count.
    """
    steps, values = series
    losses = loss_around(run, steps)
    known = ~np.isnan(values) & (losses > 0)
    bins = np.floor(np.log(losses[known]) / BIN).astype(int)
    return {int(k): median(values[known][bins == k]) for k in np.unique(bins)}


def at_matched_loss(over: tuple[Run, Series], under: tuple[Run, Series]) -> float:
    """How many times larger one series is than another at the same training loss [1].

    exp(mean over k of ln(a_k / b_k)): a_k and b_k are the medians over the steps at which the
    training loss of either run is in bin k, over the bins that both visit. So a network that has
    trained further is not compared with what it was before. A run that diverged counts as
    infinite, since what it lacks is not small. NaN if no bin is shared, or both diverged.
    """
    diverged = [run.outcome == "diverged" for run, _ in (over, under)]
    if any(diverged):
        return math.nan if all(diverged) else (math.inf if diverged[0] else 0.0)
    ours, theirs = by_loss(*over), by_loss(*under)
    ratios = [ratio(ours[k], theirs[k]) for k in sorted(set(ours) & set(theirs))]
    return geometric_mean([one for one in ratios if not math.isnan(one)])
