"""Every figure from made-up runs, the panels they are made of, and the command that draws them."""

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import made_up
import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnstudy import figures, results
from bnstudy.figures import figure11, panels, style
from bnstudy.results import Run

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "figures.py"
FIGURES = figures.discover()
# What may not be needed to draw: importing any of these fails. pyplot keeps state between figures.
BLOCKED = (
    "import sys, runpy; sys.modules |= dict.fromkeys("
    "['torch', 'hydra', 'wandb', 'omegaconf', 'matplotlib.pyplot']);"
)


@pytest.fixture(scope="session")
def made_up_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder results/runs with both experiments at scale demo."""
    root = tmp_path_factory.mktemp("made_up") / "results" / "runs"
    made_up.write_runs(root / "demo")
    return root


@pytest.fixture(scope="session")
def paper_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same at scale paper."""
    root = tmp_path_factory.mktemp("paper_runs")
    made_up.write_runs(root, scale="paper", seeds=(0,))
    return root


@pytest.fixture
def axes() -> Axes:
    """Axes to draw into."""
    return Figure().subplots()


def runs_of(figure: ModuleType, root: Path) -> list[Run]:
    """The runs that a figure reads."""
    return [run for name in figure.EXPERIMENTS for run in results.load_runs(name, root)]


def write(directory: Path, lines: list[made_up.Line], norm: str = "none", **how: str) -> Run:
    """A run of a VGG with these lines."""
    header = made_up.make_header("vgg", norm, 0.1, seed=0)
    return results.load_run(made_up.write_record(directory, header, lines, **how))


def losses(directory: Path, values: Sequence[float], norm: str = "none", **how: str) -> Run:
    """A run with these training losses."""
    lines = [{"step": step, "train/loss": value} for step, value in enumerate(values)]
    return write(directory, lines, norm, **how)


def train_loss(run: Run) -> results.Series:
    """The series that most of the tests of curves draw."""
    return run["train/loss"]


def ydata(line: Line2D) -> np.ndarray:
    """The y values of a line."""
    return np.asarray(line.get_ydata(), dtype=float)


def words(figure: Figure) -> str:
    """All text of a figure."""
    texts = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return "\n".join(texts).replace("\u00a0", " ")


# Every figure


def test_the_figures_are_found_in_their_order() -> None:
    known = ["figure1", "figure3a", "figure3b", "figure4", "figure9", "figure10", "figure11"]
    assert [name for name in FIGURES if name in known] == known
    assert "style" not in FIGURES


def test_a_new_figure_is_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "figure5.py").write_text('"""Five."""\nEXPERIMENTS = ("vgg",)\ndraw = print\n')
    (tmp_path / "not_a_figure.py").write_text('"""No."""\n')
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    found = figures.discover()
    assert list(found).index("figure5") == list(found).index("figure4") + 1
    assert "not_a_figure" not in found
    assert figures.title(found["figure5"]) == "Five."


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws(name: str, made_up_runs: Path, tmp_path: Path) -> None:
    runs = runs_of(FIGURES[name], made_up_runs / "demo")
    figure = FIGURES[name].draw(runs)
    style.save(figure, tmp_path / "figure.png")
    for label in {run.label for run in runs}:
        assert f"{label}; seed" in words(figure)
    assert "(n = " in words(figure)
    assert "Left out" not in words(figure)
    assert figures.title(FIGURES[name])


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("error")
def test_every_figure_draws_what_there_is(name: str, made_up_runs: Path) -> None:
    runs = runs_of(FIGURES[name], made_up_runs / "demo")
    assert "no " in words(FIGURES[name].draw([run for run in runs if run.norm == "batch"][-1:]))
    diverged = [run for run in runs if run.outcome == "diverged"]
    FIGURES[name].draw(diverged)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_without_runs_says_how_to_make_them(name: str) -> None:
    for experiment in FIGURES[name].EXPERIMENTS:
        with pytest.raises(ValueError, match=f"train.py -m experiment={experiment}"):
            FIGURES[name].draw([])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_leaves_out(
    name: str, made_up_runs: Path, tmp_path: Path
) -> None:
    runs = runs_of(FIGURES[name], made_up_runs / "demo")
    header = json.loads(json.dumps(runs[0].header))
    header["config"]["optimizer"]["momentum"] = 0.9
    other = results.load_run(made_up.write_record(tmp_path, header, [{"step": 0}]))
    assert "Left out: 1 run with other settings." in words(FIGURES[name].draw([*runs, other]))


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_changes_matplotlib_settings(name: str, made_up_runs: Path) -> None:
    before = dict(matplotlib.rcParams)
    FIGURES[name].draw(runs_of(FIGURES[name], made_up_runs / "demo"))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"figure9"}))
def test_the_paper_is_drawn_over_runs_of_its_size_only(
    name: str, made_up_runs: Path, paper_runs: Path
) -> None:
    def legend(root: Path) -> str:
        figure = FIGURES[name].draw(runs_of(FIGURES[name], root))
        return "\n".join(text.get_text() for text in figure.legends[0].get_texts())

    assert "paper" in legend(paper_runs)
    assert "paper" not in legend(made_up_runs / "demo")


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
    assert panels.describe([run], lr=True) == "standard, lr 0.1 (n = 1, 1 interrupted)"


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.filterwarnings("error")
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
@pytest.mark.filterwarnings("error")
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


def test_smooth_is_a_running_mean_that_keeps_both_ends(tmp_path: Path) -> None:
    run = losses(tmp_path, [0.0, 3.0, 6.0, math.nan, 2.0, 1.0])
    run.config["steps"] = 300
    assert panels.window(run) == 3
    steps, values = panels.smooth(run, "train/loss", factor=10)
    np.testing.assert_array_equal(steps, range(6))
    np.testing.assert_allclose(values, [0, 30, 45, 40, 15, 10])
    run.config["steps"] = 1500
    assert panels.window(run) == 11
    np.testing.assert_array_equal(panels.smooth(run, "train/loss")[0], [0, 5])


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
    axes: Axes, made_up_runs: Path
) -> None:
    runs = panels.at_lr(results.load_runs("deep_linear", made_up_runs / "demo"), 1e-6)
    panels.reference_lines(axes, runs)
    np.testing.assert_allclose(lines_at(axes), [1e8, 2e6])
    assert [text.get_text() for text in axes.texts] == ["1/η$_{min}$\n= 1e8", "2/lr\n= 2e6"]


def test_reference_lines_that_coincide_are_one(axes: Axes, made_up_runs: Path) -> None:
    panels.reference_lines(axes, panels.at_lr(results.load_runs("vgg", made_up_runs / "demo"), 0.1))
    np.testing.assert_allclose(lines_at(axes), [20.0])
    assert [text.get_text() for text in axes.texts] == ["1/η$_{min}$\n= 2/lr\n= 20"]


def test_figure11_shows_few_steps_and_the_median_of_all(axes: Axes, tmp_path: Path) -> None:
    keys = ("landscape/step_size", "landscape/gradient_change")
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


def test_missing_cells_are_told_in_the_panel(axes: Axes, made_up_runs: Path) -> None:
    runs = results.load_runs("vgg", made_up_runs / "demo")
    some = [run for run in runs if run.norm == "batch" and run.lr != 0.5]
    found = panels.cells(axes, some, [0.1, 0.5], "train/loss")
    assert [[run.lr for run in cell] for cell in found] == [[0.1] * 3]
    assert [text.get_text() for text in axes.texts] == [
        "no standard runs at lr 0.1\nno runs at lr 0.5"
    ]
    assert axes.axison


def test_a_metric_that_nobody_recorded_is_told_in_the_panel(axes: Axes, made_up_runs: Path) -> None:
    runs = results.load_runs("vgg", made_up_runs / "demo")
    assert panels.cells(axes, runs, [0.1], "sharpness/value") == []
    assert [text.get_text() for text in axes.texts] == ["sharpness/value\nwas not recorded"]


@pytest.mark.parametrize(
    ("depth", "head", "recorded", "number", "found"),
    [
        (14, [], range(1, 15), 11, ("layer11", "layer 11")),
        (16, [64, 64], range(1, 17), 11, ("layer11", "layer 11")),
        (9, [], range(1, 10), 11, ("layer7", "layer 7 (paper: 11)")),
        (11, [64, 64], range(1, 12), 11, ("layer7", "layer 7 (paper: 11)")),
        (14, [], (3, 9), 11, ("layer9", "layer 9 (paper: 11)")),
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
    assert panels.find_layer(run, number, 13, "kind") == found


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
    "together", [("none", "batch", "noisy_batch", "noise"), ("none", "batch", "l1", "l2", "linf")]
)
def test_arms_that_meet_in_a_figure_differ_in_grey(together: tuple[str, ...]) -> None:
    shades = sorted(lightness(style.ARMS[norm].colour) for norm in together)
    assert min(np.diff(shades)) > 9
    assert len({style.ARMS[norm].marker for norm in together}) == len(together)


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
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_draws_every_figure_without_torch(made_up_runs: Path) -> None:
    home = made_up_runs.parent.parent
    done = run_script(home, blocked=True)
    assert (done.returncode, done.stderr) == (0, "")
    paths = [f"results/figures/demo/{name}{end}" for name in FIGURES for end in (".png", ".pdf")]
    assert done.stdout.splitlines() == paths
    for path in paths:
        assert (home / path).read_bytes()[:4] in (b"\x89PNG", b"%PDF")


def test_the_same_runs_give_the_same_bytes(made_up_runs: Path, tmp_path: Path) -> None:
    digests = []
    for time in ("0", "1000000000"):
        out = tmp_path / time
        options = ("--runs", str(made_up_runs / "demo"), "--out", str(out))
        assert run_script(tmp_path, "figure4", *options).returncode == 0
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()])
        assert b"CreationDate" not in (out / "figure4.pdf").read_bytes()
    assert digests[0] == digests[1]


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
    header = made_up.make_header("vgg", "batch", 0.1, 0)
    folder = tmp_path / "results" / "runs" / "demo" / "vgg" / "a"
    made_up.write_record(
        folder, header, list(made_up.make_lines("vgg", "batch", 0.1, 0, "finished"))
    )
    missing = (
        "No runs for figure9; make some: "
        "python scripts/train.py -m experiment=deep_linear scale=demo\n"
    )
    done = run_script(tmp_path, "figure9", "figure4")
    assert (done.returncode, done.stderr) == (1, missing)
    assert len(done.stdout.splitlines()) == 2


def test_a_broken_record_is_named_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "vgg" / "a" / "run.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("broken\n")
    done = run_script(tmp_path, "--runs", "runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{path.relative_to(tmp_path)}: ")
    assert done.stderr.count("\n") == 1
