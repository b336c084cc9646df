"""Run the study: experiments, figures and report. `python scripts/reproduce.py --help`."""

from bnstudy import streams
from bnstudy.app.reproduce import main

if __name__ == "__main__":
    streams.leave_with(main)
