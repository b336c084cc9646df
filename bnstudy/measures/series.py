"""Reductions of series: medians, means over runs, running means, steps that runs share."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnstudy.results import Run, Series, Steps, Values

FEWEST = 5  # probed steps: a median of fewer is one of the start alone


# Numbers


def median(values: Values) -> float:
    """The median of what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def mean(values: Values) -> float:
    """The mean of what is finite; NaN if nothing is left."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def medians(values: Values) -> Values:
    """The median of every row, [n, m] to [n], NaN left out; NaN where a row has nothing else."""
    return np.array([median(row) for row in values])


def ratio(over: float, under: float) -> float:
    """over / under; NaN where neither is finite, or both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


def positive_ratio(over: float, under: float) -> float:
    """over / under; NaN unless both are positive, because of others a ratio says nothing."""
    return ratio(over, under) if over > 0 and under > 0 else math.nan


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean of the logarithms) [1]; NaN if a value is NaN, or there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values).mean())) if len(values) else math.nan


def spearman(xs: Values, ys: Values) -> float:
    """Spearman's rank correlation, ties with their mean rank; NaN if either does not vary."""
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (xs, ys)]
    x, y = (rank - rank.mean() for rank in ranks)
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else float("nan")


def _ranks(values: Values) -> Values:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


# A part of a series


def at_first_step(series: Series) -> float:
    """The value of a series at step 0, NaN if there is none."""
    steps, values = series
    return float(values[0]) if len(steps) and steps[0] == 0 else math.nan


def at_step(series: Series, step: int) -> float:
    """The value of a series at a step, NaN if there is none."""
    steps, values = series
    found = values[steps == step]
    return float(found[0]) if len(found) else math.nan


def late(series: Series, step: int = 1000) -> Values:
    """The values of a series from a step on."""
    steps, values = series
    return values[steps >= step]


def first_third(run: Run, series: Series) -> Series:
    """A series in the first third of the run."""
    steps, values = series
    early = 3 * steps < run.config["steps"]
    return steps[early], values[early]


def second_half(run: Run, series: Series) -> Values:
    """The values of a series in the second half of the run."""
    steps, values = series
    return values[2 * steps >= run.config["steps"]]


def at_the_end(run: Run, series: Series, share: float) -> Values:
    """The values of a series over the last `share` of the run, one step at least."""
    steps, values = series
    planned = run.config["steps"]
    return values[steps >= planned - max(1, round(share * planned))]


def thin(run: Run, key: str) -> Series:
    """Every so many-th record of a metric, about 500 in all, the first and the last among them."""
    steps, values = run[key]
    index = _every(len(steps), max(1, run.config["steps"] // 500))
    return steps[index], values[index]


def window(run: Run) -> int:
    """The steps of a running mean over noisy mini-batches: 1/150 of the run, an odd number."""
    return 2 * (run.config["steps"] // 300) + 1


def smooth(run: Run, key: str, factor: float = 1.0) -> Series:
    """A running mean over `window` steps, times `factor`, at every half window.

    Only over full windows, so it begins and ends half a window inside the record: a mean over fewer
    steps at the ends would show the noise of single mini-batches. A record shorter than a window
    counts as one. Values that are not finite are left out; NaN where the window holds no other.
    """
    steps, values = run[key]
    half = min(window(run), len(steps) - 1) // 2
    index = half + _every(len(steps) - 2 * half, max(1, half))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    total = sums[index + half + 1] - sums[index - half]
    count = counts[index + half + 1] - counts[index - half]
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return steps[index], factor * means


def _every(length: int, stride: int) -> NDArray[np.int64]:
    return np.unique(np.append(np.arange(0, length, stride), length - 1))


# Several series


def together(
    one: tuple[Steps, NDArray[Any]], other: tuple[Steps, NDArray[Any]]
) -> tuple[Steps, NDArray[Any], NDArray[Any]]:
    """Two series at the steps that both have: steps [n], values [n, ...] of either."""
    steps, of_one, of_other = np.intersect1d(one[0], other[0], return_indices=True)
    return steps, one[1][of_one], other[1][of_other]


def align(series: Iterable[Series]) -> Series:
    """Several runs on common steps: steps [n] and values [runs, n], NaN after a run's last step.

    A step counts if all runs that have not ended by then have it.
    """
    mapped = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in series]
    lasts = [max(points) for points in mapped]
    steps = [
        step
        for step in sorted(set().union(*mapped))
        if all(step in points or step > last for points, last in zip(mapped, lasts, strict=True))
    ]
    values = [[points.get(step, np.nan) for step in steps] for points in mapped]
    return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)


def average(values: Values, log: bool = False) -> Values:
    """The mean over runs, [runs, n] to [n]; the geometric mean if `log`.

    NaN (ended, or undefined) is left out; an infinite value makes the mean infinite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.log(values) if log else values
        known = ~np.isnan(terms)
        total = np.where(known, terms, 0.0).sum(axis=0)
        mean = np.where(known.any(axis=0), total / known.sum(axis=0), np.nan)
        return np.exp(mean) if log else mean


def aligned(*of: tuple[Run, Series]) -> tuple[Steps, list[Values]]:
    """Series of several runs at the steps that all of them have: steps [n], of each values [n].

    A run that diverged counts beyond its end too, as infinite: an explosion is no smoothness.
    """
    steps = [series[0] for _, series in of]
    extended = [
        np.union1d(own, [step for s in steps for step in s if step > own[-1]])
        if run.outcome == "diverged" and len(own)
        else own
        for (run, _), own in zip(of, steps, strict=True)
    ]
    shared = reduce(np.intersect1d, extended).astype(np.int64)
    values = []
    for _, (own, known) in of:
        place = {step: index for index, step in enumerate(own.tolist())}
        values.append(
            np.array([known[place[s]] if s in place else np.inf for s in shared.tolist()])
        )
    return shared, values


def median_ratio(over: tuple[Run, Series], under: tuple[Run, Series]) -> float:
    """The median of one series over that of another, at the steps that both have [1].

    What a diverged run lacks is infinite, as `aligned` has it. NaN for fewer than FEWEST steps.
    """
    steps, (ours, theirs) = aligned(over, under)
    return ratio(median(ours), median(theirs)) if len(steps) >= FEWEST else math.nan
