"""Every figure from made-up runs, the panels they are made of, and the command that draws them."""

import hashlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from types import ModuleType

import made_up
import matplotlib
import numpy as np
import pytest
from claim_runs import cell
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bnstudy import figures, results
from bnstudy.figures import (
    covariate_shift,
    depth,
    effective_beta,
    figure11,
    lr_by_init,
    norms,
    panels,
    placement,
    random_directions,
    scale_and_shift,
    scale_and_shift_over_training,
    style,
    wrong_envelope,
)
from bnstudy.figures.sweeps import all_depths
from bnstudy.measures.activations import in_linear_range, middle_hidden_layer, unit_percentiles
from bnstudy.measures.covariate_shift import SIZE, accuracies_by_size
from bnstudy.measures.internal_covariate_shift import typical_shift
from bnstudy.measures.landscape import CHANGE, LOSS, own_step, roughness
from bnstudy.measures.moments import moment_distance, moment_since_start
from bnstudy.measures.series import spearman
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "figures.py"
FIGURES = figures.discover()
# What may not be needed to draw: importing any of these fails. pyplot keeps state between figures.
BLOCKED = (
    "import sys, runpy; sys.modules |= dict.fromkeys("
    "['torch', 'hydra', 'wandb', 'omegaconf', 'matplotlib.pyplot']);"
)
# The figures over which the paper's curves are drawn.
OVERLAID = {"figure1", "figure2", "figure3a", "figure3b", "figure4", "figure5a", "figure5b"}
OVERLAID |= {"figure10", "figure11", "figure12", "figure13"}
Runs = dict[str, list[Run]]  # by experiment


def load(root: Path) -> Runs:
    """All runs below `root`, by experiment."""
    return {experiment: results.load_runs(experiment, root) for experiment in made_up.EXPERIMENTS}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The runs of all experiments at scale demo."""
    root = tmp_path_factory.mktemp("made_up")
    made_up.write_runs(root)
    made_up.write_grids(root)
    return load(root)


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The same at scale paper, one seed."""
    root = tmp_path_factory.mktemp("paper")
    made_up.write_runs(root, scale="paper", seeds=(0,))
    made_up.write_grids(root, scale="paper", seeds=(0,))
    return load(root)


@pytest.fixture(scope="session")
def draw(demo: Runs) -> Callable[[str], Figure]:
    """Draws a figure from all runs that it reads, once."""
    return cache(lambda name: FIGURES[name].draw(runs_of(FIGURES[name], demo)))


@pytest.fixture
def axes() -> Axes:
    """Axes to draw into."""
    return Figure().subplots()


def runs_of(figure: ModuleType, runs: Runs) -> list[Run]:
    """The runs that a figure reads."""
    return [run for name in figure.EXPERIMENTS for run in runs[name]]


def write(directory: Path, lines: list[made_up.Line], norm: str = "none", **how: str) -> Run:
    """A run of a VGG with these lines."""
    header = made_up.make_header("vgg", norm, 0.1, seed=0)
    return results.load_run(made_up.write_record(directory, header, lines, **how))


def losses(directory: Path, values: Sequence[float], norm: str = "none", **how: str) -> Run:
    """A run with these training losses."""
    lines = [{"step": step, "train/loss": value} for step, value in enumerate(values)]
    return write(directory, lines, norm, **how)


def changed(directory: Path, run: Run, **config: object) -> Run:
    """A run as this one but with another config, and without records."""
    header = json.loads(json.dumps(run.header))
    header["config"] |= config
    return results.load_run(made_up.write_record(directory, header, [{"step": 0}]))


def train_loss(run: Run) -> results.Series:
    """The series that most of the tests of curves draw."""
    return run["train/loss"]


def ydata(line: Line2D) -> np.ndarray:
    """The y values of a line."""
    return np.asarray(line.get_ydata(), dtype=float)


def words(figure: Figure) -> str:
    """All text of a figure."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    return "\n".join(texts).replace("\u00a0", " ")


def labels(figure: Figure) -> list[str]:
    """What the legend of a figure says; [] without one."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# Every figure


def test_the_figures_are_found_in_their_order() -> None:
    papers = ["1", "2", "3a", "3b", "4", "5a", "5b", "6", "8a", "8b", "9", "10", "11", "12", "13"]
    others = [
        "covariate_shift",
        "depth",
        "effective_beta",
        "lr_by_init",
        "norms",
        "placement",
        "random_directions",
        "scale_and_shift",
    ]
    others += ["scale_and_shift_over_training", "scale_free", "sharpness", "spectra"]
    others += ["theory", "wrong_consecutive", "wrong_envelope"]
    figures_of_the_paper = [f"figure{number}" for number in papers]
    assert list(FIGURES) == [*figures_of_the_paper, *others]


def test_a_new_figure_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "figure7.py").write_text('"""Seven."""\nEXPERIMENTS = ("vgg",)\ndraw = print\n')
    (tmp_path / "not_a_figure.py").write_text('"""No."""\n')
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    found = figures.discover()
    assert list(found).index("figure7") == list(found).index("figure6") + 1
    assert "not_a_figure" not in found
    assert figures.title(found["figure7"]) == "Seven."


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_its_runs_are(
    name: str, draw: Callable[[str], Figure], demo: Runs
) -> None:
    said = words(draw(name))
    for run in runs_of(FIGURES[name], demo):
        # Networks of several depths are named together.
        depth = run.option("model.depth")
        label = re.escape(run.label).replace(rf"\-{depth}", rf"\-(\d+, )*{depth}(, \d+)*", 1)
        assert re.search(f"{label}; seed", said)
    assert "(n = " in said
    assert "Left out" not in said
    # Some text has to say "not", or it does not tell a figure that shows the wrong way.
    assert ("wrong:" in said) == figures.title(FIGURES[name]).startswith("Not ")


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_overlaps(name: str, draw: Callable[[str], Figure]) -> None:
    check_texts(draw(name))


def check_texts(figure: Figure) -> None:
    """Fails if a text reaches out of the figure or into another one."""
    boxes = [(text.get_window_extent(), text.get_text()) for text in shown_texts(figure)]
    assert len(boxes) > 10
    for box, text in boxes:
        assert figure.bbox.x0 - 1 < box.x0 and box.x1 < figure.bbox.x1 + 1, text
        assert figure.bbox.y0 - 1 < box.y0 and box.y1 < figure.bbox.y1 + 1, text
    for (one, text), (other, other_text) in combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(other.padded(-0.5)), (text, other_text)


def test_long_titles_of_narrow_panels_are_not_cut_off(demo: Runs) -> None:
    runs = runs_of(FIGURES["figure6"], demo)
    shallow = [replace(run, header=run.header | {"layers": run.layers[:10]}) for run in runs]
    figure = FIGURES["figure6"].draw([replace(run, outcome="interrupted") for run in shallow])
    assert "layer 9\n(paper: 11)\nstandard, seed 0,\ninterrupted" in words(figure)
    check_texts(figure)


def shown_texts(figure: Figure) -> list[Text]:
    """The texts that are drawn: of the figure, its legends, its panels, and their ticks."""
    texts = list(figure.texts)
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [*axes.texts, axes._left_title]
        texts += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            texts += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
            texts.append(axis.label)
    return [text for text in texts if text.get_text().strip() and text.get_visible()]


@pytest.mark.parametrize("name", FIGURES)
def test_an_arm_has_its_colour_in_every_figure(name: str, draw: Callable[[str], Figure]) -> None:
    figure = draw(name)
    colours = {arm.name: arm.colour for arm in style.LOOKS.values()}
    for legend in figure.legends:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            arm = text.get_text().removeprefix("envelope, ").split(" (")[0].split(", ")[0]
            shared = {"chance", "end of a diverged run", "not finite", "median over steps"}
            shared |= {"diverged", "diverged before", "not within the run", "gradient zero"}
            shared |= {"2/lr", "1/η$_{min}$", "1/η$_{min}$ = 2/lr"}
            shared |= {says for says, *_ in effective_beta.CURVES}
            shared |= {f"{n} seeds {fate}" for n in ("all", "some") for fate in lr_by_init.FATES}
            assert arm in shared or handle.get_color() == colours[arm]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_what_there_is_and_says_what_is_missing(
    name: str, demo: Runs, tmp_path: Path
) -> None:
    usual = {("none", 0.1), ("none", 1e-6)}
    run = next(run for run in runs_of(FIGURES[name], demo) if (run.norm, run.lr) in usual)
    other = changed(tmp_path, run, batch_size=7)
    said = words(FIGURES[name].draw([run, other])).replace("\n", " ")
    assert re.search("no (BatchNorm.*)?runs", said)
    assert f"Left out (other settings, or made twice): 1 run of {run.experiment}." in said


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_diverged_runs(name: str, demo: Runs) -> None:
    diverged = [run for run in runs_of(FIGURES[name], demo) if run.outcome == "diverged"]
    assert re.search(r"n = \d", words(FIGURES[name].draw(diverged)))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_runs_that_recorded_nothing_yet(
    name: str, demo: Runs, tmp_path: Path
) -> None:
    for run in runs_of(FIGURES[name], demo):
        header = run.header | {"fingerprint": ""}
        made_up.write_record(tmp_path / run.directory.name, header, [], outcome="interrupted")
    empty = [results.load_run(path) for path in sorted(tmp_path.iterdir())]
    assert "was not recorded" in words(FIGURES[name].draw(empty)).replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_without_runs_says_how_to_make_them(name: str) -> None:
    for experiment in FIGURES[name].EXPERIMENTS:
        with pytest.raises(ValueError, match=f"train.py -m experiment={experiment}"):
            FIGURES[name].draw([])


def test_no_figure_changes_matplotlib_settings(demo: Runs) -> None:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(matplotlib.rcParams)
        FIGURES["figure5b"].draw(runs_of(FIGURES["figure5b"], demo))
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_the_paper_is_drawn_over_runs_of_its_size_only(
    name: str, draw: Callable[[str], Figure], paper: Runs
) -> None:
    overlaid = FIGURES[name].draw(runs_of(FIGURES[name], paper))
    assert any("paper" in label for label in labels(overlaid)) == (name in OVERLAID)
    assert not any("paper" in label for label in labels(draw(name)))
    check_texts(overlaid)


def test_the_paper_curves_say_where_they_are_from() -> None:
    about = panels.paper_curves()["_about"]
    assert "arXiv:1805.11604v3" in about["version"]
    assert panels.paper_curves()["fig1b_test_acc"]["batchnorm_lr0.1"]["y"][-1] == 82.87


# Curves and bands


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


def test_smooth_is_a_running_mean_over_full_windows(tmp_path: Path) -> None:
    run = losses(tmp_path / "a", [0.0, 3.0, 6.0, math.nan, 2.0, 7.0])
    run.config["steps"] = 300
    assert panels.window(run) == 3
    steps, values = panels.smooth(run, "train/loss", factor=10)
    np.testing.assert_array_equal(steps, [1, 2, 3, 4])
    np.testing.assert_allclose(values, [30, 45, 40, 45])
    run = losses(tmp_path / "b", [1.0] * 30 + [99.0])
    run.config["steps"] = 1500
    assert panels.window(run) == 11
    steps, values = panels.smooth(run, "train/loss")
    np.testing.assert_array_equal(steps, [5, 10, 15, 20, 25])
    np.testing.assert_allclose(values, [1, 1, 1, 1, (10 + 99) / 11])


@pytest.mark.parametrize(("losses_there", "steps"), [(1, [0]), (2, [0, 1]), (5, [2]), (11, [5])])
def test_smooth_of_a_record_shorter_than_the_window(
    tmp_path: Path, losses_there: int, steps: list[int]
) -> None:
    run = losses(tmp_path, [2.0] * losses_there, outcome="diverged")
    run.config["steps"] = 1500
    np.testing.assert_array_equal(panels.smooth(run, "train/loss")[0], steps)
    np.testing.assert_array_equal(panels.smooth(run, "train/loss")[1], [2.0] * len(steps))


def test_thin_keeps_the_first_and_the_last_record(tmp_path: Path) -> None:
    run = losses(tmp_path, np.arange(10.0).tolist())
    run.config["steps"] = 2000
    steps, values = panels.thin(run, "train/loss")
    assert steps.tolist() == values.tolist() == [0, 4, 8, 9]


# Landscape


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


def test_figure11_shows_few_steps_and_the_median_of_all(axes: Axes, tmp_path: Path) -> None:
    keys = ("landscape/step_size", CHANGE)
    lines = [
        {"step": step} | dict(zip(keys, ([0.1, 0.2], [1.0 + step, math.inf]), strict=True))
        for step in range(201)
    ]
    run = write(tmp_path, lines)
    figure11.gradient_changes(axes, run, matplotlib.colors.Normalize(0, 200))
    *curves, median = axes.lines
    assert len(curves) == 51
    assert [ydata(curve)[0] for curve in (curves[0], curves[-1])] == [1.0, 201.0]
    np.testing.assert_array_equal(ydata(median), [101.0, np.nan])


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


# Figures that have reductions of their own


def moments(directory: Path, rows: list[tuple[list[float], list[float]]]) -> Run:
    """A run that recorded these means of two units, at a step and the one after it."""
    keys = ("moments/mean/layer2", "moments/next_mean/layer2")
    lines = [{"step": i} | dict(zip(keys, row, strict=True)) for i, row in enumerate(rows)]
    return write(directory, lines, "batch")


def test_figure8_shows_one_step_and_all_steps_since_the_first(tmp_path: Path) -> None:
    run = moments(tmp_path, [([1.0, 5.0], [1.5, 4.0]), ([3.0, 2.0], [3.0, 8.0])])
    np.testing.assert_array_equal(moment_distance(run, "mean/layer2")[1], [0.75, 3.0])
    np.testing.assert_array_equal(moment_since_start(run, "mean/layer2")[1], [[0, 0], [2, -3]])


def test_algorithm_1_moves_the_mean_by_a_third_of_a_step_on_average(demo: Runs) -> None:
    noisy = [run for run in demo["vgg_noise"] if run.norm == "noisy_batch"]
    layers = [f"mean/layer{number}" for number in made_up.PROBED["vgg"]]
    distances = [moment_distance(run, layer)[1] for run in noisy for layer in layers]
    assert np.mean(distances) == pytest.approx(1 / 3, abs=0.02)


def test_the_control_is_in_figure_2_if_there_are_runs_of_it(
    draw: Callable[[str], Figure], demo: Runs
) -> None:
    assert "noise without norm (n = 3)" in labels(draw("figure2"))
    runs = [run for run in runs_of(FIGURES["figure2"], demo) if run.norm != "noise"]
    assert "noise" not in words(FIGURES["figure2"].draw(runs)).replace("its noise", "")


def test_the_envelope_is_over_the_runs_at_every_learning_rate(tmp_path: Path) -> None:
    runs = [
        losses(tmp_path / "a", [4.0, 3.0, 2.0]),
        losses(tmp_path / "b", [5.0, 1.0, math.nan], outcome="diverged"),
        losses(tmp_path / "c", [3.0, 2.0, 3.0]),
    ]
    for run in runs:
        run.config["steps"] = 3
    steps, low, high = wrong_envelope.envelope_of(runs)
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(low, [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(high, [5.0, 3.0, 3.0])


def test_a_seed_that_lacks_a_learning_rate_has_no_envelope(axes: Axes, demo: Runs) -> None:
    lacking = [run for run in demo["vgg"] if run.seed > 0 or run.lr != 0.5]
    wrong_envelope.envelopes(axes, lacking)
    assert axes.get_legend_handles_labels()[1][0] == "envelope, standard (n = 6, 1 diverged)"


def test_the_change_on_one_batch_is_over_the_step_of_training(tmp_path: Path) -> None:
    line = {"landscape/step_size": [0.05, 0.1, 0.4], CHANGE: [1.0, 2.0, 3.0]}
    run = write(tmp_path, [{"step": 0} | line])
    np.testing.assert_array_equal(own_step(run)[1], [2.0])


def test_the_relative_range_is_largest_over_smallest_less_one(tmp_path: Path) -> None:
    rows = [[2.0, 1.0, 3.0], [5.0, 5.0, 5.0], [1.0, math.inf, 2.0], [0.0, 0.0, 0.0]]
    run = write(tmp_path, [{"step": i, LOSS: row} for i, row in enumerate(rows)])
    expected = [2.0, 0.0, np.inf, np.nan]
    np.testing.assert_array_equal(random_directions.relative_range(run, LOSS)[1], expected)


# Figures of grids


def cell_run(
    directory: Path,
    lines: list[made_up.Line],
    outcome: str = "finished",
    seed: int = 0,
    **cell: object,
) -> Run:
    """A run of a cell that differs from the usual one in this."""
    cell = made_up.USUAL | {"model": "vgg"} | cell
    header = made_up.cell_header("made_up", cell, seed)
    name = f"{seed}_{'_'.join(map(str, cell.values()))}"
    return results.load_run(made_up.write_record(directory / name, header, lines, outcome))


def final(directory: Path, accuracy: float, outcome: str = "finished", **cell: object) -> Run:
    """A run with this test accuracy at its end."""
    return cell_run(directory, [{"step": 9, "test/accuracy": accuracy}], outcome, **cell)


def symbols(axes: Axes) -> list[str]:
    """The names in the legend of what a panel has drawn."""
    return sorted(axes.get_legend_handles_labels()[1])


@pytest.mark.parametrize(
    ("runs", "number", "says"),
    [
        ([(0.6, "finished"), (0.9, "finished")], "75", []),
        ([(0.6, "finished"), (0.9, "diverged")], "35", ["some seeds diverged"]),
        ([(0.6, "finished"), (0.12, "finished")], "36", ["some seeds at chance"]),
        ([(0.12, "finished"), (0.14, "finished")], "13", ["all seeds at chance"]),
        ([(0.6, "diverged"), (0.9, "diverged")], "", ["all seeds diverged"]),
        ([(0.6, "finished"), (0.9, "interrupted")], "60", []),
        ([(0.9, "interrupted")], "–", []),
    ],
)
def test_a_cell_has_its_mean_and_says_what_did_not_train(
    axes: Axes, tmp_path: Path, runs: list[tuple[float, str]], number: str, says: list[str]
) -> None:
    cell = [final(tmp_path, value, end, seed=i) for i, (value, end) in enumerate(runs)]
    lr_by_init.draw_cell(axes, 2, 1, cell, Normalize(0, 100))
    assert [text.get_text() for text in axes.texts] == [number]
    assert symbols(axes) == says
    filled = {line.get_markerfacecolor() != "none" for line in axes.lines}
    assert filled == {name.startswith("all") for name in says}


def test_colours_reach_to_the_best_run(tmp_path: Path) -> None:
    runs = [final(tmp_path, value, seed=i) for i, value in enumerate((0.1, 0.41))]
    diverged = final(tmp_path, 0.99, "diverged", seed=2)
    assert lr_by_init.highest_percent([*runs, diverged]) == 50
    assert lr_by_init.highest_percent([]) == 100


def test_the_heat_map_has_learning_rates_across_and_inits_down(axes: Axes, demo: Runs) -> None:
    lr_by_init.heat_map(axes, demo["lr_by_init_vgg"], "none", Normalize(0, 100))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.01", "0.1", "3"]
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows == ["xavier large", "kaiming", "xavier uniform"]
    # xavier_large at lr 3, at the top on the right, is the cell in which all seeds diverged.
    empty = [text.get_position() for text in axes.texts if not text.get_text()]
    assert empty == [(2, pytest.approx(0, abs=0.2))]
    assert axes.get_ylim() == (2.5, -0.5)


def trained(directory: Path, accuracies: list[float], **cell: object) -> Run:
    """A run with these training accuracies."""
    outcome = str(cell.pop("outcome", "finished"))
    lines = [{"step": i, "train/accuracy": value} for i, value in enumerate(accuracies)]
    run = cell_run(directory, lines, outcome, **cell)
    run.config["batch_size"] = 2000  # so many samples need no running mean
    return run


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
    np.testing.assert_allclose(depth.first_gradients([one, other, same]), [2.0, 4.0, 0.0])
    assert len(depth.first_gradients([])) == 0


def test_layers_without_a_gradient_are_marked_and_deeper_is_darker(axes: Axes, demo: Runs) -> None:
    runs = demo["depth_resnet"] + demo["depth_remedies"]
    resnets = [run for run in runs if run.choices["model"] == "resnet"]
    depth.gradients(axes, resnets)
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
    rest = "on digits; batch 64; scale demo"
    assert [label(run) for run in runs] == [f"VGG-11, 16 {rest}"] * 2 + [f"plain-20 {rest}"]


def test_placement_reads_one_init_of_the_runs_beside_it(demo: Runs) -> None:
    figure = FIGURES["placement"].draw(runs_of(FIGURES["placement"], demo))
    assert labels(figure)[:3] == [
        "standard (9 runs, 1 diverged)",
        "BatchNorm, before the activation function (9 runs, 3 interrupted)",
        "BatchNorm, after the activation function (9 runs, 3 interrupted)",
    ]


def test_placement_shows_the_mean_and_a_cross_at_chance(axes: Axes, tmp_path: Path) -> None:
    cells = {"init": placement.INIT, "norm": "batch", "placement": "after"}
    runs = [
        final(tmp_path, 0.5, lr=0.1, **cells),
        final(tmp_path, 0.9, lr=0.1, seed=1, **cells),
        final(tmp_path, 0.6, lr=1.0, **cells),
        final(tmp_path, 0.6, "diverged", lr=1.0, seed=1, **cells),
        final(tmp_path, 0.1, "interrupted", lr=0.1, seed=2, **cells),
    ]
    placement.accuracies_over_lr(axes, runs)
    curve, cross = [line for line in axes.lines if line.get_color() == style.LOOKS["batch"].colour]
    np.testing.assert_allclose(ydata(curve), [70, 35])
    np.testing.assert_allclose(ydata(cross), [10])
    (place,) = cross.get_xdata()
    assert place == pytest.approx(1.0, rel=0.2)
    told = "no standard runs\nno BatchNorm runs, before the activation function"
    assert missing(axes) == told


def preactivations(directory: Path, activation: str, layers: Sequence[int]) -> Run:
    """A run of an MLP that recorded its pre-activations twice."""
    lines: list[made_up.Line] = []
    for step, zeros, within in ((0, 0.9, [0.9, 0.9]), (5, 0.25, [0.3, 0.6])):
        line: made_up.Line = {"step": step}
        for i in layers:
            line[f"activations/histogram/layer{i}"] = [[1, 2, 2, 1]]
            line[f"activations/range/layer{i}"] = [[-2.0, 2.0]]
            line[f"activations/zeros/layer{i}"] = zeros
            line[f"activations/within/layer{i}"] = within
            line[f"activations/percentiles/layer{i}"] = [[-1.0, 0.0, step], [7, 8, 9]]
        lines.append(line)
    return cell_run(directory, lines, model="mlp", activation=activation)


@pytest.mark.parametrize(
    ("activation", "fraction"), [("relu", 0.25), ("sigmoid", 0.6), ("tanh", 0.3)]
)
def test_the_fraction_is_of_zeros_or_of_the_linear_range_at_the_end(
    axes: Axes, tmp_path: Path, activation: str, fraction: float
) -> None:
    run = preactivations(tmp_path, activation, [2])
    assert in_linear_range(run, "layer2", activation)[1][-1] == fraction
    assert np.isnan(in_linear_range(run, "layer1", activation)[1][-1])
    scale_and_shift.distribution(axes, [run], "layer2", activation)
    kind = "zero" if activation == "relu" else "linear"
    assert [text.get_text() for text in axes.texts] == [f"{kind}: {100 * fraction:.0f} %\nn = 1"]


@pytest.mark.parametrize(
    ("recorded", "middle", "last"),
    [((1, 2, 3, 4), "layer2", "layer3"), ((1, 4), "layer1", "layer1"), ((4,), "layer", "layer")],
)
def test_the_layer_of_the_outputs_is_not_hidden(
    tmp_path: Path, recorded: tuple[int, ...], middle: str, last: str
) -> None:
    run = preactivations(tmp_path, "tanh", recorded)
    assert middle_hidden_layer([run]) == middle
    assert scale_and_shift_over_training.last_hidden_layer([run]) == last


def test_percentiles_over_training_are_of_the_first_unit(axes: Axes, tmp_path: Path) -> None:
    run = preactivations(tmp_path, "tanh", [3])
    key = "activations/percentiles/layer3"
    scale_and_shift_over_training.percentile_band(
        axes, [run], "none", key, lambda run: unit_percentiles(run, "layer3")
    )
    np.testing.assert_array_equal(ydata(axes.lines[0]), [0, 0])
    (shaded,) = axes.collections
    bounds = shaded.get_paths()[0].get_extents()
    assert (bounds.ymin, bounds.ymax) == (-1, 5)


def test_the_activation_function_has_an_axis_of_its_own(axes: Axes) -> None:
    z = np.linspace(-2, 2, 5)
    scale_and_shift.over_it(axes, "relu", z, labelled=True)
    right = axes.figure.axes[1]
    np.testing.assert_array_equal(ydata(right.lines[0]), [0, 0, 0, 1, 2])
    assert right.get_ylabel() == "ReLU(z)"
    (zero,) = axes.patches
    assert (zero.get_x(), zero.get_x() + zero.get_width()) == (-2, 0)


def test_the_accuracies_on_shifted_inputs_are_those_at_the_end(tmp_path: Path) -> None:
    key = "covariate_shift/running_accuracy/layer1"

    def run(seed: int, sizes: list[float], accuracies: list[float]) -> Run:
        lines: list[made_up.Line] = [
            {"step": 0, SIZE: sizes, key: [0.1] * len(sizes)},
            {"step": 5, SIZE: sizes, key: accuracies},
        ]
        return cell_run(tmp_path, lines, seed=seed)

    runs = [run(0, [1.0, 0.0], [0.5, 0.75]), run(1, [0.0, 1.0], [1.0, 0.25])]
    assert accuracies_by_size(runs, "running", "layer1") == ([0.0, 1.0], [[75, 100], [50, 25]])
    assert accuracies_by_size(runs, "running", "layer2") == ([], [])


def test_the_shift_of_the_mean_is_in_standard_deviations(tmp_path: Path) -> None:
    line: made_up.Line = {"step": 0}
    layers = {"layer1": ([0.0, 4.0], [1.0, 1.0], [4.0, 9.0]), "layer3": ([0.0], [3.0], [4.0])}
    for layer, values in layers.items():
        names = ("mean", "next_mean", "variance")
        line |= {f"moments/{name}/{layer}": v for name, v in zip(names, values, strict=True)}
    run = cell_run(tmp_path, [line])
    np.testing.assert_allclose(covariate_shift.mean_shift(run)[1], [1.0])  # of 1/2, 1, 3/2


def test_the_shift_of_the_gradient_is_relative_and_not_of_the_first_layer(tmp_path: Path) -> None:
    kind = "internal_covariate_shift"
    shifts = {"layer1": (0.0, 1.0), "layer2": (2.0, 4.0), "layer3": (6.0, 4.0)}
    line: made_up.Line = {"step": 0}
    for layer, (shift, length) in shifts.items():
        line |= {f"{kind}/l2/{layer}": shift, f"{kind}/norm/{layer}": length}
    np.testing.assert_allclose(typical_shift(cell_run(tmp_path, [line]))[1], [1])


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


def test_the_accuracy_of_a_run_is_over_its_last_tenth(tmp_path: Path) -> None:
    run = trained(tmp_path, [0.0] * 18 + [0.5, 1.0])
    run.config["steps"] = 20
    assert training_accuracy(run, norms.LAST) == 75


@pytest.mark.parametrize(
    ("xs", "ys", "rho"),
    [
        ([1, 2, 3, 4], [1, 8, 9, math.inf], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / math.sqrt(4.5 * 5)),  # ties have their mean rank
        ([1, 2, 3], [5, 5, 5], math.nan),
    ],
)
def test_spearmans_rank_correlation(xs: list[float], ys: list[float], rho: float) -> None:
    found = spearman(np.array(xs, dtype=float), np.array(ys, dtype=float))
    assert found == pytest.approx(rho, nan_ok=True)


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


# The paper's curves


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


# Which runs and layers


def missing(axes: Axes) -> str:
    """What a panel says is missing."""
    legend = axes.get_legend()
    texts = [*axes.texts, *(legend.get_texts() if legend else [])]
    return "\n".join(text.get_text() for text in texts).replace("\u00a0", " ")


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


# Histograms


def test_rebin_keeps_the_counts_and_their_places() -> None:
    grid = np.linspace(0.0, 4.0, 9)
    counts = np.array([[2.0, 4.0], [10.0, 0.0]])
    ranges = np.array([[0.0, 2.0], [3.0, 5.0]])
    np.testing.assert_allclose(panels.rebin(counts, ranges, grid), [1, 1, 2, 2, 0, 0, 5, 5])


def test_rebin_puts_a_constant_unit_into_one_cell_and_leaves_broken_ones_out() -> None:
    counts = np.array([[0.0, 7.0], [1.0, 1.0], [1.0, 1.0]])
    ranges = np.array([[1.1, 1.1], [math.nan, 2.0], [0.0, math.inf]])
    total = panels.rebin(counts, ranges, np.linspace(0.0, 4.0, 5))
    np.testing.assert_allclose(total, [0, 7, 0, 0])


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


# Style


def lightness(colour: str) -> float:
    """CIE L* of a colour, 0 to 100: what is left of it in grey."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = float(np.dot([0.2126, 0.7152, 0.0722], linear))
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


@pytest.mark.parametrize(
    "together",
    [
        ("none", "batch", "noisy_batch", "noise"),
        ("none", "batch", "l1", "l2", "linf"),
        ("none", "batch", "batch_no_affine"),
    ],
)
def test_arms_that_meet_in_a_figure_differ_in_grey(together: tuple[str, ...]) -> None:
    shades = sorted(lightness(style.LOOKS[norm].colour) for norm in together)
    assert min(np.diff(shades)) > 9
    assert len({style.LOOKS[norm].marker for norm in together}) == len(together)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-6, "1e-6"), (0.1, "0.1"), (2e6, "2e6"), (31.6227, "31.6"), (1e12, "1e12")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert style.number(value) == text


# The command


def run_script(
    cwd: Path, *arguments: str, blocked: bool = False
) -> subprocess.CompletedProcess[str]:
    """scripts/figures.py with these arguments, in that folder."""
    command = [sys.executable, str(SCRIPT), *arguments]
    if blocked:
        program = f"{BLOCKED} runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
        command = [sys.executable, "-c", program, *arguments]
    # The package may not be installed where the tests run.
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def runs_below(root: Path, experiment: str, norm: str, lr: float) -> None:
    """One run of an experiment at scale demo below `root`."""
    header = made_up.make_header(experiment, norm, lr, 0)
    lines = list(made_up.make_lines(experiment, norm, lr, 0, "finished"))
    made_up.write_record(root / "results/runs/demo" / experiment / "a", header, lines)


def test_the_command_draws_what_has_runs_without_torch(tmp_path: Path) -> None:
    runs_below(tmp_path, "deep_linear_lp", "l1", 1e-6)
    done = run_script(tmp_path, blocked=True)
    assert done.returncode == 0
    names = ("figure5b", "figure13")
    paths = [f"results/figures/demo/{name}.png" for name in names]
    assert done.stdout.splitlines() == paths
    for path in paths:
        assert (tmp_path / path).read_bytes()[:4] == b"\x89PNG"
    needed = sorted(
        {figure.EXPERIMENTS for figure in FIGURES.values()} - {FIGURES["figure13"].EXPERIMENTS}
    )
    assert sorted(line.count("experiment=") for line in done.stderr.splitlines()) == sorted(
        map(len, needed)
    )


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    runs_below(tmp_path, "vgg_lp", "l1", 0.1)
    digests = []
    for time in ("0", "1000000000"):
        out = tmp_path / time
        kinds = ("--format", "png,pdf,svg")
        assert run_script(tmp_path, "figure5a", "--out", str(out), *kinds).returncode == 0
        files = {path.suffix: path.read_bytes() for path in out.iterdir()}
        digests.append({kind: hashlib.sha256(file).hexdigest() for kind, file in files.items()})
        assert b"CreationDate" not in (out / "figure5a.pdf").read_bytes()
    assert digests[0] == digests[1]
    assert set(digests[0]) == {".png", ".pdf", ".svg"}


def test_a_figure_is_laid_out_once_for_all_its_files(
    monkeypatch: pytest.MonkeyPatch, demo: Runs
) -> None:
    figure = FIGURES["figure5b"].draw(runs_of(FIGURES["figure5b"], demo))
    layouts = []
    engine = figure.get_layout_engine()
    execute = type(engine).execute
    monkeypatch.setattr(
        type(engine), "execute", lambda self, fig: (layouts.append(fig), execute(self, fig))
    )
    contents = [style.encode(figure, kind) for kind in ("png", "pdf", "svg", "png")]
    assert len(layouts) == 1
    assert contents[0] == contents[3]


def test_the_command_lists_the_figures(tmp_path: Path) -> None:
    done = run_script(tmp_path, "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(FIGURES)


def test_an_unknown_figure_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = run_script(tmp_path, "figure99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"There is no figure99; the figures are {', '.join(FIGURES)}.\n"


@pytest.mark.parametrize("options", [(), ("--scale", "demo"), ("--runs", "elsewhere")])
def test_no_runs_at_all_is_one_sentence(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run_script(tmp_path, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("There are no runs ")
    assert "python scripts/train.py -m experiment=vgg" in done.stderr
    assert done.stderr.count("\n") == 1


def test_with_runs_at_two_scales_one_has_to_be_chosen(tmp_path: Path) -> None:
    header = made_up.make_header("vgg", "batch", 0.1, 0)
    for scale in ("demo", "small"):
        made_up.write_record(tmp_path / "results/runs" / scale / "vgg" / "a", header, [{"step": 0}])
    done = run_script(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There are runs at scale demo and small; choose one with --scale.\n"


def test_figures_without_runs_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    runs_below(tmp_path, "vgg", "batch", 0.1)
    missing = (
        "No runs for figure9; make some: "
        "python scripts/train.py -m experiment=deep_linear scale=demo\n"
    )
    done = run_script(tmp_path, "figure9", "figure4")
    assert (done.returncode, done.stderr) == (1, missing)
    assert len(done.stdout.splitlines()) == 1


def test_a_broken_record_is_named_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "vgg" / "a" / "run.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("broken\n")
    done = run_script(tmp_path, "--runs", "runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path.relative_to(tmp_path)}: ")
    assert done.stderr.count("\n") == 1


# Norms and learning rates that no experiment has


def test_an_unknown_norm_has_a_name_and_a_colour_that_stay() -> None:
    mine, other = style.arm("mine"), style.arm("another_norm")
    assert (mine.name, mine.short, mine.paper) == ("mine", "mine", "")
    assert style.arm("mine") == mine
    assert mine.colour in style.RESERVE
    assert mine.marker not in {look.marker for look in style.LOOKS.values()}
    assert mine != other
    assert style.arm("batch") is style.LOOKS["batch"]


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
