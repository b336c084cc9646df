"""The figure of envelopes over learning rates."""

import math
from pathlib import Path

import numpy as np
from drawing import Runs, losses
from matplotlib.axes import Axes

from bnstudy.figures import (
    wrong_envelope,
)


def test_the_envelope_is_over_the_runs_at_every_learning_rate(tmp_path: Path) -> None:
    runs = [
        losses(tmp_path / "a", [4.0, 3.0, 2.0]),
        losses(tmp_path / "b", [5.0, 1.0, math.nan], outcome="diverged"),
        losses(tmp_path / "c", [3.0, 2.0, 3.0]),
    ]
    for run in runs:
        run.config["steps"] = 3
    steps, low, high = wrong_envelope.envelope_of(runs)
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(low, [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(high, [5.0, 3.0, 3.0])


def test_a_seed_that_lacks_a_learning_rate_has_no_envelope(axes: Axes, demo: Runs) -> None:
    lacking = [run for run in demo["vgg"] if run.seed > 0 or run.lr != 0.5]
    wrong_envelope.envelopes(axes, lacking, wrong_envelope.LRS)
    assert axes.get_legend_handles_labels()[1][0] == "envelope, standard (n = 6, 1 diverged)"
