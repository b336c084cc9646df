"""Measures of the landscape."""

import math
from pathlib import Path

import numpy as np
from drawing import write

from bnstudy.figures import (
    random_directions,
)
from bnstudy.measures.landscape import LOSS


def test_the_relative_range_is_largest_over_smallest_less_one(tmp_path: Path) -> None:
    rows = [[2.0, 1.0, 3.0], [5.0, 5.0, 5.0], [1.0, math.inf, 2.0], [0.0, 0.0, 0.0]]
    run = write(tmp_path, [{"step": i, LOSS: row} for i, row in enumerate(rows)])
    expected = [2.0, 0.0, np.inf, np.nan]
    np.testing.assert_array_equal(random_directions.relative_range(run, LOSS)[1], expected)
