"""Figure 11."""

import math
from pathlib import Path

import matplotlib
import numpy as np
from drawing import write, ydata
from matplotlib.axes import Axes

from bnstudy.figures import (
    figure11,
)
from bnstudy.measures.landscape import CHANGE


def test_figure11_shows_few_steps_and_the_median_of_all(axes: Axes, tmp_path: Path) -> None:
    keys = ("landscape/step_size", CHANGE)
    lines = [
        {"step": step} | dict(zip(keys, ([0.1, 0.2], [1.0 + step, math.inf]), strict=True))
        for step in range(201)
    ]
    run = write(tmp_path, lines)
    figure11.gradient_changes(axes, run, matplotlib.colors.Normalize(0, 200))
    *curves, median = axes.lines
    assert len(curves) == 51
    assert [ydata(curve)[0] for curve in (curves[0], curves[-1])] == [1.0, 201.0]
    np.testing.assert_array_equal(ydata(median), [101.0, np.nan])
