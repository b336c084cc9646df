"""Curves, bands, ridges and words in panels."""

import math
from collections.abc import Sequence
from pathlib import Path

import made_up
import numpy as np
import pytest
from claim_runs import cell
from drawing import Runs, changed, losses, missing, write, ydata
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnstudy import results
from bnstudy.figures import (
    panels,
)
from bnstudy.results import Run


def train_loss(run: Run) -> results.Series:
    """The series that most of the tests of curves draw."""
    return run["train/loss"]


def test_the_paper_curves_say_where_they_are_from() -> None:
    about = panels.paper_curves()["_about"]
    assert "arXiv:1805.11604v3" in about["version"]
    assert panels.paper_curves()["fig1b_test_acc"]["batchnorm_lr0.1"]["y"][-1] == 82.87


def test_a_curve_is_the_mean_over_seeds_between_the_extremes(axes: Axes, tmp_path: Path) -> None:
    cell = [losses(tmp_path / "a", [1.0, 4.0]), losses(tmp_path / "b", [3.0, 8.0])]
    panels.curve(axes, cell, train_loss)
    np.testing.assert_array_equal(ydata(axes.lines[0]), [2.0, 6.0])
    assert axes.lines[0].get_label() == "standard (n = 2)"
    (shaded,) = axes.collections
    bounds = shaded.get_paths()[0].get_extents()
    assert (bounds.ymin, bounds.ymax) == (1.0, 8.0)


def test_a_curve_on_a_log_axis_is_the_geometric_mean(axes: Axes, tmp_path: Path) -> None:
    cell = [losses(tmp_path / "a", [1.0, 4.0]), losses(tmp_path / "b", [100.0, 9.0])]
    panels.curve(axes, cell, train_loss, log=True)
    np.testing.assert_allclose(ydata(axes.lines[0]), [10.0, 6.0])
    assert axes.get_yscale() == "log"


def test_one_run_is_a_line_alone(axes: Axes, tmp_path: Path) -> None:
    panels.curve(axes, [losses(tmp_path, [1.0, 2.0])], train_loss)
    assert axes.lines[0].get_label() == "standard (n = 1)"
    assert not axes.collections


def test_a_diverged_run_ends_with_a_cross_and_the_others_go_on(axes: Axes, tmp_path: Path) -> None:
    cell = [
        losses(tmp_path / "a", [1.0, 2.0, 3.0, 4.0]),
        losses(tmp_path / "b", [3.0, 8.0, math.nan], outcome="diverged"),
    ]
    panels.curve(axes, cell, train_loss)
    np.testing.assert_array_equal(ydata(axes.lines[0]), [2.0, 5.0, 3.0, 4.0])
    assert axes.lines[0].get_label() == "standard (n = 2, 1 diverged)"
    (cross,) = [line for line in axes.lines if line.get_marker() == "x" and len(ydata(line))]
    assert (list(cross.get_xdata()), list(ydata(cross))) == ([1], [8.0])


def test_the_legend_counts_interrupted_runs(tmp_path: Path) -> None:
    run = losses(tmp_path, [1.0], outcome="interrupted")
    assert panels.seeds_label([run], lr=True) == "standard, lr 0.1 (n = 1, 1 interrupted)"


@pytest.mark.parametrize("log", [False, True])
def test_values_that_are_not_finite_leave_gaps(axes: Axes, tmp_path: Path, log: bool) -> None:
    values = [1.0, math.inf, math.nan, 2.0, 0.0, -math.inf, 3.0]
    panels.curve(axes, [losses(tmp_path / "a", values)] * 2, train_loss, log=log)
    zero = math.nan if log else 0.0
    expected = [1.0, math.nan, math.nan, 2.0, zero, math.nan, 3.0]
    np.testing.assert_allclose(ydata(axes.lines[0]), expected)
    axes.figure.draw_without_rendering()
    low, high = axes.get_ylim()
    assert -1 < low <= 1
    assert 3 <= high < 5


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_curve_without_any_value_is_drawn_as_nothing(
    axes: Axes, tmp_path: Path, value: float
) -> None:
    run = losses(tmp_path / "a", [value, value], outcome="diverged")
    panels.curve(axes, [run, run], train_loss, log=True)
    axes.figure.draw_without_rendering()
    assert np.isnan(ydata(axes.lines[0])).all()


def test_where_a_mean_is_infinite_there_is_a_triangle_at_the_top(
    axes: Axes, tmp_path: Path
) -> None:
    panels.curve(axes, [losses(tmp_path, [1.0, math.inf, 2.0])], train_loss)
    (triangle,) = [line for line in axes.lines if line.get_marker() == "^" and len(ydata(line))]
    assert list(triangle.get_xdata()) == [1]
    assert triangle.get_transform() == axes.get_xaxis_transform()


def test_a_band_is_the_range_of_each_run_averaged_over_runs(axes: Axes, tmp_path: Path) -> None:
    rows = {"a": [[1.0, 3.0], [2.0, 2.0]], "b": [[3.0, 9.0], [4.0, math.inf]]}
    cell = [
        write(tmp_path / name, [{"step": i, "landscape/loss": row} for i, row in enumerate(walks)])
        for name, walks in rows.items()
    ]
    panels.band(axes, cell, "landscape/loss", log=False)
    low, high = axes.lines[:2]
    np.testing.assert_array_equal(ydata(low), [2.0, 3.0])
    np.testing.assert_array_equal(ydata(high), [6.0, np.nan])


def test_several_ranges_are_one_area_with_their_edges_averaged(axes: Axes, tmp_path: Path) -> None:
    cell = [losses(tmp_path, [1.0, 1.0], "batch")]
    steps = np.array([0, 1])
    ranges = [
        (steps, np.array([1.0, 2.0]), np.array([3.0, 4.0])),
        (steps, np.array([4.0, 8.0]), np.array([27.0, 9.0])),
    ]
    panels.area(axes, cell, ranges, log=True, label="both")
    low, high = axes.lines
    np.testing.assert_allclose(ydata(low), [2.0, 4.0])
    np.testing.assert_allclose(ydata(high), [9.0, 6.0])
    assert axes.get_legend_handles_labels()[1] == ["both"]


def test_units_are_the_first_of_the_lowest_seed_between_the_extremes_of_all(
    axes: Axes, tmp_path: Path
) -> None:
    cell = []
    for seed, rows in ((1, [[9.0, 1.0], [9.0, -4.0]]), (0, [[2.0, 3.0], [5.0, 6.0]])):
        lines = [{"step": i, "moments/mean/layer2": row} for i, row in enumerate(rows)]
        header = made_up.make_header("vgg", "batch", 0.1, seed)
        cell.append(results.load_run(made_up.write_record(tmp_path / str(seed), header, lines)))
    panels.units(axes, cell, lambda run: run["moments/mean/layer2"])
    np.testing.assert_array_equal(ydata(axes.lines[0]), [2.0, 5.0])
    (shaded,) = axes.collections
    bounds = shaded.get_paths()[0].get_extents()
    assert (bounds.ymin, bounds.ymax) == (-4.0, 9.0)
    assert axes.lines[0].get_label() == "BatchNorm (n = 2)"


def overlays(axes: Axes, header_changes: made_up.Line, tmp_path: Path) -> list[Line2D]:
    """What the paper adds to a panel of runs at its scale, but for these changes."""
    header = made_up.make_header("vgg", "batch", 0.1, 0, scale="paper")
    header["choices"] |= header_changes.pop("choices", {})
    run = results.load_run(made_up.write_record(tmp_path, header | header_changes, [{"step": 0}]))
    panels.paper(axes, [run], "fig4a_vgg_loss_band")
    return [line for line in axes.lines if len(ydata(line))]


def test_the_paper_is_a_thin_dashed_line_per_edge(axes: Axes, tmp_path: Path) -> None:
    lines = overlays(axes, {}, tmp_path)
    points = panels.paper_curves()["fig4a_vgg_loss_band"]["batchnorm"]
    assert [ydata(line).tolist() for line in lines] == [points["lo"], points["hi"]]
    assert all(line.is_dashed() and line.get_linewidth() < 1 for line in lines)
    assert axes.get_legend_handles_labels()[1] == ["paper"]


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "small"},
        {"choices": {"data": "digits"}},
        {"choices": {"model": "resnet"}},
        {"choices": {"norm": "noise"}},
    ],
)
def test_the_paper_is_not_drawn_over_anything_else(
    axes: Axes, tmp_path: Path, changes: made_up.Line
) -> None:
    assert overlays(axes, changes, tmp_path) == []


def test_runs_of_two_experiments_are_compared_only_if_they_are_trained_alike(
    demo: Runs, tmp_path: Path
) -> None:
    vgg, noise = demo["vgg"], demo["vgg_noise"]
    assert panels.choose([*noise, *vgg], ["vgg", "vgg_noise"]) == [*vgg, *noise]
    assert panels.choose([*noise, *vgg], ["vgg"]) == vgg
    longer = [changed(tmp_path / run.directory.name, run, steps=7) for run in noise]
    assert panels.choose([*longer, *vgg], ["vgg", "vgg_noise"]) == vgg
    assert panels.choose([*longer, *vgg], ["vgg"], ["vgg_noise"]) == [*vgg, *longer]


def test_missing_cells_are_told_in_the_panel(axes: Axes, demo: Runs) -> None:
    some = [run for run in demo["vgg"] if run.norm == "batch" and run.lr != 0.5]
    found = panels.cells(axes, some, [0.1, 0.5], "train/loss")
    assert [[run.lr for run in cell] for cell in found] == [[0.1] * 3]
    assert missing(axes) == "no standard runs at lr 0.1\nno runs at lr 0.5"
    assert axes.axison


def test_several_missing_arms_are_listed(axes: Axes, demo: Runs) -> None:
    found = panels.cells(axes, demo["vgg"], [0.1], "train/loss", panels.LP)
    assert [cell[0].norm for cell in found] == ["none", "batch"]
    assert missing(axes) == "no L1 norm, L2 norm or L∞ norm runs at lr 0.1"


def test_a_metric_that_nobody_recorded_is_told_in_the_panel(axes: Axes, demo: Runs) -> None:
    assert panels.cells(axes, demo["vgg"], [0.1], "sharpness/value") == []
    assert missing(axes) == "sharpness/value was not recorded"
    assert not axes.axison


def test_a_metric_that_one_arm_lacks_is_told_in_the_panel(axes: Axes, demo: Runs) -> None:
    runs, key = demo["vgg"] + demo["vgg_noise"], "consecutive_gradients/change/layer14"
    found = panels.cells(axes, runs, [0.1], key, ["batch", "noise"])
    assert [cell[0].norm for cell in found] == ["batch"]
    told = "consecutive_gradients/change was not recorded for noise without norm"
    assert missing(axes) == told


def test_a_text_is_as_wide_as_its_panel() -> None:
    narrow = Figure().subplots(1, 5)[0]
    panels.write(narrow, "landscape/gradient_change was not recorded")
    assert missing(narrow) == "landscape/\ngradient_change\nwas not recorded"


def test_the_outermost_panel_with_an_axis_has_the_labels() -> None:
    row = Figure().subplots(1, 3, sharey=True)
    panels.write(row[0], "nothing")
    assert panels.outermost(row) is row[1]
    visible = [axes.yaxis.get_major_ticks()[0].label1.get_visible() for axes in row]
    assert visible[1:] == [True, False]


@pytest.mark.parametrize(
    ("depth", "head", "recorded", "number", "found"),
    [
        (14, [], range(1, 15), 11, ("layer11", "layer 11")),
        (16, [64, 64], range(1, 17), 11, ("layer11", "layer 11")),
        (9, [], range(1, 10), 11, ("layer7", "layer 7 (paper:\u00a011)")),
        (11, [64, 64], range(1, 12), 11, ("layer7", "layer 7 (paper:\u00a011)")),
        (14, [], (3, 9), 11, ("layer9", "layer 9 (paper:\u00a011)")),
        (14, [], (), 11, None),
    ],
)
def test_the_layer_of_the_paper_or_the_one_at_its_depth(
    tmp_path: Path,
    depth: int,
    head: list[int],
    recorded: Sequence[int],
    number: int,
    found: tuple[str, str] | None,
) -> None:
    header = made_up.make_header("vgg", "batch", 0.1, 0)
    header["layers"] = [f"layer{i}" for i in range(1, depth + 1)]
    header["config"]["model"]["head"] = head
    line: made_up.Line = {"step": 0} | {f"kind/layer{i}": 1.0 for i in recorded}
    run = results.load_run(made_up.write_record(tmp_path, header, [line]))
    assert panels.titled_layer([run], number, 13, "kind") == found


def test_the_layer_is_of_the_first_run_that_recorded_any(tmp_path: Path) -> None:
    runs = [
        write(tmp_path / "a", [{"step": 0}]),
        write(tmp_path / "b", [{"step": 0, "k/layer4": 1}]),
    ]
    assert panels.titled_layer(runs, 2, 13, "k") == ("layer4", "layer 4 (paper:\u00a02)")
    assert panels.titled_layer(runs[:1], 2, 13, "k") is None


def test_a_ridge_cuts_the_spike_of_a_constant_unit() -> None:
    counts = np.full(50, 10.0)
    counts[7] = 1e6
    np.testing.assert_allclose(panels.ridge(counts), np.where(np.arange(50) == 7, 1.3, 1.0))
    np.testing.assert_allclose(panels.ridge(np.eye(50)[3]), np.eye(50)[3])
    np.testing.assert_array_equal(panels.ridge(np.zeros(50)), np.zeros(50))


def test_ridges_are_of_evenly_spaced_steps_and_one_exploding_step_hides_no_other(
    axes: Axes, tmp_path: Path
) -> None:
    counts, ranges = "activations/histogram/layer3", "activations/range/layer3"
    lines = [
        {"step": 10 * i, counts: [[1, 2, 2, 1]], ranges: [[-1e9, 1e9] if i == 4 else [-2.0, 2.0]]}
        for i in range(31)
    ]
    panels.ridges(axes, write(tmp_path, lines), "layer3")
    assert len(axes.collections) == 16
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == ["0", "40", "80"]
    assert np.abs(axes.get_xlim()).max() <= 2.0


@pytest.mark.parametrize(
    ("lrs", "usual", "shown"),
    [
        ((0.1, 0.01, 0.01), (0.1,), [0.1]),
        ((0.07, 0.07, 0.2), (0.1,), [0.07]),
        ((0.2, 0.07), (0.1, 0.5), [0.2, 0.07]),
        ((0.5,), (0.1, 0.5), [0.1, 0.5]),
        ((), (0.1,), [0.1]),
    ],
)
def test_the_lrs_shown_are_the_usual_ones_or_those_there_are(
    lrs: tuple[float, ...], usual: tuple[float, ...], shown: list[float]
) -> None:
    runs = [cell(lr=lr, seed=seed) for seed, lr in enumerate(lrs)]
    assert panels.lrs_of(runs, usual) == shown
