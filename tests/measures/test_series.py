"""Reductions of series."""

import math
from pathlib import Path

import numpy as np
import pytest
from drawing import losses

from bnstudy.figures import (
    panels,
)
from bnstudy.measures.series import spearman


def test_smooth_is_a_running_mean_over_full_windows(tmp_path: Path) -> None:
    run = losses(tmp_path / "a", [0.0, 3.0, 6.0, math.nan, 2.0, 7.0])
    run.config["steps"] = 300
    assert panels.window(run) == 3
    steps, values = panels.smooth(run, "train/loss", factor=10)
    np.testing.assert_array_equal(steps, [1, 2, 3, 4])
    np.testing.assert_allclose(values, [30, 45, 40, 45])
    run = losses(tmp_path / "b", [1.0] * 30 + [99.0])
    run.config["steps"] = 1500
    assert panels.window(run) == 11
    steps, values = panels.smooth(run, "train/loss")
    np.testing.assert_array_equal(steps, [5, 10, 15, 20, 25])
    np.testing.assert_allclose(values, [1, 1, 1, 1, (10 + 99) / 11])


@pytest.mark.parametrize(("losses_there", "steps"), [(1, [0]), (2, [0, 1]), (5, [2]), (11, [5])])
def test_smooth_of_a_record_shorter_than_the_window(
    tmp_path: Path, losses_there: int, steps: list[int]
) -> None:
    run = losses(tmp_path, [2.0] * losses_there, outcome="diverged")
    run.config["steps"] = 1500
    np.testing.assert_array_equal(panels.smooth(run, "train/loss")[0], steps)
    np.testing.assert_array_equal(panels.smooth(run, "train/loss")[1], [2.0] * len(steps))


def test_thin_keeps_the_first_and_the_last_record(tmp_path: Path) -> None:
    run = losses(tmp_path, np.arange(10.0).tolist())
    run.config["steps"] = 2000
    steps, values = panels.thin(run, "train/loss")
    assert steps.tolist() == values.tolist() == [0, 4, 8, 9]


@pytest.mark.parametrize(
    ("xs", "ys", "rho"),
    [
        ([1, 2, 3, 4], [1, 8, 9, math.inf], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / math.sqrt(4.5 * 5)),  # ties have their mean rank
        ([1, 2, 3], [5, 5, 5], math.nan),
    ],
)
def test_spearmans_rank_correlation(xs: list[float], ys: list[float], rho: float) -> None:
    found = spearman(np.array(xs, dtype=float), np.array(ys, dtype=float))
    assert found == pytest.approx(rho, nan_ok=True)
