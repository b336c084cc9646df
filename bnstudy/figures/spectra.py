"""Hessian spectra with and without BatchNorm

Ghorbani, Krishnan & Xiao 2019: without BatchNorm a few eigenvalues of the Hessian lie far from all
others and the gradient lies mostly in their eigenspace; with BatchNorm both is almost absent. Ours:
above, spectral densities by stochastic Lanczos quadrature at three steps of one run; below, over
training, the share of the squared gradient in the span of the top eigenvectors, and how far the
largest eigenvalue lies above the eleventh, there being ten classes.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.figures.sharpness import unconverged
from bnstudy.measures import spectrum
from bnstudy.measures.grids import at_lr
from bnstudy.measures.spectrum import OUTLIERS, gradient_share, outlier_ratio, smoothed_density
from bnstudy.results import Run

EXPERIMENTS = ("spectra",)
LR = 0.1
# By norm and statistics: what the titles add.
ROWS = {
    ("none", "batch"): "",
    ("batch", "batch"): ", batch statistics",
    ("batch", "running"): ", running statistics",
}
NARROWEST = 0.1  # of a common x axis that a spectrum may take, or it has axes of its own


def draw(runs: Sequence[Run]) -> Figure:
    """Densities, a row per arm and a column per step; below, gradient shares and outliers."""
    chosen = panels.choose(runs, EXPERIMENTS)
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    rows = shown_rows(shown)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.9 + 1.5 * len(rows)), layout="constrained")
        grid = figure.add_gridspec(len(rows) + 1, 6)
        steps = shown_steps(shown)
        span = 6 // len(steps)
        columns: list[list[Axes]] = [[] for _ in steps]
        for i, (norm, statistics) in enumerate(rows):
            starts = range(0, 6, span)
            row = [figure.add_subplot(grid[i, start : start + span]) for start in starts]
            cell = [run for run in shown if run.norm == norm]
            for j, axes in enumerate(row):
                if not sweeps.absent(axes, cell, spectrum.NODES.format(statistics), norm, lr):
                    density(axes, panels.lowest_seeds(cell)[0], statistics, steps[j])
                    columns[j].append(axes)
            panels.outermost(row).set_ylabel(density_label(norm, statistics))
        share, outliers = (figure.add_subplot(grid[-1, 3 * i : 3 * i + 3]) for i in range(2))
        curves_over_training(share, chosen, lr, spectrum.SHARE, gradient_share)
        share.set(
            title="gradient in the top eigenspace", ylabel="share of ‖g‖²", ylim=(-0.03, 1.03)
        )
        curves_over_training(outliers, chosen, lr, spectrum.EIGENVALUES, outlier_ratio)
        outliers.set(title="outliers", ylabel=f"λ₁ / λ$_{{{OUTLIERS + 1}}}$")
        panels.legend(figure, [share, outliers])
        same = [share_axes(column) for column in columns]
        but = "" if all(same) else " unless their ranges differ tenfold"
        notes = (
            f"lr {style.number(lr)}; "
            "Hessian of the training batch. Densities: run with the lowest seed, "
            f"{draws_note(shown)}; smoothed by Gaussians, σ = {100 * spectrum.WIDTH:.0f} % of each "
            f"one's range; in a column on the same axes{but}.",
            f"Share: in the span of the top {OUTLIERS} eigenvectors. Both below: batch statistics; "
            f"λ₁ / λ$_{{{OUTLIERS + 1}}}$ is not finite where λ$_{{{OUTLIERS + 1}}}$ ≤ 0.",
            unconverged(shown, spectrum.EIGENVALUES.format("batch"), count=OUTLIERS + 1),
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def shown_rows(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Norm and statistics of the rows: those with running statistics where they were recorded."""
    return [
        (norm, statistics)
        for norm, statistics in ROWS
        if statistics == "batch"
        or any(run.norm == norm and spectrum.NODES.format(statistics) in run for run in runs)
    ]


def density_label(norm: str, statistics: str) -> str:
    """The y axis of a row of densities."""
    return f"density\n{style.arm(norm).name}{ROWS[norm, statistics]}".replace(", ", ",\n")


def shown_steps(runs: Sequence[Run]) -> list[int]:
    """The first, a middle and the last of the steps that all arms' lowest seeds have."""
    key = spectrum.NODES.format("batch")
    recorded = [set(run[key][0].tolist()) for run in panels.lowest_seeds(runs) if key in run]
    steps = sorted(set.intersection(*recorded)) if recorded else []
    return sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else [0]


def draws_note(runs: Sequence[Run]) -> str:
    """How many random vectors the densities are from, in words; "" if that is not known."""
    key = spectrum.NODES.format("batch")
    counts = [run[key][1].shape[1] for run in runs if key in run]
    if not counts:
        return ""
    return "from one random vector" if counts[0] == 1 else f"mean over {counts[0]} random vectors"


def density(axes: Axes, run: Run, statistics: str, step: int) -> None:
    """The smoothed spectral density of a run at the last recorded step up to `step`, log axis."""
    steps, nodes = run[spectrum.NODES.format(statistics)]
    weights = run[spectrum.WEIGHTS.format(statistics)][1]
    row = max(0, int(np.searchsorted(steps, step, side="right")) - 1)
    xs, values, floor = smoothed_density(nodes[row], weights[row])
    arm = style.arm(run.norm)
    if len(xs):
        # Far below the floor, because the axis may be shared with a density that goes deeper.
        values = np.maximum(values, 1e-9 * floor)
        axes.fill_between(xs, 1e-9 * floor, values, color=arm.light, linewidth=0)
        axes.plot(xs, values, color=arm.colour, linewidth=1.0)
        panels.log_axis(axes)
        axes.set_ylim(floor, 3 * values.max())
    axes.set(title=f"step {steps[row]}", xlabel="eigenvalue")


def share_axes(column: Sequence[Axes]) -> bool:
    """Give the densities of one step the same axes unless the narrowest would hardly be seen."""
    drawn = [axes for axes in column if axes.lines]
    limits = np.array([[axes.get_xlim(), axes.get_ylim()] for axes in drawn])
    widths = [np.ptp(axes.get_xlim()) for axes in drawn]
    if drawn and min(widths) < NARROWEST * max(widths):
        return False
    for axes in drawn:
        (left, bottom), (right, top) = limits[:, :, 0].min(axis=0), limits[:, :, 1].max(axis=0)
        axes.set(xlim=(left, right), ylim=(bottom, top))
    return True


def curves_over_training(
    axes: Axes, runs: Sequence[Run], lr: float, key: str, read: panels.Read
) -> None:
    """One curve per arm, with statistics of the batch."""
    for cell in panels.cells(axes, runs, [lr], key.format("batch")):
        log = read is outlier_ratio
        panels.curve(axes, cell, read, log=log, label=panels.seeds_label(cell))
    panels.step_axis(axes, runs)
