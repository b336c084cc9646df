"""Say where every run stands, while a sweep goes on or after it ended; needs no torch."""

from bnstudy import streams
from bnstudy.app.status import main

if __name__ == "__main__":
    streams.leave_with(main)
