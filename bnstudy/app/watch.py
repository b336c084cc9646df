"""Watch the runs of an experiment in a terminal, with W&B's `wandb leet`: no server, no links."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bnstudy.app import CONFIGS
from bnstudy.record import Line, read_header
from bnstudy.wandb_mirror import run_name

RUNS = Path("results/runs")
EXPERIMENTS = CONFIGS / "experiment"
EPILOG = """\
examples:
  python scripts/watch.py vgg                   the runs of this experiment, while they go on too
  python scripts/watch.py vgg --norm batch      those with this norm
  python scripts/watch.py vgg --list            where W&B's files of these runs are

Space shows and hides a run, / filters metrics, q ends it.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    root = options.runs or RUNS
    found = attempts(root, options.experiment, options.scale, options.norm)
    if not found:
        print(
            f"{root} has no runs of {options.experiment} that W&B has files of; make some: "
            f"python scripts/train.py -m experiment={options.experiment}",
            file=sys.stderr,
        )
        return 1
    if options.list:
        print("\n".join(map(str, found)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        for attempt in found:
            link(attempt, Path(folder))
        return subprocess.call([*leet(), folder])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
    parser.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        choices=[*known, "custom"],
        help="such as vgg; custom: single runs",
    )
    parser.add_argument("--scale", default="*", help="demo, small, paper (all)")
    parser.add_argument("--norm", help="only runs with this norm")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"results of all scales ({RUNS})")
    parser.add_argument("--list", action="store_true", help="list the folders and stop")
    return parser


def attempts(root: Path, experiment: str, scale: str, norm: str | None) -> list[Path]:
    """The folder that W&B has of every run, the newest where a run has several; by run."""
    # One folder of results has the scales below it, or is that of one scale.
    runs = [*root.glob(f"{scale}/{experiment}/*"), *root.glob(f"{experiment}/*")]
    newest = (max(run.glob("wandb/*run-*"), default=None, key=age) for run in sorted(runs))
    found = [path for path in newest if path]
    return [path for path in found if not norm or norm == norm_of(path.parent.parent)]


def age(path: Path) -> float:
    """When W&B began a folder, in seconds: a larger number is a newer one."""
    return path.stat().st_ctime


def header_of(run: Path) -> Line:
    """The header of the record of a run."""
    header = read_header(run / "run.jsonl")
    if header is None:
        raise ValueError(f"{run} has no record yet; wait a second.")
    return header


def norm_of(run: Path) -> str:
    """The norm of a run."""
    return header_of(run)["choices"]["norm"]


def link(attempt: Path, folder: Path) -> None:
    """Link a run of W&B under a name that says norm, lr and seed.

    `wandb leet` lists folders named run-TIME-ID that hold run-ID.wandb; an ID has no hyphen.
    """
    run = attempt.parent.parent
    name = run_name(run, header_of(run)).replace("-", "−")[:150]
    time = attempt.name.removeprefix("offline-").split("-")[1]
    own = folder / f"run-{time}-{name}"
    own.mkdir(exist_ok=True)
    for file in attempt.glob("*.wandb"):
        (own / f"run-{name}.wandb").symlink_to(file.resolve())


def leet() -> list[str]:
    """The command of W&B beside this Python, or the one on the path."""
    beside = Path(sys.executable).with_name("wandb")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("wandb")
    return [found or "wandb", "leet"]
