"""What activation functions see, from `probes/activations.py`: histograms, fractions, percentiles.

Histograms: counts [n, U, bins] of U units, each over a range of its own, [n, U, 2].
"""

from collections.abc import Sequence

import numpy as np

from bnstudy.measures.layers import hidden_layers, needed_layers
from bnstudy.measures.series import at_the_end, mean
from bnstudy.results import Run, Series, Steps, Values

HISTOGRAM, RANGE = "activations/histogram", "activations/range"
VARIANCE = "activations/variance"
PERCENTILES = "activations/percentiles"  # 15, 50, 85 of each of U units
ZEROS, WITHIN = "activations/zeros", "activations/within"
LATE = 1 / 3  # the share of the run over which a trained network is looked at
# By activation function, what says how linear it is: the key, and the column of it.
LINEAR = {"relu": (ZEROS, None), "sigmoid": (WITHIN, 1), "tanh": (WITHIN, 0)}


# Fractions


def in_linear_range(run: Run, layer: str, function: str) -> Series:
    """The fraction that a ReLU makes zero, or in the linear range of a sigmoid or tanh [1].

    |z| < 1 of a sigmoid, |z| < 1/2 of tanh: steps [n], values [n], NaN if it was not recorded.
    """
    kind, column = LINEAR[function]
    if f"{kind}/{layer}" not in run:
        return np.zeros(1, dtype=np.int64), np.full(1, np.nan)
    steps, values = run[f"{kind}/{layer}"]
    return steps, values if column is None else values[:, column]


def zeros(run: Run) -> float:
    """The fraction that the ReLU makes zero, mean over hidden layers and late steps."""
    return float(np.mean([mean(values) for values in _late(run, ZEROS)]))


def linear_share(run: Run) -> float:
    """The fraction with |z| < 1, mean over hidden layers and late steps."""
    return float(np.mean([mean(values[:, 1]) for values in _late(run, WITHIN)]))


def _late(run: Run, kind: str) -> list[Values]:
    """What <kind>/<layer> says of every hidden layer that has it, over the last third of the run.

    Raises KeyError if there is none.
    """
    names = needed_layers(run, kind)
    return [at_the_end(run, run[f"{kind}/{name}"], LATE) for name in names]


# Percentiles


def unit_percentiles(run: Run, layer: str) -> Series:
    """Percentiles 15, 50, 85 of a layer's first recorded unit: steps [n], values [n, 3]."""
    steps, values = run[f"{PERCENTILES}/{layer}"]
    return steps, values[:, 0]


# Histograms


def histograms(run: Run, layer: str) -> tuple[Steps, Values, Values]:
    """The histograms of a layer's units: steps [n], counts [n, U, bins], ranges [n, U, 2]."""
    steps, counts = run[f"{HISTOGRAM}/{layer}"]
    return steps, counts, run[f"{RANGE}/{layer}"][1]


def last_histograms(runs: Sequence[Run], layer: str) -> tuple[Values, Values]:
    """The units of all runs at the last step of each: counts [U, bins] and ranges [U, 2]."""
    found = [histograms(run, layer) for run in runs]
    counts, ranges = ([record[i][-1] for record in found] for i in (1, 2))
    return np.concatenate(counts), np.concatenate(ranges)


def rebin(counts: Values, ranges: Values, grid: Values) -> Values:
    """Histograms of several units on one grid, added up: [U, bins], [U, 2], [G + 1] to [G].

    Values are taken to be spread evenly over their bin. Units whose range is not finite are left
    out; what lies outside of the grid is lost.
    """
    total = np.zeros(len(grid) - 1)
    for unit, (low, high) in zip(counts, ranges, strict=True):
        if np.isfinite([low, high]).all():
            # The range of a unit that is constant has no width.
            high = max(high, low + 1e-6 * (grid[1] - grid[0]))
            bounds = np.linspace(low, high, len(unit) + 1)
            total += np.diff(np.interp(grid, bounds, np.concatenate([[0.0], np.cumsum(unit)])))
    return total


def histogram_grid(counts: Values, ranges: Values, cells: int = 200) -> Values:
    """A grid for histograms, [n, U, bins] with ranges [n, U, 2]: all but 0.1 % at either end.

    One step in ten may reach out of it, so that a step at which a run explodes hides no other.
    """
    finite = np.where(np.isfinite(ranges).all(axis=2, keepdims=True), ranges, np.nan)
    lows = np.fmin.reduce(finite[:, :, 0], axis=1)
    highs = np.fmax.reduce(finite[:, :, 1], axis=1)
    lows, highs = np.sort(lows[~np.isnan(lows)]), np.sort(highs[~np.isnan(highs)])
    if not len(lows):
        return np.linspace(-1.0, 1.0, cells + 1)
    low, high = lows[len(lows) // 10], highs[len(highs) - 1 - len(highs) // 10]
    wide = np.linspace(low, max(high, low + 1e-9 * max(1.0, abs(low))), cells + 1)
    pairs = zip(counts, ranges, strict=True)
    share = np.cumsum(sum(rebin(count, bounds, wide) for count, bounds in pairs))
    ends = np.searchsorted(share, [0.001 * share[-1], 0.999 * share[-1]])
    return np.linspace(wide[ends[0]], wide[ends[1] + 1], cells + 1)


# Which layer


def middle_hidden_layer(runs: Sequence[Run], kind: str = HISTOGRAM) -> str:
    """The hidden layer with a record that is nearest to the middle; "layer" for none."""
    for run in runs:
        if recorded := hidden_layers(run, kind):
            hidden = run.layers[:-1]
            middle = (len(hidden) - 1) // 2
            return min(recorded, key=lambda name: abs(hidden.index(name) - middle))
    return "layer"


def last_hidden_layer(runs: Sequence[Run], kind: str = PERCENTILES) -> str:
    """The last hidden layer with a record; "layer" for none."""
    return next((found[-1] for run in runs if (found := hidden_layers(run, kind))), "layer")
