"""Figure 8."""

from pathlib import Path

import made_up
import numpy as np
import pytest
from drawing import Runs, write

from bnstudy.measures.moments import moment_distance, moment_since_start
from bnstudy.results import Run


def moments(directory: Path, rows: list[tuple[list[float], list[float]]]) -> Run:
    """A run that recorded these means of two units, at a step and the one after it."""
    keys = ("moments/mean/layer2", "moments/next_mean/layer2")
    lines = [{"step": i} | dict(zip(keys, row, strict=True)) for i, row in enumerate(rows)]
    return write(directory, lines, "batch")


def test_figure8_shows_one_step_and_all_steps_since_the_first(tmp_path: Path) -> None:
    run = moments(tmp_path, [([1.0, 5.0], [1.5, 4.0]), ([3.0, 2.0], [3.0, 8.0])])
    np.testing.assert_array_equal(moment_distance(run, "mean/layer2")[1], [0.75, 3.0])
    np.testing.assert_array_equal(moment_since_start(run, "mean/layer2")[1], [[0, 0], [2, -3]])


def test_algorithm_1_moves_the_mean_by_a_third_of_a_step_on_average(demo: Runs) -> None:
    noisy = [run for run in demo["vgg_noise"] if run.norm == "noisy_batch"]
    layers = [f"mean/layer{number}" for number in made_up.PROBED["vgg"]]
    distances = [moment_distance(run, layer)[1] for run in noisy for layer in layers]
    assert np.mean(distances) == pytest.approx(1 / 3, abs=0.02)
