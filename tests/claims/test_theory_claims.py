"""Claims on the theorems."""

import math
from dataclasses import replace

import made_up
import numpy as np
import pytest
from theory_runs import LAYER_NAMES, TERMS, of_layers, run_of, value

from bnstudy import claims
from bnstudy.claims import theory


def test_every_claim_can_be_measured_and_says_what_it_lacks(tmp_path):
    runs, rng = [], np.random.default_rng(0)
    for norm in ("none", "batch"):
        for seed in (0, 1):
            records = [made_up.theory(norm, LAYER_NAMES, 0.2 * i, rng) for i in range(1, 4)]
            runs.append(run_of(tmp_path, norm, records, seed=seed))
    for claim in theory.CLAIMS:
        result = claims.judge(claim, {"theory": runs, "theory_mlp": runs})
        assert (result.n, result.verdict != claims.NO_RUNS) == (2, True), claim.name
    silent = [replace(run, records={"train/loss": ([0], [1.0])}) for run in runs]
    for claim in theory.CLAIMS:
        result = claims.judge(claim, {"theory": silent, "theory_mlp": silent})
        assert result.verdict == claims.NO_RUNS
        assert any("has no theory/" in note for note in result.notes), claim.name


def test_the_claims_on_theorem_4_1(tmp_path):
    records = of_layers(**TERMS, violated=0.9, error=1e-6, scale_percentiles=[0.1, 4.0, 9.0])
    records |= of_layers(input_gradient=4.0)
    later = records | {"theory/error/layer2": 1e-5, "theory/violated/layer1": math.nan}
    later |= {"theory/scale_percentiles/layer1": [0.1, 5.0, 9.0], "theory/positive/layer1": 0.8}
    run = run_of(tmp_path, "batch", [records, records, later])
    assert value("theorem_4.1_exact", run) == 1e-5
    assert value("theorem_4.1_printed", run) == pytest.approx(0.9)
    # Times the batch size, of which a random direction has a share of one.
    assert value("theorem_4.1_mean", run) == run.batch_size / 8
    assert value("theorem_4.1_projection", run) == run.batch_size * 3 / 8
    assert value("theorem_4.2_product", run) == pytest.approx(0.55)


@pytest.mark.parametrize("error", [math.inf, math.nan])
def test_theorem_4_1_fails_where_its_error_is_not_finite_at_finite_gradients(tmp_path, error):
    records = of_layers(output_gradient=2.0, input_gradient=4.0, error=1e-6)
    broken = records | {"theory/error/layer2": error}
    assert value("theorem_4.1_exact", run_of(tmp_path, "batch", [records, broken])) == math.inf
    for side in ("output_gradient", "input_gradient"):
        gone = broken | {f"theory/{side}/layer2": error}
        assert value("theorem_4.1_exact", run_of(tmp_path, "batch", [records, gone])) == 1e-6
    gone |= {"theory/error/layer1": error, f"theory/{side}/layer1": error}
    assert math.isnan(value("theorem_4.1_exact", run_of(tmp_path, "batch", [gone])))


def test_the_claims_on_theorems_4_2_and_4_4(tmp_path):
    records = of_layers(
        curvature=[1.0, -2.0, 5.0, math.nan],
        curvature_first=[1.0, -2.0, 6.0, 1.0],
        curvature_term=[1.0, -1.0, 5.0, 1.0],
        curvature_second=[1.0, -3.0, 6.0, 1.0],
        weight_gradient=[1.0, 3.0, 2.0],
        weight_bound=[4.0, 4.0, 4.0],
    )
    run = run_of(tmp_path, "batch", [records] * 20)
    assert value("theorem_4.2_exact", run) == pytest.approx(1 / 6)
    assert value("theorem_4.2_second", run) == pytest.approx(2 / 3)
    assert value("theorem_4.2_convex", run) == pytest.approx(3 / 4)
    assert value("theorem_4.4_bound", run) == 0.75
