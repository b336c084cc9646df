"""The arms and the reductions of runs that several topics share."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnstudy.claims.judging import Arm
from bnstudy.claims.rules import in_words, listed
from bnstudy.results import (
    SAMPLES,
    Run,
    Series,
    Steps,
    Values,
    chance,
    edges,
    effective_beta,
    final_accuracy,
    find_layer,
    own_step,
)

# Arms

STANDARD = Arm("the standard network", "vgg", "none", 0.1)
BATCH = Arm("BatchNorm", "vgg", "batch", 0.1)
STANDARD_HIGH = STANDARD._replace(lr=0.5)
BATCH_HIGH = BATCH._replace(lr=0.5)
LINEAR = Arm("the standard network", "deep_linear", "none", 1e-6)
LINEAR_BATCH = Arm("BatchNorm", "deep_linear", "batch", 1e-6)
LINEAR_LOW = LINEAR._replace(lr=1e-7)
LINEAR_BATCH_LOW = LINEAR_BATCH._replace(lr=1e-7)


# Of one run

LOSS, CHANGE = "landscape/loss", "landscape/gradient_change"
GRADIENT = "landscape/gradient_norm"
SHIFT = "internal_covariate_shift"
CONVOLUTIONS, DEPTH = 13, 25  # the layers that the paper counts


def layer(run: Run, number: int, of: int, kind: str) -> str:
    """The key <kind>/<layer> of the layer that stands for layer `number` of the paper's `of`.

    KeyError if no layer has it.
    """
    found = find_layer(run, number, of, kind)
    if found is None:
        raise KeyError(f"{run.directory.name} has no {kind}")
    return f"{kind}/{run.layers[found - 1]}"


def first_third(run: Run, series: Series) -> Values:
    """The values of a series in the first third of the run."""
    steps, values = series
    return values[3 * steps < run.config["steps"]]


def late(series: Series, step: int = 1000) -> Values:
    """The values of a series from a step on."""
    steps, values = series
    return values[steps >= step]


def median(values: Values) -> float:
    """The median of what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def mean(values: Values) -> float:
    """The mean of what is finite; NaN if nothing is left."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def upper(run: Run) -> Series:
    """The largest gradient change over the step sizes: the upper edge of figure 4b."""
    steps, _, high = edges(run, CHANGE)
    return steps, high


def ratio(over: float, under: float) -> float:
    """over / under; NaN where neither is finite, or both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


def geometric_mean(values: Sequence[float]) -> float:
    """exp(mean of the logarithms) [1]; NaN if a value is NaN, or there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values).mean())) if len(values) else math.nan


def together(one: Series, other: Series) -> tuple[Steps, Values, Values]:
    """Two series at the steps that both have: steps [n], values [n] of either."""
    steps, of_one, of_other = np.intersect1d(one[0], other[0], return_indices=True)
    return steps, one[1][of_one], other[1][of_other]


def at_first_step(series: Series) -> float:
    """The value of a series at step 0, NaN if there is none."""
    steps, values = series
    return float(values[0]) if len(steps) and steps[0] == 0 else math.nan


def at_the_end(run: Run, key: str, share: float) -> Values:
    """The values of a metric over the last `share` of the run, one step at least."""
    return at_the_end_of(run, run[key], share)


def at_the_end_of(run: Run, series: Series, share: float) -> Values:
    """The same of a series."""
    steps, values = series
    planned = run.config["steps"]
    return values[steps >= planned - max(1, round(share * planned))]


def training_accuracy(run: Run, share: float) -> float:
    """Accuracy over the last `share` of the run [percent]; that of guessing if it diverged."""
    if run.outcome == "diverged":
        return 100 * chance(run)
    return 100 * mean(at_the_end(run, "train/accuracy", share))


def above_chance(run: Run) -> float:
    """Test accuracy above that of guessing at the end of the run [points]; 0 if it diverged."""
    return 100 * (final_accuracy(run) - chance(run))


def final_loss(run: Run) -> float:
    """The median training loss over the last hundredth of the run; infinite if it diverged."""
    return math.inf if run.outcome == "diverged" else median(at_the_end(run, "train/loss", 0.01))


def loss_ratio(over: Run, under: Run) -> float:
    """The ratio of two final losses."""
    return ratio(final_loss(over), final_loss(under))


def accuracy(run: Run) -> float:
    """Test accuracy at the end of the run [percent]; that of guessing if it diverged."""
    return 100 * final_accuracy(run)


# Of the runs of a block


def best(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """The largest value over the runs, say over their learning rates; NaN without any."""
    return max((of(run) for run in runs), default=math.nan)


def cells(runs: Sequence[Run], *paths: str) -> dict[tuple[Any, ...], Run]:
    """The runs by their options."""
    return {tuple(run.option(path) for path in paths): run for run in runs}


def matched(*blocks: Sequence[Run], by: Sequence[str]) -> list[list[Run]]:
    """Of every block the runs whose options `by` every other block has too, in the same order."""
    by_cell = [cells(block, *by) for block in blocks]
    shared = [cell for cell in by_cell[0] if all(cell in other for other in by_cell)]
    return [[own[cell] for cell in shared] for own in by_cell]


# Steps that runs share


FEWEST = 10  # probed steps: a median of fewer is one of the start alone


def aligned(*of: tuple[Run, Series]) -> tuple[Steps, list[Values]]:
    """Series of several runs at the steps that all of them have: steps [n], of each values [n].

    A run that diverged counts beyond its end too, as infinite: an explosion is no smoothness.
    """
    steps = [series[0] for _, series in of]
    extended = [
        np.union1d(own, [step for s in steps for step in s if step > own[-1]])
        if run.outcome == "diverged" and len(own)
        else own
        for (run, _), own in zip(of, steps, strict=True)
    ]
    shared = reduce(np.intersect1d, extended).astype(np.int64)
    values = []
    for _, (own, known) in of:
        place = {step: index for index, step in enumerate(own.tolist())}
        values.append(
            np.array([known[place[s]] if s in place else np.inf for s in shared.tolist()])
        )
    return shared, values


def median_ratio(over: tuple[Run, Series], under: tuple[Run, Series]) -> float:
    """The median of one series over that of another, at the steps that both have [1].

    What a diverged run lacks is infinite, as `aligned` has it. NaN for fewer than FEWEST steps.
    """
    steps, (ours, theirs) = aligned(over, under)
    return ratio(median(ours), median(theirs)) if len(steps) >= FEWEST else math.nan


# The same training loss

BIN = 0.25  # width of a bin of the natural logarithm of the training loss


def around(run: Run, key: str, steps: Steps) -> Values:
    """A metric of the training batches at steps [n], each the mean over SAMPLES samples or more.

    They lie around the step; at either end they are those there are. NaN where a value is not
    finite, or none was recorded.
    """
    trained, values = run[key]
    half = math.ceil(SAMPLES / run.batch_size / 2)
    spans = [(trained >= step - half) & (trained <= step + half) for step in steps.tolist()]
    means = [float(values[span].mean()) if span.any() else math.nan for span in spans]
    return np.array([mean if math.isfinite(mean) else math.nan for mean in means])


def loss_around(run: Run, steps: Steps) -> Values:
    """The training loss at steps [n], as `around`."""
    return around(run, "train/loss", steps)


def accuracy_around(run: Run, steps: Steps) -> Values:
    """The training accuracy at steps [n], as `around`."""
    return around(run, "train/accuracy", steps)


def by_loss(run: Run, series: Series) -> dict[int, float]:
    """The median of a series in every bin of the training loss that the run visits.

    Bin k holds the steps with k <= ln(loss) / BIN < k + 1. Steps without a value do not count.
    """
    steps, values = series
    losses = loss_around(run, steps)
    known = ~np.isnan(values) & (losses > 0)
    bins = np.floor(np.log(losses[known]) / BIN).astype(int)
    return {int(k): median(values[known][bins == k]) for k in np.unique(bins)}


def at_matched_loss(over: tuple[Run, Series], under: tuple[Run, Series]) -> float:
    """How many times larger one series is than another at the same training loss [1].

    exp(mean over k of ln(a_k / b_k)): a_k and b_k are the medians over the steps at which the
    training loss of either run is in bin k, over the bins that both visit. So a network that has
    trained further is not compared with what it was before. A run that diverged counts as
    infinite, since what it lacks is not small. NaN if no bin is shared, or both diverged.
    """
    diverged = [run.outcome == "diverged" for run, _ in (over, under)]
    if any(diverged):
        return math.nan if all(diverged) else (math.inf if diverged[0] else 0.0)
    ours, theirs = by_loss(*over), by_loss(*under)
    ratios = [ratio(ours[k], theirs[k]) for k in sorted(set(ours) & set(theirs))]
    return geometric_mean([one for one in ratios if not math.isnan(one)])


# How fast runs train

LEVELS = (0.9, 0.7, 0.5)
SUBSET = "train/subset_accuracy"
TO_LEVEL = (
    "steps to the highest of 90, 70 and 50 % accuracy that all reach, on a fixed subset of the "
    "training images (linear interpolation between tests; ∞ if 50 % is never reached)"
)


def steps_to_level(run: Run, level: float) -> float:
    """Steps until the accuracy on the fixed training subset reaches a level [steps].

    Linear interpolation between the tests; infinite if it never does.
    """
    steps, accuracies = run[SUBSET]
    reached = np.flatnonzero(accuracies >= level - 1e-9)
    if not len(reached):
        return math.inf
    k = reached[0]
    if k == 0:
        return float(steps[0])
    share = (level - accuracies[k - 1]) / (accuracies[k] - accuracies[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def common_level(*runs: Run) -> float:
    """The highest level that all runs reach, the lowest if there is none."""
    reached = (a for a in LEVELS if all(steps_to_level(run, a) < math.inf for run in runs))
    return next(reached, LEVELS[-1])


def level_in_words(*runs: Run) -> str:
    """The level at which runs are compared, as a note.

    If some never reach it, it says how many times as many steps they need at least.
    """
    level = common_level(*runs)
    steps = [steps_to_level(run, level) for run in runs]
    never = [run for run, own in zip(runs, steps, strict=True) if own == math.inf]
    words = f"Compared at {100 * level:.0f} %"
    if not never or len(never) == len(runs):
        return f"{words}{', which no run reached' if never else ''}."
    names = listed([f"{run.norm} at seed {run.seed}" for run in never])
    least = min(run.config["steps"] for run in never) / max(s for s in steps if s < math.inf)
    return f"{words}, which {names} never reached: at least {in_words(least)}×."


def times_faster(slow: Run, *fast: Run) -> float:
    """The steps that `slow` needs to the common level over those of the slowest of `fast` [1].

    Infinite if only `slow` never gets there, 0 if only one of `fast` does not, NaN if both.
    """
    level = common_level(slow, *fast)
    return ratio(steps_to_level(slow, level), max(steps_to_level(run, level) for run in fast))


def times_slower(fast: Run, *slow: Run) -> float:
    """The steps that the slowest of `slow` needs to the common level over those of `fast` [1]."""
    return 1 / times if (times := times_faster(fast, *slow)) else math.inf


# Landscapes


def loss_width(run: Run, key: str = LOSS) -> Series:
    """The highest less the lowest loss over the step sizes [loss]: steps [n], values [n].

    Infinite where a loss on the line is not finite.
    """
    steps, low, high = edges(run, key)
    with np.errstate(invalid="ignore"):
        return steps, np.where(np.isfinite(high), high - low, np.inf)


def relative_change(run: Run) -> Series:
    """The largest ||grad L(theta - eta g) - g|| / ||g|| over the step sizes eta [1]."""
    steps, highest = upper(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, highest / run[GRADIENT][1]


def own_change(run: Run) -> Series:
    """||grad L(theta - lr g) - g|| / ||g|| [1]: the change over the step that training takes.

    NaN where eta = lr was not measured.
    """
    steps, changes = own_step(run)
    with np.errstate(divide="ignore", invalid="ignore"):
        return steps, changes / run[GRADIENT][1]


def smoother(of: Callable[[Run], Series], standard: Run, *others: Run) -> float:
    """How many times larger it is without a norm than with the worst of others, at matched loss."""
    ratios = [at_matched_loss((standard, of(standard)), (run, of(run))) for run in others]
    return math.nan if any(map(math.isnan, ratios)) else min(ratios)


def narrower_loss_range(standard: Run, *others: Run) -> float:
    """`smoother` of the absolute width of the loss range."""
    return smoother(loss_width, standard, *others)


def smaller_change(standard: Run, *others: Run) -> float:
    """`smoother` of the largest relative gradient change."""
    return smoother(relative_change, standard, *others)


def smaller_beta(standard: Run, *others: Run) -> float:
    """`smoother` of effective beta."""
    return smoother(effective_beta, standard, *others)


def beta_at_edge(run: Run) -> float:
    """Effective beta over 2 / lr, the median from step 1000 on [1]; infinite if it diverged."""
    over = median(late(effective_beta(run))) * run.lr / 2
    return math.inf if run.outcome == "diverged" else over


def smallest_step(run: Run) -> float:
    """The smallest step size of the landscape probe."""
    return float(run["landscape/step_size"][1].min())


def pinned(run: Run, betas: Values) -> NDArray[np.bool_]:
    """Where effective beta is 1 / eta_min within 5 %."""
    return np.abs(betas * smallest_step(run) - 1) <= 0.05


def smaller_steps_beta(run: Run) -> Series:
    """Effective beta over the second, smaller set of step sizes [1 / lr]: steps [n], values [n]."""
    steps, changes = run["landscape/small_gradient_change"]
    lengths = dict(zip(*(v.tolist() for v in run[GRADIENT]), strict=True))
    distances = run["landscape/small_step_size"][1]
    distances = distances * np.array([[lengths[step]] for step in steps.tolist()])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.isfinite(changes), changes, np.inf) / distances
    return steps, ratios.max(axis=1)


def highest(run: Run, key: str) -> float:
    """The largest value over all steps and step sizes; infinite if the run diverged."""
    return math.inf if run.outcome == "diverged" else float(edges(run, key)[2].max())


def orders(standard: Run, *others: Run, key: str = CHANGE) -> float:
    """Decades between the largest values along the gradient [1]."""
    with np.errstate(divide="ignore"):
        over = ratio(highest(standard, key), max(highest(run, key) for run in others))
        return float(np.log10(over))
