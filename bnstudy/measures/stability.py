"""The edge of stability of a run: the sharpness above which its optimizer is not stable."""

import numpy as np

from bnstudy.measures.train import learning_rates
from bnstudy.results import Run, Series, Steps, Values

SGD = ("sgd", "momentum")  # options of the optimizer group whose edge of stability is known


def edge_of_stability(run: Run, steps: Steps, of_batches: bool = False) -> Values:
    """The sharpness above which training is not stable, at these steps [n]: 2 / lr.

    With momentum b 2 (1 + b) / lr, with Nesterov's 2 (1 + b) / (lr (1 + 2 b)): Cohen et al. 2021.
    The lr is that of the step. NaN where the edge is not known: Adam's, say, is one of the
    preconditioned Hessian; and with momentum that of batch sharpness, if `of_batches`, depends on
    the batch size (Andreyev et al. 2026).
    """
    momentum = run.option("optimizer.momentum") or 0.0
    if run.choices.get("optimizer") not in SGD or (momentum and of_batches):
        return np.full(len(steps), np.nan)
    nesterov = 1 + 2 * momentum if run.option("optimizer.nesterov") else 1.0
    with np.errstate(divide="ignore"):
        return 2 * (1 + momentum) / nesterov / learning_rates(run, steps)


def at_edge(run: Run, series: Series, of_batches: bool = False) -> Series:
    """A series over the edge of stability of each step [1], NaN where that is not known."""
    steps, values = series
    return steps, values / edge_of_stability(run, steps, of_batches)


def edge_formula(run: Run) -> str:
    """The edge of stability as legends call it; β is the momentum."""
    if not run.option("optimizer.momentum"):
        return "2/lr"
    return "2(1+β)/(1+2β)/lr" if run.option("optimizer.nesterov") else "2(1+β)/lr"
