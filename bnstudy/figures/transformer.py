"""Norms in a transformer, before the branches and after them

Transformers have LayerNorm (Vaswani et al. 2017), today before the branches (Xiong et al. 2020) and
without the mean (RMSNorm, Zhang & Sennrich 2019); a tanh does as well, say Zhu et al. 2025 (DyT).
Ours: a small transformer on images with AdamW and with SGD and on text with AdamW, a row each. The
final test accuracy over the learning rate, norms before and after the branches; and at the best
learning rate of each norm and place, filled before and open after, the relative gradient change
(median over steps), internal covariate shift relative to the gradient (median over layers, steps).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import internal_covariate_shift as shift
from bnstudy.measures import landscape, train
from bnstudy.measures.grids import by_option
from bnstudy.measures.internal_covariate_shift import typical_shift
from bnstudy.measures.landscape import roughness
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import median
from bnstudy.measures.train import final_percent
from bnstudy.results import Run, comparable

EXPERIMENTS = ("transformer", "transformer_sgd", "transformer_text")
ROWS = ("images, AdamW", "images, SGD", "text, AdamW")
NORMS = ("none", "layer", "rms", "dyt", "batch")
PLACE = "model.placement"
PLACES: dict[str, dict[str, Any]] = {"pre": {}, "post": {"fillstyle": "none"}}


def draw(runs: Sequence[Run]) -> Figure:
    """Accuracy before and after, gradient change, shift: a row per setting."""
    rows = [comparable([r for r in runs if r.experiment == e], (PLACE,)) for e in EXPERIMENTS]
    chosen = [run for row in rows for run in row] or panels.choose([], EXPERIMENTS)
    present = [(name, own) for name, own in zip(ROWS, rows, strict=True) if own]
    norms = [n for n in NORMS if any(run.norm == n for run in chosen)]
    with style.context():
        height = 1.3 + 1.75 * len(present)
        figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
        grid = figure.subplots(len(present), 4, squeeze=False)
        for row, (name, own) in zip(grid, present, strict=True):
            accuracy_panels(row[:2], own, chosen)
            panels.outermost(row[:2]).set_ylabel(f"{name}\ntest accuracy (%)")
            strips(row[2], own, norms, roughness, landscape.CHANGE in set_of_keys(own))
            strips(row[3], own, norms, median_shift, any(recorded_layers(r, shift.L2) for r in own))
        titles = ("norm before", "norm after", "gradient change", "covariate shift")
        for axes, title in zip(grid[0], titles, strict=True):
            axes.set_title(title)
        panels.legend(figure, list(grid[:, :2].flat))
        absent = [e for e, own in zip(EXPERIMENTS, rows, strict=True) if not own]
        lacking = [norm for norm in ("none", "batch") if all(run.norm != norm for run in chosen)]
        notes = (
            *(f"No runs of {name}." for name in absent),
            *(f"There are no {style.arm(norm).name} runs." for norm in lacking),
            "Accuracy: a run that diverged counts as guessing; not in the other panels. Gradient "
            "change: along the gradient over lr, which with AdamW is not the step that is taken.",
            sweeps.SPREAD,
        )
        panels.finish(figure, runs, chosen, *notes)
    return figure


def set_of_keys(runs: Sequence[Run]) -> set[str]:
    """All metric keys of some runs."""
    return {key for run in runs for key in run.keys()}  # noqa: SIM118  a run is no mapping


def median_shift(run: Run) -> float:
    """Relative internal covariate shift, median over layers and steps."""
    return median(typical_shift(run)[1])


def accuracy_panels(row: Sequence[Axes], runs: Sequence[Run], everyone: Sequence[Run]) -> None:
    """Final test accuracy over the learning rate, a panel for each place of the norm."""
    for axes, place in zip(row, PLACES, strict=True):
        own = [run for run in runs if run.option(PLACE) == place]
        if sweeps.absent(axes, own or runs, train.TEST_ACCURACY):
            continue
        for norm in dict.fromkeys(run.norm for run in own):
            label = sweeps.runs_label([run for run in everyone if run.norm == norm])
            ended = [run for run in sweeps.ended(own) if run.norm == norm]
            sweeps.against(axes, ended, lambda run: run.lr, final_percent, label=label)
        lrs = sorted({run.lr for run in runs})
        axes.set(xscale="log", xlabel="learning rate", ylim=(0, None))
        axes.set_xticks(lrs, [style.number(lr) for lr in lrs])
        axes.xaxis.set_minor_locator(NullLocator())


def strips(
    axes: Axes,
    runs: Sequence[Run],
    norms: Sequence[str],
    read: Callable[[Run], float],
    recorded: bool,
) -> None:
    """A dot per run at the best learning rate of every norm and place."""
    if not recorded:
        panels.write(axes, f"{landscape.CHANGE} or {shift.L2} was not recorded")
        return
    for number, norm in enumerate(norms):
        for side, (place, look) in enumerate(PLACES.items()):
            own = [r for r in runs if (r.norm, r.option(PLACE)) == (norm, place)]
            best = at_best_lr(own)
            if best:
                sweeps.seed_dots(
                    axes, best, number + 0.4 * side - 0.2, values_of(best, read), **look
                )
    panels.log_axis(axes)
    sweeps.name_places(axes, norms)


def values_of(runs: Sequence[Run], read: Callable[[Run], float]) -> list[float]:
    """A number of every run; NaN where it was not recorded."""
    found = []
    for run in runs:
        try:
            found.append(read(run))
        except (KeyError, ValueError):
            found.append(np.nan)
    return found


def at_best_lr(runs: Sequence[Run]) -> list[Run]:
    """The finished runs at the learning rate with the best mean test accuracy; [] without any."""
    by_lr = by_option(sweeps.ended(runs), "optimizer.lr").values()
    best = max(by_lr, key=lambda own: np.mean([final_percent(run) for run in own]), default=[])
    return [run for run in best if run.outcome == "finished"]
