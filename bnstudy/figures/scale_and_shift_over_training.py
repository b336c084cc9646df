"""Pre-activations, gamma and beta over training

Ioffe & Szegedy 2015, figure 1b, c: the 15, 50 and 85 percentiles of the inputs of a typical sigmoid
of the last hidden layer over training, which BatchNorm makes more stable. Ours: (a), (b) the same,
for ReLU, sigmoid and tanh; (c) how many of the layer's pre-activations a ReLU makes zero or are in
the linear range of the function; (d), (e) what gamma and beta become, which start at 1 and 0.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import panels, style, sweeps
from bnstudy.figures.scale_and_shift import FUNCTIONS, LR, activation, functions_of
from bnstudy.measures import activations
from bnstudy.measures import scale_and_shift as trained
from bnstudy.measures.activations import in_linear_range, last_hidden_layer, unit_percentiles
from bnstudy.measures.grids import at_lr
from bnstudy.results import Run, Series

EXPERIMENTS = ("scale_and_shift",)
NORMS = ("none", "batch", "batch_no_affine")
ROWS = ("(a) pre-activations,\nstandard", "(b) pre-activations,\nBatchNorm", "(c) fraction (%)")
ROWS += ("(d) γ", "(e) β")


def draw(runs: Sequence[Run]) -> Figure:
    """Percentiles, fractions, gamma and beta: a column per activation function."""
    chosen = panels.choose(runs, EXPERIMENTS, also=("model.activation",))
    lr = panels.lr_of(chosen, LR)
    shown = at_lr(chosen, lr)
    functions = functions_of(shown)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 8.2), layout="constrained")
        grid = figure.subplots(len(ROWS), len(functions), squeeze=False, sharex=True)
        for column, function in zip(grid.T, functions, strict=True):
            own = [run for run in shown if activation(run) == function]
            layer = last_hidden_layer(own)
            for axes, norm in zip(column[:2], panels.PAIR, strict=True):
                unit = partial(unit_percentiles, layer=layer)
                key = f"{activations.PERCENTILES}/{layer}"
                percentile_band(axes, own, norm, key, unit)
            kind, _ = activations.LINEAR[function]
            for norm_cell in recorded_cells(column[2], own, f"{kind}/{layer}"):
                read = partial(percent_in_linear_range, layer=layer, function=function)
                panels.curve(column[2], norm_cell, read, label=arm_runs_label(chosen, norm_cell))
            for axes, kind in zip(column[3:], trained.PERCENTILES.values(), strict=True):
                key = f"{kind}/{layer}"
                percentile_band(axes, own, "batch", key, itemgetter(key))
            column[0].set_title(FUNCTIONS[function][0])
            panels.step_axis(column[-1], shown or chosen)
        for row, says in zip(grid, ROWS, strict=True):
            panels.outermost(row).set_ylabel(says)
        panels.legend(figure, list(grid[2]))
        notes = (
            f"lr {style.number(lr)}; "
            "last hidden layer. (a), (b), (d), (e): line: median; shaded: 15 to 85 "
            "percentile; of the lowest seed, in (a), (b) of the first recorded unit, in (d), (e) "
            "of all units of the layer. (c): of all units, zeros of ReLU, |z| < 1 of the sigmoid, "
            "|z| < 1/2 of tanh.",
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def percentile_band(
    axes: Axes, runs: Sequence[Run], norm: str, key: str, read: Callable[[Run], Series]
) -> None:
    """The median of the lowest seed of an arm over training, and its 15 to 85 percentile."""
    cell = [run for run in runs if run.norm == norm]
    if sweeps.absent(axes, cell, key, norm, runs[0].lr if runs else LR):
        return
    run = min((run for run in cell if key in run), key=lambda run: run.seed)
    steps, values = read(run)
    low, middle, high = (panels.drawable(column, log=False) for column in values.T)
    axes.fill_between(steps, low, high, color=style.arm(norm).light, linewidth=0)
    axes.plot(steps, middle, color=style.arm(norm).colour, linewidth=1.4)
    panels.mark_diverged(axes, [run], [(steps, middle)], log=False)


def percent_in_linear_range(run: Run, layer: str, function: str) -> Series:
    """`in_linear_range` in percent."""
    steps, values = in_linear_range(run, layer, function)
    return steps, 100 * values


def recorded_cells(axes: Axes, runs: Sequence[Run], key: str) -> list[panels.Cell]:
    """The runs that recorded `key` by norm; the panel says what is missing."""
    if sweeps.absent(axes, runs, key):
        return []
    sweeps.missing(axes, runs, panels.PAIR)
    cells = [[run for run in runs if run.norm == norm and key in run] for norm in NORMS]
    return [cell for cell in cells if cell]


def arm_runs_label(runs: Sequence[Run], cell: panels.Cell) -> str:
    """The legend of an arm: how many runs of it there are in all columns."""
    return sweeps.runs_label([run for run in runs if run.norm == cell[0].norm])
