"""Write a sweep for W&B: the grid of an experiment, or a search over its learning rate alone."""

from bnstudy import streams
from bnstudy.app.wandb_sweep import main

if __name__ == "__main__":
    streams.leave_with(main)
