"""Claims on the landscape."""

import math
from pathlib import Path

import pytest
from claim_runs import walks, write

from bnstudy.claims import (
    landscape,
)
from bnstudy.claims.comparisons import orders


def test_orders_of_magnitude_lie_between_the_highest_values(tmp_path: Path) -> None:
    standard = write(tmp_path, walks([[1, 2, 3, 8], [1, 2, 3, 1000]]))
    batch, l1 = (write(tmp_path, walks([[1, 1, 1, a]]), b) for a, b in ((4, "batch"), (1, "l1")))
    assert orders(standard, batch, l1) == pytest.approx(math.log10(1000 / 4))
    assert landscape.loss_orders(standard, l1) == pytest.approx(3)
    exploded = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1, outcome="diverged")
    assert orders(exploded, batch) == math.inf
