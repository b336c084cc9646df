"""Claims on other norms."""

import math

import pytest
from claim_runs import cell

from bnstudy.claims import (
    norms,
    smooth_landscape,
)
from bnstudy.results import Run


def test_the_share_of_the_gain_that_another_norm_has() -> None:
    none, batch = cell(accuracy=0.2), cell("batch", accuracy=0.6)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.5)) == pytest.approx(0.75)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.7)) == pytest.approx(1.25)
    assert math.isnan(norms.share_of_gain(none, cell("batch", accuracy=0.205), none))
    diverged = cell("l1", accuracy=0.5, outcome="diverged")
    assert norms.share_of_gain(none, batch, diverged) == pytest.approx(-0.25)


def changing(norm: str, change: float, accuracy: float = 0.5) -> Run:
    """A run whose gradient changes by this, relative to itself, over the step taken."""
    landscape = {
        "landscape/step_size": [[0.05, 0.1]] * 3,
        "landscape/gradient_change": [[0.0, 2 * change]] * 3,
        "landscape/gradient_norm": [2.0] * 3,
        "train/loss": [2.0] * 3,
    }
    return cell(norm, accuracy=accuracy, records=landscape)


def test_the_smoother_the_more_accurate() -> None:
    runs = [changing(norm, 5 - i, 0.5 + i / 10) for i, norm in enumerate(("a", "b", "c", "d"))]
    assert norms.smooth_and_accurate(runs) == pytest.approx(-1)
    assert math.isnan(norms.smooth_and_accurate(runs[:3]))
    unmeasured = changing("d", 2)
    unmeasured.records["landscape/step_size"] = ([0], [[0.05, 0.2]])
    assert math.isnan(norms.smooth_and_accurate([*runs[:3], unmeasured]))
    # The network without a norm does not count; an infinite change ranks last.
    assert norms.smooth_and_accurate([*runs, changing("none", 0.1, 0.1)]) == pytest.approx(-1)
    assert norms.smooth_and_accurate([*runs[1:], changing("a", math.inf, 0.1)]) == -1


def test_gradients_are_more_predictable_with_a_norm() -> None:
    standard = changing("none", 3)
    assert smooth_landscape.own_change_ratio(standard, changing("batch", 2)) == pytest.approx(1.5)
    runs = [standard, changing("batch", 2), changing("l1", 2), changing("l2", 4)]
    assert smooth_landscape.share_more_predictable(standard, runs) == pytest.approx(2 / 3)
    broken = changing("linf", math.nan)  # as good as infinite
    assert smooth_landscape.share_more_predictable(standard, [*runs, broken]) == 0.5
    assert math.isnan(smooth_landscape.share_more_predictable(standard, [standard]))
