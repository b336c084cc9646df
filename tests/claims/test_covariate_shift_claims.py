"""Claims on covariate shift."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from claim_runs import cell

from bnstudy.claims import (
    covariate_shift,
)
from bnstudy.measures.covariate_shift import accuracy_at, middle_layer
from bnstudy.results import Run


def shifted(running: Sequence[float], batch: Sequence[float], **changes: Any) -> Run:
    """A run with these accuracies at sizes 0, 1, 2 of the last step, inside a tenth of a loss."""
    records = {"covariate_shift/size": [[0.0, 1.0, 2.0]] * 2}
    for kind, values in (("running", running), ("batch", batch)):
        records[f"covariate_shift/{kind}_accuracy/layer1"] = [[0, 0, 0], list(values)]
        inside = [values[0], values[0] - (values[0] - values[1]) / 10, 0]
        records[f"covariate_shift/{kind}_accuracy/layer2"] = [[0, 0, 0], inside]
        records[f"covariate_shift/{kind}_accuracy/layer3"] = [[0, 0, 0], [0.9, 0.9, 0.9]]
    return cell(records=records, **changes)


def test_a_shift_costs_accuracy_that_batch_statistics_recover() -> None:
    batch = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6])
    assert covariate_shift.lost_to_data(batch) == pytest.approx(40)
    assert covariate_shift.lost_inside(batch) == pytest.approx(4)
    assert covariate_shift.recovered(batch) == pytest.approx(0.75)
    # Of what is above chance 40 points of 70 and 20 of 40: the better network loses a larger share.
    standard = shifted([0.5, 0.3, 0.1], [0.6, 0.1, 0.1])
    assert covariate_shift.share_lost(standard) == pytest.approx(0.5)
    assert covariate_shift.lost_less(standard, batch) == pytest.approx(0.5 - 4 / 7)
    unhurt = shifted([0.8, 0.795, 0.1], [0.8, 0.8, 0.6])
    assert math.isnan(covariate_shift.recovered(unhurt))


def test_who_does_not_train_has_no_accuracy_to_lose() -> None:
    stuck = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], accuracy=0.1)
    assert math.isnan(covariate_shift.lost_to_data(stuck))
    diverged = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], outcome="diverged")
    assert math.isnan(covariate_shift.lost_inside(diverged))
    assert math.isnan(accuracy_at(stuck, "running", "layer1", 0.5))
    with pytest.raises(KeyError, match="of a layer inside"):
        middle_layer(cell())
