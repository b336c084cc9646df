"""How fast and how far runs train."""

import math
from pathlib import Path

import numpy as np
import pytest
from claim_runs import series, write
from grids_of_runs import accuracy

from bnstudy.claims import (
    lp,
    training,
)
from bnstudy.claims.comparisons import loss_ratio
from bnstudy.measures.train import (
    above_chance,
    final_loss,
    final_percent,
    steps_to_batch_level,
    training_accuracy,
)


def test_steps_to_a_level_are_counted_by_a_running_mean(tmp_path: Path) -> None:
    # 2,000 samples are 33 batches of 64: half of them are past the jump at step 100, 90 % at 113.
    run = accuracy(tmp_path, [0.0] * 100 + [1.0] * 800, steps=900)
    assert steps_to_batch_level(run, 0.5) == 101
    assert steps_to_batch_level(run, 0.9) == 114
    never = accuracy(tmp_path, [0.4] * 900, seed=1, steps=900)
    assert steps_to_batch_level(never, 0.5) == math.inf
    short = accuracy(tmp_path, [0.0, 1.0], seed=2, steps=900)
    assert steps_to_batch_level(short, 0.5) == 2


def test_noise_alone_does_not_reach_a_level(tmp_path: Path) -> None:
    # The accuracy of a batch of 64 of a network that gets 42 % right reaches 50 % now and then.
    batches = np.random.default_rng(0).binomial(64, 0.42, 400) / 64
    assert batches.max() > 0.5
    run = accuracy(tmp_path, batches.tolist(), steps=400)
    assert steps_to_batch_level(run, 0.5) == math.inf


def test_accuracies_at_the_end(tmp_path: Path) -> None:
    lines = [
        {"step": step, "train/accuracy": 0.1 * step, "test/accuracy": 0.1 + 0.05 * step}
        for step in range(10)
    ]
    run = write(tmp_path, lines, steps=10)
    assert training_accuracy(run, share=0.1) == pytest.approx(90)
    assert training_accuracy(run, share=0.3) == pytest.approx(80)
    assert final_percent(run) == pytest.approx(55)
    assert above_chance(run) == pytest.approx(45)
    diverged = write(tmp_path, lines, steps=10, seed=1, outcome="diverged")
    assert above_chance(diverged) == 0
    assert training.test_difference(diverged, run) == pytest.approx(45)
    assert training.training_difference(diverged, run) == pytest.approx(100 * 0.8 - 10)


def test_the_final_loss_is_a_median_over_the_last_hundredth(tmp_path: Path) -> None:
    values = [9.0] * 297 + [1.0, 5.0, 2.0]
    run = write(tmp_path, series("train/loss", values), steps=300)
    assert final_loss(run) == 2
    diverged = write(tmp_path, series("train/loss", values), seed=1, steps=300, outcome="diverged")
    assert final_loss(diverged) == math.inf
    assert loss_ratio(diverged, run) == math.inf
    assert math.isnan(loss_ratio(diverged, diverged))
    assert lp.worst_loss_ratio(run, run, diverged) == math.inf
