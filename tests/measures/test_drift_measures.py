"""Measures of drift."""

import math
from collections.abc import Sequence

import pytest
from claim_runs import cell
from descents import NAN

from bnstudy.claims import noise, primary
from bnstudy.results import Run


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
