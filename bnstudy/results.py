"""Runs read back from their records, and the reductions that figures and claims share.

Needs no more than numpy: whoever has the records can redraw every figure without torch.
"""

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int64]
Values = NDArray[np.float64]
Series = tuple[Steps, Values]  # a metric over a run: steps [n], values [n, ...]

# How and where a run is made, and names: runs that differ only here are alike.
EXECUTION = ("results", "device", "threads", "progress", "wandb", "save_every", "scale")
EXECUTION_OF_DATA = ("root", "cache", "download", "name")
NETWORKS = {"vgg": "VGG", "resnet": "ResNet", "deep_linear": "deep linear network", "mlp": "MLP"}


@dataclass(frozen=True, eq=False)
class Run:
    """One run as its `run.jsonl` tells it: `steps, values = run["landscape/loss"]`.

    `outcome` is "finished", "diverged", or "interrupted" for a record without an end line.
    `records` holds, by metric key, the steps and the values as they were parsed.
    """

    directory: Path
    header: dict[str, Any] = field(repr=False)
    outcome: str
    records: dict[str, tuple[list[int], list[Any]]] = field(repr=False)

    def __getitem__(self, key: str) -> Series:
        """Steps [n] and values [n, ...] of the records that have the key; KeyError if none has."""
        if key not in self.records:
            nearest = difflib.get_close_matches(key, self.records, n=3, cutoff=0.0)
            raise KeyError(f"{self.directory.name} has no {key}; nearest: {', '.join(nearest)}")
        steps, values = self.records[key]
        # float() reads "NaN" and "Infinity" too, as which the record keeps what JSON cannot write.
        return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    def __contains__(self, key: str) -> bool:
        """Whether any record has the key."""
        return key in self.records

    def keys(self) -> list[str]:
        """The metric keys, in the order in which they were first recorded."""
        return list(self.records)

    @property
    def config(self) -> dict[str, Any]:
        """The resolved config."""
        return self.header["config"]

    @property
    def choices(self) -> dict[str, Any]:
        """The chosen option of every config group, such as {"norm": "batch"}."""
        return self.header["choices"]

    @property
    def experiment(self) -> str:
        """The experiment that the run is part of."""
        return self.header["experiment"]

    @property
    def norm(self) -> str:
        """The arm: the option of the norm group."""
        return self.choices["norm"]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self.config["optimizer"]["lr"]

    @property
    def seed(self) -> int:
        """The seed."""
        return self.config["seed"]

    @property
    def scale(self) -> str:
        """The scale: demo, small, paper."""
        return self.header["scale"]

    @property
    def layers(self) -> list[str]:
        """The names of the layers, from the input on."""
        return self.header["layers"]

    @property
    def batch_size(self) -> int:
        """Samples per step."""
        return self.config["batch_size"]

    @property
    def label(self) -> str:
        """Network, data and scale in one line, for captions."""
        model, data = self.choices["model"], self.header["data"]["name"]
        options = self.config.get("model", {})
        network = NETWORKS.get(model, model)
        if "depth" in options:
            linear = model == "deep_linear"
            network = (
                f"{options['depth']}-layer {network}" if linear else f"{network}-{options['depth']}"
            )
        if options.get("width", 1.0) != 1.0:
            network += f", width {Fraction(options['width']).limit_denominator(64)},"
        # The deep linear network and its data are one problem with one name.
        network += "" if data == model else f" on {data}"
        return f"{network}; batch {self.batch_size}; scale {self.scale}"


def load_run(directory: Path | str) -> Run:
    """The run recorded in `directory`; a torn last line is left out.

    Raises ValueError, naming the file, if the header or any line but the last is broken.
    """
    path = Path(directory) / "run.jsonl"
    lines = path.read_bytes().splitlines()
    header = _read_header(path, lines)
    outcome = "interrupted"
    records: dict[str, tuple[list[int], list[Any]]] = {}
    for number, raw in enumerate(lines[1:], start=2):
        try:
            line = json.loads(raw)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}: line {number} is broken; move the run away.") from error
        if "end" in line:
            outcome = line["end"]["outcome"]
            continue
        step = line.pop("step")
        for key, value in line.items():
            steps, values = records.setdefault(key, ([], []))
            steps.append(step)
            values.append(value)
    return Run(Path(directory), header, outcome, records)


def load_runs(experiment: str, root: Path | str) -> list[Run]:
    """All runs of an experiment below `root`, such as results/runs/demo, sorted by name.

    Interrupted and diverged ones too. A folder without a record, or with an empty one because the
    run is just starting, is skipped.
    """
    records = sorted(Path(root, experiment).glob("*/run.jsonl"))
    return [load_run(path.parent) for path in records if path.stat().st_size]


def _read_header(path: Path, lines: list[bytes]) -> dict[str, Any]:
    try:
        header = json.loads(lines[0])["header"]
        missing = {"experiment", "scale", "choices", "config", "layers", "data"} - set(header)
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the first line is no header; move the run away.") from error
    if missing:
        raise ValueError(f"{path}: the header lacks {', '.join(sorted(missing))}.")
    return header


def settings(run: Run) -> str:
    """What two runs must share to be drawn together: all of the config but norm, lr and seed."""
    config = {k: v for k, v in run.config.items() if k not in (*EXECUTION, "seed", "norm")}
    config["optimizer"] = {k: v for k, v in config["optimizer"].items() if k != "lr"}
    # Data that is made from the run's seed has that seed in its own config.
    ignored = (*EXECUTION_OF_DATA, "seed")
    config["data"] = {k: v for k, v in config.get("data", {}).items() if k not in ignored}
    return json.dumps([run.experiment, run.scale, config], sort_keys=True)


def comparable(runs: Sequence[Run]) -> list[Run]:
    """The largest set of runs that differ in nothing but norm, lr and seed.

    A folder may hold more than the experiment's grid, say a run with another init; without this it
    would pass for one more seed. Two settings of one norm, say another momentum, count as well.
    """
    kept = _most_common(runs, settings)
    arms = {run.norm: None for run in kept}
    chosen = [_most_common([r for r in kept if r.norm == norm], _norm_config) for norm in arms]
    together = {run for arm in chosen for run in arm}
    return [run for run in kept if run in together]


def _norm_config(run: Run) -> str:
    return json.dumps(run.config.get("norm"), sort_keys=True)


def _most_common(runs: Sequence[Run], key: Callable[[Run], str]) -> list[Run]:
    keys = [key(run) for run in runs]
    common = Counter(keys).most_common(1)[0][0] if keys else None
    return [run for run, own in zip(runs, keys, strict=True) if own == common]


def align(series: Iterable[Series]) -> Series:
    """Several runs on common steps: steps [n] and values [runs, n], NaN after a run's last step.

    A step counts if all runs that have not ended by then have it.
    """
    mapped = [dict(zip(steps.tolist(), values.tolist(), strict=True)) for steps, values in series]
    lasts = [max(points) for points in mapped]
    steps = [
        step
        for step in sorted(set().union(*mapped))
        if all(step in points or step > last for points, last in zip(mapped, lasts, strict=True))
    ]
    values = [[points.get(step, np.nan) for step in steps] for points in mapped]
    return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)


def average(values: Values, log: bool = False) -> Values:
    """The mean over runs, [runs, n] to [n]; the geometric mean if `log`.

    NaN (ended, or undefined) is left out; an infinite value makes the mean infinite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.log(values) if log else values
        known = ~np.isnan(terms)
        total = np.where(known, terms, 0.0).sum(axis=0)
        mean = np.where(known.any(axis=0), total / known.sum(axis=0), np.nan)
        return np.exp(mean) if log else mean


def edges(run: Run, key: str) -> tuple[Steps, Values, Values]:
    """The smallest and the largest value over the step sizes: figures 4a, 4b, 10, 12, 13.

    Steps [n], low [n], high [n]. The range ends at infinity where any point is not finite.
    """
    steps, values = run[key]
    finite = np.isfinite(values)
    low = np.fmin.reduce(np.where(finite, values, np.nan), axis=1)
    return steps, low, np.where(finite, values, np.inf).max(axis=1)


def effective_beta(run: Run) -> Series:
    """Effective beta-smoothness, max over eta of gradient_change / (eta ||g||): figures 4c, 10c.

    Steps [n] and values [n], in units of 1 / lr. NaN where the gradient vanishes, infinite where a
    point on the line is not finite. Where the smallest eta already changes the gradient completely
    it says 1 / min(eta), and where training sits at the edge of stability 2 / lr: neither of them
    is a property of the network.
    """
    steps, changes = run["landscape/gradient_change"]
    step_sizes = run["landscape/step_size"][1]
    distances = step_sizes * run["landscape/gradient_norm"][1][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.isfinite(changes), changes, np.inf) / distances
    return steps, ratios.max(axis=1)
