"""Make the study's views of a W&B project: one per experiment, a section per figure."""

from bnstudy import streams
from bnstudy.app.dashboard import main

if __name__ == "__main__":
    streams.leave_with(main)
