"""The curvature of batches along their own gradients, from `probes/batch_sharpness.py`."""

import numpy as np

from bnstudy.measures.landscape import QUARTER, own_beta, pinned, smallest_step
from bnstudy.measures.series import mean, median, second_half, together
from bnstudy.measures.stability import at_edge
from bnstudy.results import Run, Series

CURVATURE = {  # by statistics: g'Hg / ||g||^2 of B batches, [n, B]
    "batch": "batch_sharpness/batch_curvature",
    "running": "batch_sharpness/running_curvature",
}


def batch_sharpness(run: Run, statistics: str = "batch") -> Series:
    """g'Hg / ||g||^2 on a batch, the mean over the batches that were measured."""
    steps, curvatures = run[CURVATURE[statistics]]
    return steps, curvatures.mean(axis=1)


def batch_sharpness_at_edge(run: Run) -> float:
    """Batch sharpness over its edge of stability, the median over the second half of the run."""
    return median(second_half(run, at_edge(run, batch_sharpness(run), of_batches=True)))


def curvature_along_gradient(run: Run) -> Series:
    """g'Hg / ||g||^2 on the batch of the step, the first of those that were measured."""
    steps, curvatures = run[CURVATURE["batch"]]
    return steps, curvatures[:, 0]


def beta_over_curvature(run: Run) -> float:
    """Effective beta of the step taken over |g'Hg| / ||g||^2, the median over steps."""
    with np.errstate(divide="ignore", invalid="ignore"):
        _, betas, curvatures = together(own_beta(run), curvature_along_gradient(run))
        return median(betas / np.abs(curvatures))


def pinned_wrong_share(*runs: Run) -> float:
    """The share of the steps at which effective beta is pinned and the curvature another.

    It is another if it differs from 1 / eta_min by more than a quarter. Of all runs together, of
    the steps that have a curvature; NaN if none has.
    """
    wrong = []
    for run in runs:
        curvature = curvature_along_gradient(run)
        _, here, curvatures = together(pinned(run), curvature)
        _, etas, _ = together(smallest_step(run), curvature)
        differs = np.abs(curvatures * etas - 1) > QUARTER
        wrong.append(np.where(np.isnan(curvatures), np.nan, differs & here))
    return mean(np.concatenate(wrong))
