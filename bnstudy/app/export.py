"""Write a table of runs, a row each: CSV, or Parquet where pyarrow is there; needs no torch."""

import argparse
import sys
from pathlib import Path

from bnstudy.results import RECORDS, load_runs, table, to_csv

RUNS = Path("results/runs")
EPILOG = """\
examples:
  python scripts/export.py --scale small               every run of a scale, as CSV
  python scripts/export.py --scale small vgg --out runs.csv
  python scripts/export.py --runs DIR --out runs.parquet

A column says what a run is, or holds the last value of a scalar that it recorded.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    root = options.runs or RUNS / (options.scale or "")
    folders = {path.parent.parent for name in RECORDS for path in root.glob(f"*/*/{name}")}
    names = options.experiments or sorted(folder.name for folder in folders)
    unreadable: list[str] = []
    runs = [run for name in names for run in load_runs(name, root, unreadable)]
    for sentence in unreadable:
        print(f"left out: {sentence}", file=sys.stderr)
    if not runs:
        print(f"There are no runs in {root}; --scale or --runs says where.", file=sys.stderr)
        return 1
    if options.out is None:
        print(to_csv(table(runs)), end="")
    elif options.out.suffix == ".parquet":
        return write_parquet(table(runs), options.out)
    else:
        options.out.write_text(to_csv(table(runs)), encoding="utf-8")
    return 0


def write_parquet(rows: list[dict[str, object]], path: Path) -> int:
    """Write a table as Parquet; 1 where pyarrow is not installed."""
    try:
        import pyarrow  # pyrefly: ignore[missing-import]
        from pyarrow import parquet  # pyrefly: ignore[missing-import]
    except ImportError:
        print("Parquet needs pyarrow: pip install pyarrow; CSV does not.", file=sys.stderr)
        return 1
    columns = dict.fromkeys(key for row in rows for key in row)
    every = [{key: row.get(key) for key in columns} for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(every), path)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", metavar="EXPERIMENT", nargs="*", help="of these alone")
    parser.add_argument("--scale", help="demo, small, paper")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"runs ({RUNS}/<scale>)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="FILE.csv or FILE.parquet (CSV)")
    return parser
