"""The figure of the theorems."""

import made_up
import numpy as np
from matplotlib.colors import to_rgb
from theory_runs import LAYER_NAMES, run_of

from bnstudy.figures import theory as figure
from bnstudy.measures.theory import (
    gradient_gain,
)


def test_the_figure_has_a_line_per_layer_darker_towards_the_outputs(tmp_path):
    runs = [
        run_of(tmp_path, "batch", [made_up.theory("batch", LAYER_NAMES, 0.1, rng)] * 3, seed=seed)
        for seed, rng in enumerate(map(np.random.default_rng, (0, 1)))
    ]
    drawn = figure.draw(runs)
    lines = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 3  # the last layer has no norm
    shades = [sum(to_rgb(line.get_color())) for line in lines]
    assert shades == sorted(shades, reverse=True)
    ratios = [gradient_gain(run, "layer2") for run in runs]
    geometric = np.sqrt(ratios[0] * ratios[1])
    assert np.allclose(np.asarray(lines[1].get_ydata(), dtype=float), geometric)
    assert not any(not axes.axison for axes in drawn.axes)
