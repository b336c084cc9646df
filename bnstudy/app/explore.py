"""Write the explorer, a page on which to walk through training step by step, from runs."""

import argparse
import sys
from pathlib import Path

from bnstudy import explorer

RUNS, REPORTS = Path("results/runs"), Path("results/reports")
REPORT = "report.html"
EPILOG = """\
examples:
  python scripts/explore.py                       the only scale that has runs
  python scripts/explore.py --scale small
  python scripts/explore.py --runs DIR --out DIR  runs from elsewhere, whatever their folders' names

Writes explorer.html, which opens offline. It needs neither a GPU nor torch. Folders are relative to
where the command is run, as those of scripts/train.py are.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    root = options.runs
    if root is None:
        scales = [options.scale] if options.scale else found_scales()
        if len(scales) != 1:
            return refuse(
                f"There are runs at scale {' and '.join(scales)}; choose one with --scale."
                if scales
                else f"There are no runs in {RUNS}; make some (python scripts/train.py), or name a "
                "folder with --runs.",
                2 if scales else 1,
            )
        root = RUNS / scales[0]
    if not root.is_dir():
        return refuse(f"There is no folder {root}; name the folder of runs with --runs.", 1)
    unreadable: list[str] = []
    runs = explorer.find_runs(root, unreadable)
    for sentence in unreadable:
        print(f"left out: {sentence}", file=sys.stderr)
    if not runs:
        return refuse(f"There are no runs in {root}; a run is a folder with a run.jsonl.", 1)
    out = options.out or REPORTS / (options.scale or root.resolve().name)
    of_study = root.parent == RUNS or (out / REPORT).exists()
    try:
        text = explorer.make(runs, looks(runs), REPORT if of_study else "")
        path = explorer.write(text, out)
    except ValueError as error:
        return refuse(str(error), 1)
    except OSError as error:
        return refuse(f"{out} cannot be written to ({error.strerror}); choose another: --out.", 1)
    print(path)
    return 0


def found_scales() -> list[str]:
    """The scales that have runs."""
    return sorted({path.parts[-4] for path in RUNS.glob("*/*/*/run.jsonl")})


def looks(runs: list[explorer.Run]) -> dict[str, explorer.Look]:
    """How figures draw norms, those of these runs and of records that may be dropped on the page.

    Nothing where matplotlib is not installed: the page has two colours of its own.
    """
    try:
        from bnstudy.figures import style
    except ImportError:
        return {}
    return {norm: style.arm(norm) for norm in sorted({*style.LOOKS, *(run.norm for run in runs)})}


def refuse(sentence: str, status: int) -> int:
    """Say in a sentence why the command ends; its exit status."""
    print(sentence, file=sys.stderr)
    return status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", help="demo, small, paper (the only one that has runs)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"runs ({RUNS}/<scale>)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"the page ({REPORTS}/<scale>)")
    return parser
