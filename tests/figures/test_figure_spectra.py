"""The figure of spectra."""

import math

import numpy as np
import pytest
from curvature_runs import run, said, spectrum, words, ydata

from bnstudy.figures import spectra
from bnstudy.measures.spectrum import WIDTH, gradient_share, smoothed_density
from bnstudy.results import Run


def test_a_smoothed_density_has_the_moments_of_the_quadrature() -> None:
    nodes = np.array([[4.0, 1.0, 0.0], [5.0, 1.0, -1.0]])
    weights = np.array([[0.1, 0.2, 0.7], [0.05, 0.25, 0.7]])
    xs, values, floor = smoothed_density(nodes, weights)
    expected = (nodes * weights).sum() / 2
    sigma = WIDTH * 6
    assert np.trapezoid(values, xs) == pytest.approx(1, abs=1e-3)
    assert np.trapezoid(xs * values, xs) == pytest.approx(expected, abs=1e-3)
    squares = (nodes**2 * weights).sum() / 2 + sigma**2
    assert np.trapezoid(xs**2 * values, xs) == pytest.approx(squares, rel=1e-3)
    peak = 0.05 / 2 / (sigma * math.sqrt(2 * math.pi))
    assert values[np.abs(xs - 5).argmin()] == pytest.approx(peak, rel=0.02)
    assert floor < peak


def test_a_density_leaves_out_what_is_not_finite() -> None:
    nodes = np.array([[2.0, 0.0], [math.nan, math.nan]])
    weights = np.array([[0.5, 0.5], [math.nan, math.nan]])
    xs, values, _ = smoothed_density(nodes, weights)
    assert np.trapezoid(values, xs) == pytest.approx(1, abs=1e-3)
    assert len(smoothed_density(nodes[1:], weights[1:])[0]) == 0
    assert len(smoothed_density(np.zeros((1, 3)), np.ones((1, 3)) / 3)[0]) == 0


def test_infinite_outliers_are_drawn_at_the_top() -> None:
    figure = spectra.draw([spectrum([30.0, *[20.0] * 9, -1.0])])
    assert "not finite" in said(figure)
    (top,) = (
        line for line in figure.axes[-1].lines if line.get_marker() == "^" and len(ydata(line))
    )
    assert ydata(top).tolist() == [1, 1, 1]
    assert "is not finite where λ$_{11}$ ≤ 0" in words(figure)


def test_densities_of_one_step_have_the_same_axes_if_they_can_be_seen() -> None:
    def of(norm: str, width: float) -> Run:
        records = {
            "spectrum/batch_nodes": [[[width, 0.1 * width]]] * 3,
            "spectrum/batch_weights": [[[0.1, 0.9]]] * 3,
        }
        return run(records, norm, experiment="spectra")

    figure = spectra.draw([of("none", 30.0), of("batch", 5.0)])
    above, below = figure.axes[0], figure.axes[3]
    assert (above.get_xlim(), above.get_ylim()) == (below.get_xlim(), below.get_ylim())
    assert above.get_xlim()[1] > 30 and above.get_xlim()[0] < 0.5
    assert "in a column on the same axes." in words(figure)
    figure = spectra.draw([of("none", 3000.0), of("batch", 5.0)])
    assert figure.axes[3].get_xlim()[1] < 10
    assert "on the same axes unless their ranges differ tenfold" in words(figure)


def test_the_gradient_share_is_that_of_ten_eigenvectors() -> None:
    np.testing.assert_allclose(gradient_share(spectrum([1.0] * 11))[1], [0.5] * 3)


def test_densities_are_of_steps_that_both_arms_have() -> None:
    long = spectrum([1.0] * 11)
    short = run({"spectrum/batch_nodes": [[[3.0, 1.0]]] * 2}, "batch", experiment="spectra")
    assert spectra.shown_steps([long]) == [0, 5, 10]
    assert spectra.shown_steps([long, short]) == [0, 5]
    assert spectra.shown_steps([run({})]) == [0]


def test_running_statistics_have_their_own_row_where_they_were_recorded() -> None:
    records = {
        f"spectrum/{statistics}_{key}": [[[3.0, 1.0]]] * 3
        for statistics in ("batch", "running")
        for key in ("nodes", "weights")
    }
    batch = run(records, "batch", experiment="spectra")
    assert spectra.shown_rows([batch]) == list(spectra.ROWS)
    assert spectra.shown_rows([spectrum([1.0])]) == list(spectra.ROWS)[:2]
