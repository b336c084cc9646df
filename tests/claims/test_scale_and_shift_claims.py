"""Claims on scale and shift."""

import math
from typing import Any

import pytest
from claim_runs import cell

from bnstudy.claims import (
    scale_and_shift,
)
from bnstudy.measures.activations import linear_share
from bnstudy.results import Run


def test_what_an_activation_function_sees_is_averaged_over_hidden_layers_and_late_steps() -> None:
    def of(norm: str, first: float, second: float) -> Run:
        records: dict[str, list[Any]] = {}
        for name, value in (("layer1", first), ("layer2", second), ("layer4", 9.0)):
            records[f"activations/zeros/{name}"] = [0.0] * 7 + [value] * 3
            records[f"activations/within/{name}"] = [[9.0, 9.0]] * 7 + [[9.0, value]] * 3
        return cell(norm, records=records)

    run = of("batch_no_affine", 0.4, 0.8)
    assert scale_and_shift.zeros(run) == pytest.approx(0.6)
    assert linear_share(run) == pytest.approx(0.6)
    others = of("none", 0.1, 0.3), of("batch", 0.2, 0.3)
    assert scale_and_shift.more_linear(run, *others) == pytest.approx(0.35)
    with pytest.raises(KeyError, match="has no activations/zeros"):
        scale_and_shift.zeros(cell())
    early = {"activations/zeros/layer1": [0.5]}
    assert math.isnan(scale_and_shift.zeros(cell(records=early, outcome="diverged")))
    gained = scale_and_shift.restored(cell(accuracy=0.5), cell(accuracy=0.6))
    assert gained == pytest.approx(10)
