"""What a run comes to in single numbers, and what W&B is shown beside the record."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnstudy.measures import internal_covariate_shift as shift
from bnstudy.measures import landscape, sharpness, train
from bnstudy.measures.layers import recorded_layers
from bnstudy.measures.series import median
from bnstudy.results import Run


def single_numbers(run: Run) -> dict[str, float]:
    """What a run comes to in single numbers, so that panels can compare runs.

    `final/accuracy` on the test set, that of guessing if the run diverged; `diverged`, 1 or 0;
    `final/loss` of training; and medians over the probed steps: the width of the loss range along
    the gradient (highest less lowest), the largest gradient change, effective smoothness,
    internal covariate shift (length and cosine, mean over layers) and sharpness, of the steps at
    which it has converged. Those that were recorded.
    """
    found: dict[str, float] = {"diverged": float(run.outcome == "diverged")}
    if train.TEST_ACCURACY in run:
        found["final/accuracy"] = train.final_accuracy(run)
    if train.LOSS in run:
        found["final/loss"] = train.final_loss(run)
    if landscape.LOSS in run:
        found["median/loss_range"] = median(landscape.loss_width(run)[1])
    if landscape.CHANGE in run:
        found["median/gradient_change"] = median(landscape.largest_change(run)[1])
        found["median/effective_beta"] = median(landscape.effective_beta(run)[1])
    for name, kind in (("shift", shift.L2), ("shift_cosine", shift.COSINE)):
        if recorded_layers(run, kind):
            found[f"median/{name}"] = shift.mean_over_layers(run, kind)
    if sharpness.EIGENVALUES["batch"] in run:
        found["median/sharpness"] = median(sharpness.sharpness(run)[1])
    return found


def derived(line: Mapping[str, Any]) -> dict[str, float]:
    """Measures of one step, from a line of its record, that a panel of W&B cannot compute."""
    if landscape.CHANGE not in line:
        return {}
    changes, step_sizes, length = (
        np.array([line[key]], dtype=np.float64)
        for key in (landscape.CHANGE, landscape.STEP_SIZE, landscape.GRADIENT)
    )
    return {landscape.EFFECTIVE_BETA: float(landscape.beta_of(changes, step_sizes, length)[0])}
