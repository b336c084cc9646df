"""Figure 2."""

from collections.abc import Callable

from drawing import FIGURES, Runs, labels, runs_of, words
from matplotlib.figure import Figure


def test_the_control_is_in_figure_2_if_there_are_runs_of_it(
    draw: Callable[[str], Figure], demo: Runs
) -> None:
    assert "noise without norm (n = 3)" in labels(draw("figure2"))
    runs = [run for run in runs_of(FIGURES["figure2"], demo) if run.norm != "noise"]
    assert "noise" not in words(FIGURES["figure2"].draw(runs)).replace("its noise", "")
