"""Train one network and probe it: `python scripts/train.py --help`."""

from bnstudy import streams
from bnstudy.app.train import command

if __name__ == "__main__":
    streams.leave_with(command)
