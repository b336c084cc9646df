"""The figure of learning rates and initializations."""

from pathlib import Path

import pytest
from drawing import Runs, final, symbols
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from bnstudy.figures import (
    lr_by_init,
)


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
