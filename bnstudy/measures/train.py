"""What training and its tests record: losses, accuracies, learning rates, and how fast runs train.

Beside the record of every step (`bnstudy/train.py`) that of the tests (`bnstudy/evaluation.py`).
"""

import math

import numpy as np

from bnstudy.measures.series import at_the_end, mean, median, together, window
from bnstudy.record import ACCURACY, LOSS, LR
from bnstudy.results import Run, Series, Steps, Values

SUBSET = "train/subset_accuracy"  # on a fixed subset of the training images
TEST_ACCURACY = "test/accuracy"
PRECISE_ACCURACY = "test/precise_accuracy"

# A network has learned something if its test accuracy is this far above that of guessing.
ABOVE_CHANCE = 0.05
SAMPLES = 2000  # of a running mean over noisy mini-batches, at least


# At the end


def chance(run: Run) -> float:
    """The accuracy of guessing, a fraction: 1 / number of classes.

    Where the record does not say how many classes there are, the test accuracy before the first
    step. KeyError if there is neither.
    """
    classes = run.header["data"].get("classes")
    return 1 / classes if classes else float(run[TEST_ACCURACY][1][0])


def final_accuracy(run: Run) -> float:
    """The last test accuracy, a fraction; that of guessing if the run diverged."""
    return chance(run) if run.outcome == "diverged" else float(run[TEST_ACCURACY][1][-1])


def final_percent(run: Run) -> float:
    """The last test accuracy [percent]; that of guessing if the run diverged."""
    return 100 * final_accuracy(run)


def above_chance(run: Run) -> float:
    """Test accuracy above that of guessing at the end of the run [points]; 0 if it diverged."""
    return 100 * (final_accuracy(run) - chance(run))


def stuck(run: Run) -> bool:
    """Whether a run finished without learning: not 5 points of test accuracy above chance."""
    return run.outcome == "finished" and final_accuracy(run) < chance(run) + ABOVE_CHANCE - 1e-9


def trains(run: Run) -> bool:
    """Whether a run finished at least 5 points of test accuracy above chance."""
    return run.outcome == "finished" and not stuck(run)


def training_accuracy(run: Run, share: float) -> float:
    """Accuracy over the last `share` of the run [percent]; that of guessing if it diverged."""
    if run.outcome == "diverged":
        return 100 * chance(run)
    return 100 * mean(at_the_end(run, run[ACCURACY], share))


def final_loss(run: Run) -> float:
    """The median training loss over the last hundredth of the run; infinite if it diverged."""
    if run.outcome == "diverged":
        return math.inf
    return median(at_the_end(run, run[LOSS], 0.01))


def plateaued(run: Run) -> bool:
    """Whether training has come to rest, or has no end to come.

    The mean training accuracy over the last tenth of the run is less than a point above that over
    the tenth before. So it is of a run that diverged.
    """
    if run.outcome == "diverged" or ACCURACY not in run:
        return run.outcome == "diverged"
    steps, accuracies = run[ACCURACY]
    tenths = 10 * steps // run.config["steps"]
    before, last = accuracies[tenths == 8], accuracies[tenths == 9]
    return bool(len(before) and len(last) and last.mean() - before.mean() < 0.01)


def trained_steps(run: Run) -> int:
    """The number of the last step of training that was recorded; 0 if there is none."""
    keys = [LOSS] if LOSS in run else run.keys()
    return max((int(run.steps(key)[-1]) for key in keys if len(run.steps(key))), default=0)


# How fast


def smooth_accuracy(run: Run) -> Series:
    """The training accuracy of the batches, a fraction, as a running mean: steps [n], values [n].

    Over 2,000 samples or 1/150 of the run, whichever is more: of fewer samples the mean reaches a
    level by chance. Each step is in the middle of its window.
    """
    steps, accuracies = run[ACCURACY]
    samples = 2 * (math.ceil(SAMPLES / run.batch_size) // 2) + 1
    width = min(max(window(run), samples), len(steps))
    means = np.convolve(accuracies, np.full(width, 1 / width), mode="valid")
    return steps[width // 2 :][: len(means)], means


def steps_to_batch_level(run: Run, level: float) -> float:
    """Steps until `smooth_accuracy`, that of the batches, reaches a level; infinite if never."""
    steps, means = smooth_accuracy(run)
    reached = np.flatnonzero(means >= level - 1e-9)
    return float(steps[reached[0]] + 1) if len(reached) else np.inf


def training_curve(run: Run) -> Series:
    """The accuracy on the fixed training subset, a fraction: steps [n], values [n].

    Older records have none: of these `smooth_accuracy`.
    """
    return run[SUBSET] if SUBSET in run else smooth_accuracy(run)


def progress(run: Run) -> float:
    """The mean of `training_curve` over all tests of the run: how fast it trains [1].

    0 if it diverged.
    """
    return 0.0 if run.outcome == "diverged" else mean(training_curve(run)[1])


def steps_to_level(run: Run, level: float) -> float:
    """Steps until `training_curve` reaches a level, by linear interpolation; infinite if never."""
    steps, accuracies = training_curve(run)
    reached = np.flatnonzero(accuracies >= level - 1e-9)
    if not len(reached):
        return math.inf
    k = reached[0]
    if k == 0:
        return float(steps[0])
    share = (level - accuracies[k - 1]) / (accuracies[k] - accuracies[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


# At steps of a probe


def learning_rates(run: Run, steps: Steps) -> Values:
    """The learning rate at these steps [n], which a schedule changes; NaN where it is not known."""
    if LR not in run:
        return np.full(len(steps), run.lr)
    known = dict(zip(*(values.tolist() for values in run[LR]), strict=True))
    return np.array([known.get(step, np.nan) for step in steps.tolist()], dtype=np.float64)


def times_lr(run: Run, series: Series) -> Series:
    """A series times the learning rate of each step."""
    steps, values = series
    with np.errstate(invalid="ignore"):  # an infinite edge where a schedule starts at 0
        return steps, learning_rates(run, steps) * values


def loss_around(run: Run, steps: Steps) -> Values:
    """The training loss at steps [n], each the mean over SAMPLES samples or more around the step.

    At either end over those there are. NaN where a loss is not finite, or none was recorded.
    """
    return _around(run, LOSS, steps)


def accuracy_around(run: Run, steps: Steps) -> Values:
    """The training accuracy at steps [n], as `loss_around`."""
    return _around(run, ACCURACY, steps)


def _around(run: Run, key: str, steps: Steps) -> Values:
    trained, values = run[key]
    half = math.ceil(SAMPLES / run.batch_size / 2)
    spans = [(trained >= step - half) & (trained <= step + half) for step in steps.tolist()]
    means = [float(values[span].mean()) if span.any() else math.nan for span in spans]
    return np.array([mean if math.isfinite(mean) else math.nan for mean in means])


# With statistics estimated anew


def precise_gain(run: Run) -> float:
    """Test accuracy with statistics estimated anew less that with running ones [points].

    At the end. NaN if the run diverged. Raises KeyError where the former was not measured.
    """
    precise, running = run[PRECISE_ACCURACY][1], run[TEST_ACCURACY][1]
    return math.nan if run.outcome == "diverged" else 100 * float(precise[-1] - running[-1])


def precise_percent(run: Run) -> float:
    """The last test accuracy with statistics estimated anew [percent]; guessing if it diverged."""
    if run.outcome == "diverged":
        return 100 * chance(run)
    return 100 * float(run[PRECISE_ACCURACY][1][-1])


def largest_precise_gain(run: Run) -> float:
    """As `precise_gain`, the largest over all tests but the first [points]."""
    _, precise, running = together(run[PRECISE_ACCURACY], run[TEST_ACCURACY])
    return 100 * float((precise - running)[1:].max()) if len(precise) > 1 else math.nan
