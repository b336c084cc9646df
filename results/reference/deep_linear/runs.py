"""Writes runs.csv, a line per run, and prints the table of README.md: runs.py DIR, the runs."""

import csv
import sys
from itertools import groupby
from pathlib import Path

import numpy as np

from bnstudy.measures.internal_covariate_shift import COSINE
from bnstudy.measures.landscape import beta_times_lr
from bnstudy.measures.series import late, median
from bnstudy.measures.train import LOSS
from bnstudy.results import Run, load_runs

NORMS = ("none", "batch", "l1", "l2", "linf")
FROM = 1000  # the first step of the medians
COLUMNS = (
    "effective_smoothness_times_lr_over_2",
    "cosine_layer9",
    "cosine_layer17",
    "final_loss",
)
IN_CSV = ("{:.4f}", "{:.3f}", "{:.3f}", "{:.0f}")
IN_TABLE = ("{:.3f}", "{:.2f}", "{:.2f}", "{:.0f}")


def measure(run: Run) -> tuple[float, ...]:
    """What stands in COLUMNS."""
    smoothness = median(late(beta_times_lr(run), FROM)) / 2
    cosines = (median(late(run[f"{COSINE}/layer{layer}"], FROM)) for layer in (9, 17))
    return smoothness, *cosines, float(run[LOSS][1][-1])


def main() -> None:
    """The command."""
    root = sys.argv[1]
    runs = [run for name in ("deep_linear", "deep_linear_lp") for run in load_runs(name, root)]
    runs = [run for run in runs if run.outcome != "interrupted"]
    runs.sort(key=lambda run: (-run.lr, NORMS.index(run.norm), run.seed))
    measured = [(run, measure(run)) for run in runs]
    with Path(__file__).with_name("runs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("seed", "norm", "lr", "outcome", *COLUMNS))
        for run, numbers in measured:
            words = [form.format(number) for form, number in zip(IN_CSV, numbers, strict=True)]
            writer.writerow((run.seed, run.norm, lr_of(run), run.outcome, *words))
    for (lr, norm), group in groupby(measured, key=lambda item: (lr_of(item[0]), item[0].norm)):
        columns = np.array([numbers for _, numbers in group]).T
        cells = [
            f"{form.format(np.median(c))} ({form.format(c.min())} to {form.format(c.max())})"
            for form, c in zip(IN_TABLE, columns, strict=True)
        ]
        print(f"| {norm} | {lr} | {columns.shape[1]} | {' | '.join(cells)} |")


def lr_of(run: Run) -> str:
    """1e-6, as the README has it."""
    return f"{run.lr:g}".replace("e-0", "e-")


if __name__ == "__main__":
    main()
