"""Writes runs.csv, a line per run, and claims.md, the verdicts that they decide: runs.py DIR."""

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path

from bnstudy.claims import CLAIMS, NO_RUNS, judge, to_markdown
from bnstudy.measures.batch_sharpness import batch_sharpness_at_edge
from bnstudy.measures.hessian_trace import final_trace
from bnstudy.measures.sharpness import sharpness_at_edge
from bnstudy.measures.spectrum import median_share, typical_outlier_ratio
from bnstudy.measures.train import trained_steps
from bnstudy.results import Run, load_runs

EXPERIMENTS = ("curvature", "curvature_deep_linear", "spectra", "theory")
MEASURES: dict[str, Callable[[Run], float]] = {
    "sharpness_over_edge": sharpness_at_edge,
    "batch_sharpness_over_edge": batch_sharpness_at_edge,
    "trace": final_trace,
    "gradient_share": median_share,
    "outlier_ratio": typical_outlier_ratio,
}


def measured(run: Run, measure: Callable[[Run], float]) -> str:
    """Four digits; nothing where the run has not recorded it."""
    try:
        value = measure(run)
    except KeyError:
        return ""
    return "" if math.isnan(value) else f"{value:.4g}"


def main() -> None:
    """The command."""
    runs = {name: load_runs(name, sys.argv[1]) for name in EXPERIMENTS}
    runs = {name: [r for r in own if r.outcome != "interrupted"] for name, own in runs.items()}
    folder = Path(__file__).parent
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("experiment", "norm", "lr", "seed", "outcome", "steps", *MEASURES))
        for name, own in runs.items():
            for run in own:
                steps = trained_steps(run) + 1
                row = (name, run.norm, run.lr, run.seed, run.outcome, steps)
                writer.writerow((*row, *(measured(run, of) for of in MEASURES.values())))
    about = [claim for claim in CLAIMS if {arm.experiment for arm in claim.arms} & set(EXPERIMENTS)]
    decided = [result for result in (judge(c, runs) for c in about) if result.verdict != NO_RUNS]
    (folder / "claims.md").write_text(to_markdown(decided), encoding="utf-8")


if __name__ == "__main__":
    main()
