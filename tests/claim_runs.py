"""Runs made by hand for the tests of claims: a few lines each, with just what a measure reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import made_up

from bnstudy import results
from bnstudy.results import Run

ETAS = [0.05, 0.1, 0.2, 0.4]


def write(
    directory: Path,
    lines: Sequence[made_up.Line],
    norm: str = "none",
    lr: float = 0.1,
    seed: int = 0,
    experiment: str = "vgg",
    outcome: str = "finished",
    scale: str = "small",
    **config: Any,
) -> Run:
    """A run with these lines, its config changed."""
    header = made_up.make_header(experiment, norm, lr, seed, scale)
    header["config"] |= config
    name = f"{experiment}_{norm}_{lr}_{seed}"
    return results.load_run(made_up.write_record(directory / name, header, list(lines), outcome))


def series(key: str, values: Sequence[Any]) -> list[made_up.Line]:
    """Lines with one metric, at steps 0, 1, 2 ..."""
    return [{"step": step, key: value} for step, value in enumerate(values)]


def walks(changes: Sequence[Sequence[float]], length: float = 1.0) -> list[made_up.Line]:
    """Lines of the landscape probe with these gradient changes, which are its losses too."""
    return [
        {
            "step": step,
            "landscape/step_size": ETAS,
            "landscape/loss": row,
            "landscape/random_loss": row,
            "landscape/gradient_change": row,
            "landscape/gradient_norm": length,
        }
        for step, row in enumerate(changes)
    ]


def cell(
    norm: str = "none",
    lr: float = 0.1,
    seed: int = 0,
    accuracy: float = 0.5,
    *,
    experiment: str = "vgg",
    outcome: str = "finished",
    model: str = "vgg",
    init: str = "kaiming",
    records: Mapping[str, Sequence[Any]] | None = None,
    **options: Any,
) -> Run:
    """A run of a grid: ten steps on ten classes, by key what was recorded at steps 0, 1, 2 ...

    `accuracy` is its training accuracy throughout and its test accuracy at the end; `options` are
    those of its model.
    """
    config = {
        "experiment": experiment,
        "seed": seed,
        "steps": 10,
        "batch_size": 8,
        "model": options,
        "norm": {"_target_": norm},
        "init": {"_target_": init},
        "optimizer": {"lr": lr},
    }
    header = {
        "experiment": experiment,
        "scale": "small",
        "choices": {
            "data": "digits",
            "model": model,
            "norm": norm,
            "init": init,
            "optimizer": "sgd",
        },
        "config": config,
        "layers": [f"layer{number}" for number in range(1, 5)],
        "data": {"name": "digits", "classes": 10},
    }
    own = {"train/accuracy": [accuracy] * 10} | dict(records or {})
    known = {key: (list(range(len(values))), list(values)) for key, values in own.items()}
    known["test/accuracy"] = ([0, 10], [0.12, accuracy])
    directory = Path(f"{experiment}_{model}_{norm}_{init}_{lr}_{seed}")
    return Run(directory, header, outcome, known)
