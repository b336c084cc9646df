"""Claims on learning rates and initializations."""

import math

import pytest
from claim_runs import cell
from grids_of_runs import grid

from bnstudy.claims import (
    learning_rates,
    primary,
)
from bnstudy.measures.grids import best, matched


def test_options_of_runs_are_matched_over_blocks() -> None:
    ours = [cell(lr=lr) for lr in (0.01, 0.1, 1)]
    theirs = [cell("batch", lr) for lr in (1, 0.1)]
    shared = matched(ours, theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in shared] == [[0.1, 1], [0.1, 1]]
    shared = matched(ours, theirs[:1], theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in shared] == [[1], [1], [1]]
    assert best(ours, lambda run: run.lr) == 1
    assert math.isnan(best([], lambda run: run.lr))


def test_a_grid_of_learning_rates_and_inits() -> None:
    standard = grid("none", {"a": [0.5, 0.1, None], "b": [0.3, 0.6, 0.1]})
    batch = grid("batch", {"a": [0.5, 0.7, 0.1], "b": [0.4, 0.7, 0.1]})
    # 3 and 4 of 6 train; the largest lr is 0.01 and 0.1 with a, 0.1 with b either way.
    assert primary.share_difference(standard, batch) == pytest.approx(100 / 6)
    assert learning_rates.largest_lr_ratio(standard, batch) == pytest.approx(math.sqrt(10))
    # The best mean is at lr 0.01 without a norm, 50 and 30, and at 0.1 with it, 70 and 70.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)
    # Within 5 points of the best are one of 6 cells and two.
    assert learning_rates.near_best_difference(standard, batch) == pytest.approx(100 / 6)


def test_a_cell_that_one_arm_lacks_is_compared_in_neither() -> None:
    standard = grid("none", {"a": [0.5, 0.9, 0.1], "b": [0.3]})
    batch = grid("batch", {"a": [0.5, 0.7, 0.6], "b": [0.5, 0.9, 0.9]})
    assert learning_rates.near_best_difference(standard, batch) == pytest.approx(0)
    assert primary.share_difference(standard, batch) == pytest.approx(25)
    # Both inits are there at lr 0.01 only.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)


def test_an_init_from_which_one_network_never_trains_has_no_ratio() -> None:
    standard = grid("none", {"a": [None, 0.1, 0.14], "b": [0.5, 0.5, 0.1]})
    batch = grid("batch", {"a": [0.1, 0.2, 0.15], "b": [0.5, 0.5, 0.5]})
    assert learning_rates.largest_lr_ratio(standard, batch) == pytest.approx(10)
    assert learning_rates.inits_in_words(standard, batch) == (
        "Not compared: 1 inits from which only BatchNorm trains, 0 from which only the standard "
        "network does."
    )
    assert math.isnan(learning_rates.largest_lr_ratio(standard[:3], batch[:3]))
    assert math.isnan(learning_rates.init_spread_difference(standard[:3], batch[:3]))
    apart = grid("batch", {"c": [0.1]})
    assert math.isnan(primary.share_difference(standard, apart))
    assert math.isnan(learning_rates.near_best_difference(standard, apart))
