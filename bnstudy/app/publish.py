"""Make folders of results/reference in one command: records, table, verdicts, figures, README."""

import argparse
import sys
from pathlib import Path

from bnstudy import publish
from bnstudy.app import PACKAGE

REFERENCE = PACKAGE.parent / "results" / "reference"
DOCS = PACKAGE.parent / "docs"
# Pages about several folders, each with the text that it is made of.
PAGES = {
    DOCS / "results.jinja": DOCS / "results.md",
    DOCS / "findings.jinja": PACKAGE.parent / "README.md",
}
EPILOG = """\
examples:
  python scripts/publish.py                 make every folder again from its own records
  python scripts/publish.py step0 --runs results/runs/paper --experiments step0
                                            add the runs that have ended there, then make it
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    known = sorted(path.parent.name for path in REFERENCE.glob(f"*/{publish.TEMPLATE}"))
    try:
        if options.runs:
            if len(options.names) != 1 or not options.experiments:
                raise ValueError("--runs needs one NAME and --experiments, whose runs go into it.")
            folder = REFERENCE / options.names[0]
            count = publish.add_records(folder, options.runs, options.experiments)
            print(f"{count} records in {folder}")
        for name in options.names or known:
            for path in publish.make(REFERENCE / name):
                print(path)
        for path in publish.render_pages(PAGES, REFERENCE):
            print(path)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="folders (all that have a text)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="add ended runs from here first")
    parser.add_argument("--experiments", nargs="+", metavar="NAME", help="of these experiments")
    return parser
