"""Measures of what was found since 2018, on runs whose numbers are known."""

import math
from typing import Any

import numpy as np
import pytest
from claim_runs import cell

from bnstudy.measures.branches import branch_exponent, first_branch_shares
from bnstudy.measures.gradients import growth_per_layer
from bnstudy.measures.grids import largest_lr
from bnstudy.measures.moments import growth_with_depth, variance_growth
from bnstudy.measures.representations import (
    RANK,
    deep_mean,
    first_profile,
    gap_growth,
    has_representations,
    last_layer,
    rank_left,
)
from bnstudy.measures.series import at_step
from bnstudy.measures.sphere import spherical_fall, spherical_sharpness
from bnstudy.measures.train import largest_precise_gain, precise_gain, precise_percent, trains
from bnstudy.measures.weights import (
    equilibrium_rotation,
    last_rotations,
    rotation_at_equilibrium,
    rotation_spread,
    squared_length,
)
from bnstudy.results import Run


def layers(key: str, values: list[list[Any]]) -> dict[str, list[Any]]:
    """Records of layer1, layer2 ... at steps 0, 1, 2 ..."""
    return {f"{key}/layer{number}": own for number, own in enumerate(values, start=1)}


def test_the_value_at_a_step() -> None:
    series = np.array([0, 1, 5]), np.array([2.0, 3.0, 4.0])
    assert (at_step(series, 1), at_step(series, 5)) == (3, 4)
    assert math.isnan(at_step(series, 2))


def represented(ranks: list[float], gaps: list[float]) -> Run:
    """A run with these numbers of its hidden layers at step 0, and twice as large ones later."""
    records = layers("representations/effective_rank", [[r, 2 * r] for r in ranks])
    records |= layers("representations/orthogonality_gap", [[g, 2 * g] for g in gaps])
    run = cell(records=records)
    run.header["layers"] = [f"layer{number}" for number in range(1, len(ranks) + 2)]
    return run


def test_the_rank_that_is_left_deep_in_the_network_at_step_0() -> None:
    run = represented([8, 6, 4, 3, 2, 2, 4, 1], [0.2] * 7 + [0.6])
    assert first_profile(run, RANK).tolist() == [8, 6, 4, 3, 2, 2, 4, 1]
    assert rank_left(run) == pytest.approx(math.sqrt(4 * 1) / 8)
    assert gap_growth(run) == pytest.approx((0.2 + 0.6) / 2 / 0.2)
    assert deep_mean(run, RANK) == pytest.approx(2.5)
    assert last_layer(run, RANK)[1].tolist() == [1, 2]
    assert has_representations(run) and not has_representations(cell())
    with pytest.raises(KeyError, match="has no representations/effective_rank"):
        rank_left(cell())


def branched(shares: list[float]) -> Run:
    """A run whose branches have these shares at step 0."""
    records = {f"branches/branch_variance/b{i}": [2 * share] for i, share in enumerate(shares)}
    return cell(records=records | {f"branches/skip_variance/b{i}": [2.0] for i in range(9)})


def test_the_exponent_of_branches_is_that_of_the_first_stage() -> None:
    run = branched([1 / block for block in (1, 2, 3)] + [9.0] * 6)
    assert first_branch_shares(run)[:3] == pytest.approx([1, 1 / 2, 1 / 3])
    assert branch_exponent(run) == pytest.approx(-1)
    assert branch_exponent(branched([1 / math.sqrt(b) for b in (1, 2, 3)] * 3)) == pytest.approx(
        -0.5
    )
    assert math.isnan(branch_exponent(branched([0.0] * 9)))


def test_the_growth_of_gradients_at_step_1() -> None:
    """From layer to layer towards the input by 2 at step 0 and by 1.5 at step 1."""
    norms = [[2.0 ** (14 - i), 1.5 ** (14 - i)] for i in range(14)]
    run = cell(records=layers("gradients/norm", norms))
    run.header["layers"] = [f"layer{number}" for number in range(1, 15)]
    assert growth_per_layer(run) == pytest.approx(2)
    assert growth_per_layer(run, 1) == pytest.approx(1.5)
    assert math.isnan(growth_per_layer(run, 7))


def exploding(growths: list[float]) -> Run:
    """A run whose variances grow by these factors until they overflow."""
    values = [[[1.0, 2.0], [g, 2 * g], [math.inf, math.inf]] for g in growths]
    run = cell(records=layers("moments/variance", values))
    run.header["layers"] = [f"layer{number}" for number in range(1, len(growths) + 1)]
    return run


def test_the_growth_of_variances_is_that_of_the_last_step_at_which_they_are_finite() -> None:
    run = exploding([1.0, 10.0, 100.0, 1e6])
    np.testing.assert_allclose(variance_growth(run), [1, 10, 100, 1e6])
    assert growth_with_depth(run) == pytest.approx(1)
    assert growth_with_depth(exploding([8.0, 4.0, 2.0, 1.0])) == pytest.approx(-1)
    assert math.isnan(growth_with_depth(exploding([1.0, 2.0, 3.0])))


def turning(angles: list[float], decay: float = 0.05, **of: Any) -> Run:
    """A run with these angles of a step of its layers, all along; the last has no norm."""
    records = layers("weights/rotation", [[angle] * 10 for angle in (*angles, 99.0)])
    records |= layers("weights/norm", [[3.0] * 10, [4.0] * 10, [7.0] * 10, [9.0] * 10])
    run = cell(records=records | {"sharpness/batch_eigenvalues": SHARP}, **of)
    run.config["optimizer"]["weight_decay"] = decay
    return run


SHARP = [[value] for value in (1.0, 2.0, 6.0, 8.0, 8.0, 9.0, 4.0, 2.0, 2.0, 2.0)]


def test_the_angle_of_a_step_against_that_of_the_equilibrium() -> None:
    run = turning([0.1, 0.1, 0.2])
    assert equilibrium_rotation(run) == pytest.approx(math.sqrt(2 * 0.1 * 0.05))
    assert last_rotations(run).tolist() == [0.1, 0.1, 0.2]
    assert rotation_at_equilibrium(run) == pytest.approx(1)
    assert rotation_spread(run) == pytest.approx(2)
    assert math.isnan(rotation_at_equilibrium(turning([0.1, 0.1, 0.1], decay=0.0)))
    assert math.isnan(rotation_spread(turning([0.1, 0.1, 0.2], outcome="diverged")))


def test_sharpness_on_the_sphere_is_that_of_weights_of_length_1() -> None:
    run = turning([0.1, 0.1, 0.2])
    assert squared_length(run)[1].tolist() == [9 + 16 + 49] * 10
    assert spherical_sharpness(run)[1][:3].tolist() == [74, 148, 444]
    # From the 8 of steps 3 and 4, the second quarter, to the 2 of the last quarter.
    assert spherical_fall(run) == pytest.approx(2 / 8)
    assert math.isnan(spherical_fall(turning([0.1, 0.1, 0.2], outcome="diverged")))


def test_the_gain_by_statistics_that_are_estimated_anew() -> None:
    run = cell(accuracy=0.5)
    run.records["test/accuracy"] = ([0, 5, 10], [0.1, 0.2, 0.5])
    run.records["test/precise_accuracy"] = ([0, 5, 10], [0.9, 0.5, 0.52])
    assert precise_gain(run) == pytest.approx(2)
    assert largest_precise_gain(run) == pytest.approx(30)  # before the first step it means nothing
    assert precise_percent(run) == pytest.approx(52)
    diverged = cell(accuracy=0.5, outcome="diverged")
    diverged.records["test/precise_accuracy"] = ([0], [0.9])
    assert math.isnan(precise_gain(diverged)) and precise_percent(diverged) == 10


def test_the_largest_learning_rate_that_trains() -> None:
    runs = [cell(lr=lr, accuracy=a) for lr, a in ((0.01, 0.5), (0.1, 0.3), (1.0, 0.1))]
    assert largest_lr(runs, trains) == 0.1
    assert largest_lr(runs[2:], trains) == 0
    assert math.isnan(largest_lr([], trains))
