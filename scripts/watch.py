"""Watch the runs of an experiment in a terminal, with W&B's `wandb leet`: no server, no links."""

from bnstudy import streams
from bnstudy.app.watch import main

if __name__ == "__main__":
    streams.leave_with(main)
