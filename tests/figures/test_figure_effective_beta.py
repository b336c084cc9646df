"""The figure of effective beta."""

import math

import numpy as np
import pytest
from curvature_runs import changed, curves, level, quadratic, spectrum
from matplotlib.figure import Figure

from bnstudy.figures import effective_beta
from bnstudy.measures.spectrum import outlier_ratio


def test_on_a_quadratic_the_three_measures_are_its_curvature() -> None:
    for _, _, measure, _ in effective_beta.CURVES:
        steps, values = effective_beta.scaled(quadratic(5.0), measure)
        np.testing.assert_allclose(values, [0.5] * 3)
        assert list(steps) == [0, 5, 10]


def test_negative_curvature_is_drawn_below_zero() -> None:
    figure = effective_beta.draw([quadratic(-4.0), quadratic(6.0, norm="batch")])
    standard, batch = figure.axes
    assert [y[0] for y in curves(standard)] == pytest.approx([0.4, 0.4, -0.4])
    assert [y[0] for y in curves(batch)] == pytest.approx([0.6] * 3)
    low, _ = standard.get_ylim()
    assert low < -0.4


def test_the_levels_of_effective_beta_coincide_for_the_papers_step_sizes() -> None:
    axes = Figure().subplots()
    effective_beta.uninformative_levels(axes, [quadratic(1.0)])
    assert level(axes) == [2]
    wide = quadratic(1.0)
    wide.records["landscape/step_size"][1][:] = [[0.001, 0.1, 0.2, 0.4]] * 3
    axes = Figure().subplots()
    effective_beta.uninformative_levels(axes, [wide])
    assert level(axes) == pytest.approx([2, 100])


def test_with_momentum_the_levels_of_effective_beta_differ() -> None:
    axes = Figure().subplots()
    effective_beta.uninformative_levels(axes, [changed(quadratic(1.0), momentum=0.9)])
    assert level(axes) == pytest.approx([3.8, 2])
    assert "2(1+β)/lr" in axes.get_legend_handles_labels()[1]


def test_under_a_schedule_effective_beta_is_times_the_lr_of_its_step() -> None:
    lrs = (0.1, 0.1, 0.02)
    one = quadratic(5.0)
    one.records["train/lr"] = ([0, 5, 10], list(lrs))
    for key in ("step_size", "gradient_change"):
        rows = one.records[f"landscape/{key}"][1]
        rows[:] = [[value * lr / 0.1 for value in rows[0]] for lr in lrs]
    for _, _, measure, _ in effective_beta.CURVES:
        np.testing.assert_allclose(effective_beta.scaled(one, measure)[1], [0.5, 0.5, 0.1])
    axes = Figure().subplots()
    effective_beta.uninformative_levels(axes, [one])
    assert level(axes) == pytest.approx([2])


def test_an_axis_of_few_decades_has_numbers_between_them() -> None:
    def numbers(low: float, high: float) -> list[str]:
        axes = (figure := Figure()).subplots()
        effective_beta.symmetric_log_axis(axes)
        axes.set_ylim(low, high)
        figure.draw_without_rendering()
        ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
        places = sorted((tick.get_loc(), tick.label1.get_text()) for tick in ticks)
        return [text for place, text in places if low <= place <= high and text]

    assert numbers(0.6, 5) == ["1", "3"]
    assert numbers(-0.4, 4) == ["−0.3", "−0.1", "0", "0.1", "0.3", "1", "3"]
    assert numbers(0.01, 1e6) == ["0.1", "1", "10", "100", "1e3", "1e4", "1e5", "1e6"]


def test_outliers_are_measured_by_the_eleventh_eigenvalue() -> None:
    values = [30.0, *[20.0] * 9, 3.0]
    np.testing.assert_allclose(outlier_ratio(spectrum(values))[1], [10] * 3)
    assert np.isnan(outlier_ratio(spectrum(values[:10]))[1]).all()
    assert np.isposinf(outlier_ratio(spectrum([*values[:10], -1.0]))[1]).all()
    assert np.isposinf(outlier_ratio(spectrum([*values[:10], 0.0]))[1]).all()
    assert np.isnan(outlier_ratio(spectrum([*values[:10], math.nan]))[1]).all()
    assert np.isnan(outlier_ratio(spectrum([-1.0] * 11))[1]).all()
