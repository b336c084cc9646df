"""Write a sweep for W&B: the grid of an experiment, or a search over its learning rate alone."""

import argparse
import math
import sys
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from bnstudy.app import CONFIGS
from bnstudy.app import overrides as overrides_of
from bnstudy.app.schema import check
from bnstudy.app.train import sentence
from bnstudy.wandb_mirror import from_environment

EPILOG = """\
examples:
  python scripts/wandb_sweep.py vgg > vgg.yaml          the 12 runs of experiment=vgg at demo scale
  python scripts/wandb_sweep.py vgg scale=small         the 18 runs of it at small scale
  python scripts/wandb_sweep.py vgg norm=none --lr 0.01 1      a search over lr in this range
  wandb sweep vgg.yaml                                  prints the name of the sweep
  wandb agent NAME                                      from the top of the checkout, on any machine

Both commands of W&B need an account (wandb login).
"""
COMMAND = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options, more = parser().parse_known_args(arguments)
    overrides = [*options.overrides, *more]
    try:
        axes = axes_of(options.experiment, overrides)
    except (HydraException, ValueError) as error:
        print(sentence(error), file=sys.stderr)
        return 1
    fixed = [f"experiment={options.experiment}", *(w for w in overrides if key(w) not in axes)]
    low, high = options.lr or (0.0, 0.0)
    if options.lr and not 0 < low < high < math.inf:
        print(f"--lr {low} {high} must be two numbers, 0 < LOW < HIGH.", file=sys.stderr)
        return 1
    written = grid(axes, fixed, options.run_cap)
    if options.lr:
        written = search(axes, fixed, low, high, options.run_cap)
    sys.stdout.write(OmegaConf.to_yaml({"project": options.project, **written}))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help="one of configs/experiment")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="for all of its runs")
    parser.add_argument("--lr", nargs=2, type=float, metavar=("LOW", "HIGH"), help="search lr here")
    parser.add_argument("--run-cap", type=int, metavar="N", help="runs at most (the grid; 30)")
    project = from_environment("PROJECT", "bnstudy")
    parser.add_argument("--project", default=project, help=f"({project})")
    return parser


def key(word: str) -> str:
    """The key of an override."""
    return word.partition("=")[0]


def axes_of(experiment: str, overrides: list[str]) -> dict[str, list[Any]]:
    """The values of every key that the sweep of an experiment varies; overrides come before it."""
    words = overrides_of.read([f"experiment={experiment}", *overrides], multirun=True)
    parse = OverridesParser.create().parse_override
    single = [word for word in words if not parse(word).is_sweep_override()]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", single, return_hydra_config=True)
    own = config.hydra.sweeper.params
    with open_dict(config):
        del config["hydra"]
    check(config)
    given = {key(word): word.partition("=")[2] for word in words}
    ranges = {name: str(values) for name, values in own.items() if name not in given}
    ranges |= {key(word): given[key(word)] for word in words if word not in single}
    return {name: values_of(f"{name}={values}") for name, values in ranges.items()}


def values_of(word: str) -> list[Any]:
    """The values of one key, as numbers and words."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return [override.value()]
    return list(override.sweep_iterator())


def grid(axes: Mapping[str, list[Any]], fixed: list[str], run_cap: int | None) -> dict[str, Any]:
    """Every combination, each once: the runs of `scripts/train.py -m`."""
    runs = 1
    for values in axes.values():
        runs *= len(values)
    linear = any("deep_linear" in word for word in fixed)  # it has no accuracy
    goal = ("final/loss", "minimize") if linear else ("final/accuracy", "maximize")
    return {
        "program": "scripts/train.py",
        "method": "grid",
        "metric": dict(zip(("name", "goal"), goal, strict=True)),
        "run_cap": run_cap or runs,
        "parameters": {name: {"values": list(values)} for name, values in axes.items()},
        "command": [*COMMAND, *fixed, "wandb.mode=online"],
    }


def search(
    axes: Mapping[str, list[Any]], fixed: list[str], low: float, high: float, run_cap: int | None
) -> dict[str, Any]:
    """A search over the learning rate alone, with the first value of everything else."""
    lr = {"distribution": "log_uniform_values", "min": low, "max": high}
    others = {name: {"value": values[0]} for name, values in axes.items() if name != "optimizer.lr"}
    return grid(axes, fixed, run_cap or 30) | {
        "method": "bayes",
        "parameters": {"optimizer.lr": lr} | others,
    }
