"""Claims on what was found since 2018: what they measure, and their verdicts."""

import math
from typing import Any

import numpy as np
import pytest
from claim_runs import cell

from bnstudy import claims
from bnstudy.claims import (
    early_sharpness,
    lr_gain,
    norms_by_networks,
    scale_invariance,
    signal_propagation,
    statistics,
)
from bnstudy.results import Run

BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


def early(norm: str, init: str, lr: float, sharp: float, trains: bool, **of: Any) -> Run:
    """A run of the first steps with this sharpness, which trains or does not."""
    records = {"sharpness/batch_eigenvalues": [[sharp]] * 10}
    accuracy = 0.5 if trains else 0.1
    return cell(norm, lr, init=init, accuracy=accuracy, records=records, **of)


def grid(norm: str, largest: dict[str, float], sharp: dict[str, float], **of: Any) -> list[Run]:
    """Runs from every init at three learning rates, which train up to the largest."""
    return [
        early(norm, init, lr, sharp[init], lr <= top, **of)
        for init, top in largest.items()
        for lr in (0.1, 0.3, 1.0)
    ]


def test_learning_rates_that_train_follow_first_sharpness() -> None:
    flat, sharp = {"a": 2.0, "b": 5.0}, {"a": 20.0, "b": 50.0}
    batch = grid("batch", {"a": 1.0, "b": 0.3}, flat)
    standard = grid("none", {"a": 0.1, "b": 0.0}, sharp)
    assert early_sharpness.lr_follows_sharpness(standard, batch) == pytest.approx(1)
    assert early_sharpness.first_sharpness_ratio(standard, batch) == pytest.approx(10)
    assert math.isnan(early_sharpness.lr_follows_sharpness(batch))


def test_the_largest_learning_rate_where_none_trains_is_half_of_the_smallest() -> None:
    sharp = {"a": 1.0, "b": 1.0}
    under = grid("none", {"a": 0.1, "b": 0.0}, sharp)
    over = grid("none", {"a": 1.0, "b": 0.1}, sharp)
    expected = math.sqrt((1.0 / 0.1) * (0.1 / 0.05))
    assert early_sharpness.largest_lr_ratio_over_inits(under, over) == pytest.approx(expected)


def test_after_a_warmup_the_network_is_flatter_or_it_has_diverged() -> None:
    def run(sharp: float, **of: Any) -> Run:
        run = early("none", "a", 0.1, sharp, trains=True, **of)
        steps, values = run.records["sharpness/batch_eigenvalues"]
        run.records["sharpness/batch_eigenvalues"] = ([10 * step for step in steps], values)
        return run

    assert early_sharpness.lower_after_warmup(run(20.0), run(10.0)) == pytest.approx(0.5)
    diverged = run(1.0, outcome="diverged")
    assert early_sharpness.lower_after_warmup(diverged, run(10.0)) == 0
    assert early_sharpness.lower_after_warmup(run(10.0), diverged) == math.inf
    assert math.isnan(early_sharpness.lower_after_warmup(diverged, diverged))


def test_the_gain_grows_with_the_learning_rate() -> None:
    runs = [cell(accuracy=a) for a in (0.30, 0.31, 0.40, 0.50)]
    assert lr_gain.gain_growth(*runs) == pytest.approx(9)
    longer = lr_gain.times_longer(exploded(4), exploded(9))
    assert longer == pytest.approx(2)


def exploded(last: int) -> Run:
    """A run that diverged after this step."""
    run = cell(outcome="diverged")
    run.records["train/loss"] = (list(range(last + 1)), [1.0] * (last + 1))
    return run


def test_twins_are_compared_in_their_first_steps() -> None:
    losses = np.linspace(2, 1, 200)
    decayed, twin = (cell(records={"train/loss": losses.tolist()}) for _ in range(2))
    assert scale_invariance.twin_difference(decayed, twin) == 0
    drifted = losses * (1 + 1e-7 * np.arange(200))
    other = cell(records={"train/loss": drifted.tolist()})
    assert scale_invariance.twin_difference(decayed, other) == pytest.approx(99e-7)


def test_the_gain_at_large_batches_less_that_at_small_ones() -> None:
    runs = [cell(accuracy=a) for a in (0.4, 0.42, 0.3, 0.5)]
    assert signal_propagation.gain_difference(*runs) == pytest.approx(18)
    assert signal_propagation.lr_of_large_batch(cell(lr=0.1), cell(lr=1.0)) == pytest.approx(10)
    assert signal_propagation.gain_of_lr(
        [cell(lr=0.1, accuracy=0.4), cell(lr=0.01, accuracy=0.3)]
    ) == pytest.approx(10)


def test_smaller_groups_against_the_whole_batch() -> None:
    whole, groups = cell(accuracy=0.5), cell(accuracy=0.5)
    whole.records["test/precise_accuracy"] = ([0, 10], [0.1, 0.50])
    groups.records["test/precise_accuracy"] = ([0, 10], [0.1, 0.53])
    assert statistics.more_accurate(whole, groups) == pytest.approx(3)
    assert statistics.gain_grows(whole, groups) == pytest.approx(3)


def rough(norm: str, change: float, accuracy: float, lr: float = 0.1) -> Run:
    """A run whose gradient changes by this over the step taken, relative to itself."""
    records = {
        "landscape/step_size": [[lr / 2, lr]] * 3,
        "landscape/gradient_change": [[0.0, 2 * change]] * 3,
        "landscape/gradient_norm": [2.0] * 3,
    }
    return cell(norm, lr, accuracy=accuracy, records=records)


def test_norms_are_ranked_at_their_own_best_learning_rate() -> None:
    smooth = [rough(norm, 4 - i, 0.3 + 0.1 * i) for i, norm in enumerate(("a", "b", "c", "d"))]
    assert norms_by_networks.smooth_and_accurate_norms(smooth) == pytest.approx(-1)
    worse = rough("a", 0.1, 0.2, lr=0.3)  # smooth, but at a learning rate that is not the best
    assert norms_by_networks.smooth_and_accurate_norms([*smooth, worse]) == pytest.approx(-1)
    assert math.isnan(norms_by_networks.smooth_and_accurate_norms(smooth[:3]))


@pytest.mark.parametrize(
    ("name", "experiment", "options", "value", "expected"),
    [
        ("rotation_equilibrium", "rotation", {"weight_decay": 0.01}, 1.1, claims.SUPPORTED),
        ("rotation_equilibrium", "rotation", {"weight_decay": 0.01}, 2.0, claims.CONTRADICTED),
        ("rotation_alike", "rotation", {"weight_decay": 0.01}, 1.1, claims.SUPPORTED),
    ],
)
def test_the_verdict_on_rotations(
    name: str, experiment: str, options: dict[str, float], value: float, expected: str
) -> None:
    angle = value * math.sqrt(2 * 0.1 * 0.01)
    runs = []
    for seed in range(10, 15):
        angles = {f"weights/rotation/layer{n}": [angle] * 10 for n in (1, 2, 3, 4)}
        run = cell("batch", 0.1, seed, experiment=experiment, records=angles)
        run.config["steps"] = 2000
        run.config["optimizer"] |= options
        for key, (steps, values) in run.records.items():
            run.records[key] = ([200 * step for step in steps], values)
        runs.append(run)
    assert claims.judge(BY_NAME[name], {experiment: runs}).verdict == expected
    few = claims.judge(BY_NAME[name], {experiment: runs[:3]})
    assert few.verdict in (claims.SUGGESTED, claims.UNDECIDED)


def test_all_are_exploratory_and_judged_on_fresh_seeds() -> None:
    topics = ("transformers", "representations", "signal_propagation", "lr_gain")
    topics += ("scale_invariance", "early_sharpness", "statistics", "norms_by_networks")
    for name in topics:
        for claim in claims.topics()[name].CLAIMS:
            assert claim.seeds_from == 10 and not claim.primary, claim.name
