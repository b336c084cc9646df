"""Claims on placement."""

import math

import pytest
from grids_of_runs import grid

from bnstudy.claims import (
    placement,
)


def test_placements_are_compared_over_the_learning_rates_that_all_have() -> None:
    standard = grid("none", {"a": [0.5, None, 0.1]})
    before = grid("batch", {"a": [0.6, 0.7, 0.1]})
    after = grid("batch", {"a": [0.55, 0.4, 0.3]})
    assert placement.accuracy_difference(before[1], after[0]) == pytest.approx(15)
    assert placement.worse_difference(standard[0], before[1], after[0]) == pytest.approx(5)
    assert placement.lr_difference(before, after) == -1
    assert placement.fewer_difference(standard, before, after) == 1
    assert math.isnan(placement.lr_difference(before, []))
