"""Copies the runs of a folder here, compressed, and prints the table of README.md: records.py DIR.

DIR is results/runs/demo. The bytes depend on the records alone, not on when they are compressed.
Folders go without what their names say of the probes: the records say it.
"""

import gzip
import sys
from pathlib import Path

from bnstudy.results import Run, load_runs

EXPERIMENTS = ("vgg", "vgg_noise", "vgg_lp", "deep_linear", "deep_linear_lp")
HERE = Path(__file__).parent


def copy(run: Run) -> int:
    """Compress the record of a run to the folder of its name; how many bytes that takes."""
    content = (run.directory / "run.jsonl").read_bytes()
    name = run.directory.name.partition("_probes.")[0]
    path = HERE / run.experiment / name / "run.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))


def main() -> None:
    """The command."""
    print(
        "| experiment | norms | lr | seeds | runs | diverged | kB |\n|---|---|---|---|---|---|---|"
    )
    for experiment in EXPERIMENTS:
        runs = load_runs(experiment, sys.argv[1])
        unfinished = [run.directory.name for run in runs if run.outcome == "interrupted"]
        if unfinished or not runs:
            sys.exit(f"{experiment}: {', '.join(unfinished) or 'no run'} in {sys.argv[1]}.")
        size = sum(copy(run) for run in runs)
        diverged = sum(run.outcome == "diverged" for run in runs)
        lrs = ", ".join(f"{lr:g}".replace("e-0", "e-") for lr in sorted({run.lr for run in runs}))
        seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in runs}))
        norms = ", ".join(dict.fromkeys(run.norm for run in runs))
        cells = (experiment, norms, lrs, seeds, len(runs), diverged, round(size / 1000))
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main()
