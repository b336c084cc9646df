"""Draw the loss surface around the weights of a run."""

from bnstudy import streams
from bnstudy.app.surface import main

if __name__ == "__main__":
    streams.leave_with(main)
