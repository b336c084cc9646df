"""The figure without scale."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from curvature_runs import curves, run, weights
from matplotlib.figure import Figure

from bnstudy.figures import panels, scale_free
from bnstudy.figures.sharpness import scaled
from bnstudy.measures.sharpness import top_eigenvalue


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (scale_free.relative_step, [0.1, 0.05, 0.025]),
        (scale_free.growth, [1, 2, 4]),
        (scale_free.effective_lr, [0.1 / 4, 0.1 / 16, 0.1 / 64]),
    ],
)
def test_reductions_without_scale(of: Any, expected: Sequence[float]) -> None:
    np.testing.assert_allclose(of(weights(), "layer3")[1], expected)


def test_sharpness_times_lr() -> None:
    np.testing.assert_allclose(scaled(weights(), top_eigenvalue)[1], [3] * 3)


def test_the_layers_shown_are_before_a_norm() -> None:
    assert scale_free.layers_before_norms([run({}), weights()]) == [
        "layer1",
        "layer7",
        "layer13",
    ]
    assert scale_free.layers_note([weights()]) == "layers 1, 7 and 13 of 14"
    assert scale_free.layers_before_norms([run({})]) == []


def test_every_layer_is_a_line_the_last_one_darkest() -> None:
    axes = Figure().subplots()
    scale_free.curves_by_layer(axes, [weights(), weights("none")], scale_free.growth)
    assert len(curves(axes)) == 6
    colours = [sum(line.get_color()) for line in axes.lines[:3]]
    assert colours == sorted(colours, reverse=True)
    assert panels.PAIR == ("none", "batch")
