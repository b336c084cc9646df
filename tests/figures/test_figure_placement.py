"""The figure of placements."""

from pathlib import Path

import numpy as np
import pytest
from drawing import FIGURES, Runs, final, labels, missing, runs_of, ydata
from matplotlib.axes import Axes

from bnstudy.figures import (
    placement,
    style,
)


def test_placement_reads_one_init_of_the_runs_beside_it(demo: Runs) -> None:
    figure = FIGURES["placement"].draw(runs_of(FIGURES["placement"], demo))
    assert labels(figure)[:3] == [
        "standard (9 runs, 1 diverged)",
        "BatchNorm, before the activation function (9 runs, 3 interrupted)",
        "BatchNorm, after the activation function (9 runs, 3 interrupted)",
    ]


def test_placement_shows_the_mean_and_a_cross_at_chance(axes: Axes, tmp_path: Path) -> None:
    cells = {"init": placement.INIT, "norm": "batch", "placement": "after"}
    runs = [
        final(tmp_path, 0.5, lr=0.1, **cells),
        final(tmp_path, 0.9, lr=0.1, seed=1, **cells),
        final(tmp_path, 0.6, lr=1.0, **cells),
        final(tmp_path, 0.6, "diverged", lr=1.0, seed=1, **cells),
        final(tmp_path, 0.1, "interrupted", lr=0.1, seed=2, **cells),
    ]
    placement.accuracies_over_lr(axes, runs)
    curve, cross = [line for line in axes.lines if line.get_color() == style.LOOKS["batch"].colour]
    np.testing.assert_allclose(ydata(curve), [70, 35])
    np.testing.assert_allclose(ydata(cross), [10])
    (place,) = cross.get_xdata()
    assert place == pytest.approx(1.0, rel=0.2)
    told = "no standard runs\nno BatchNorm runs, before the activation function"
    assert missing(axes) == told
