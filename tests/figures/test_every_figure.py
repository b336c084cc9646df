"""What holds for every figure: words, colours, missing and diverged runs."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import made_up
import matplotlib
import pytest
from drawing import FIGURES, Runs, changed, labels, runs_of, words
from matplotlib.figure import Figure
from matplotlib.text import Text

from bnstudy import figures, results
from bnstudy.figures import (
    effective_beta,
    lr_by_init,
    style,
)

# The figures over which the paper's curves are drawn.
OVERLAID = {"figure1", "figure2", "figure3a", "figure3b", "figure4", "figure5a", "figure5b"}


OVERLAID |= {"figure10", "figure11", "figure12", "figure13"}


def test_the_figures_are_found_in_their_order() -> None:
    numbers = ["1", "2", "3a", "3b", "4", "5a", "5b", "6", "8a", "8b", "9", "10", "11", "12", "13"]
    papers = [f"figure{number}" for number in numbers]
    others = [name for name in FIGURES if name not in papers]
    assert list(FIGURES) == [*papers, *sorted(others)]
    assert {"depth", "norms", "step0", "wrong_envelope"} <= set(others)


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
    assert not any("paper" in label for label in labels(draw(name)))
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
            shared |= {"step 0", "step 1", "1 / block"}
            shared |= {"2/lr", "1/η$_{min}$", "1/η$_{min}$ = 2/lr"}
            shared |= {says for says, *_ in effective_beta.CURVES}
            shared |= {f"{n} seeds {fate}" for n in ("all", "some") for fate in lr_by_init.FATES}
            assert arm in shared or handle.get_color() == colours[arm]


@pytest.mark.usefixtures("no_layout")
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_what_there_is_and_says_what_is_missing(
    name: str, demo: Runs, tmp_path: Path
) -> None:
    usual = {("none", 0.1), ("none", 1e-6)}
    run = next(run for run in runs_of(FIGURES[name], demo) if (run.norm, run.lr) in usual)
    other = changed(tmp_path, run, batch_size=7, data={"held_out": 7})
    said = words(FIGURES[name].draw([run, other])).replace("\n", " ")
    assert re.search("no (BatchNorm.*)?runs", said)
    assert f"Left out (other settings, or made twice): 1 run of {run.experiment}." in said


@pytest.mark.usefixtures("no_layout")
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_diverged_runs(name: str, demo: Runs) -> None:
    diverged = [run for run in runs_of(FIGURES[name], demo) if run.outcome == "diverged"]
    assert re.search(r"n = \d", words(FIGURES[name].draw(diverged)))


@pytest.mark.usefixtures("no_layout")
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


@pytest.mark.parametrize("name", sorted(OVERLAID))
def test_the_paper_is_drawn_over_runs_of_its_size(name: str, paper: Runs) -> None:
    overlaid = FIGURES[name].draw(runs_of(FIGURES[name], paper))
    assert any("paper" in label for label in labels(overlaid))
    check_texts(overlaid)


@pytest.mark.usefixtures("no_layout")
@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OVERLAID])
def test_the_paper_is_drawn_over_no_other_figure(name: str, paper: Runs) -> None:
    drawn = FIGURES[name].draw(runs_of(FIGURES[name], paper)[:40])
    assert not any("paper" in label for label in labels(drawn))
