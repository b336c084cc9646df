"""Records written by hand, for the tests of what reads them."""

from pathlib import Path

import made_up

from bnstudy import results
from bnstudy.results import Run

HEADER = made_up.make_header("vgg", "batch", 0.1, seed=3)


def record(directory: Path, lines: list[made_up.Line], **changes: str) -> Run:
    """A run with these lines, written and read back."""
    return results.load_run(made_up.write_record(directory, HEADER, lines, **changes))
