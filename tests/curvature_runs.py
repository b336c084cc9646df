"""Runs with records of curvature, and the curves of drawn panels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import made_up
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
