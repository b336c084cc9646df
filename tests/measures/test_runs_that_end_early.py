"""Measures of runs that end early."""

import math

import numpy as np
from claim_runs import cell
from descents import INF, as_measured

from bnstudy.claims import smooth_landscape
from bnstudy.measures.series import aligned, median_ratio


def test_flat_regions_are_not_told_of_a_run_with_few_steps() -> None:
    exploded, finished = as_measured(10)[:2]
    assert math.isnan(smooth_landscape.flat_difference(exploded, finished))


def test_steps_are_those_that_all_runs_have_and_what_is_missing_is_infinite() -> None:
    steps, other = np.arange(0, 40, 10), np.arange(0, 40, 5)
    ones, twos = np.ones(4), 2 * np.ones(8)
    finished, diverged = cell(), cell(outcome="diverged")
    shared, (a, b) = aligned((finished, (steps, ones)), (finished, (other, twos)))
    assert (list(shared), list(a), list(b)) == ([0, 10, 20, 30], [1] * 4, [2] * 4)
    short = (steps[:2], ones[:2])
    shared, (a, b) = aligned((finished, short), (finished, (other, twos)))
    assert list(shared) == [0, 10]
    shared, (a, b) = aligned((diverged, short), (finished, (other, twos)))
    assert (list(shared), list(a)) == ([0, 10, 15, 20, 25, 30, 35], [1, 1] + [INF] * 5)
    few = (steps[:1], ones[:1])
    assert math.isnan(median_ratio((finished, few), (finished, (other, twos))))
