"""Panels of landscapes."""

import json
from dataclasses import replace

import numpy as np
from drawing import FIGURES, Runs, labels, words, ydata
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import (
    panels,
    style,
)
from bnstudy.results import Run


def lines_at(axes: Axes) -> list[float]:
    """The heights of the reference lines."""
    return [float(ydata(line)[0]) for line in axes.lines if line.get_linestyle() == ":"]


def test_reference_lines_are_at_the_smallest_step_and_the_edge_of_stability(
    axes: Axes, demo: Runs
) -> None:
    runs = panels.at_lr(demo["deep_linear"], 1e-6)
    panels.reference_lines(axes, runs)
    np.testing.assert_allclose(lines_at(axes), [1e8, 2e6])
    assert [text.get_text() for text in axes.texts] == ["1/η$_{min}$\n= 1e8", "2/lr\n= 2e6"]


def test_reference_lines_that_coincide_are_one(axes: Axes, demo: Runs) -> None:
    panels.reference_lines(axes, panels.at_lr(demo["vgg"], 0.1))
    np.testing.assert_allclose(lines_at(axes), [20.0])
    assert [text.get_text() for text in axes.texts] == ["1/η$_{min}$\n= 2/lr\n= 20"]


def test_the_names_of_reference_lines_do_not_overlap(axes: Axes, demo: Runs) -> None:
    axes.figure.set_size_inches(3, 2)
    panels.log_axis(axes)
    axes.set_ylim(1e-3, 1e16)
    panels.reference_lines(axes, panels.at_lr(demo["deep_linear"], 1e-6))
    axes.figure.draw_without_rendering()
    one, other = (text.get_window_extent() for text in axes.texts)
    assert not one.overlaps(other)


def test_a_landscape_of_arms_has_a_panel_per_arm_on_one_axis(paper: Runs) -> None:
    figure, norms = Figure(), ("none", "l1", "linf")
    runs = [run for run in paper["vgg"] + paper["vgg_lp"] if run.norm != "none"]
    curves = ("fig12b_vgg_lp_loss_band", "fig12c_vgg_lp_gradpred_band", "fig12d_vgg_lp_beta")
    with style.context():
        left, beta = panels.landscape_panels_of_arms(
            figure, runs, 0.1, curves, log=False, norms=norms
        )
    assert not left.lines
    arms = {line.get_label() for line in beta.lines if line.get_label()[0] != "_"}
    assert arms == {"L1 norm (n = 1)", "L∞ norm (n = 1)", "paper"}
    for row, letter in zip(np.reshape(figure.axes[2:], (2, 3)), "bc", strict=True):
        absent, *drawn = row
        titles = [f"({letter}) standard", "L1 norm", "L∞ norm"]
        assert [axes.get_title(loc="left") for axes in row] == titles
        assert [text.get_text() for text in absent.texts] == ["no runs at lr\u00a00.1"]
        assert drawn[0].get_ylabel() and drawn[0].get_ylim() == drawn[1].get_ylim()
        for axes, norm in zip(drawn, norms[1:], strict=True):
            ours, theirs = style.LOOKS[norm].colour, style.LOOKS[norm].dark
            colours = [line.get_color() for line in axes.lines if len(ydata(line))]
            assert colours == [ours, ours, theirs, theirs]


def test_runs_at_any_lr_of_any_norm_are_drawn(demo: Runs) -> None:
    def own(run: Run) -> Run:
        header = json.loads(json.dumps(run.header))
        header["config"]["optimizer"]["lr"] = 0.07
        header["choices"]["norm"] = "mine" if run.norm == "batch" else run.norm
        return replace(run, header=header)

    at = [own(run) for run in demo["vgg"] if run.lr == 0.1]
    figure = FIGURES["figure4"].draw(at)
    assert any("standard (n = " in label for label in labels(figure))
    assert "no BatchNorm runs at lr 0.07" in words(figure)
