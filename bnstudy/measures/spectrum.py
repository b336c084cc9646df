"""Densities and top eigenvalues of the Hessian, from `probes/spectrum.py`: Ghorbani et al. 2019."""

import numpy as np

from bnstudy.measures.series import median
from bnstudy.measures.sharpness import converged, known_eigenvalues
from bnstudy.results import Run, Series, Values

# By statistics, "batch" or "running".
NODES, WEIGHTS = "spectrum/{}_nodes", "spectrum/{}_weights"
SHARE, EIGENVALUES = "spectrum/{}_gradient_share", "spectrum/{}_eigenvalues"
# Eigenvalues of a Hessian that stand out, one for each of ten classes (Gur-Ari et al. 2018).
OUTLIERS = 10
WIDTH = 0.01  # of the Gaussians that smooth a density, as a share of the spectrum's width
POINTS = 600


def gradient_share(run: Run) -> Series:
    """The share of ||g||^2 in the span of the ten top eigenvectors, statistics of the batch."""
    steps, shares = run[SHARE.format("batch")]
    return steps, shares[:, :OUTLIERS].sum(axis=1)


def outlier_ratio(run: Run) -> Series:
    """The largest eigenvalue over the eleventh, statistics of the batch.

    Infinite where only the largest is positive; NaN where it is not, or either was not measured.
    """
    steps, eigenvalues = run[EIGENVALUES.format("batch")]
    if eigenvalues.shape[1] <= OUTLIERS:
        return steps, np.full(len(steps), np.nan)
    top, bulk = eigenvalues[:, 0], eigenvalues[:, OUTLIERS]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(bulk > 0, top / bulk, np.inf)
    return steps, np.where((top > 0) & ~np.isnan(bulk), ratios, np.nan)


def median_share(run: Run) -> float:
    """`gradient_share`, the median over the steps at which the ten have converged."""
    known = converged(run, EIGENVALUES.format("batch"))[:, :OUTLIERS].all(axis=1)
    return median(gradient_share(run)[1][known])


def typical_outlier_ratio(run: Run) -> float:
    """`outlier_ratio`, the median over the steps at which the eleven have converged."""
    known = converged(run, EIGENVALUES.format("batch"))[:, : OUTLIERS + 1].all(axis=1)
    return median(outlier_ratio(run)[1][known])


def running_ratio(run: Run) -> float:
    """The largest eigenvalue with running statistics over that with the batch's, median."""
    keys = (EIGENVALUES.format(statistics) for statistics in ("running", "batch"))
    running, batch = (known_eigenvalues(run, key)[1] for key in keys)
    with np.errstate(divide="ignore", invalid="ignore"):
        return median(running[1:, 0] / batch[1:, 0])


def smoothed_density(nodes: Values, weights: Values) -> tuple[Values, Values, float]:
    """Eigenvalues [P], their density [P], and the smallest density that one eigenvalue makes.

    `nodes` and `weights` [D, I] are a Gauss quadrature for each of D random vectors; every node is
    a Gaussian. What is not finite is left out; nothing is left of a spectrum of one value.
    """
    known = np.isfinite(nodes) & np.isfinite(weights)
    if not known.any() or np.ptp(nodes[known]) == 0:
        return np.array([]), np.array([]), 0.0
    centres, shares = nodes[known], weights[known] / known.any(axis=1).sum()
    low, high = centres.min(), centres.max()
    sigma = WIDTH * (high - low)
    xs = np.linspace(low - 4 * sigma, high + 4 * sigma, POINTS)
    heights = np.exp(-0.5 * ((xs[:, None] - centres) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    values = heights @ shares
    ends = min(values[np.abs(xs - low).argmin()], values[np.abs(xs - high).argmin()])
    return xs, values, 0.1 * float(max(ends, 1e-12 * values.max()))
