"""The figures of scale and shift."""

from pathlib import Path

import numpy as np
from drawing import preactivations, ydata
from matplotlib.axes import Axes

from bnstudy.figures import (
    scale_and_shift,
    scale_and_shift_over_training,
)
from bnstudy.measures.activations import unit_percentiles


def test_percentiles_over_training_are_of_the_first_unit(axes: Axes, tmp_path: Path) -> None:
    run = preactivations(tmp_path, "tanh", [3])
    key = "activations/percentiles/layer3"
    scale_and_shift_over_training.percentile_band(
        axes, [run], "none", key, lambda run: unit_percentiles(run, "layer3")
    )
    np.testing.assert_array_equal(ydata(axes.lines[0]), [0, 0])
    (shaded,) = axes.collections
    bounds = shaded.get_paths()[0].get_extents()
    assert (bounds.ymin, bounds.ymax) == (-1, 5)


def test_the_activation_function_has_an_axis_of_its_own(axes: Axes) -> None:
    z = np.linspace(-2, 2, 5)
    scale_and_shift.over_it(axes, "relu", z, labelled=True)
    right = axes.figure.axes[1]
    np.testing.assert_array_equal(ydata(right.lines[0]), [0, 0, 0, 1, 2])
    assert right.get_ylabel() == "ReLU(z)"
    (zero,) = axes.patches
    assert (zero.get_x(), zero.get_x() + zero.get_width()) == (-2, 0)
