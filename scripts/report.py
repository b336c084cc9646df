"""Write the study on one page, from runs: needs neither a GPU nor torch."""

from bnstudy import streams
from bnstudy.app.report import main

if __name__ == "__main__":
    streams.leave_with(main)
