"""The landscape along the gradient, from `probes/landscape.py`: figures 4, 10 to 13."""

import math

import numpy as np
from numpy.typing import NDArray

from bnstudy.measures.series import FEWEST, late, median, together
from bnstudy.measures.stability import at_edge
from bnstudy.measures.train import accuracy_around, chance, learning_rates, times_lr
from bnstudy.results import Run, Series, Steps, Values

LOSS, CHANGE = "landscape/loss", "landscape/gradient_change"
STEP_SIZE, GRADIENT = "landscape/step_size", "landscape/gradient_norm"
# Along a random direction as long as the gradient.
RANDOM_LOSS, RANDOM_CHANGE = "landscape/random_loss", "landscape/random_gradient_change"
# The sets of step sizes along the gradient: keys of eta, of the loss there, of the gradient change.
LINES = (
    (STEP_SIZE, LOSS, CHANGE),
    ("landscape/small_step_size", "landscape/small_loss", "landscape/small_gradient_change"),
    ("landscape/curve_step_size", "landscape/curve_loss", None),
)
EFFECTIVE_BETA = "landscape/effective_beta"  # as W&B has it: its panels cannot compute it
QUARTER = 0.25  # by which two numbers may differ that agree
NEAR_CHANCE = 0.05  # of training accuracy
FLAT = 0.01  # highest over lowest loss along the line, less 1
MANY = 20  # probed steps, so that one is no more than a twentieth


# Loss


def edges(run: Run, key: str) -> tuple[Steps, Values, Values]:
    """The smallest and the largest value over the step sizes: figures 4a, 4b, 10, 12, 13.

    Steps [n], low [n], high [n]. The range ends at infinity where any point is not finite.
    """
    steps, values = run[key]
    finite = np.isfinite(values)
    low = np.fmin.reduce(np.where(finite, values, np.nan), axis=1)
    return steps, low, np.where(finite, values, np.inf).max(axis=1)


def loss_width(run: Run, key: str = LOSS) -> Series:
    """The highest less the lowest loss over the step sizes [loss]: steps [n], values [n].

    Infinite where a loss on the line is not finite.
    """
    steps, low, high = edges(run, key)
    with np.errstate(invalid="ignore"):
        return steps, np.where(np.isfinite(high), high - low, np.inf)


def relative_range(run: Run, key: str = LOSS) -> Series:
    """The highest over the lowest loss over the step sizes, less 1; infinite where one is not."""
    steps, low, high = edges(run, key)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, high / low - 1


def highest(run: Run, key: str) -> float:
    """The largest value over all steps and step sizes; infinite if the run diverged."""
    return math.inf if run.outcome == "diverged" else float(edges(run, key)[2].max())


def flat_share(run: Run) -> float:
    """The share of the probed steps in a flat region [1].

    There the network guesses (training accuracy, mean over 2,000 samples or more, within 5 points
    of chance) and the loss along the line varies by less than 1 %. NaN for fewer than MANY steps,
    so of a run that diverged early too: what it lacks is neither flat nor steep.
    """
    steps, low, high = edges(run, LOSS)
    if len(steps) < MANY:
        return math.nan
    guesses = np.abs(accuracy_around(run, steps) - chance(run)) <= NEAR_CHANCE
    return float((guesses & (high < (1 + FLAT) * low)).mean())


# Gradient


def largest_change(run: Run) -> Series:
    """The largest ||grad L(theta - eta g) - g|| over the step sizes eta: the edge of figure 4b."""
    steps, _, high = edges(run, CHANGE)
    return steps, high


def relative_change(run: Run) -> Series:
    """The largest ||grad L(theta - eta g) - g|| / ||g|| over the step sizes eta [1]."""
    steps, changes = largest_change(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, changes / run[GRADIENT][1]


def own_step(run: Run) -> Series:
    """||grad L(theta - lr g) - g||: the gradient change over the step of size lr.

    The lr is that of the step. Infinite where the change is not finite; NaN where the step size was
    not measured.
    """
    steps, changes = run[CHANGE]
    lrs = learning_rates(run, steps)[:, None]
    own = np.isclose(run[STEP_SIZE][1], lrs, rtol=1e-3, atol=0)
    values = changes[np.arange(len(steps)), own.argmax(axis=1)]
    values = np.where(np.isfinite(values), values, np.inf)
    return steps, np.where(own.any(axis=1), values, np.nan)


def own_change(run: Run) -> Series:
    """||grad L(theta - lr g) - g|| / ||g|| [1]: the change over the step that training takes.

    NaN where eta = lr was not measured.
    """
    steps, changes = own_step(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, changes / run[GRADIENT][1]


def roughness(run: Run) -> float:
    """`own_change`, median over steps [1]; infinite if the run diverged."""
    typical = median(own_change(run)[1])
    return math.inf if run.outcome == "diverged" else typical


def first_changes(run: Run) -> tuple[Values, Values]:
    """Step sizes [K], ascending, and gradient change over ||g|| [K], at the first probed step.

    Of both sets of step sizes where there are two.
    """
    etas, found = (
        np.concatenate([run[name][1][0] for name in (key, _small(key)) if name in run])
        for key in (STEP_SIZE, CHANGE)
    )
    order = np.argsort(etas)
    return etas[order], found[order] / run[GRADIENT][1][0]


def _small(key: str) -> str:
    """The key of the second, smaller set of step sizes."""
    return key.replace("landscape/", "landscape/small_")


# Effective beta


def beta_of(changes: Values, step_sizes: Values, gradient_norm: Values) -> Values:
    """max over eta of gradient_change / (eta ||g||): [n, K], [n, K] and [n] to [n].

    NaN where the gradient vanishes, infinite where a point on the line is not finite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.isfinite(changes), changes, np.inf)
        return (ratios / (step_sizes * gradient_norm[:, None])).max(axis=1)


def effective_beta(run: Run) -> Series:
    """Effective beta-smoothness, max over eta of gradient_change / (eta ||g||): figures 4c, 10c.

    Steps [n] and values [n], in units of 1 / lr, as `beta_of`. Where the smallest eta already
    changes the gradient completely it says 1 / min(eta), and where training sits at the edge of
    stability 2 / lr: neither of them is a property of the network. `smaller_steps_beta` tells the
    two apart.
    """
    steps, changes = run[CHANGE]
    return steps, beta_of(changes, run[STEP_SIZE][1], run[GRADIENT][1])


def smaller_steps_beta(run: Run) -> Series:
    """Effective beta over the second, smaller set of step sizes [1 / lr]: steps [n], values [n]."""
    steps, changes, lengths = together(run[_small(CHANGE)], run[GRADIENT])
    return steps, beta_of(changes, run[_small(STEP_SIZE)][1], lengths)


def own_beta(run: Run) -> Series:
    """||grad L(theta - lr g) - g|| / (lr ||g||): effective beta of the step size lr alone."""
    steps, changes = own_step(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, changes / (learning_rates(run, steps) * run[GRADIENT][1])


def beta_times_lr(run: Run) -> Series:
    """Effective beta times the lr of each step [1]."""
    return times_lr(run, effective_beta(run))


def beta_at_edge(run: Run) -> float:
    """Effective beta over the edge of stability, the median from step 1000 on [1].

    Infinite if the run diverged; NaN where the optimizer has no known edge.
    """
    over = median(late(at_edge(run, effective_beta(run))))
    return math.inf if run.outcome == "diverged" else over


# Effective beta that says 1 / min(eta)


def smallest_step(run: Run) -> Series:
    """The smallest step size eta_min of each probed step."""
    steps, etas = run[STEP_SIZE]
    return steps, etas.min(axis=1)


def largest_beta(run: Run) -> Series:
    """1 / eta_min at each probed step: what effective beta says if the gradient changes at once."""
    steps, etas = smallest_step(run)
    with np.errstate(divide="ignore"):
        return steps, 1 / etas


def pinned(run: Run) -> tuple[Steps, NDArray[np.bool_]]:
    """Where effective beta is 1 / eta_min within 5 %: steps [n], true or false [n]."""
    steps, betas = effective_beta(run)
    return steps, np.abs(betas * smallest_step(run)[1] - 1) <= 0.05


def pinned_share(*runs: Run) -> float:
    """The share of the steps at which effective beta is pinned, the smallest of the runs [1].

    NaN if a run has fewer than FEWEST.
    """
    steps = [pinned(run)[1] for run in runs]
    return min(float(p.mean()) for p in steps) if min(map(len, steps)) >= FEWEST else math.nan


def pinned_by_grid(*runs: Run) -> float:
    """The share of the pinned steps at which smaller step sizes give another effective beta [1].

    It is another if it differs by more than a quarter. All runs together; NaN for fewer than
    FEWEST pinned steps.
    """
    moved = []
    for run in runs:
        _, betas, smaller = together(effective_beta(run), smaller_steps_beta(run))
        _, here, _ = together(pinned(run), smaller_steps_beta(run))
        moved.append(np.abs(smaller[here] / betas[here] - 1) > QUARTER)
    pooled = np.concatenate(moved)
    return float(pooled.mean()) if len(pooled) >= FEWEST else math.nan
