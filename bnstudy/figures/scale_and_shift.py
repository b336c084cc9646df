"""What the activation functions see, with and without a trained scale and shift

Ioffe & Szegedy 2015, section 3: normalizing the inputs of a sigmoid would constrain them to its
linear regime, so gamma and beta let the norm represent the identity. Ours: an MLP with ReLU,
sigmoid or tanh, without BatchNorm, with it, and with it but without gamma and beta; the
pre-activations of a hidden layer in the middle at the last probed step, over the activation
function, and the fraction of them that a ReLU makes zero or that lies in the linear range.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import activations
from bnstudy.measures.activations import (
    histogram_grid,
    in_linear_range,
    last_histograms,
    middle_hidden_layer,
    rebin,
)
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run, Values

EXPERIMENTS = ("scale_and_shift",)
LR = 0.1
NORMS = ("none", "batch", "batch_no_affine")
FUNCTIONS = {
    "relu": ("ReLU", lambda z: np.maximum(z, 0.0)),
    "sigmoid": ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
    "tanh": ("tanh", np.tanh),
}
INSIDE = {"relu": "zero", "sigmoid": "linear", "tanh": "linear"}


def draw(runs: Sequence[Run]) -> Figure:
    """Histograms under the activation function: a row per function, a column per norm."""
    chosen = panels.choose(runs, EXPERIMENTS, also=("model.activation",))
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    functions = functions_of(shown)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.0 + 1.9 * len(functions)), layout="constrained")
        grid = figure.subplots(len(functions), len(NORMS), sharex="row", squeeze=False)
        for row, function in zip(grid, functions, strict=True):
            cells = [
                [r for r in shown if (activation(r), r.norm) == (function, norm)] for norm in NORMS
            ]
            layer = middle_hidden_layer([run for cell in cells for run in cell])
            for axes, norm, cell in zip(row, NORMS, cells, strict=True):
                axes.set_title(f"{FUNCTIONS[function][0]}\n{style.arm(norm).name}")
                key = f"{activations.HISTOGRAM}/{layer}"
                if not sweeps.absent(axes, cell, key, norm, lr):
                    distribution(axes, [run for run in cell if key in run], layer, function)
            drawn = [axes for axes in row if axes.axison]
            low, high = row[0].get_xlim()
            for axes in drawn:
                over_it(axes, function, np.linspace(low, high, 400), axes is drawn[-1])
                axes.set(xlim=(low, high), xlabel="pre-activation z")
        notes = (
            f"lr {style.number(lr)}.",
            "Areas: the recorded units of all seeds pooled, at the last probed step of each, to a "
            "height of their own. Black: the activation function, axis on the right. Shaded: where "
            "ReLU is zero, |z| < 1 of the sigmoid, |z| < 1/2 of tanh. Written: the fraction of z "
            "in there, over all units, mean over seeds.",
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def functions_of(runs: Sequence[Run]) -> list[str]:
    """The activation functions that there are runs of; all of them, if there are none."""
    found = [name for name in FUNCTIONS if any(activation(run) == name for run in runs)]
    return found or list(FUNCTIONS)


def activation(run: Run) -> str:
    """The activation function of a run's network."""
    return run.option("model.activation")


def distribution(axes: Axes, runs: list[Run], layer: str, function: str) -> None:
    """The pooled pre-activations of a layer at the last probed step under the function."""
    counts, ranges = last_histograms(runs, layer)
    bounds = histogram_grid(counts[None], ranges[None], 40)
    heights = panels.ridge(rebin(counts, ranges, bounds))
    arm = style.arm(runs[0].norm)
    area: dict[str, Any] = {"facecolor": arm.light, "edgecolor": arm.colour, "linewidth": 0.8}
    axes.fill_between((bounds[1:] + bounds[:-1]) / 2, heights, **area)
    axes.set(ylim=(0, 1.6), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.update_datalim([(-1.5, 0), (1.5, 0)])  # the linear range is always seen
    axes.margins(x=0)
    values = [float(in_linear_range(run, layer, function)[1][-1]) for run in runs]
    known = [value for value in values if not np.isnan(value)]
    counted = panels.seeds_label(runs).removeprefix(f"{arm.name} (").removesuffix(")")
    says = [f"{INSIDE[function]}: {100 * np.mean(known):.0f} %"] if known else []
    look: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "fontsize": style.SMALL}
    axes.text(0.02, 0.97, "\n".join([*says, counted.replace(", ", ",\n")]), **look)


def over_it(axes: Axes, function: str, z: Values, labelled: bool) -> None:
    """The activation function over z with an axis of its own on the right; its range in grey."""
    low, high = {"relu": (z[0], 0.0), "sigmoid": (-1.0, 1.0), "tanh": (-0.5, 0.5)}[function]
    axes.axvspan(low, high, color="0.92", zorder=0, linewidth=0)
    values = FUNCTIONS[function][1](z)
    right = axes.twinx()
    right.plot(z, values, color="black", linewidth=1.2)
    low, high = values.min(), values.max()
    right.set_ylim(low - 0.02 * (high - low), high + 0.6 * (high - low))
    right.spines["right"].set_visible(labelled)
    right.tick_params(right=labelled, labelright=labelled)
    right.set_yticks([tick for tick in right.get_yticks() if low - 0.02 <= tick <= high + 0.02])
    right.set_ylabel(f"{FUNCTIONS[function][0]}(z)" if labelled else "")
