"""Measures of the theorems."""

import math

import numpy as np
import pytest
from theory_runs import TERMS, of_layers, run_of

from bnstudy.figures import theory as figure
from bnstudy.measures.theory import (
    curvature_errors,
    gradient_errors,
    gradient_gain,
    mean_part,
    median_tightness,
    projected_part,
    scale_gain,
)


def test_the_figure_reduces_theorem_4_1_to_parts(tmp_path):
    run = run_of(tmp_path, "batch", [of_layers(**TERMS, input_gradient=4.0)] * 2)
    assert figure.measured_layers([run]) == ["layer1", "layer2"]
    parts = (gradient_gain, scale_gain, mean_part, projected_part)
    assert [of(run, "layer2").tolist() for of in parts] == [[2, 2], [4, 4], [12.5] * 2, [37.5] * 2]


def test_the_figure_counts_what_is_false_over_all_layers(tmp_path):
    records = {
        "violated": 0.5,
        "curvature": [1.0, -2.0, 5.0, math.nan],
        "curvature_first": [1.1, -2.0, 5.0, math.nan],
        "curvature_term": [1.0, -1.0, 5.0, 1.0],
        "curvature_second": [0.5, -1.0, 6.0, 1.0],
        "weight_bound": [4.0, 4.0],
        "weight_bound_printed": [3.0, 5.0],
        "weight_gradient": [1.0, 3.0],
        "error": 1e-7,
        "input_gradient": 1.0,
        "output_gradient": 1.0,
    }
    first = of_layers(**records) | {"theory/violated/layer1": 1.0, "theory/error/layer2": 3e-7}
    # A grouped convolution has nothing of theorem 4.4.
    first = {key: first[key] for key in first if not ("weight" in key and "layer2" in key)}
    run = run_of(tmp_path, "batch", [first])
    found = [of(run)[1].tolist() for of in figure.PRINTED.values()]
    assert found == [[75], [pytest.approx(100 / 3)], [50]]
    assert median_tightness(run, "layer1").tolist() == [0.5]
    assert np.isnan(median_tightness(run, "layer2")).all()
    assert gradient_errors(run)[1].tolist() == [3e-7]
    relative = [0.1 / 1.1, 0, 0]
    expected = np.percentile(2 * relative, 95)
    assert curvature_errors(run)[1][0] == pytest.approx(expected)
