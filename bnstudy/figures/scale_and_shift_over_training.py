"""Pre-activations, gamma and beta over training

Ioffe & Szegedy 2015, figure 1b, c: the 15, 50 and 85 percentiles of the inputs of a typical sigmoid
of the last hidden layer over training, which BatchNorm makes more stable. Ours: (a), (b) the same,
for ReLU, sigmoid and tanh; (c) how many of the layer's pre-activations a ReLU makes zero or are in
the linear range of the function; (d), (e) what gamma and beta become, which start at 1 and 0.
"""

from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnstudy.figures import grids, panels, style
from bnstudy.figures.scale_and_shift import FUNCTIONS, LR, activation, fractions, functions_of
from bnstudy.results import Run, Series

EXPERIMENTS = ("scale_and_shift",)
NORMS = ("none", "batch", "batch_no_affine")
PERCENTILES = "activations/percentiles"
SHAPES = ("gamma", "beta")
ROWS = ("(a) pre-activations,\nstandard", "(b) pre-activations,\nBatchNorm", "(c) fraction (%)")
ROWS += ("(d) γ", "(e) β")


def draw(runs: Sequence[Run]) -> Figure:
    """Percentiles, fractions, gamma and beta: a column per activation function."""
    chosen = panels.choose(runs, EXPERIMENTS, also=("model.activation",))
    shown = panels.at_lr(chosen, LR)
    functions = functions_of(shown)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 8.2), layout="constrained")
        grid = figure.subplots(len(ROWS), len(functions), squeeze=False, sharex=True)
        for column, function in zip(grid.T, functions, strict=True):
            own = [run for run in shown if activation(run) == function]
            layer = last_hidden_layer(own)
            for axes, norm in zip(column[:2], panels.PAIR, strict=True):
                unit = partial(percentiles, key=f"{PERCENTILES}/{layer}")
                between(axes, own, norm, f"{PERCENTILES}/{layer}", unit)
            zeros = "zeros" if function == "relu" else "within"
            for norm_cell in cells_of(column[2], own, f"activations/{zeros}/{layer}"):
                read = partial(in_percent, layer=layer, function=function)
                panels.curve(column[2], norm_cell, read, label=label(chosen, norm_cell))
            for axes, shape in zip(column[3:], SHAPES, strict=True):
                key = f"scale_and_shift/{shape}_percentiles/{layer}"
                between(axes, own, "batch", key, partial(percentiles, key=key))
            column[0].set_title(FUNCTIONS[function][0])
            panels.step_axis(column[-1], shown or chosen)
        for row, says in zip(grid, ROWS, strict=True):
            panels.outermost(row).set_ylabel(says)
        panels.legend(figure, list(grid[2]))
        notes = (
            f"lr {LR}; last hidden layer. (a), (b), (d), (e): line: median; shaded: 15 to 85 "
            "percentile; of the lowest seed, in (a), (b) of the first recorded unit, in (d), (e) "
            "of all units of the layer. (c): of all units, zeros of ReLU, |z| < 1 of the sigmoid, "
            "|z| < 1/2 of tanh.",
            panels.seeds_note(shown),
        )
        panels.finish(figure, runs, chosen, *notes, shown=shown)
    return figure


def last_hidden_layer(runs: Sequence[Run]) -> str:
    """The last recorded layer but the one of the outputs."""
    for run in runs:
        recorded = [name for name in run.layers[:-1] if f"{PERCENTILES}/{name}" in run]
        if recorded:
            return recorded[-1]
    return "layer"


def between(
    axes: Axes, runs: Sequence[Run], norm: str, key: str, read: Callable[[Run], Series]
) -> None:
    """The median of the lowest seed of an arm over training, and its 15 to 85 percentile."""
    cell = [run for run in runs if run.norm == norm]
    if grids.absent(axes, cell, key, norm, LR):
        return
    run = min((run for run in cell if key in run), key=lambda run: run.seed)
    steps, values = read(run)
    low, middle, high = (panels.drawable(column, log=False) for column in values.T)
    axes.fill_between(steps, low, high, color=style.ARMS[norm].light, linewidth=0)
    axes.plot(steps, middle, color=style.ARMS[norm].colour, linewidth=1.4)
    panels.mark_diverged(axes, [run], [(steps, middle)], log=False)


def percentiles(run: Run, key: str) -> Series:
    """Percentiles 15, 50, 85 over steps, [n, 3]: of the first unit, if there are several."""
    steps, values = run[key]
    return steps, values[:, 0] if values.ndim == 3 else values


def in_percent(run: Run, layer: str, function: str) -> Series:
    """The fraction that ReLU makes zero, or in the linear range, in percent."""
    steps, values = fractions(run, layer, function)
    return steps, 100 * values


def cells_of(axes: Axes, runs: Sequence[Run], key: str) -> list[panels.Cell]:
    """The runs that recorded `key` by norm; the panel says what is missing."""
    if grids.absent(axes, runs, key):
        return []
    grids.missing(axes, runs, panels.PAIR)
    cells = [[run for run in runs if run.norm == norm and key in run] for norm in NORMS]
    return [cell for cell in cells if cell]


def label(runs: Sequence[Run], cell: panels.Cell) -> str:
    """The legend of an arm: how many runs of it there are in all columns."""
    return grids.describe([run for run in runs if run.norm == cell[0].norm])
