"""The figure of sharpness."""

import math
from dataclasses import replace

import numpy as np
import pytest
from curvature_runs import (
    CURVATURE,
    EIGENVALUES,
    changed,
    curves,
    level,
    quadratic,
    run,
    said,
    spectrum,
    words,
)
from matplotlib.figure import Figure

from bnstudy.figures import effective_beta, panels, scale_free, sharpness, spectra, style


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
