"""Claims on curvature, and the measures behind them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnstudy import claims
from bnstudy.claims import curvature
from bnstudy.measures.batch_sharpness import CURVATURE
from bnstudy.measures.series import second_half, together
from bnstudy.measures.sharpness import EIGENVALUES, sharpness
from bnstudy.results import Run

BY_NAME = {claim.name: claim for claim in curvature.CLAIMS}


SHARPNESS, CURVATURE = EIGENVALUES["batch"], CURVATURE["batch"]


def run(
    records: Mapping[str, Sequence[Any]],
    norm: str = "batch",
    lr: float = 0.1,
    seed: int = 0,
    experiment: str = "curvature",
    scale: str = "small",
    every: int = 1,
    outcome: str = "finished",
    optimizer: str = "sgd",
    batch_size: int = 50_000,
    **options: float,
) -> Run:
    """A run of ten recorded steps, `every` so many, and what was recorded at them by key.

    `options` are those of the optimizer besides its lr.
    """
    config = {
        "seed": seed,
        "steps": 10 * every,
        "batch_size": batch_size,
        "optimizer": {"lr": lr} | options,
        "norm": norm,
        "probes": {name: {"tolerance": 1e-3} for name in ("sharpness", "spectrum")},
    }
    header = {
        "experiment": experiment,
        "scale": scale,
        "choices": {"norm": norm, "optimizer": optimizer},
        "config": config,
        "layers": ["layer1", "layer2", "layer3"],
        "data": {"name": "digits"},
    }
    known = {
        key: ([every * step for step in range(len(values))], list(values))
        for key, values in records.items()
    }
    return Run(Path(f"{experiment}_{norm}_{lr}_{seed}"), header, outcome, known)


def sharp(early: float, late: float, **of: Any) -> Run:
    """A run whose sharpness, and curvature along g, is one number at first, then another."""
    values = [early] * 5 + [late] * 5
    records = {SHARPNESS: [[v, 0.1] for v in values], CURVATURE: [[v - 1, v + 1] for v in values]}
    return run(records | {"train/accuracy": [0.5] * 10}, **of)


def walk(changes: Sequence[float], along: float, **of: Any) -> Run:
    """Ten steps with these gradient changes, of a gradient of length 2, and this curvature."""
    records = {
        "landscape/step_size": [[0.05, 0.1, 0.2]] * 10,
        "landscape/gradient_change": [list(changes)] * 10,
        "landscape/gradient_norm": [2.0] * 10,
        CURVATURE: [[along, 99.0]] * 10,
    }
    return run(records, **of)


def lengths(*layers: Sequence[float], **of: Any) -> Run:
    """A run with these norms of the weights of its layers."""
    records = {f"weights/norm/layer{n}": norms for n, norms in enumerate(layers, start=1)}
    return run(records, **of)


def verdict(name: str, *runs: Run) -> str:
    """The verdict on a claim of these runs."""
    by_experiment: dict[str, list[Run]] = {}
    for one in runs:
        by_experiment.setdefault(one.experiment, []).append(one)
    return claims.judge(BY_NAME[name], by_experiment).verdict


def of_seeds(make: Any, *args: Any, **of: Any) -> list[Run]:
    """The same run with five seeds."""
    return [make(*args, seed=seed, **of) for seed in range(5)]


def test_sharpness_is_compared_with_2_over_lr_in_the_second_half() -> None:
    rising = run({SHARPNESS: [[float(step)] for step in range(10)]})
    assert list(second_half(rising, sharpness(rising))) == [5, 6, 7, 8, 9]
    assert curvature.sharpness_at_edge(sharp(500.0, 20.0)) == pytest.approx(1)
    assert curvature.batch_sharpness_at_edge(sharp(500.0, 20.0)) == pytest.approx(1)
    assert curvature.sharpness_at_edge(sharp(500.0, 20.0, lr=0.01)) == pytest.approx(0.1)


def test_the_edge_is_that_of_the_momentum_and_of_the_lr_of_the_step() -> None:
    heavy: dict[str, Any] = {"optimizer": "momentum", "momentum": 0.9}
    assert curvature.sharpness_at_edge(sharp(1.0, 38.0, **heavy)) == pytest.approx(1)
    assert verdict("below_edge_0.1", *of_seeds(sharp, 1.0, 38.0, **heavy)) == claims.SUPPORTED
    # That of batch sharpness depends on the batch size, Adam's is not one of the Hessian.
    assert math.isnan(curvature.batch_sharpness_at_edge(sharp(1.0, 38.0, **heavy)))
    adam = sharp(1.0, 20.0, optimizer="adam")
    assert math.isnan(curvature.sharpness_at_edge(adam))
    assert math.isnan(curvature.batch_sharpness_at_edge(adam))
    decayed = sharp(20.0, 200.0)
    decayed.records["train/lr"] = (list(range(10)), [0.1] * 5 + [0.01] * 5)
    assert curvature.sharpness_at_edge(decayed) == pytest.approx(1)
    assert curvature.batch_sharpness_at_edge(decayed) == pytest.approx(1)
    slow = sharp(1e5, 2e7, lr=1e-6, every=200)
    slow.records["train/lr"] = (list(range(0, 2000, 200)), [1e-7] * 10)
    assert curvature.late_sharpness_at_edge(slow) == pytest.approx(1)


def test_sharpness_that_has_not_converged_is_left_out() -> None:
    values = [[10.0]] * 5 + [[99.0]] * 3 + [[10.0], [99.0]]
    errors = [[0.001 * value if value == 10 else 0.0011 * value] for (value,) in values]
    one = run({SHARPNESS: values, "sharpness/batch_error": errors})
    assert curvature.sharpness_at_edge(one) == pytest.approx(0.5)
    assert curvature.final_edge_ratio(one, sharp(5.0, 5.0)) == pytest.approx(2)
    never = run({SHARPNESS: [[10.0]] * 10, "sharpness/batch_error": [[1.0]] * 10})
    assert math.isnan(curvature.sharpness_at_edge(never))


@pytest.mark.parametrize(
    ("late", "expected"),
    [(20.9, claims.SUPPORTED), (21.1, claims.CONTRADICTED)],
)
def test_the_verdict_on_sharpness_below_its_edge(late: float, expected: str) -> None:
    assert verdict("below_edge_0.1", *of_seeds(sharp, 1.0, late)) == expected
    short = of_seeds(sharp, 1.0, late, batch_size=8)  # over before the sharpness has risen
    assert verdict("below_edge_0.1", *short) == claims.NOT_MEASURABLE
    # The sharpness on fewer samples depends on their number.
    few, enough = (of_seeds(sharp, 1.0, late, batch_size=n, every=100) for n in (999, 1000))
    assert verdict("below_edge_0.1", *few) == claims.NOT_MEASURABLE
    assert verdict("below_edge_0.1", *enough) == expected


@pytest.mark.parametrize(
    ("late", "expected"),
    [(18.0, claims.SUPPORTED), (12.0, claims.CONTRADICTED), (41.0, claims.CONTRADICTED)],
)
def test_the_verdict_on_batch_sharpness_at_its_edge(late: float, expected: str) -> None:
    runs = of_seeds(sharp, 1.0, late)
    assert verdict("batch_sharpness_edge_0.1", *runs) == expected
    short = of_seeds(sharp, 1.0, late, batch_size=8)
    assert verdict("batch_sharpness_edge_0.1", *short) == claims.NOT_MEASURABLE


def test_the_deep_linear_network_is_measured_from_step_1000_on() -> None:
    linear: dict[str, Any] = {"experiment": "curvature_deep_linear", "lr": 1e-7, "every": 500}
    late = sharp(1e5, 2e7, **linear)
    assert curvature.late_sharpness_at_edge(late) == pytest.approx(1)
    assert verdict("linear_sharpness_1e-7", *of_seeds(sharp, 1e5, 2e7, **linear)) == (
        claims.SUPPORTED
    )
    standard = of_seeds(sharp, 1e7, 1e5, norm="none", **linear)
    assert verdict("linear_standard_below_edge_1e-7", *standard) == claims.SUPPORTED
    assert verdict("linear_sharpness_1e-7", *of_seeds(sharp, 2e7, 1e5, **linear)) == (
        claims.CONTRADICTED
    )


def test_a_run_that_ended_before_has_no_late_sharpness() -> None:
    short = run({SHARPNESS: [[5.0]] * 3})
    assert math.isnan(curvature.sharpness_at_edge(short))
    assert math.isnan(curvature.final_edge_ratio(short, sharp(1.0, 1.0)))


def test_sharp_minima_are_compared_over_the_last_quarter() -> None:
    standard, batch = sharp(1.0, 30.0, norm="none"), sharp(100.0, 20.0)
    assert curvature.final_edge_ratio(standard, batch) == pytest.approx(1.5)
    runs = [*of_seeds(sharp, 1.0, 30.0, norm="none"), *of_seeds(sharp, 1.0, 20.0)]
    assert verdict("sharp_minima_0.1", *runs) == claims.SUPPORTED
    runs = [*of_seeds(sharp, 1.0, 20.0, norm="none"), *of_seeds(sharp, 1.0, 30.0)]
    assert verdict("sharp_minima_0.1", *runs) == claims.CONTRADICTED
    for one in runs:
        one.records["train/accuracy"][1][9] = 0.6  # still on its way
    assert verdict("sharp_minima_0.1", *runs) == claims.NOT_MEASURABLE


def test_a_network_that_diverges_ends_above_its_edge() -> None:
    exploded = sharp(1.0, 1.0, norm="none", outcome="diverged")
    assert curvature.final_edge_ratio(exploded, sharp(1.0, 1.0)) == math.inf
    assert curvature.final_edge_ratio(sharp(1.0, 1.0), exploded) == 0
    assert math.isnan(curvature.final_edge_ratio(exploded, exploded))


def test_at_the_same_lr_the_sharper_network_is_nearer_to_its_edge() -> None:
    linear: dict[str, Any] = {"experiment": "curvature_deep_linear", "lr": 1e-7, "every": 500}
    standard, batch = sharp(1e7, 5e6, norm="none", **linear), sharp(1e7, 2e7, **linear)
    assert curvature.linear_sharpness_ratio(standard, batch) == pytest.approx(4)


@pytest.mark.parametrize("signs", [(1, -1), (-1, 1), (-1, -1), (1, 0), (0, 1)])
def test_there_is_no_ratio_of_what_is_not_positive(signs: tuple[float, float]) -> None:
    standard, batch = (run({SHARPNESS: [[5.0 * sign]] * 10}) for sign in signs)
    assert math.isnan(curvature.final_edge_ratio(standard, batch))
    assert math.isnan(curvature.linear_sharpness_ratio(standard, batch))


def spectrum(norm: str, top: float, share: float, seed: int = 0) -> Run:
    """Ten steps of a spectrum with this largest eigenvalue, the eleventh 2, and this share."""
    eigenvalues = [top, *[3.0] * 9, 2.0]
    records = {
        "spectrum/batch_eigenvalues": [list(eigenvalues) for _ in range(10)],
        "spectrum/running_eigenvalues": [[5 * value for value in eigenvalues]] * 10,
        "spectrum/batch_gradient_share": [[share / 10] * 10 + [0.9]] * 10,
    }
    return run(records, norm, seed=seed, experiment="spectra")


def test_spectra() -> None:
    standard, batch = spectrum("none", 40.0, 0.8), spectrum("batch", 8.0, 0.05)
    assert curvature.median_share(standard) == pytest.approx(0.8)
    assert curvature.typical_outlier_ratio(standard) == pytest.approx(20)
    assert curvature.outliers(standard, batch) == pytest.approx(5)
    assert curvature.running_ratio(batch) == pytest.approx(5)
    few = run({"spectrum/batch_eigenvalues": [[4.0] * 10]})
    assert math.isnan(curvature.typical_outlier_ratio(few))


def test_spectra_that_have_not_converged_are_left_out() -> None:
    def known(place: int, statistics: str = "batch") -> Run:
        """Converged in two of ten steps, but for one eigenvalue; other numbers where not."""
        one = spectrum("batch", 40.0, 0.8)
        for key, values in one.records.items():
            values[1][2:] = spectrum("batch", 9.0, 0.1).records[key][1][2:]
        errors = [[1e-4] * 11 for _ in range(10)]
        for step in range(2, 10):
            errors[step][place] = 0.5
        one.records[f"spectrum/{statistics}_error"] = (list(range(10)), errors)
        return one

    assert curvature.median_share(known(9)) == pytest.approx(0.8)
    assert curvature.median_share(known(10)) == pytest.approx(0.1)
    assert (
        curvature.typical_outlier_ratio(known(0))
        == curvature.typical_outlier_ratio(known(10))
        == 20
    )
    for statistics in ("batch", "running"):
        one = known(0, statistics)
        one.records["spectrum/running_eigenvalues"][1][1] = [200.0, *[1.0] * 10]
        assert curvature.running_ratio(one) == pytest.approx(5)
        one.records[f"spectrum/{statistics}_error"][1][1][0] = 1.0
        assert math.isnan(curvature.running_ratio(one))


def test_a_bulk_that_is_not_positive_is_the_strongest_case_of_outliers() -> None:
    def with_bulk(norm: str, bulk: float, seed: int) -> Run:
        one = spectrum(norm, 8.0, 0.05, seed)
        for row in one.records["spectrum/batch_eigenvalues"][1][:9]:
            row[10] = bulk
        return one

    standard, batch = with_bulk("none", -1.0, 0), with_bulk("batch", 2.0, 0)
    assert curvature.typical_outlier_ratio(standard) == math.inf
    assert curvature.outliers(standard, batch) == math.inf
    assert curvature.outliers(batch, standard) == 0
    assert math.isnan(curvature.outliers(standard, standard))
    arms = (("none", -1.0), ("batch", 2.0))
    runs = [with_bulk(*arm, seed) for arm in arms for seed in range(5)]
    assert verdict("outliers", *runs) == claims.SUPPORTED


def test_the_verdicts_on_spectra() -> None:
    arms = [("none", 40.0, 0.8), ("batch", 8.0, 0.05)]
    runs = [spectrum(*arm, seed=seed) for arm in arms for seed in range(5)]
    turned = [("none", *arms[1][1:]), ("batch", *arms[0][1:])]
    other = [spectrum(*arm, seed=seed) for arm in turned for seed in range(5)]
    for name in ("gradient_concentrates", "gradient_spread", "outliers"):
        assert verdict(name, *runs) == claims.SUPPORTED
        assert verdict(name, *other) == claims.CONTRADICTED
    assert verdict("running_statistics_sharper", *runs) == claims.SUPPORTED


def test_where_effective_beta_is_pinned_the_curvature_is_another() -> None:
    gone, linear = walk([2.0, 2.0, 2.0], along=300.0), walk([0.5, 1.0, 2.0], along=5.0)
    assert curvature.pinned_wrong_share(gone, linear) == pytest.approx(0.5)
    assert curvature.pinned_wrong_share(walk([2.0, 2.0, 2.0], along=21.0)) == 0
    assert curvature.pinned_wrong_share(walk([2.0, 2.0, 2.0], along=-20.0)) == 1


def test_where_the_curvature_is_not_known_it_is_not_said_to_agree() -> None:
    gone, known = walk([2.0, 2.0, 2.0], along=math.nan), walk([2.0, 2.0, 2.0], along=300.0)
    assert math.isnan(curvature.pinned_wrong_share(gone, gone))
    assert curvature.pinned_wrong_share(gone, known) == 1


def test_the_step_taken_is_that_of_its_own_lr() -> None:
    # A quadratic of curvature 5; the lr doubles half-way, and with it the step sizes.
    warming = walk([0.5, 1.0, 2.0], along=5.0)
    warming.records["train/lr"] = (list(range(10)), [0.1] * 5 + [0.2] * 5)
    for key in ("step_size", "gradient_change"):
        rows = warming.records[f"landscape/{key}"][1]
        rows[5:] = [[2 * value for value in rows[0]]] * 5
    assert curvature.beta_over_curvature(warming) == pytest.approx(1)
    warming.records["train/lr"][1][:] = [0.03] * 10
    assert math.isnan(curvature.beta_over_curvature(warming))


def test_effective_beta_of_the_step_taken_is_the_curvature_of_a_quadratic() -> None:
    assert curvature.beta_over_curvature(walk([0.5, 1.0, 2.0], along=5.0)) == pytest.approx(1)
    assert curvature.beta_over_curvature(walk([0.5, 1.0, 9.0], along=-5.0)) == pytest.approx(1)
    # The gradient turns without growing: all of its change is sideways.
    assert curvature.beta_over_curvature(walk([0.5, 1.0, 2.0], along=0.5)) == pytest.approx(10)


def test_measures_are_compared_at_the_steps_that_both_have() -> None:
    one = (np.array([0, 5, 10]), np.array([1.0, 2.0, 3.0]))
    other = (np.array([0, 10, 20]), np.array([4.0, 5.0, 6.0]))
    steps, ours, theirs = together(one, other)
    assert (list(steps), list(ours), list(theirs)) == ([0, 10], [1, 3], [4, 5])


def test_weights_that_grow() -> None:
    last = [9.0, 1.0, 1.0]  # the layer without a norm does not count
    assert curvature.growing_share(lengths([1.0, 1.1, 1.1], [2.0, 2.0, 3.0], last)) == 1
    assert curvature.growing_share(lengths([1.0, 0.9, 1.1], [2.0, 2.0, 3.0], last)) == 0.75
    assert curvature.growing_share(lengths([1.0, 1.0 - 1e-8, 1.0], [1.0] * 3, last)) == 1
    with pytest.raises(KeyError, match="has no weights/norm"):
        curvature.growing_share(run({}))


def test_the_effective_learning_rate_falls_with_the_square_of_the_weights() -> None:
    grown = lengths([1.0, 5.0, 2.0], [3.0, 3.0, 6.0], [1.0] * 3)
    assert curvature.effective_lr_fall(grown) == pytest.approx(4)
    exploded = lengths([1.0, 5.0, 2.0], [3.0, 3.0, 6.0], [1.0] * 3, outcome="diverged")
    assert math.isnan(curvature.effective_lr_fall(exploded))


def test_effective_learning_rates_that_meet_have_no_distance_left() -> None:
    def grown(lr: float, norm: float, seed: int = 0) -> Run:
        return lengths([1.0, norm], [1.0, norm], [1.0, 1.0], lr=lr, seed=seed)

    assert curvature.spread_left([grown(0.01, 1), grown(1.0, 10)]) == pytest.approx(0, abs=1e-12)
    assert curvature.spread_left([grown(0.01, 1), grown(1.0, 1)]) == pytest.approx(1)
    assert curvature.spread_left([grown(0.01, 1), grown(1.0, 10**0.5)]) == pytest.approx(0.5)
    assert math.isnan(curvature.spread_left([grown(0.01, 1)]))
    runs = [grown(lr, norm, seed) for lr, norm in ((0.01, 1), (1.0, 5)) for seed in range(5)]
    assert verdict("lrs_converge", *runs) == claims.SUPPORTED
