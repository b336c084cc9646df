"""The verdict words: every one at every number of seeds, its boundaries, and the intervals."""

import math

import numpy as np
import pytest

from bnstudy import claims
from bnstudy.claims import Range, Rule, at_least, at_most, greater, less, within

NAN = math.nan
RATIO = greater(1)  # no effect from 1 / 1.1 to 1.1


# The verdict of a value, its interval and n


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (2.0, (1.5, 3.0), claims.SUGGESTED),
        (2.0, (0.5, 3.0), claims.SUGGESTED),
        (1.05, (1.04, 1.06), claims.UNDECIDED),
        (0.5, (0.4, 0.6), claims.UNDECIDED),
    ],
)
def test_fewer_than_five_seeds_suggest_at_most(
    value: float, interval: tuple[float, float], verdict: str, n: int
) -> None:
    assert RATIO.verdict(value, *interval, n) == verdict


@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (2.0, (1.5, 3.0), claims.SUPPORTED),
        (2.0, (1.0 + 1e-9, 3.0), claims.SUPPORTED),
        (2.0, (1.0, 3.0), claims.SUGGESTED),  # the null value is in it
        (2.0, (0.5, 3.0), claims.SUGGESTED),
        (1.05, (1.04, 1.06), claims.NO_EFFECT),
        (1.05, (1.04, 1.3), claims.SUPPORTED),
        (1.05, (0.8, 1.3), claims.UNDECIDED),
        (1.0, (1 / 1.1, 1.1), claims.NO_EFFECT),
        (1.0, (1.0, 1.0), claims.NO_EFFECT),
        (0.5, (0.4, 0.6), claims.CONTRADICTED),
        (0.5, (0.4, 1.0), claims.UNDECIDED),
        (0.5, (0.4, 1.5), claims.UNDECIDED),
        (math.inf, (1.4, math.inf), claims.SUPPORTED),
        (0.0, (0.0, 0.5), claims.CONTRADICTED),
    ],
)
def test_the_verdict_with_five_seeds(
    value: float, interval: tuple[float, float], verdict: str
) -> None:
    assert RATIO.verdict(value, *interval, 5) == verdict


def test_one_seed_suggests_at_most_and_no_value_is_not_measurable() -> None:
    assert RATIO.verdict(2.0, NAN, NAN, 1) == claims.SUGGESTED
    assert RATIO.verdict(0.5, NAN, NAN, 1) == claims.UNDECIDED
    assert RATIO.verdict(NAN, NAN, NAN, 0) == claims.NOT_MEASURABLE


def test_a_claim_of_less_is_the_mirror_of_a_claim_of_more() -> None:
    for value, low, high in ((2.0, 1.5, 3.0), (0.5, 0.4, 0.6), (1.0, 0.95, 1.05), (2.0, 0.5, 3.0)):
        mirrored = less(1).verdict(1 / value, 1 / high, 1 / low, 5)
        assert mirrored == RATIO.verdict(value, low, high, 5)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.9, 1.1), claims.SUPPORTED),
        ((0.8, 1.25), claims.SUPPORTED),
        ((0.79, 1.25), claims.SUGGESTED),
        ((1.3, 1.5), claims.CONTRADICTED),
        ((0.5, 0.7), claims.CONTRADICTED),
    ],
)
def test_equality_has_margins(interval: tuple[float, float], verdict: str) -> None:
    value = float(np.mean(interval))
    assert within(0.8, 1.25).verdict(value, *interval, 5) == verdict


def test_no_worse_than_has_one_margin() -> None:
    rule = at_least(-1, unit=" points")
    assert rule.verdict(0.0, -1.0, 2.0, 5) == claims.SUPPORTED
    assert rule.verdict(0.0, -1.1, 2.0, 5) == claims.SUGGESTED
    assert rule.verdict(-2.0, -3.0, -1.1, 5) == claims.CONTRADICTED
    assert at_most(1).verdict(0.5, 0.2, 1.0, 4) == claims.SUGGESTED


def test_the_zone_is_a_tenth_of_a_ratio_and_a_point_of_accuracy() -> None:
    assert RATIO.zone == Range(1 / 1.1, 1.1)
    assert greater(0, unit=" points").zone == Range(-1, 1)
    assert greater(0, unit="").zone is None
    assert greater(0, unit="", zone=Range(-0.05, 0.05)).zone == Range(-0.05, 0.05)
    # An effect of no size that matters is none, however sure.
    assert greater(0, unit=" points").verdict(0.5, 0.2, 0.9, 10) == claims.NO_EFFECT


def test_exactly_equal_values_support_nothing() -> None:
    assert greater(0, unit="").verdict(0.0, 0.0, 0.0, 10) == claims.UNDECIDED
    assert RATIO.verdict(1.0, 1.0, 1.0, 10) == claims.NO_EFFECT


def test_the_words_of_a_rule_are_its_numbers() -> None:
    assert str(RATIO) == (
        "No effect: the whole interval is from 0.909 to 1.1. "
        "Otherwise supported: the whole interval is more than 1. "
        "Contradicted: the whole interval is less than 1. "
        "With fewer than 5 seeds at most suggested."
    )
    assert "from 0.8 to 1.25 (so)" in str(within(0.8, 1.25, why="so"))
    assert "less than 0.8 or more than 1.25" in str(within(0.8, 1.25))
    assert "No effect" not in str(at_most(2))


def test_a_number_of_the_paper_meets_a_rule_on_the_claimed_side_only() -> None:
    assert greater(paper=2).paper_meets_it
    assert greater(paper=1.05).paper_meets_it is False
    assert at_most(1.25, paper=1.5).paper_meets_it is False
    assert RATIO.paper_meets_it is None


def test_every_verdict_has_a_meaning() -> None:
    for n in (1, 2, 5):
        for value, low, high in ((2, 1.5, 3), (1, 1, 1), (0.5, 0.4, 0.6), (NAN, NAN, NAN)):
            assert RATIO.verdict(value, low, high, n) in claims.VERDICTS
    assert claims.ENOUGH == 5
    assert Rule(Range()).verdict(0, 0, 0, 5) == claims.SUPPORTED


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e-6, "1e-6"),
        (-0.5, "−0.5"),
        (2.0625, "2.06"),
        (1234.5, "1234"),
        (2.01e6, "2.01e6"),
        (0.0, "0"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, ""),
    ],
)
def test_numbers_in_words(value: float, words: str) -> None:
    assert claims.in_words(value) == words


def test_measured_numbers_keep_their_zeros() -> None:
    assert [claims.in_words(value, fixed=True) for value in (1, 0.5, 99.9)] == [
        "1.00",
        "0.500",
        "99.9",
    ]


# Intervals


def test_one_seed_has_a_value_and_no_interval() -> None:
    value, low, high = claims.summary([3.0])
    assert value == 3
    assert math.isnan(low) and math.isnan(high)
    assert all(math.isnan(number) for number in claims.summary([]))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_few_seeds_is_their_range(n: int) -> None:
    values = [float(i) for i in range(n)]
    assert claims.summary(values) == (np.median(values), 0, n - 1)


def test_the_interval_is_that_of_the_exact_bootstrap() -> None:
    # Of 13 values the median of a resample is at most the 3rd smallest with probability 1.6 %, at
    # most the 4th with 7.1 % (binomial): the 2.5th percentile is the 4th, by symmetry the other
    # end the 10th.
    values = [float(i) for i in np.random.default_rng(1).permutation(13)]
    assert claims.summary(values) == (6, 3, 9)
    assert claims.summary(values) == claims.summary(values)


def test_infinite_values_have_an_interval() -> None:
    assert claims.summary([1.0, 2.0, math.inf]) == (2, 1, math.inf)


def test_several_numbers_a_seed_are_drawn_together() -> None:
    # Over seeds each number varies, their difference does not.
    rows = [(float(i), i + 2.0) for i in range(4)]
    assert claims.summary(rows, lambda v, axis: np.diff(v.mean(axis=axis))[..., 0]) == (2, 2, 2)


@pytest.mark.parametrize(("n", "coverage"), [(2, 0.5), (3, 0.75), (5, 0.94)])
def test_the_interval_covers_the_median_as_often_as_the_page_says(n: int, coverage: float) -> None:
    rng = np.random.default_rng(n)
    draws = rng.standard_normal((4000, n))  # the interval is the range
    covered = float(((draws.min(1) < 0) & (draws.max(1) > 0)).mean())
    assert covered == pytest.approx(coverage, abs=0.02)
    assert f"{100 * coverage:.0f} %" in claims.COVERAGE
