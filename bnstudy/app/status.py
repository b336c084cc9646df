"""Say where every run stands, while a sweep goes on or after it ended; needs no torch."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bnstudy.results import RECORDS
from bnstudy.status import Status, read_status

RUNS = Path("results/runs")
EPILOG = """\
examples:
  python scripts/status.py                 every run there is
  python scripts/status.py --scale small vgg
  watch -n 10 python scripts/status.py     again every ten seconds

The exit status is 1 if a run has failed or its record is damaged. A failed or interrupted run goes
on when the command that made it is given again.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    root = options.runs or (RUNS / options.scale if options.scale else RUNS)
    found = [status_of(directory) for directory in find_runs(root, options.experiments)]
    if not found:
        sys.exit(f"There are no runs in {root}.")
    for line in table(found):
        print(line)
    return 1 if any(status.state in ("failed", "damaged") for status in found) else 0


def status_of(directory: Path) -> Status:
    """The status of a run, also of one whose record cannot be read: it hides no other."""
    try:
        return read_status(directory)
    except OSError as error:
        return Status(directory, "damaged", reason=f"{error.filename}: {error.strerror}")
    except ValueError as error:
        return Status(directory, "damaged", reason=str(error))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", metavar="EXPERIMENT", nargs="*", help="of these alone")
    parser.add_argument("--scale", help="demo, small, paper (all)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"runs ({RUNS}/<scale>)")
    return parser


def find_runs(root: Path, experiments: list[str]) -> list[Path]:
    """The folders of runs below a folder, however deep; one that failed early has no record."""
    wanted = {*RECORDS, "error.txt", "lock"}
    folders = sorted(Path(folder) for folder, _, files in os.walk(root) if wanted & set(files))
    return [path for path in folders if not experiments or path.parent.name in experiments]


def table(found: list[Status], seconds: Iterable[float | None] | None = None) -> list[str]:
    """Lines: a run each, and the sum; `seconds` are estimates of what each of them still needs."""
    left = list(seconds) if seconds else [status.seconds_left for status in found]
    rows = [("experiment", "run", "state", "step", "steps/s", "left", "")]
    for status, still in zip(found, left, strict=True):
        step = f"{status.step}/{status.steps}" if status.steps else ""
        rate = f"{status.rate:.3g}" if status.state == "running" and status.rate else ""
        time = "" if still is None else duration(still)
        names = status.directory.parent.name, status.directory.name
        rows.append((*names, status.state, step, rate, time, status.reason))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    states = Counter(status.state for status in found)
    return [*lines, ", ".join(f"{count} {state}" for state, count in sorted(states.items()))]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as precise as an estimate is."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
