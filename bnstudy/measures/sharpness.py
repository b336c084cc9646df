"""The largest eigenvalues of the Hessian, from `probes/sharpness.py`, and their edge.

Eigenvalues descend: [n, K]. They are of the training batch, with the statistics of the batch or
with running ones.
"""

import numpy as np
from numpy.typing import NDArray

from bnstudy.measures.series import at_the_end, late, median, second_half
from bnstudy.measures.stability import at_edge
from bnstudy.results import Run, Series

EIGENVALUES = {  # by statistics
    "batch": "sharpness/batch_eigenvalues",
    "running": "sharpness/running_eigenvalues",
}
LAST = 0.25  # of the run
HESSIAN_SAMPLES = 1000  # on fewer the sharpness of a network depends on their number


def converged(run: Run, key: str) -> NDArray[np.bool_]:
    """Where the eigenvalues [n, K] of `key` have errors within the tolerance of their probe.

    Everywhere if error or tolerance is not known.
    """
    values, errors = run[key][1], key.replace("_eigenvalues", "_error")
    tolerance = run.option(f"probes.{key.split('/')[0]}.tolerance")
    if errors not in run or tolerance is None:
        return np.full(values.shape, True)
    return run[errors][1] <= tolerance * np.abs(values)


def known_eigenvalues(run: Run, key: str) -> Series:
    """Eigenvalues, NaN where they have not converged: steps [n], values [n, K]."""
    steps, eigenvalues = run[key]
    return steps, np.where(converged(run, key), eigenvalues, np.nan)


def top_eigenvalue(run: Run, statistics: str = "batch") -> Series:
    """The largest eigenvalue as it was recorded, converged or not: steps [n], values [n]."""
    steps, values = run[EIGENVALUES[statistics]]
    return steps, values[:, 0]


def sharpness(run: Run) -> Series:
    """The largest eigenvalue of the Hessian, statistics of the batch; NaN if not converged."""
    steps, eigenvalues = known_eigenvalues(run, EIGENVALUES["batch"])
    return steps, eigenvalues[:, 0]


def sharpness_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability, the median over the second half of the run."""
    return median(second_half(run, at_edge(run, sharpness(run))))


def late_sharpness(run: Run) -> float:
    """Sharpness, the median from step 1000 on."""
    return median(late(sharpness(run)))


def late_sharpness_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability, the median from step 1000 on."""
    return median(late(at_edge(run, sharpness(run))))


def final_sharpness_at_edge(run: Run) -> float:
    """Sharpness over its edge of stability, the median over the last quarter of the run."""
    return median(at_the_end(run, at_edge(run, sharpness(run)), LAST))


def samples_of(run: Run, probe: str) -> int:
    """How many training samples a probe of the Hessian takes."""
    return run.batch_size * (run.option(f"probes.{probe}.batches") or 1)
