"""Sharpness on the sphere, with weight decay and without

Lyu, Li & Arora 2022: gradient descent with weight decay on weights before a norm stays at the edge
of stability and moves along it to where the network is flatter on the sphere, that is, where the
largest eigenvalue of the Hessian times ||w||^2 is smaller. Ours: this number over training, of the
linear network with BatchNorm alone, full batch, and of VGGs; and below lr times sharpness.
"""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import sharpness as eigenvalues
from bnstudy.measures.layers import hidden_layers
from bnstudy.measures.sharpness import sharpness
from bnstudy.measures.sphere import spherical_sharpness
from bnstudy.measures.train import times_lr
from bnstudy.measures.weights import NORM
from bnstudy.results import Run, Series, comparable

EXPERIMENTS = ("rotation", "scale_invariance")
DECAY = "optimizer.weight_decay"
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
BOX: dict[str, Any] = {"frameon": True, "framealpha": 0.6, "edgecolor": "none"}
COLUMNS = {"none": "VGG, standard", "batch": "VGG, BatchNorm", "linear": "linear, BatchNorm"}


def draw(runs: Sequence[Run]) -> Figure:
    """Spherical sharpness above lr times sharpness, a column per network."""
    vgg = comparable([run for run in runs if run.experiment == EXPERIMENTS[0]], (DECAY,))
    linear = comparable([run for run in runs if run.experiment == EXPERIMENTS[1]], (DECAY,))
    chosen = [*vgg, *linear] or panels.choose([], EXPERIMENTS)
    columns = {"none": [], "batch": [], "linear": linear}
    for norm in panels.PAIR:
        columns[norm] = [run for run in vgg if run.norm == norm]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.8), layout="constrained")
        grid = figure.subplots(2, 3, sharex="col")
        for (above, below), (name, own) in zip(grid.T, columns.items(), strict=True):
            by_decay(above, own, spherical_sharpness, "" if name == "linear" else name)
            by_decay(below, own, lr_times_sharpness, "" if name == "linear" else name)
            above.set(title=COLUMNS[name], xlabel="")
            if above.axison:
                above.legend(title="weight decay", loc="best", **BOX)
            if below.axison:
                below.axhline(2, color=style.GREY, linewidth=0.8, linestyle=":")
        panels.outermost(grid[0]).set_ylabel("largest eigenvalue × ‖w‖²")
        panels.outermost(grid[1]).set_ylabel("lr × largest eigenvalue")
        notes = ("Dotted, below: 2, the edge of stability.", panels.seeds_note(chosen))
        panels.legend(figure, [])
        panels.finish(figure, runs, chosen, *notes)
    return figure


def lr_times_sharpness(run: Run) -> Series:
    """The largest eigenvalue times the lr of the step."""
    return times_lr(run, sharpness(run))


def by_decay(axes: Axes, runs: Sequence[Run], read: Callable[[Run], Series], norm: str) -> None:
    """A curve per weight decay."""
    key = eigenvalues.EIGENVALUES["batch"]
    known = [run for run in runs if key in run and hidden_layers(run, NORM)]
    if not known:
        sweeps.absent(axes, runs, key, norm)
        return
    decays = sorted({run.option(DECAY) or 0.0 for run in known})
    for decay, linestyle in zip(decays, STYLES, strict=False):
        own = [run for run in known if (run.option(DECAY) or 0.0) == decay]
        label = f"{decay:g} (n = {len(own)})"
        panels.curve(axes, own, read, log=True, linestyle=linestyle, label=label)
    panels.step_axis(axes, known)
