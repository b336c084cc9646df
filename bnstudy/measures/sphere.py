"""Sharpness on the sphere, from what the probes of sharpness and of weights record.

Of scale-invariant weights the Hessian at w is that at w / ||w||, divided by ||w||^2. So the largest
eigenvalue times ||w||^2 is that of the function on the sphere, whatever the length of the weights.
"""

import math

import numpy as np

from bnstudy.measures.series import at_the_end, median, ratio, together
from bnstudy.measures.sharpness import sharpness
from bnstudy.measures.weights import squared_length
from bnstudy.results import Run, Series

LAST = 0.25  # of the run


def spherical_sharpness(run: Run) -> Series:
    """The largest eigenvalue of the Hessian times ||w||^2: steps [n], values [n].

    ||w|| is of all layers but the last, which has no norm in most networks. Statistics of the
    batch; NaN where the eigenvalue has not converged. Lyu, Li & Arora 2022, section 3.
    """
    steps, values, squared = together(sharpness(run), squared_length(run))
    return steps, values * squared


def last_spherical_sharpness(run: Run) -> float:
    """`spherical_sharpness`, the median over the last quarter; NaN if the run diverged."""
    typical = median(at_the_end(run, spherical_sharpness(run), LAST))
    return math.nan if run.outcome == "diverged" else typical


def spherical_fall(run: Run) -> float:
    """`spherical_sharpness` over the last quarter over its largest value before, medians [1].

    The largest is over running medians of three probed steps, so that no single step makes it. NaN
    for fewer than six probed steps, or if the run diverged.
    """
    _, values = spherical_sharpness(run)
    known = values[~np.isnan(values)]
    if len(known) < 6:
        return math.nan
    threes = np.median(np.lib.stride_tricks.sliding_window_view(known, 3), axis=1)
    return ratio(last_spherical_sharpness(run), float(threes.max()))
