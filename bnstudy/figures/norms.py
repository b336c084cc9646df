"""Accuracy against the landscape, over ten norms

Santurkar et al. 2018 hold that BatchNorm helps because it makes the landscape smoother, and that
other norms do so likewise. If so, the smoother a norm makes it, the better it trains. Ours: one
point per run of a VGG with one of ten norms at one of two learning rates; the training accuracy at
the end against the median over training of three measures of the landscape along the gradient, and
Spearman's rank correlation between them.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from bnstudy.figures import panels, style, sweeps
from bnstudy.measures import landscape, train
from bnstudy.measures.grids import at_lr
from bnstudy.measures.landscape import roughness
from bnstudy.measures.series import median, spearman
from bnstudy.measures.train import training_accuracy
from bnstudy.results import Run, Values

EXPERIMENTS = ("norms",)
# Those of the experiment.
NORMS = ("none", "batch", "layer", "group", "instance", "weight", "weight_standardized")
NORMS += ("l1", "l2", "linf")
LAST = 0.1  # of the run, over which the accuracy is a mean
# Where the names of arms are tried: how far from a point, in points of length, in which direction.
DISTANCES = (9, 13, 18, 25, 34)
ANGLES = tuple(np.pi / 4 * np.arange(8))


def draw(runs: Sequence[Run]) -> Figure:
    """Training accuracy over each measure, and Spearman's rank correlations."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lrs = sorted({run.lr for run in chosen})
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.2), layout="constrained")
        grid = figure.subplots(2, 2)
        for axes, (label, measure) in zip(grid.flat, MEASURES.items(), strict=False):
            scatter(axes, chosen, measure, lrs)
            axes.set_xlabel(label if axes.axison else "")
        key_to_norms(grid[1, 1], chosen, lrs)
        for row in grid:
            panels.outermost(row[:1]).set_ylabel("training accuracy (%)")
        notes = (
            "Accuracy: mean over the last tenth of the run. x: median over the probed steps.",
            *outcomes(chosen),
        )
        panels.finish(figure, runs, chosen, *notes)
        for axes in list(grid.flat)[: len(MEASURES)]:
            name_arms(axes, figure.dpi / 72)
    return figure


def median_width(run: Run) -> float:
    """The width of the range of the loss along the gradient, median over training."""
    return median(landscape.loss_width(run)[1])


def median_beta_times_lr(run: Run) -> float:
    """Effective beta in units of 1 / lr, median over training."""
    return median(landscape.beta_times_lr(run)[1])


MEASURES: dict[str, Callable[[Run], float]] = {
    "width of the range of L(θ − ηg)": median_width,
    "‖∇L(θ − lr g) − ∇L(θ)‖ / ‖g‖": roughness,
    "effective β × lr": median_beta_times_lr,
}


def scatter(
    axes: Axes, runs: Sequence[Run], measure: Callable[[Run], float], lrs: Sequence[float]
) -> None:
    """One point per finished run; one that is infinite is on the right edge."""
    if any(
        sweeps.absent(axes, runs, key_to_norms)
        for key_to_norms in (landscape.LOSS, train.ACCURACY)
        if axes.axison
    ):
        return
    ended = [run for run in runs if run.outcome == "finished" and landscape.LOSS in run]
    titles = []
    for lr in lrs:
        own = at_lr(ended, lr)
        points = {run.directory: (measure(run), training_accuracy(run, LAST)) for run in own}
        for run in own:
            x, y = points[run.directory]
            finite = np.isfinite(x) and x > 0
            place: dict[str, Any] = {} if finite else {"transform": axes.get_yaxis_transform()}
            look = marker_of(run.norm, lr, lrs)
            axes.plot(x if finite else 1.0, y, gid=run.norm, clip_on=False, **place, **look)
        known = np.array([point for point in points.values() if not np.isnan(point[0])])
        rho = spearman(known[:, 0], known[:, 1]) if len(known) > 2 else np.nan
        says = f"ρ\u00a0=\u00a0{rho:.2f}".replace("-", "−") if np.isfinite(rho) else "no ρ"
        titles.append(f"lr\u00a0{style.number(lr)}: {says} (n\u00a0=\u00a0{len(known)})")
    axes.set_title("\n".join(titles))
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 30 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: style.number(x)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    if not ended:
        panels.write(axes, "no run has finished")


def marker_of(norm: str, lr: float, lrs: Sequence[float]) -> dict[str, Any]:
    """The marker of a run: filled at the largest learning rate, open at the smallest of several."""
    arm = style.arm(norm)
    share = 1 - sorted(lrs).index(lr) / (len(lrs) - 1) if len(lrs) > 1 else 0.0
    fill = {"markerfacecolor": arm.tint(share), "markeredgecolor": arm.colour}
    return {"marker": arm.marker, "markersize": 5, "linestyle": "", "color": arm.colour} | fill


def key_to_norms(axes: Axes, runs: Sequence[Run], lrs: Sequence[float]) -> None:
    """Instead of a panel: the short names of the arms, their markers and numbers of runs."""
    handles, names = [], []
    for norm in dict.fromkeys([*NORMS, *(run.norm for run in runs)]):
        cell = [run for run in runs if run.norm == norm]
        says = sweeps.runs_label(cell) if cell else f"{style.arm(norm).name} (no runs)"
        handles.append(Line2D([], [], **marker_of(norm, max(lrs), lrs)))
        names.append(f"{style.arm(norm).short}: {says}")
    for lr in lrs:
        look = marker_of("none", lr, lrs) | {"marker": "o", "markeredgecolor": style.GREY}
        look["markerfacecolor"] = "white" if lr == min(lrs) and len(lrs) > 1 else style.GREY
        handles.append(Line2D([], [], **look))
        names.append(f"lr {style.number(lr)}")
    axes.legend(handles, names, loc="center left", handletextpad=0.2, borderaxespad=0)
    axes.set_axis_off()


def outcomes(runs: Sequence[Run]) -> list[str]:
    """Which runs are no points, in words."""
    notes = []
    for outcome, verb in (("diverged", "diverged"), ("interrupted", "were interrupted")):
        counts = Counter((run.norm, run.lr) for run in runs if run.outcome == outcome)
        listed = [
            f"{style.arm(norm).name} at lr\u00a0{style.number(lr)} ({n})"
            for (norm, lr), n in counts.items()
        ]
        if listed:
            notes.append(f"Not shown, as they {verb}: {', '.join(listed)}.")
    return notes


def name_arms(axes: Axes, pixels: float) -> None:
    """Writes every arm's short name beside one of its points, where nothing else is.

    Places are tried one after the other: around every point of the arm, ever farther away.
    `pixels` are those of one point of length.
    """
    points = [line for line in axes.lines if line.get_gid()]
    taken = [line.get_window_extent() for line in points]
    for norm in dict.fromkeys(str(line.get_gid()) for line in points):
        own = [line for line in points if line.get_gid() == norm]
        width, height = (
            1.2 * pixels * style.SMALL * np.array([0.75 * len(style.arm(norm).short), 1.0])
        )
        for distance, angle, line in product(DISTANCES, ANGLES, own):
            away = distance * np.array([np.cos(angle), np.sin(angle)])
            x, y = line.get_transform().transform(point_place(line)) + pixels * away
            box = Bbox.from_bounds(x - width / 2, y - height / 2, width, height)
            inside = axes.bbox.containsx(box.x0) and axes.bbox.containsx(box.x1)
            inside = inside and axes.bbox.containsy(box.y0) and axes.bbox.containsy(box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                write_name(axes, line, away)
                break


def point_place(point: Line2D) -> tuple[float, float]:
    """Where a line of one point is, in its own coordinates."""
    xs, ys = np.asarray(point.get_xdata()), np.asarray(point.get_ydata())
    return float(xs[0]), float(ys[0])


def write_name(axes: Axes, line: Line2D, away: Values) -> None:
    """The short name of a point's arm, `away` from it in points of length."""
    norm = str(line.get_gid())
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": style.SMALL}
    text = axes.annotate(
        style.arm(norm).short,
        point_place(line),
        xycoords=line.get_transform(),
        xytext=tuple(away),
        textcoords="offset points",
        color=style.arm(norm).dark,
        **look,
    )
    text.set_in_layout(False)
