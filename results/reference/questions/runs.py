"""Writes runs.csv, a line per run, and claims.md, the verdicts that they decide.

runs.py DIR                           of the experiments of this folder
runs.py DIR ../depth depth_resnet ... of others, into another
"""

import csv
import sys
from pathlib import Path

from bnstudy.claims import CLAIMS, NO_RUNS, OTHERS, judge, to_markdown
from bnstudy.measures.series import at_the_end
from bnstudy.measures.train import ACCURACY, final_percent, trained_steps
from bnstudy.results import Run, load_runs

EXPERIMENTS = (
    "lr_by_init_vgg",
    "lr_by_init_resnet",
    "depth_vgg",
    "placement",
    "norms",
    "covariate_shift",
    "scale_and_shift",
)
OPTIONS = {
    "model": "model",
    "depth": "model.depth",
    "placement": "model.placement",
    "activation": "model.activation",
    "norm": "norm",
    "init": "init",
    "lr": "optimizer.lr",
    "seed": "seed",
}


def measure(run: Run) -> tuple[str, str, int]:
    """Percent of the test set at the end, of the training batches of the last tenth; the steps."""
    tested = f"{final_percent(run):.2f}" if run.outcome == "finished" else ""
    last = at_the_end(run, run[ACCURACY], 0.1)
    return tested, f"{100 * last.mean():.2f}" if len(last) else "", trained_steps(run) + 1


def main() -> None:
    """The command."""
    directory, *into = sys.argv[1:]
    folder = Path(__file__).parent / (into[0] if into else "")
    runs = {name: load_runs(name, directory) for name in into[1:] or EXPERIMENTS}
    runs = {name: [r for r in own if r.outcome != "interrupted"] for name, own in runs.items()}
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        measured = ("outcome", "test_accuracy", "training_accuracy", "steps")
        writer.writerow(("experiment", *OPTIONS, *measured))
        for name, own in runs.items():
            for run in own:
                options = [run.option(path) for path in OPTIONS.values()]
                writer.writerow((name, *options, run.outcome, *measure(run)))
    results = [judge(claim, runs) for claim in CLAIMS if claim.topic in OTHERS]
    decided = [result for result in results if result.verdict != NO_RUNS]
    (folder / "claims.md").write_text(to_markdown(decided), encoding="utf-8")


if __name__ == "__main__":
    main()
