"""Write the explorer, a page on which to walk through training step by step, from runs."""

from bnstudy import streams
from bnstudy.app.explore import main

if __name__ == "__main__":
    streams.leave_with(main)
