"""Measures of the landscape along the gradient."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from claim_runs import cell, walks, write

from bnstudy.claims import (
    smooth_landscape,
)
from bnstudy.claims.this_study import late_beta_ratio
from bnstudy.measures.landscape import (
    beta_at_edge,
    loss_width,
    own_change,
    pinned_by_grid,
    pinned_share,
    relative_change,
)
from bnstudy.results import Run

ETAS = [0.05, 0.1, 0.2, 0.4]


def test_the_loss_range_is_the_highest_less_the_lowest_loss(tmp_path: Path) -> None:
    run = write(tmp_path, walks([[1, 2, 4, 16], [3, 3, 3, 3], [1, 2, math.inf, 4]]))
    assert list(loss_width(run)[1]) == [15, 0, math.inf]
    assert list(loss_width(run, "landscape/random_loss")[1]) == [15, 0, math.inf]


def test_gradient_changes_are_relative_to_the_gradient(tmp_path: Path) -> None:
    changes = [[1, 2, 3, 8], [1, 2, 3, 6], [1, 2, 3, 1000]]
    standard = write(tmp_path, walks(changes, length=2.0), steps=6)
    assert list(relative_change(standard)[1]) == [4, 3, 500]
    assert list(own_change(standard)[1]) == [1, 1, 1]


def test_effective_beta_is_pinned_by_the_grid_or_at_the_edge() -> None:
    # beta = largest change / (eta ||g||); 1 / eta_min = 20 = 2 / lr.
    def of(row: Sequence[float], small: Sequence[float]) -> Run:
        records = {
            "landscape/step_size": [ETAS] * 12,
            "landscape/gradient_change": [list(row)] * 12,
            "landscape/gradient_norm": [1.0] * 12,
            "landscape/small_step_size": [[0.1 / 64, 0.1 / 8]] * 12,
            "landscape/small_gradient_change": [list(small)] * 12,
        }
        return cell(records=records)

    pinned = of([1, 1, 1, 1], [0.4, 1.0])  # it turns completely within lr / 8: beta is 128 there
    at_edge = of([1, 1, 1, 1], [20 * 0.1 / 64, 20 * 0.1 / 8])
    assert pinned_share(pinned) == pinned_share(pinned, at_edge) == 1
    assert pinned_by_grid(pinned) == 1
    assert pinned_by_grid(at_edge) == 0
    assert pinned_by_grid(pinned, at_edge) == 0.5
    free = of([0.5, 0.5, 0.5, 0.5], [0.4, 1.0])
    assert pinned_share(free) == 0
    assert math.isnan(pinned_by_grid(free))
    few = of([1, 1, 1, 1], [0.4, 1.0])
    for steps, values in few.records.values():
        del steps[4:], values[4:]
    assert math.isnan(pinned_share(few)) and math.isnan(pinned_by_grid(few))


def test_the_edge_of_stability_is_measured_late(tmp_path: Path) -> None:
    def of(norm: str, beta: float) -> Run:
        lines = walks([[9, 9, 9, 9], *[[eta * beta for eta in ETAS]] * 3])
        for line, step in zip(lines, (0, 1000, 1100, 1200), strict=True):
            line["step"] = step
        return write(tmp_path, lines, norm, lr=1e-6, experiment="deep_linear")

    assert beta_at_edge(of("batch", 2e6)) == pytest.approx(1)
    assert late_beta_ratio(of("none", 2e4), of("batch", 2e6)) == pytest.approx(100)
    early = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1)
    assert math.isnan(beta_at_edge(early))


def test_the_own_change_is_that_over_the_step_taken() -> None:
    landscape = {
        "landscape/step_size": [[0.05, 0.1, 0.2]] * 3,
        "landscape/gradient_change": [[9, 1, 9], [9, 6, 9], [9, math.nan, 9]],
        "landscape/gradient_norm": [2.0, 3.0, 1.0],
    }
    assert list(own_change(cell(records=landscape))[1]) == [0.5, 2, math.inf]
    assert np.isnan(own_change(cell(lr=0.3, records=landscape))[1]).all()


def test_a_flat_region_is_at_chance_and_level() -> None:
    def of(norm: str, highs: Sequence[float], accuracies: Sequence[float]) -> Run:
        records = {
            "landscape/loss": [[2.0, high] for high in highs for _ in range(5)],
            "train/accuracy": [accuracy for accuracy in accuracies for _ in range(5)],
        }
        run = cell(norm, records=records)
        run.config["batch_size"] = 2000  # a mean of three batches
        return run

    # The third is not level, the fourth has learned; at the seam the mean is at chance no more.
    at_chance = [0.1, 0.14, 0.1, 0.9]
    flat = of("none", [2.01, 2.01, 2.03, 2.01], at_chance)
    assert smooth_landscape.flat_share(flat) == 0.5
    broken = of("none", [2.01, math.inf, math.nan, 2.01], [0.1] * 4)
    assert smooth_landscape.flat_share(broken) == 0.5
    steep = of("batch", [2.1, 2.1, 2.1, 2.01], [0.1, 0.1, 0.1, 0.1])
    assert smooth_landscape.flat_difference(flat, steep) == pytest.approx(0.25)
    for steps, values in steep.records.values():
        del steps[19:], values[19:]
    assert math.isnan(smooth_landscape.flat_share(steep))
