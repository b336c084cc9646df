"""Runs that descend, for the tests of measures at matched loss."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from claim_runs import cell

from bnstudy import claims
from bnstudy.results import Run

BY_NAME = {claim.name: claim for claim in claims.CLAIMS}


MULTIPLES = (0.5, 1, 2, 4)


NAN, INF = math.nan, math.inf


def descent(
    losses: Sequence[float],
    roughness: Sequence[float],
    norm: str = "none",
    seed: int = 10,
    outcome: str = "finished",
) -> Run:
    """A run with these training losses, probed at every step; batches of 5,000 samples.

    At every step the loss range is as wide as the roughness, the relative gradient change over the
    largest step size and effective beta are proportional to it.
    """
    changes = [[r * m / 4 for m in MULTIPLES] for r in roughness]
    records = {
        "train/loss": list(losses),
        "landscape/loss": [[a, a, a, a + r] for a, r in zip(losses, roughness, strict=True)],
        "landscape/step_size": [[0.1 * m for m in MULTIPLES]] * len(losses),
        "landscape/gradient_change": changes,
        "landscape/gradient_norm": [1.0] * len(losses),
    }
    run = cell(norm, seed=seed, outcome=outcome, records=records)
    run.config["steps"], run.config["batch_size"] = 1500, 5000
    return run


def as_measured(cut: int | None) -> list[Run]:
    """Five seeds of a rough standard network and a smoother BatchNorm, which is worse at first.

    The standard runs diverge at step `cut`.
    """
    losses = np.geomspace(2.3, 0.4, 60).tolist()
    runs = []
    for seed in range(10, 15):
        rough = [0.1] * 5 + [8.0 + 0.1 * seed] * 55
        end = 60 if cut is None else cut
        outcome = "finished" if cut is None else "diverged"
        runs.append(descent(losses[:end], rough[:end], "none", seed, outcome))
        runs.append(descent(losses, [6.0] * 5 + [1.0] * 55, "batch", seed))
    return runs


def learning(accuracies: Sequence[float], norm: str = "batch", every: int = 100, **of: Any) -> Run:
    """A run with these accuracies on the training subset, at every test."""
    run = cell(norm, **of)
    run.records["train/subset_accuracy"] = (
        list(range(0, every * len(accuracies), every)),
        list(accuracies),
    )
    run.config["steps"] = every * (len(accuracies) - 1)
    return run
