"""Runs compared at the same training loss."""

import math
from dataclasses import replace

import numpy as np
import pytest
from descents import BY_NAME, NAN, as_measured, descent

from bnstudy import claims
from bnstudy.claims.comparisons import (
    narrower_loss_range,
    smaller_beta,
    smaller_change,
)
from bnstudy.measures.landscape import loss_width
from bnstudy.measures.series import median
from bnstudy.measures.train import loss_around


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
