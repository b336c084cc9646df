"""Gradient change against step size

Santurkar et al. 2018, figure 11. The paper shows ||grad L(theta - eta g) - grad L(theta)|| against
eta, one curve per 300 steps of training from blue to red, for VGG and the deep linear network with
and without BatchNorm. Ours: up to 51 steps of the run with the lowest seed, the first step among
them, and the median over all steps.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style
from bnstudy.measures import landscape
from bnstudy.results import Run

EXPERIMENTS = ("vgg", "deep_linear")
LRS = {"vgg": 0.1, "deep_linear": 1e-6}
NAMES = {"vgg": "VGG", "deep_linear": "deep linear"}
CURVES = {"vgg": "fig11a_vgg_graddiff_", "deep_linear": "fig11b_dln_graddiff_"}
MOST = 51


def draw(runs: Sequence[Run]) -> Figure:
    """Gradient change over step size: a row per network, a column per arm."""
    # Two networks, which are not compared with each other.
    chosen = panels.choose(runs, ["vgg"], ["deep_linear"])
    by_experiment = {name: [r for r in chosen if r.experiment == name] for name in EXPERIMENTS}
    rows = [name for name, own in by_experiment.items() if own]
    shown: list[Run] = []
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 1.0 + 2.3 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), 2, sharey="row", squeeze=False)
        for row, experiment in zip(grid, rows, strict=True):
            own = by_experiment[experiment]
            steps = Normalize(0, max(run.config["steps"] for run in own))
            for axes, norm in zip(row, panels.PAIR, strict=True):
                axes.set_title(f"{NAMES[experiment]}, {style.arm(norm).name}")
                for cell in panels.cells(
                    axes, own, [panels.lr_of(own, LRS[experiment])], landscape.CHANGE, [norm]
                ):
                    shown += panels.lowest_seeds(cell)
                    gradient_changes(axes, shown[-1], steps)
                    panels.paper_median(axes, cell, CURVES[experiment])
            panels.outermost(row).set_ylabel(panels.LABELS[landscape.CHANGE])
            colours = ScalarMappable(steps, "cividis")
            figure.colorbar(colours, ax=row, label="step", aspect=25, pad=0.01)
        panels.legend(figure, list(grid.flat))
        notes = [f"No runs of {name}." for name, own in by_experiment.items() if not own]
        notes.append(f"Up to {MOST} probed steps, evenly spaced over the run.")
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def gradient_changes(axes: Axes, run: Run, colour_of: Normalize) -> None:
    """One curve per step, coloured by step, and the median over all steps."""
    steps, changes = run[landscape.CHANGE]
    step_sizes = run[landscape.STEP_SIZE][1]
    for i in np.unique(np.linspace(0, len(steps) - 1, MOST).round().astype(int)):
        colour = colormaps["cividis"](colour_of(steps[i]))
        axes.plot(step_sizes[i], panels.drawable(changes[i], log=True), color=colour, linewidth=0.6)
    median = np.median(np.where(np.isfinite(changes), changes, np.inf), axis=0)
    look = {"color": "black", "linewidth": 1.6, "label": "median over steps"}
    axes.plot(step_sizes[0], panels.drawable(median, log=True), **look)
    panels.log_axis(axes)
    name = f"{NAMES[run.experiment]}, {style.arm(run.norm).name}"
    axes.set(title=f"{name} (lr {style.number(run.lr)}, seed {run.seed})")
    axes.set(xscale="log", xlabel="step size η")
    axes.set_xticks(step_sizes[0], [f"{eta:.2g}".replace("e-0", "e-") for eta in step_sizes[0]])
    axes.xaxis.set_minor_locator(NullLocator())
