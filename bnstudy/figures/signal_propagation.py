"""Gradients and branches of deep networks in their first two steps

Yang et al. 2019: in a plain network with BatchNorm the gradient grows by a factor of 1.21 from each
layer to the one below it at the start, and one step of training changes this. De & Smith 2020: in a
ResNet BatchNorm makes every branch small beside its shortcut, as 1 / depth, which is why it trains.
Ours: (a) the norm of the gradient of every layer's weights, (b) the growth per layer at steps 0 and
1 within the stages of the network, (c) the variance of every branch over that of its shortcut.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import branches, gradients
from bnstudy.measures.branches import first_branch_shares
from bnstudy.measures.gradients import first_gradients, growth_per_layer
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import average
from bnstudy.results import Run

EXPERIMENTS = ("signal_propagation",)
PREDICTED = 1.21  # Yang et al. 2019: pi / (pi - 1) is 1.47, the growth of the square
NETWORKS = {"plain": "plain", "resnet": "ResNet"}


def draw(runs: Sequence[Run]) -> Figure:
    """Gradients over layers of both networks, growth per layer, shares of branches."""
    chosen = panels.choose(runs, EXPERIMENTS, also=("model", "model.depth", "model.shortcut"))
    deepest = max(run.option("model.depth") for run in chosen)
    deep = [run for run in chosen if run.option("model.depth") == deepest]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.2), layout="constrained")
        grid = figure.subplots(2, 2)
        for axes, (model, name) in zip(grid[0], NETWORKS.items(), strict=True):
            gradients_by_layer(axes, [run for run in deep if run.choices["model"] == model])
            axes.set_title(f"(a) {name}, {deepest} layers, step 0")
        panels.outermost(grid[0]).set_ylabel("norm of the layer's gradient")
        growths(grid[1, 0], chosen)
        shares_by_block(grid[1, 1], [run for run in deep if run.choices["model"] == "resnet"])
        panels.legend(figure, list(grid.flat))
        notes = ("Lines: geometric means over seeds; shaded: smallest to largest; dots: runs.",)
        panels.finish(figure, runs, chosen, *notes, label_of=sweeps.all_depths(chosen))
    return figure


def gradients_by_layer(axes: Axes, runs: Sequence[Run]) -> None:
    """The gradient of every layer at step 0."""
    known = [run for run in runs if recorded_layers(run, gradients.NORM)]
    if sweeps.absent(axes, known or runs, gradients.NORM):
        return
    panels.log_axis(axes)
    for norm in panels.PAIR:
        own = [run for run in known if run.norm == norm]
        if own:
            values = np.array([first_gradients(run) for run in own])
            spread(axes, own, np.linspace(0, 1, values.shape[1]), values)
    axes.set_xlabel("layer (0: first, 1: last)")
    sweeps.missing(axes, runs, panels.PAIR)


def spread(axes: Axes, own: Sequence[Run], xs: np.ndarray, values: np.ndarray) -> None:
    """The geometric mean over seeds [runs, n], and from the smallest to the largest."""
    colour = style.arm(own[0].norm).colour
    middle = panels.drawable(average(values, log=True), log=True)
    axes.plot(xs, middle, color=colour, linewidth=1.2, label=sweeps.runs_label(own))
    low, high = (panels.drawable(edge, log=True) for edge in (values.min(0), values.max(0)))
    axes.fill_between(xs, low, high, color=colour, alpha=0.2, linewidth=0)


def growths(axes: Axes, runs: Sequence[Run]) -> None:
    """Growth per layer of every network at steps 0 and 1, a dot per run."""
    known = [run for run in runs if recorded_layers(run, gradients.NORM)]
    if sweeps.absent(axes, known or runs, gradients.NORM):
        return
    places = []
    for model, name in NETWORKS.items():
        for depth in sorted({run.option("model.depth") for run in known}):
            places.append(f"{name}\n{depth}")
            for side, norm in enumerate(panels.PAIR):
                cell = [r for r in known if (r.norm, r.choices["model"]) == (norm, model)]
                cell = [run for run in cell if run.option("model.depth") == depth]
                for step, look in enumerate(STEPS):
                    aside = len(places) - 1 + 0.4 * side - 0.3 + 0.2 * step
                    values = [growth_per_layer(run, step) for run in cell]
                    if cell:
                        sweeps.seed_dots(axes, cell, aside, values, **look)
    for step, look in enumerate(STEPS):
        panels.explain(axes, f"step {step}", **({"linestyle": "", "marker": "o"} | look))
    axes.axhline(PREDICTED, color=style.GREY, linewidth=0.8, linestyle=":")
    axes.text(0.99, PREDICTED, "1.21", transform=axes.get_yaxis_transform(), **BESIDE)
    axes.set(title="(b) growth per layer", ylabel="factor towards the input", xlabel="network")
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.6, len(places) - 0.4)


STEPS: tuple[dict[str, Any], ...] = ({"markersize": 3}, {"markersize": 3, "fillstyle": "none"})
BESIDE: dict[str, Any] = {
    "ha": "right",
    "va": "bottom",
    "color": style.GREY,
    "fontsize": style.SMALL,
}


def shares_by_block(axes: Axes, runs: Sequence[Run]) -> None:
    """The variance of the branch over that of the shortcut, block by block, and 1 / block."""
    known = [run for run in runs if any(key.startswith(branches.BRANCH) for key in run.keys())]  # noqa: SIM118
    if not known:
        panels.write(axes, f"{branches.BRANCH} was not recorded" if runs else "no ResNet runs")
        return
    panels.log_axis(axes)
    for norm in panels.PAIR:
        own = [run for run in known if run.norm == norm]
        if own:
            values = np.array([first_branch_shares(run) for run in own])
            spread(axes, own, np.arange(1, values.shape[1] + 1), values)
    blocks = np.arange(1, 1 + max(len(first_branch_shares(run)) for run in known))
    look: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": ":"}
    axes.plot(blocks, 1 / blocks, label="1 / block", **look)
    axes.set(title="(c) branch beside shortcut, ResNet", xlabel="block", xscale="log")
    axes.set_ylabel("variance / variance")
    sweeps.missing(axes, known, panels.PAIR)
