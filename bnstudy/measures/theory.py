"""The terms of theorems 4.1, 4.2 and 4.4, from `probes/theory.py`.

y and z: values before and after a norm; g = dL/dz. Of a layer's sampled units: [n, units].
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import average, median, medians
from bnstudy.results import Run, Series, Steps, Values

POSITIVE = "theory/positive"  # recorded of every layer that is measured
SCALE = "theory/scale_percentiles"  # 15, 50, 85 of gamma^2 / sigma^2 over units: [n, 3]
SIDES = ("input_gradient", "output_gradient")  # of a norm
WITHIN = 95  # percent of the sampled units, within which the error of theorem 4.2 is told


def _key(name: str, layer: str) -> str:
    return f"theory/{name}/{layer}"


def _layers(run: Run, name: str) -> list[str]:
    """The layers that recorded it, from the input on. Raises KeyError if none did."""
    found = recorded_layers(run, f"theory/{name}")
    if not found:
        raise KeyError(f"{run.directory.name} has no theory/{name}")
    return found


def _pooled(run: Run, *keys: str) -> list[Values]:
    """All numbers of all layers and steps for each key, where those of every key are finite."""
    names = _layers(run, keys[-1])
    found = [np.concatenate([run[_key(key, name)][1].ravel() for name in names]) for key in keys]
    known = np.all(np.isfinite(found), axis=0)
    return [values[known] for values in found]


def _of_units(run: Run, *keys: str) -> tuple[Steps, list[Values]]:
    """Steps [n], and of each key the values of all layers' sampled units [n, units].

    Of the layers that have them all; without any, no units.
    """
    measured = recorded_layers(run, POSITIVE)
    steps = run[f"{POSITIVE}/{measured[0]}"][0]
    have = [name for name in measured if all(_key(key, name) in run for key in keys)]
    none = np.empty((len(steps), 0))
    return steps, [
        np.concatenate([none, *(run[_key(key, name)][1] for name in have)], axis=1) for key in keys
    ]


def _share(holds: ArrayLike) -> float:
    """For how many of them it holds; NaN for none."""
    values = np.asarray(holds, dtype=float)
    return float(values.mean()) if len(values) else math.nan


def _exceeding(over: Values, under: Values) -> Values:
    """In percent of every row, [n, units] to [n]; NaN where a row has no finite numbers."""
    known = np.isfinite(over) & np.isfinite(under)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 100 * (known & (over > under)).sum(axis=1) / known.sum(axis=1)


def _terms(run: Run, layer: str, over: str, under: str) -> Values:
    """The ratio of two records of the layer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return run[_key(over, layer)][1] / run[_key(under, layer)][1]


# Theorem 4.1, by layer: values [n] at the steps of POSITIVE


def gradient_gain(run: Run, layer: str) -> Values:
    """||dL/dy||^2 / ||dL/dz||^2 [1]."""
    return _terms(run, layer, "input_gradient", "output_gradient")


def scale_gain(run: Run, layer: str) -> Values:
    """gamma^2 / sigma^2, weighted with ||dL/dz||^2."""
    return _terms(run, layer, "scaled_gradient", "output_gradient")


def mean_part(run: Run, layer: str) -> Values:
    """The part of gamma^2 / sigma^2 ||g||^2 that goes with the mean [percent]."""
    return 100 * _terms(run, layer, "mean_term", "scaled_gradient")


def projected_part(run: Run, layer: str) -> Values:
    """The part of gamma^2 / sigma^2 ||g||^2 that goes with the product with y_hat [percent]."""
    return 100 * _terms(run, layer, "projection_term", "scaled_gradient")


# Theorem 4.1


def gradient_error(run: Run) -> float:
    """The largest relative difference of the two sides, over units, layers and steps.

    Infinite if it is not finite anywhere where both gradients are.
    """
    errors = _errors(run)
    known = errors[~np.isnan(errors)]
    return float(known.max()) if len(known) else math.nan


def gradient_errors(run: Run) -> Series:
    """The largest relative difference of the two sides over units and layers, by step.

    Infinite where it is not finite though both gradients are; NaN at steps without gradients.
    """
    steps = run[_key("error", _layers(run, "error")[0])][0]
    return steps, np.fmax.reduce(_errors(run), axis=0)


def _errors(run: Run) -> Values:
    """The relative differences [layers, n]: infinite where they are NaN, NaN without gradients."""
    found = []
    for name in _layers(run, "error"):
        errors, *gradients = (run[_key(key, name)][1] for key in ("error", *SIDES))
        told = np.where(np.isnan(errors), np.inf, errors)
        found.append(np.where(np.isfinite(gradients).all(axis=0), told, np.nan))
    return np.array(found)


def violated_share(run: Run) -> float:
    """The fraction of units with a gradient for which 4.1 as printed is false."""
    return _share(*_pooled(run, "violated"))


def violated_percent(run: Run) -> Series:
    """Where 4.1 as printed is false, by step: percent of units, mean over layers."""
    found = [run[_key("violated", name)] for name in recorded_layers(run, POSITIVE)]
    return found[0][0], 100 * average(np.stack([values for _, values in found]))


def mean_over_chance(run: Run) -> float:
    """m times the share of gamma^2 / sigma^2 ||g||^2 that the term of the mean subtracts [1].

    Median over layers and steps. A gradient in a random direction has 1: its share is 1 / m. Of
    fully connected layers, where m is the batch size.
    """
    return _share_over_chance(run, "mean_term")


def projection_over_chance(run: Run) -> float:
    """m times the share that the term with y_hat subtracts [1], as `mean_over_chance`."""
    return _share_over_chance(run, "projection_term")


def _share_over_chance(run: Run, term: str) -> float:
    over, under = _pooled(run, term, "scaled_gradient")
    return run.batch_size * median(over[under > 0] / under[under > 0])


# Theorem 4.2


def curvature_error(run: Run) -> float:
    """The relative difference of the two sides of the first line: 95th percentile."""
    left, right, term = _pooled(run, "curvature", "curvature_first", "curvature_term")
    size = np.abs(term) + np.abs(right - term)
    relative = np.abs(left - right)[size > 0] / size[size > 0]
    return float(np.percentile(relative, WITHIN)) if len(relative) else math.nan


def curvature_errors(run: Run) -> Series:
    """The relative difference of the two sides of the first line, by step: 95th percentile."""
    steps, (left, right, term) = _of_units(run, "curvature", "curvature_first", "curvature_term")
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.abs(left - right) / (np.abs(term) + np.abs(right - term))
    rows = [row[np.isfinite(row)] for row in relative]
    return steps, np.array([np.percentile(row, WITHIN) if len(row) else np.nan for row in rows])


def second_line_holds(run: Run) -> float:
    """The fraction of sampled units for which the second line holds: all layers and steps."""
    left, right = _pooled(run, "curvature", "curvature_second")
    return _share(left <= right)


def second_line_false(run: Run) -> Series:
    """Where the second line is false, by step: percent of sampled units."""
    steps, (left, right) = _of_units(run, "curvature", "curvature_second")
    return steps, _exceeding(left, right)


def positive_share(run: Run) -> float:
    """The fraction of units with <y_hat, g> > 0: mean over layers and steps."""
    return _share(*_pooled(run, "positive"))


def positive_percent(run: Run, layer: str) -> Values:
    """The units of a layer with <y_hat, g> > 0, by step [percent]."""
    return 100 * run[f"{POSITIVE}/{layer}"][1]


def convex(run: Run) -> float:
    """The fraction of sampled units with a term in the Hessian that is not negative."""
    (term,) = _pooled(run, "curvature_term")
    return _share(term >= 0)


# Theorem 4.4


def largest_tightness(run: Run) -> float:
    """The largest ratio of a unit's gradient to its bound, both squared: all layers and steps."""
    ratios = _tightness(*_pooled(run, "weight_gradient", "weight_bound"))
    known = ratios[~np.isnan(ratios)]
    return float(known.max()) if len(known) else math.nan


def median_tightness(run: Run, layer: str) -> Values:
    """The ratio of gradient to bound, both squared, by step: the median over a layer's units."""
    keys = [_key(name, layer) for name in ("weight_gradient", "weight_bound")]
    if keys[1] not in run:
        return np.full(len(run[f"{POSITIVE}/{layer}"][0]), np.nan)
    return medians(_tightness(*(run[key][1] for key in keys)))


def _tightness(gradient: Values, bound: Values) -> Values:
    """gradient / bound; NaN where the bound is not positive, where rounding is all there is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bound > 0, gradient / bound, np.nan)


def printed_bound_false(run: Run) -> Series:
    """Where 4.4 as printed is less than what is attained, by step: percent of sampled units."""
    steps, (attained, printed) = _of_units(run, "weight_bound", "weight_bound_printed")
    return steps, _exceeding(attained, printed)
