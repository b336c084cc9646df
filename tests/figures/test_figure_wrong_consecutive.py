"""The figure of consecutive gradients."""

from pathlib import Path

import numpy as np
from drawing import write

from bnstudy.measures.landscape import CHANGE, own_step


def test_the_change_on_one_batch_is_over_the_step_of_training(tmp_path: Path) -> None:
    line = {"landscape/step_size": [0.05, 0.1, 0.4], CHANGE: [1.0, 2.0, 3.0]}
    run = write(tmp_path, [{"step": 0} | line])
    np.testing.assert_array_equal(own_step(run)[1], [2.0])
