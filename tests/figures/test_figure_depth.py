"""The figure of depths."""

import math
from pathlib import Path

import numpy as np
from drawing import Runs, cell_run, missing, symbols, trained, ydata
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from bnstudy.figures import (
    depth,
)
from bnstudy.figures.sweeps import all_depths
from bnstudy.results import Run


def test_a_cell_is_shown_at_its_fastest_learning_rate(tmp_path: Path) -> None:
    slow = [trained(tmp_path, [0.1, 0.2, 0.8], lr=0.01, seed=seed) for seed in range(3)]
    fast = [trained(tmp_path, [0.1, 0.8, 0.9], lr=0.1, seed=seed) for seed in range(2)]
    stuck = trained(tmp_path, [0.1, 0.1, 0.1], lr=0.1, seed=2)
    assert depth.at_fastest_lr([*slow, *fast, stuck], 0.8) == [*fast, stuck]
    assert depth.at_fastest_lr([*slow, fast[0], stuck], 0.8) == slow
    assert depth.at_fastest_lr([*slow, *fast, stuck], 0.9) == [*fast, stuck]
    assert depth.at_fastest_lr([*slow, fast[1], stuck], 0.9) == [fast[1], stuck]


def test_whether_an_interrupted_run_gets_there_is_not_known(tmp_path: Path) -> None:
    run = trained(tmp_path, [0.1, 0.5], outcome="interrupted")
    assert depth.steps_until(run, 0.5) == 2
    assert math.isnan(depth.steps_until(run, 0.6))
    diverged = trained(tmp_path, [0.1, 0.5], outcome="diverged", seed=1)
    assert depth.steps_until(diverged, 0.6) == math.inf


def test_the_target_is_the_highest_that_half_of_the_cells_reach(tmp_path: Path) -> None:
    reached = {11: 0.95, 13: 0.75, 16: 0.45, 19: 0.1}
    runs = [trained(tmp_path, [0.1, value], depth=size) for size, value in reached.items()]
    assert depth.common_target([depth.cells_by_depth(runs)]) == 0.7
    assert depth.common_target([depth.cells_by_depth(runs[1:])]) == 0.4
    assert (
        depth.common_target([depth.cells_by_depth(runs[:1]), depth.cells_by_depth(runs[3:])]) == 0.9
    )
    assert depth.common_target([depth.cells_by_depth(runs[3:])]) == 0.3


def test_steps_to_the_target_against_depth_and_who_is_lost(axes: Axes, tmp_path: Path) -> None:
    never = [0.1, 0.1]
    runs = [
        *(trained(tmp_path, [0.1] * n + [0.9], depth=11, seed=n) for n in (3, 5, 9)),
        *(trained(tmp_path, never, depth=16, seed=seed) for seed in range(2)),
        trained(tmp_path, never, depth=16, seed=2, outcome="diverged"),
    ]
    depth.times_over_depth(axes, runs, 0.5, dict.fromkeys(depth.LINES, "arm"))
    curve = next(line for line in axes.lines if line.get_label() == "arm")
    np.testing.assert_array_equal(ydata(curve), [6, np.nan])
    assert symbols(axes) == ["arm", "diverged before", "not within the run"]
    (shaded,) = axes.collections
    assert shaded.get_paths()[0].get_extents().ymax == 10
    lost = [line for line in axes.lines if line.get_transform() == axes.get_xaxis_transform()]
    assert [list(line.get_xdata()) for line in lost] == [[1.0], [1.0]]
    assert missing(axes) == "no BatchNorm runs"


def test_a_depth_that_one_arm_lacks_leaves_a_gap(axes: Axes, tmp_path: Path) -> None:
    cells = [("none", 11), ("batch", 11), ("batch", 16)]
    runs = [trained(tmp_path, [0.1, 0.9], norm=norm, depth=size) for norm, size in cells]
    depth.times_over_depth(axes, runs, 0.5, {arm: arm[0] for arm in depth.LINES})
    curves = {line.get_label(): ydata(line) for line in axes.lines}
    np.testing.assert_array_equal(curves["none"], [2, np.nan])
    np.testing.assert_array_equal(curves["batch"], [2, 2])


def test_the_gradients_are_those_of_step_0_each_seed_once(tmp_path: Path) -> None:
    def run(first: list[float], **cell: object) -> Run:
        lines = [
            {"step": step} | {f"gradients/norm/layer{i + 1}": g for i, g in enumerate(norms)}
            for step, norms in ((0, first), (5, [7.0] * len(first)))
        ]
        return cell_run(tmp_path, lines, **cell)

    one, other = run([1.0, 2.0, 0.0]), run([4.0, 8.0, 0.0], seed=1)
    same = run([1.0, 2.0, 0.0], lr=0.01)
    np.testing.assert_allclose(depth.mean_first_gradients([one, other, same]), [2.0, 4.0, 0.0])
    assert len(depth.mean_first_gradients([])) == 0


def test_layers_without_a_gradient_are_marked_and_deeper_is_darker(axes: Axes, demo: Runs) -> None:
    runs = demo["depth_resnet"] + demo["depth_remedies"]
    resnets = [run for run in runs if run.choices["model"] == "resnet"]
    depth.first_gradients_by_layer(axes, resnets)
    (zeros,) = [
        line
        for line in axes.lines
        if line.get_marker() == "|" and len(np.asarray(line.get_xdata()))
    ]
    assert len(ydata(zeros)) == 55
    curves = [line for line in axes.lines if len(ydata(line)) in (20, 56)]
    assert [len(ydata(line)) for line in curves] == [20, 56, 20, 56, 56, 56]
    # Of SkipInit's layers one has a gradient: a point, as there is no line.
    assert [line.get_marker() == "." for line in curves] == [False] * 4 + [True, False]
    brightness = [sum(to_rgb(line.get_color())) for line in curves]
    assert brightness[0] > brightness[1] and brightness[2] > brightness[3]


def test_networks_of_several_depths_share_a_line_below_the_figure(tmp_path: Path) -> None:
    runs = [trained(tmp_path, [0.1], depth=size) for size in (16, 11)]
    runs.append(trained(tmp_path, [0.1], depth=20, model="plain"))
    label = all_depths(runs)
    rest = "on digits; batch 2000; scale demo"
    assert [label(run) for run in runs] == [f"VGG-11, 16 {rest}"] * 2 + [f"plain-20 {rest}"]
