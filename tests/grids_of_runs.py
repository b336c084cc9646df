"""Runs of grids, for the tests of claims on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claim_runs import cell, series, write

from bnstudy.results import Run


def accuracy(directory: Path, values: Sequence[float], seed: int = 0, **config: Any) -> Run:
    """A run with these training accuracies."""
    return write(directory, series("train/accuracy", values), seed=seed, **config)


def grid(norm: str, accuracies: Mapping[str, Sequence[float | None]]) -> list[Run]:
    """Runs by init, at learning rates 0.01, 0.1, 1; None diverges."""
    return [
        cell(norm, lr, init=init, accuracy=a or 0.9, outcome="finished" if a else "diverged")
        for init, row in accuracies.items()
        for lr, a in zip((0.01, 0.1, 1), row, strict=False)
    ]
