"""Make folders of results/reference in one command: records, table, verdicts, figures, README."""

from bnstudy import streams
from bnstudy.app.publish import main

if __name__ == "__main__":
    streams.leave_with(main)
