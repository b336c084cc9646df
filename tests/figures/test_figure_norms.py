"""The figure of norms."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from drawing import Runs, cell_run, words
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import (
    norms,
    style,
)
from bnstudy.measures.landscape import CHANGE, LOSS, roughness
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run


def landscapes(directory: Path, rows: list[tuple[list[float], list[float]]]) -> Run:
    """A run at lr 0.1 with these losses and gradient changes at step sizes 0.05, 0.1, 0.4."""
    lines = [
        {"step": i, "landscape/step_size": [0.05, 0.1, 0.4], "landscape/gradient_norm": 2.0}
        | {LOSS: losses, CHANGE: changes}
        for i, (losses, changes) in enumerate(rows)
    ]
    return cell_run(directory, lines)


def test_markers_are_filled_at_the_largest_learning_rate_also_where_it_is_the_only_one() -> None:
    fills = [norms.marker_of("batch", lr, lrs) for lr, lrs in ((0.1, [0.1]), (1, [0.1, 1]))]
    assert fills[0] == fills[1] != norms.marker_of("batch", 0.1, [0.1, 1])


def test_the_measures_of_the_landscape_are_medians_over_training(tmp_path: Path) -> None:
    rows = [
        ([1.0, 2.0, 4.0], [0.1, 1.0, 1.0]),
        ([1.0, 2.0, 9.0], [0.1, 2.0, 4.0]),
        ([1.0, math.nan, math.inf], [0.1, math.inf, 1.0]),
    ]
    run = landscapes(tmp_path, rows)
    assert norms.median_width(run) == 8
    assert roughness(run) == 1
    assert norms.median_beta_times_lr(run) == pytest.approx(0.1 * 2.0 / (0.1 * 2.0))


def test_every_norm_is_named_in_every_panel_with_a_marker_of_its_own(
    draw: Callable[[str], Figure],
) -> None:
    figure = draw("norms")
    for axes in figure.axes[:3]:
        names = [text.get_text() for text in axes.texts]
        assert sorted(names) == sorted(style.arm(norm).short for norm in norms.NORMS)
        points = [line for line in axes.lines if line.get_gid()]
        assert len(points) == 60 - 4 - 2
        assert len({line.get_marker() for line in points}) == len(norms.NORMS)
    assert "they diverged: standard at lr 0.1 (1), weight norm at lr 0.1 (3)." in words(
        figure
    ).replace("\n", " ")
    assert "were interrupted: BatchNorm at lr 0.01 (1)" in words(figure)


def test_the_correlation_is_given_for_each_learning_rate(axes: Axes, demo: Runs) -> None:
    runs = demo["norms"]
    norms.scatter(axes, runs, lambda run: -training_accuracy(run, norms.LAST), [0.01, 0.1])
    title = axes.get_title().replace("\u00a0", " ").splitlines()
    assert title == ["lr 0.01: ρ = −1.00 (n = 29)", "lr 0.1: ρ = −1.00 (n = 25)"]


def test_a_measure_that_is_infinite_is_on_the_right_edge(axes: Axes, demo: Runs) -> None:
    norms.scatter(axes, demo["norms"], lambda run: math.inf, [0.1])
    assert {float(line.get_xdata()[0]) for line in axes.lines} == {1.0}
    assert all(line.get_transform() == axes.get_yaxis_transform() for line in axes.lines)
    assert axes.get_title().replace("\u00a0", " ") == "lr 0.1: no ρ (n = 25)"
