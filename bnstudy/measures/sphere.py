"""Sharpness on the sphere, from what the probes of sharpness and of weights record.

Of scale-invariant weights the Hessian at w is that at w / ||w||, divided by ||w||^2. So the largest
eigenvalue times ||w||^2 is that of the function on the sphere, whatever the length of the weights.
"""

import math

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
    """`spherical_sharpness` over the last quarter over that over the second quarter, medians [1].

    The first quarter does not count: from the initial weights sharpness falls to its edge, with
    weight decay or without. NaN if a quarter has no value, or the run diverged.
    """
    steps, values = spherical_sharpness(run)
    quarters = 4 * steps // run.config["steps"]
    return ratio(last_spherical_sharpness(run), median(values[quarters == 1]))
