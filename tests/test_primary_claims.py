"""The primary claims' measures: the same loss, runs that end early, speed, drift, step 0."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claim_runs import cell

from bnstudy import claims
from bnstudy.claims import noise, primary, smooth_landscape
from bnstudy.claims.comparisons import (
    common_level,
    level_in_words,
    narrower_loss_range,
    smaller_beta,
    smaller_change,
    times_faster,
    times_slower,
)
from bnstudy.measures.landscape import loss_width
from bnstudy.measures.series import aligned, median, median_ratio
from bnstudy.measures.train import loss_around, steps_to_level
from bnstudy.results import Run

BY_NAME = {claim.name: claim for claim in claims.CLAIMS}
MULTIPLES = (0.5, 1, 2, 4)
NAN, INF = math.nan, math.inf


def descent(
    losses: Sequence[float],
    roughness: Sequence[float],
    norm: str = "none",
    seed: int = 10,
    outcome: str = "finished",
) -> Run:
    """A run with these training losses, probed at every step; batches of 5,000 samples.

    At every step the loss range is as wide as the roughness, the relative gradient change over the
    largest step size and effective beta are proportional to it.
    """
    changes = [[r * m / 4 for m in MULTIPLES] for r in roughness]
    records = {
        "train/loss": list(losses),
        "landscape/loss": [[a, a, a, a + r] for a, r in zip(losses, roughness, strict=True)],
        "landscape/step_size": [[0.1 * m for m in MULTIPLES]] * len(losses),
        "landscape/gradient_change": changes,
        "landscape/gradient_norm": [1.0] * len(losses),
    }
    run = cell(norm, seed=seed, outcome=outcome, records=records)
    run.config["steps"], run.config["batch_size"] = 1500, 5000
    return run


# The same training loss


def test_a_network_that_is_as_rough_at_every_loss_is_no_rougher_however_fast_it_trains() -> None:
    def rough(loss: float) -> float:
        return 3 * loss**2  # depends on the loss alone

    slow = np.geomspace(2.3, 0.5, 60)
    fast = np.concatenate([np.geomspace(2.3, 0.02, 30), np.full(30, 0.02)])
    standard = descent(slow.tolist(), [rough(a) for a in slow])
    batch = descent(fast.tolist(), [rough(a) for a in fast], "batch")
    for measure in (
        narrower_loss_range,
        smaller_change,
        smaller_beta,
    ):
        assert measure(standard, batch) == pytest.approx(1, rel=0.1)
    # Whole runs, at unlike losses, are a thousand times apart.
    widths = [median(loss_width(run)[1]) for run in (standard, batch)]
    assert widths[0] / widths[1] > 100


def test_the_ratio_at_matched_loss_is_a_geometric_mean_over_bins() -> None:
    # Bins of ln(loss): [0, 0.25) and [0.25, 0.5); the third loss is the standard network's alone.
    standard = descent([1.1] * 10 + [1.4] * 10 + [9.0] * 10, [8.0] * 10 + [2.0] * 10 + [99.0] * 10)
    batch = descent([1.4] * 5 + [1.2] * 15, [1.0] * 5 + [2.0] * 15, "batch")
    # ln(1.4) / 0.25 = 1.3 and ln(1.1) / 0.25 = 0.4, ln(1.2) / 0.25 = 0.7: ratios 2 and 4.
    for measure in (
        narrower_loss_range,
        smaller_change,
        smaller_beta,
    ):
        # Running means mix the losses at the seams, medians do not mind.
        assert measure(standard, batch) == pytest.approx(math.sqrt(2 * 4))
        assert measure(batch, standard) == pytest.approx(1 / math.sqrt(8))
    half = descent([1.1] * 10 + [1.4] * 10, [4.0] * 10 + [1.0] * 10, "l1")
    assert smaller_change(standard, half, batch) == pytest.approx(2)


def test_runs_that_share_no_loss_have_no_ratio() -> None:
    standard, batch = descent([2.3] * 20, [1.0] * 20), descent([0.1] * 20, [1.0] * 20, "batch")
    assert math.isnan(smaller_change(standard, batch))


def test_the_loss_at_a_step_is_a_mean_over_two_thousand_samples() -> None:
    run = descent([1.0, 3.0, 2.0, 7.0], [1.0] * 4)
    run.config["batch_size"] = 1000  # one step before and one after
    assert loss_around(run, np.array([0, 1, 3])) == pytest.approx([2.0, 2.0, 4.5])
    run.records["train/loss"][1][3] = NAN
    assert list(np.isnan(loss_around(run, np.array([0, 2, 3])))) == [False, True, True]


# Runs that end early: a network that explodes is no smooth one


def as_measured(cut: int | None) -> list[Run]:
    """Five seeds of a rough standard network and a smoother BatchNorm, which is worse at first.

    The standard runs diverge at step `cut`.
    """
    losses = np.geomspace(2.3, 0.4, 60).tolist()
    runs = []
    for seed in range(10, 15):
        rough = [0.1] * 5 + [8.0 + 0.1 * seed] * 55
        end = 60 if cut is None else cut
        outcome = "finished" if cut is None else "diverged"
        runs.append(descent(losses[:end], rough[:end], "none", seed, outcome))
        runs.append(descent(losses, [6.0] * 5 + [1.0] * 55, "batch", seed))
    return runs


SMOOTHER = ("loss_range", "gradient_change", "effective_beta", "predictable_gradients")


@pytest.mark.parametrize("name", SMOOTHER)
@pytest.mark.parametrize("cut", [None, 3, 10, 40])
def test_a_standard_network_that_diverges_does_not_look_smoother(
    name: str, cut: int | None
) -> None:
    result = claims.judge(BY_NAME[name], {"vgg": as_measured(cut)})
    assert result.verdict == claims.SUPPORTED
    assert result.value > 1
    if cut:
        assert f"seed 10, after {cut - 1} of 1500 steps" in result.notes[0]


@pytest.mark.parametrize("name", SMOOTHER)
def test_batchnorm_that_diverges_is_the_rougher_one(name: str) -> None:
    runs = as_measured(None)
    cut = [replace(run, outcome="diverged") if run.norm == "batch" else run for run in runs]
    assert claims.judge(BY_NAME[name], {"vgg": cut}).verdict == claims.CONTRADICTED
    both = [replace(run, outcome="diverged") for run in runs]
    assert claims.judge(BY_NAME[name], {"vgg": both}).verdict == claims.NOT_MEASURABLE


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


# Speed


def learning(accuracies: Sequence[float], norm: str = "batch", every: int = 100, **of: Any) -> Run:
    """A run with these accuracies on the training subset, at every test."""
    run = cell(norm, **of)
    run.records["train/subset_accuracy"] = (
        list(range(0, every * len(accuracies), every)),
        list(accuracies),
    )
    run.config["steps"] = every * (len(accuracies) - 1)
    return run


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


def test_each_arm_has_its_best_settings_and_no_seed_picks_its_own() -> None:
    runs = []
    for norm, seed, (lr, last) in product(
        ("none", "batch"), range(10, 15), ((0.01, 0.55), (0.1, 0.95), (1, 0.3))
    ):
        middle = 0.9 * last if norm == "batch" else 0.4 * last
        of = {"experiment": "tolerance_vgg", "lr": lr, "seed": seed}
        runs.append(learning([0.1, middle, last], norm, every=2000, **of))
    result = claims.judge(BY_NAME["faster_at_best"], {"tolerance_vgg": runs})
    assert result.verdict == claims.SUPPORTED
    assert "none at lr 0.1, kaiming; batch at lr 0.1, kaiming" in result.notes[0]


def test_noise_alone_says_nothing_if_the_standard_network_does_not_train() -> None:
    def of(standard: float) -> claims.Result:
        arms = (("vgg", "none", standard), ("vgg_noise", "noise", 0.11))
        runs: dict[str, list[Run]] = {}
        for (experiment, norm, accuracy), seed in product(arms, range(10, 15)):
            run = cell(norm, seed=seed, accuracy=accuracy, experiment=experiment)
            run.config["steps"] = 1500
            runs.setdefault(experiment, []).append(run)
        return claims.judge(BY_NAME["noise_alone"], runs)

    assert of(0.5).verdict == claims.SUPPORTED
    assert of(0.12).verdict == claims.NOT_MEASURABLE
    assert "The control" in of(0.12).notes[0]


# Internal covariate shift, step 0


def shifts(l2: float, norm: float, cosine: float, of: str = "batch", steps: int = 30) -> Run:
    """A run with the same shift at all steps; a third of the whole."""
    records: dict[str, list[Any]] = {}
    for name in ("layer2", "layer3"):
        records[f"internal_covariate_shift/l2/{name}"] = [l2] * steps
        records[f"internal_covariate_shift/norm/{name}"] = [norm] * steps
        records[f"internal_covariate_shift/cosine/{name}"] = [cosine] * steps
    run = cell(of, records=records)
    run.config["steps"] = 3 * 30
    return run


def test_the_shift_is_relative_to_the_gradient() -> None:
    standard, batch = shifts(1.0, 2.0, 0.9, "none"), shifts(30.0, 60.0, 0.5)
    assert primary.relative_shift_ratio(standard, batch) == pytest.approx(1)
    assert primary.relative_shift_ratio(standard, shifts(30.0, 20.0, 0.5)) == pytest.approx(3)
    assert primary.shift_cosine_difference(standard, batch) == pytest.approx(-0.4)
    assert primary.first_shift_ratio(standard, batch) == pytest.approx(1)


def test_the_shift_of_a_run_that_ended_at_once_is_not_known() -> None:
    standard = replace(shifts(1.0, 2.0, 0.9, "none", steps=4), outcome="diverged")
    batch = shifts(1.0, 2.0, 0.5)
    assert math.isnan(primary.shift_cosine_difference(standard, batch))
    # Exploding is the opposite of having little shift.
    assert primary.relative_shift_ratio(standard, batch) == 0


def test_step_0_is_compared_at_the_step_size_lr() -> None:
    standard, batch = descent([2.3], [1.0]), descent([2.3], [3.0], "batch")
    assert primary.first_change_ratio(standard, batch) == pytest.approx(3)
    assert primary.first_beta_ratio(standard, batch) == pytest.approx(3)
    for run in (standard, batch):
        for key, (_, values) in list(run.records.items()):
            run.records[key] = ([1], values)
    assert math.isnan(primary.first_beta_ratio(standard, batch))


@pytest.mark.parametrize(("width", "verdict"), [(1.0, "supported"), (0.25, "not measurable")])
def test_step_0_is_that_of_the_full_width_network(width: float, verdict: str) -> None:
    runs = []
    for seed, (norm, change) in product(range(10, 15), (("none", 1.0), ("batch", 3.0))):
        run = descent([2.3], [change], norm, seed)
        run.config["model"]["width"] = width
        runs.append(run)
    assert claims.judge(BY_NAME["first_change"], {"step0": runs}).verdict == verdict


def test_what_counts_as_training_is_a_threshold_without_a_zone() -> None:
    for name in ("high_lr_batch", "noise_alone", "high_lr_standard"):
        assert BY_NAME[name].rule.zone is None
    assert BY_NAME["noise_alone"].rule.verdict(0.5, 0.0, 4.9, 5) == claims.SUPPORTED
    assert BY_NAME["noise_alone"].rule.verdict(9.0, 5.1, 20.0, 5) == claims.CONTRADICTED
    assert BY_NAME["high_lr_batch"].rule.verdict(9.0, 4.9, 20.0, 5) == claims.SUGGESTED


# Drift


def drifting(norm: str, **layers: Sequence[float]) -> Run:
    """A run whose units drift so far in every step, in all places; by layer."""
    places = ("norm_input_same", "preactivation_same", "preactivation_next", "activation_same")
    if norm == "none":
        places = places[1:]  # what the norm would see is the preactivation
    records = {
        f"drift/{place}/{name}": [list(units)] * 12
        for place in places
        for name, units in layers.items()
    }
    return cell(norm, records=records)


def test_drift_is_a_mean_over_units_that_vary_and_a_geometric_mean_over_layers() -> None:
    standard = drifting("none", layer1=[0.4, 0.8, NAN], layer2=[0.9, 0.9], layer4=[99.0])
    batch = drifting("batch", layer1=[0.3, NAN, 0.3], layer2=[0.1, 0.1], layer4=[0.1])
    assert primary.drift_ratio(standard, batch) == pytest.approx(math.sqrt(2 * 9))
    assert primary.drift_ratio(standard, batch, "activation_same") == pytest.approx(math.sqrt(18))
    with pytest.raises(KeyError, match="has no drift/norm_input_next"):
        primary.drift_ratio(standard, batch, "norm_input_next")
    noisy = drifting("noisy_batch", layer1=[1.8, NAN, 1.8], layer2=[0.9, 0.9])
    expected = math.sqrt(3 * 1)  # over the standard network, which drifts more than BatchNorm
    assert noise.noisy_drift_ratio(noisy, standard, batch) == pytest.approx(expected)


# The list


def test_the_primary_claims_are_judged_on_fresh_seeds_and_say_how_long_they_need() -> None:
    own = [claim for claim in claims.CLAIMS if claim.primary]
    assert own == list(primary.CLAIMS)
    numbers = "1 2 3 4 4b 5a 5b 6a 6b 6c 7a 7b 7c 8 9a 9b 10 11"
    assert " ".join(claim.title.split(".")[0] for claim in own) == numbers
    assert {claim.seeds_from for claim in own} == {10}
    page = (Path(__file__).parent.parent / "docs" / "rules.md").read_text(encoding="utf-8")
    for claim in own:
        number, title = claim.title.split(". ")
        assert f"| {number} | {title} |" in page, f"docs/rules.md lacks claim {number}"
    for claim in own:
        assert str(claim.needs) or claim.experiments == ("step0",), claim.name
