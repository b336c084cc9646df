"""Runs and claims of two arms, for the tests of judging."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from claim_runs import series, write

from bnstudy import figures
from bnstudy.claims import (
    Arm,
    Claim,
    greater,
)
from bnstudy.claims.comparisons import BATCH, STANDARD
from bnstudy.measures.train import final_loss
from bnstudy.results import Run

CURVES = json.loads(
    (Path(figures.__file__).with_name("paper_curves.json")).read_text(encoding="utf-8")
)


def final(standard: Run, batch: Run) -> float:
    """What the test claim measures."""
    return final_loss(standard) / final_loss(batch)


CLAIM = Claim(
    topic="Topic",
    name="claim",
    title="A claim",
    says="They say | so.",
    source="section 1",
    arms=(STANDARD, BATCH),
    quantity="final loss",
    measure=final,
    rule=greater(paper=2),
)


def pair(
    directory: Path, losses: Mapping[str, Sequence[float]], **outcomes: str
) -> dict[str, list[Run]]:
    """Runs of both arms with these final losses, a seed each; by arm how they ended."""
    runs = [
        write(
            directory,
            series("train/loss", [loss]),
            norm,
            seed=seed,
            outcome=outcomes.get(f"{norm}{seed}", "finished"),
            steps=1,
        )
        for norm, own in losses.items()
        for seed, loss in enumerate(own)
    ]
    return {"vgg": runs}


GRID = Claim(
    topic="Topic",
    name="grid",
    title="A claim",
    says="They say so.",
    source="section 1",
    arms=(Arm("standard", "vgg", "none", None), Arm("BatchNorm", "vgg", "batch", None)),
    quantity="runs",
    measure=lambda standard, batch: float(len(batch) - len(standard)),
    rule=greater(0, unit=""),
)


def curve(panel: str, arm: str, key: str = "y") -> np.ndarray:
    """A curve of the paper."""
    return np.array(CURVES[panel][arm][key], dtype=float)


def early(panel: str, arm: str, key: str = "y") -> float:
    """The median of a curve of the paper over the first third."""
    steps = curve(panel, arm, "x")
    return float(np.median(curve(panel, arm, key)[3 * steps < steps[-1]]))
