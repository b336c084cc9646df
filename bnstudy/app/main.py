"""The command `bnstudy`: which of its commands is meant, and what it is called with."""

import sys
from importlib import import_module

from bnstudy import streams

COMMANDS = {
    "train": "train one network and probe it; with -m every run of a grid",
    "reproduce": "run the study: experiments, figures and report",
    "status": "list the runs there are, and where each stands",
    "figures": "draw figures from the records of runs",
    "report": "judge the claims, and write the page",
    "explore": "write a page to walk through training on, step by step",
    "surface": "measure and draw the loss around the weights of a run",
    "export": "write a table of runs: CSV or Parquet",
    "publish": "make the folders of results/reference again",
    "dashboard": "make the views of the study in W&B",
    "watch": "show the runs of an experiment in the terminal, by W&B",
    "wandb_sweep": "write a sweep of W&B for an experiment",
}


def main() -> None:
    """Run the command that the first word names; one sentence for an unknown one."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print("usage: bnstudy COMMAND ...   (bnstudy COMMAND --help says more)\n")
        print(*(f"  {name:12} {what}" for name, what in COMMANDS.items()), sep="\n")
        sys.exit(0 if words else 2)
    name = words[0]
    if name not in COMMANDS:
        sys.exit(f"bnstudy {name} is unknown; the commands are {', '.join(COMMANDS)}.")
    sys.argv = [f"bnstudy {name}", *words[1:]]
    module = import_module(f"bnstudy.app.{name}")
    streams.leave_with(module.command if name == "train" else module.main)
