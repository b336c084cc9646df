"""Runs to draw, and what a drawn figure says, for the tests of figures."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import made_up
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from bnstudy import figures, results
from bnstudy.results import Run

FIGURES = figures.discover()


Runs = dict[str, list[Run]]  # by experiment


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


def trained(directory: Path, accuracies: list[float], **cell: object) -> Run:
    """A run with these training accuracies."""
    outcome = str(cell.pop("outcome", "finished"))
    lines = [{"step": i, "train/accuracy": value} for i, value in enumerate(accuracies)]
    run = cell_run(directory, lines, outcome, **cell)
    run.config["batch_size"] = 2000  # so many samples need no running mean
    return run


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


def missing(axes: Axes) -> str:
    """What a panel says is missing."""
    legend = axes.get_legend()
    texts = [*axes.texts, *(legend.get_texts() if legend else [])]
    return "\n".join(text.get_text() for text in texts).replace("\u00a0", " ")
