"""The figures of curvature: their reductions on cases with a known answer, and what they draw."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import effective_beta, panels, scale_free, sharpness, spectra, style
from bnstudy.figures.sharpness import scaled
from bnstudy.measures.sharpness import top_eigenvalue
from bnstudy.measures.spectrum import WIDTH, gradient_share, outlier_ratio, smoothed_density
from bnstudy.results import Run

EIGENVALUES, CURVATURE = "sharpness/batch_eigenvalues", "batch_sharpness/batch_curvature"


def run(
    records: Mapping[str, Sequence[Any]],
    norm: str = "none",
    lr: float = 0.1,
    experiment: str = "curvature",
    seed: int = 0,
) -> Run:
    """A run with what was recorded at steps 0, 5, 10 ... by key."""
    options = made_up.USUAL | {"model": "vgg", "norm": norm, "lr": lr}
    header = made_up.cell_header(experiment, options, seed)
    known = {key: (list(range(0, 5 * len(v), 5)), list(v)) for key, v in records.items()}
    return Run(Path(f"{norm}_{lr}_{seed}"), header, "finished", known)


def ydata(line: Any) -> np.ndarray:
    """The y values of a line."""
    return np.asarray(line.get_ydata(), dtype=float)


def curves(axes: Axes, linestyle: str | None = None) -> list[np.ndarray]:
    """The lines over training with more than one point, of one style; no reference lines."""
    lines = [line for line in axes.lines if len(ydata(line)) > 2]
    return [ydata(line) for line in lines if linestyle in (None, line.get_linestyle())]


def level(axes: Axes) -> list[float]:
    """Where the horizontal lines are."""
    flat = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    return [float(ydata(line)[0]) for line in flat]


# Sharpness


@pytest.fixture(scope="module")
def drawn() -> Figure:
    """Both arms at two learning rates; with BatchNorm sharpness is 2/lr at the end."""
    runs = []
    for lr in (0.01, 0.1):
        for norm, share in (("none", 0.1), ("batch", 1.0)):
            values = [[share / lr, 0.5], [1.5 * share / lr, 0.5], [2 * share / lr, 0.5]]
            records = {EIGENVALUES: values, CURVATURE: [[3.0, 1.0]] * 3}
            if norm == "batch":
                records["sharpness/running_eigenvalues"] = [[9 / lr, 0.5]] * 3
            runs.append(run(records, norm, lr))
    return sharpness.draw(runs)


def test_sharpness_is_drawn_with_its_edge_and_times_lr(drawn: Figure) -> None:
    low, high, every, *below = drawn.axes
    assert level(low) == [200] and level(high) == [20] and level(every) == [2]
    np.testing.assert_allclose(curves(low, "-"), [[10, 15, 20], [100, 150, 200]])
    np.testing.assert_allclose(curves(high, "-"), [[1, 1.5, 2], [10, 15, 20]])
    np.testing.assert_allclose(curves(every), [[0.1, 0.15, 0.2]] * 2 + [[1, 1.5, 2]] * 2)
    np.testing.assert_allclose(curves(below[0], "-"), [[2, 2, 2]] * 2)  # the mean over batches
    assert low.get_title(loc="left") == "VGG, lr 0.01"
    assert "batch statistics" in low.get_ylabel()


def test_running_statistics_are_told_apart_from_the_batch_s(drawn: Figure) -> None:
    (dashed,) = curves(drawn.axes[0], "--")
    np.testing.assert_allclose(dashed, [900] * 3)
    said = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert "BatchNorm, running statistics (2 runs)" in said
    assert not any("standard, running" in text for text in said)


def test_larger_learning_rates_are_darker() -> None:
    light, dark = (sharpness.shade_of("batch", number, 2)["color"] for number in (0, 1))
    assert sum(light) > sum(dark) == pytest.approx(sum(style.LOOKS["batch"].tint(0)))


def changed(one: Run, **of: Any) -> Run:
    """The run with `of` in the options of its optimizer."""
    one.config["optimizer"].update(of)
    return one


def words(figure: Figure) -> str:
    """The lines below a figure."""
    return str(figure.get_supxlabel()).replace("\n", " ")


def said(figure: Figure) -> list[str]:
    """The legend of a figure."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


RECORDS = {EIGENVALUES: [[3.0]] * 3, CURVATURE: [[2.0]] * 3}


def test_plain_gradient_descent_has_one_name_for_its_edge(drawn: Figure) -> None:
    assert "2/lr (times lr: 2)" in said(drawn)
    assert "edge of stability" not in words(drawn)


def test_with_momentum_the_edge_is_that_of_sharpness_alone() -> None:
    figure = sharpness.draw([changed(run(RECORDS), momentum=0.9)])
    one, every, of_batches, of_batches_at_every = figure.axes
    assert (level(one), level(every)) == (pytest.approx([38]), pytest.approx([3.8]))
    assert level(of_batches) == level(of_batches_at_every) == []
    assert "2(1+β)/lr (times lr: 2(1+β))" in said(figure)
    assert "β = 0.9" in words(figure) and "No edge of stability" in words(figure)
    (above, *_) = scale_free.draw([changed(run(RECORDS), momentum=0.9)]).axes
    assert level(above) == pytest.approx([3.8])


def test_other_optimizers_have_no_edge() -> None:
    for draw in (sharpness.draw, scale_free.draw, effective_beta.draw):
        adam = replace(quadratic(5.0), records=quadratic(5.0).records | run(RECORDS).records)
        adam.header["choices"]["optimizer"] = "adam"
        figure = draw([adam])
        assert not any("2/lr" in text for text in said(figure))
        assert "No edge of stability" in words(figure)


def test_the_edge_follows_the_lr_and_lr_times_it_does_not() -> None:
    runs = [run(RECORDS | {"train/lr": [0.1, 0.1, 0.01]}, norm) for norm in panels.PAIR]
    one, every, *_ = sharpness.draw(runs).axes
    assert level(one) == [] and level(every) == [2]
    np.testing.assert_allclose(curves(one, ":"), [[20, 20, 200]])
    np.testing.assert_allclose(curves(every), [[0.3, 0.3, 0.03]] * 2)
    (above, *_) = scale_free.draw(runs).axes
    assert level(above) == [2]
    np.testing.assert_allclose(curves(above), [[0.3, 0.3, 0.03]] * 2)


def test_runs_with_other_lrs_have_no_edge_in_common() -> None:
    runs = [run(RECORDS | {"train/lr": [lr] * 3}, seed=n) for n, lr in enumerate((0.1, 0.2))]
    one, every, *_ = (figure := sharpness.draw(runs)).axes
    assert level(one) == [] and curves(one, ":") == [] and level(every) == [2]
    assert "No edge of stability" in words(figure)


def test_figures_say_how_many_eigenvalues_did_not_converge() -> None:
    errors = [[1e-9], [1.0], [math.nan]]
    records = {EIGENVALUES: [[3.0], [3.0], [math.nan]], "sharpness/batch_error": errors}
    one = run(records)
    one.config["probes"]["sharpness"] = {"tolerance": 1e-3}
    for draw in (sharpness.draw, scale_free.draw):
        assert "1 of 2 eigenvalues did not converge." in words(draw([one]))
        assert "converge" not in words(draw([run(records)]))
    assert curves(sharpness.draw([one]).axes[0], "-")[0][:2] == pytest.approx([3, 3])
    several = spectrum([9.0] * 12, **{"spectrum/batch_error": [[1.0] * 12] + [[1e-9] * 12] * 2})
    several.config["probes"]["spectrum"] = {"tolerance": 1e-3}
    assert "11 of 33 eigenvalues did not converge." in words(spectra.draw([several]))


# Effective beta


def quadratic(curvature: float, lr: float = 0.1, norm: str = "none") -> Run:
    """Three steps on 1/2 h x^2: the gradient changes by eta h ||g||."""
    etas = [lr * multiple for multiple in (0.5, 1, 2, 4)]
    length = 3.0
    records = {
        "landscape/step_size": [etas] * 3,
        "landscape/gradient_change": [[eta * abs(curvature) * length for eta in etas]] * 3,
        "landscape/gradient_norm": [length] * 3,
        CURVATURE: [[curvature, 7.0]] * 3,
    }
    return run(records, norm, lr)


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


# Spectra


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


def spectrum(eigenvalues: Sequence[float], **records: Sequence[Any]) -> Run:
    """A run with this spectrum at three steps."""
    count = len(eigenvalues)
    known = {
        "spectrum/batch_eigenvalues": [list(eigenvalues)] * 3,
        "spectrum/batch_gradient_share": [[0.05] * count] * 3,
        "spectrum/batch_nodes": [[[3.0, 1.0]]] * 3,
        "spectrum/batch_weights": [[[0.1, 0.9]]] * 3,
    }
    return run(known | records, experiment="spectra")


def test_outliers_are_measured_by_the_eleventh_eigenvalue() -> None:
    values = [30.0, *[20.0] * 9, 3.0]
    np.testing.assert_allclose(outlier_ratio(spectrum(values))[1], [10] * 3)
    assert np.isnan(outlier_ratio(spectrum(values[:10]))[1]).all()
    assert np.isposinf(outlier_ratio(spectrum([*values[:10], -1.0]))[1]).all()
    assert np.isposinf(outlier_ratio(spectrum([*values[:10], 0.0]))[1]).all()
    assert np.isnan(outlier_ratio(spectrum([*values[:10], math.nan]))[1]).all()
    assert np.isnan(outlier_ratio(spectrum([-1.0] * 11))[1]).all()


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


# Without scale


def weights(norm: str = "batch") -> Run:
    """Three steps of the weights of fourteen layers, of length 2 at first."""
    records: dict[str, list[float]] = {"weights/lr": [0.1] * 3}
    for number in range(1, 15):
        records |= {
            f"weights/norm/layer{number}": [2.0, 4.0, 8.0],
            f"weights/step/layer{number}": [0.2, 0.2, 0.2],
            f"weights/initial_norm/layer{number}": [2.0] * 3,
        }
    return run(records | {EIGENVALUES: [[30.0]] * 3}, norm)


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (scale_free.relative_step, [0.1, 0.05, 0.025]),
        (scale_free.growth, [1, 2, 4]),
        (scale_free.effective_lr, [0.1 / 4, 0.1 / 16, 0.1 / 64]),
    ],
)
def test_reductions_without_scale(of: Any, expected: Sequence[float]) -> None:
    np.testing.assert_allclose(of(weights(), "layer3")[1], expected)


def test_sharpness_times_lr() -> None:
    np.testing.assert_allclose(scaled(weights(), top_eigenvalue)[1], [3] * 3)


def test_the_layers_shown_are_before_a_norm() -> None:
    assert scale_free.layers_before_norms([run({}), weights()]) == [
        "layer1",
        "layer7",
        "layer13",
    ]
    assert scale_free.layers_note([weights()]) == "layers 1, 7 and 13 of 14"
    assert scale_free.layers_before_norms([run({})]) == []


def test_every_layer_is_a_line_the_last_one_darkest() -> None:
    axes = Figure().subplots()
    scale_free.curves_by_layer(axes, [weights(), weights("none")], scale_free.growth)
    assert len(curves(axes)) == 6
    colours = [sum(line.get_color()) for line in axes.lines[:3]]
    assert colours == sorted(colours, reverse=True)
    assert panels.PAIR == ("none", "batch")
