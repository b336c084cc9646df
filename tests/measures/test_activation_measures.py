"""Measures of activations."""

import math
from pathlib import Path

import numpy as np
import pytest
from drawing import preactivations
from matplotlib.axes import Axes

from bnstudy.figures import (
    panels,
    scale_and_shift,
)
from bnstudy.measures.activations import in_linear_range, last_hidden_layer, middle_hidden_layer


@pytest.mark.parametrize(
    ("activation", "fraction"), [("relu", 0.25), ("sigmoid", 0.6), ("tanh", 0.3)]
)
def test_the_fraction_is_of_zeros_or_of_the_linear_range_at_the_end(
    axes: Axes, tmp_path: Path, activation: str, fraction: float
) -> None:
    run = preactivations(tmp_path, activation, [2])
    assert in_linear_range(run, "layer2", activation)[1][-1] == fraction
    assert np.isnan(in_linear_range(run, "layer1", activation)[1][-1])
    scale_and_shift.distribution(axes, [run], "layer2", activation)
    kind = "zero" if activation == "relu" else "linear"
    assert [text.get_text() for text in axes.texts] == [f"{kind}: {100 * fraction:.0f} %\nn = 1"]


@pytest.mark.parametrize(
    ("recorded", "middle", "last"),
    [((1, 2, 3, 4), "layer2", "layer3"), ((1, 4), "layer1", "layer1"), ((4,), "layer", "layer")],
)
def test_the_layer_of_the_outputs_is_not_hidden(
    tmp_path: Path, recorded: tuple[int, ...], middle: str, last: str
) -> None:
    run = preactivations(tmp_path, "tanh", recorded)
    assert middle_hidden_layer([run]) == middle
    assert last_hidden_layer([run]) == last


def test_rebin_keeps_the_counts_and_their_places() -> None:
    grid = np.linspace(0.0, 4.0, 9)
    counts = np.array([[2.0, 4.0], [10.0, 0.0]])
    ranges = np.array([[0.0, 2.0], [3.0, 5.0]])
    np.testing.assert_allclose(panels.rebin(counts, ranges, grid), [1, 1, 2, 2, 0, 0, 5, 5])


def test_rebin_puts_a_constant_unit_into_one_cell_and_leaves_broken_ones_out() -> None:
    counts = np.array([[0.0, 7.0], [1.0, 1.0], [1.0, 1.0]])
    ranges = np.array([[1.1, 1.1], [math.nan, 2.0], [0.0, math.inf]])
    total = panels.rebin(counts, ranges, np.linspace(0.0, 4.0, 5))
    np.testing.assert_allclose(total, [0, 7, 0, 0])
