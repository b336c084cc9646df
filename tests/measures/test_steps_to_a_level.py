"""Steps until a run reaches a level."""

import math

import pytest
from claim_runs import cell
from descents import INF, learning

from bnstudy.claims import primary
from bnstudy.claims.comparisons import (
    common_level,
    level_in_words,
    times_faster,
    times_slower,
)
from bnstudy.measures.train import steps_to_level


def test_steps_to_a_level_are_interpolated_between_tests() -> None:
    run = learning([0.1, 0.3, 0.7, 0.6, 0.9])
    assert steps_to_level(run, 0.5) == pytest.approx(150)
    assert steps_to_level(run, 0.7) == pytest.approx(200)
    assert steps_to_level(run, 0.9) == pytest.approx(400)
    assert steps_to_level(run, 0.05) == 0
    assert steps_to_level(run, 0.95) == INF


def test_a_record_without_the_subset_is_judged_by_a_running_mean_over_the_batches() -> None:
    batches = [0.0] * 100 + [1.0] * 100
    run = cell(records={"train/accuracy": batches})
    run.config["steps"], run.config["batch_size"] = 200, 100
    # The mean of 21 batches rises in a line from step 89, the last with none, to step 110.
    assert steps_to_level(run, 0.5) == pytest.approx(99.5)
    note = level_in_words(run, run)
    assert note == "By a running mean over the batches. Compared at 90 %."
    lucky = cell(records={"train/accuracy": [0.4, 0.6] * 100})
    lucky.config["steps"], lucky.config["batch_size"] = 200, 100
    assert steps_to_level(lucky, 0.55) == INF
    del run.records["train/accuracy"]
    with pytest.raises(KeyError, match="has no train/accuracy"):
        steps_to_level(run, 0.5)


def test_arms_are_compared_at_the_highest_level_that_all_reach() -> None:
    slow, fast = learning([0.1, 0.2, 0.3, 0.5, 0.75], "none"), learning([0.1, 0.7, 0.9, 0.9, 0.9])
    assert common_level(slow, fast) == 0.7
    assert level_in_words(slow, fast) == "Compared at 70 %."
    assert times_faster(slow, fast) == pytest.approx(3.8)
    assert times_slower(fast, slow) == pytest.approx(3.8)
    faster = learning([0.7, 0.9, 0.9, 0.9, 0.9], "l1")
    assert times_faster(slow, fast, faster) == pytest.approx(3.8)


def test_a_ratio_that_the_length_of_the_run_would_set_is_infinite_and_says_at_least() -> None:
    never, fast = learning([0.1] * 5, "none"), learning([0.1, 0.9, 0.9, 0.9, 0.9])
    assert times_faster(never, fast) == INF
    assert times_slower(fast, never) == INF
    assert times_faster(fast, never) == 0
    note = level_in_words(never, fast)
    assert note == "Compared at 50 %, which none at seed 0 never reached: at least 8×."
    assert math.isnan(times_faster(never, never))
    # Half the length, the same verdict and value.
    shorter = learning([0.1] * 3, "none"), learning([0.1, 0.9, 0.9])
    assert times_faster(*shorter) == INF


def test_progress_is_the_mean_accuracy_over_all_tests() -> None:
    assert primary.progress(learning([0.1, 0.5, 0.6])) == pytest.approx(0.4)
    assert primary.progress(learning([0.1, 0.5], outcome="diverged")) == 0
