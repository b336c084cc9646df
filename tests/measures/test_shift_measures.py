"""Measures of covariate shift, put in and made by training."""

from pathlib import Path

import made_up
import numpy as np
from drawing import cell_run

from bnstudy.figures import (
    covariate_shift,
)
from bnstudy.measures.covariate_shift import SIZE, accuracies_by_size
from bnstudy.measures.internal_covariate_shift import typical_shift
from bnstudy.results import Run


def test_the_accuracies_on_shifted_inputs_are_those_at_the_end(tmp_path: Path) -> None:
    key = "covariate_shift/running_accuracy/layer1"

    def run(seed: int, sizes: list[float], accuracies: list[float]) -> Run:
        lines: list[made_up.Line] = [
            {"step": 0, SIZE: sizes, key: [0.1] * len(sizes)},
            {"step": 5, SIZE: sizes, key: accuracies},
        ]
        return cell_run(tmp_path, lines, seed=seed)

    runs = [run(0, [1.0, 0.0], [0.5, 0.75]), run(1, [0.0, 1.0], [1.0, 0.25])]
    assert accuracies_by_size(runs, "running", "layer1") == ([0.0, 1.0], [[75, 100], [50, 25]])
    assert accuracies_by_size(runs, "running", "layer2") == ([], [])


def test_the_shift_of_the_mean_is_in_standard_deviations(tmp_path: Path) -> None:
    line: made_up.Line = {"step": 0}
    layers = {"layer1": ([0.0, 4.0], [1.0, 1.0], [4.0, 9.0]), "layer3": ([0.0], [3.0], [4.0])}
    for layer, values in layers.items():
        names = ("mean", "next_mean", "variance")
        line |= {f"moments/{name}/{layer}": v for name, v in zip(names, values, strict=True)}
    run = cell_run(tmp_path, [line])
    np.testing.assert_allclose(covariate_shift.mean_shift(run)[1], [1.0])  # of 1/2, 1, 3/2


def test_the_shift_of_the_gradient_is_relative_and_not_of_the_first_layer(tmp_path: Path) -> None:
    kind = "internal_covariate_shift"
    shifts = {"layer1": (0.0, 1.0), "layer2": (2.0, 4.0), "layer3": (6.0, 4.0)}
    line: made_up.Line = {"step": 0}
    for layer, (shift, length) in shifts.items():
        line |= {f"{kind}/l2/{layer}": shift, f"{kind}/norm/{layer}": length}
    np.testing.assert_allclose(typical_shift(cell_run(tmp_path, [line]))[1], [1])
