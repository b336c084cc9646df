"""Made-up but plausible runs, as the recorder writes them, for the tests of what reads them."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Line = dict[str, Any]

STEPS = {"vgg": 60, "deep_linear": 100}
DEPTH = {"vgg": 14, "deep_linear": 25}  # layers, a VGG-16's last linear one among them
MULTIPLES = {"vgg": [0.5, 1.0, 2.0, 4.0], "deep_linear": [0.01, 0.1, 1.0, 10.0, 31.6]}
LRS = {"vgg": (0.1, 0.01, 0.5), "deep_linear": (1e-6, 1e-7)}
DATA = {"demo": "digits", "small": "cifar10", "paper": "cifar10"}
PROBED = {"vgg": (3, 5, 10, 11), "deep_linear": (1, 9, 11, 17, 24)}


def make_header(experiment: str, norm: str, lr: float, seed: int, scale: str = "demo") -> Line:
    """The header of a run, with the keys of configs/train.yaml that readers look at."""
    data = DATA[scale] if experiment == "vgg" else "deep_linear"
    model: Line = {"depth": 16, "width": 0.125, "head": [], "bias": True}
    config = {
        "experiment": experiment,
        "seed": seed,
        "steps": STEPS[experiment],
        "batch_size": 64 if experiment == "vgg" else 1000,
        "results": f"results/runs/{scale}",
        "data": {"held_out": 297} if experiment == "vgg" else {"samples": 1000, "seed": seed},
        "model": model if experiment == "vgg" else {"depth": 25},
        "norm": {"_target_": norm},
        "optimizer": {"lr": lr, "momentum": 0.0, "weight_decay": 0.0},
        "probes": {"landscape": {"multiples": MULTIPLES[experiment]}},
    }
    choices = {"data": data, "model": experiment, "norm": norm, "init": "xavier_uniform"}
    return {
        "experiment": experiment,
        "scale": scale,
        "choices": choices | {"scale": scale},
        "config": config,
        "fingerprint": f"{experiment}{norm}{lr}{seed}",
        "layers": [f"layer{i}" for i in range(1, DEPTH[experiment] + 1)],
        "data": {"name": data},
    }


def write_record(
    directory: Path, header: Line, lines: list[Line], outcome: str = "finished", torn: str = ""
) -> Path:
    """A run.jsonl; no end line if the outcome is "interrupted"; `torn` is left without an end."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [{"header": header}, *lines]
    if outcome != "interrupted":
        written.append({"end": {"outcome": outcome, "step": lines[-1]["step"], "seconds": 1.5}})
    text = "".join(json.dumps(_named(line), allow_nan=False) + "\n" for line in written)
    (directory / "run.jsonl").write_text(text + torn, encoding="utf-8")
    return directory


def write_runs(root: Path, scale: str = "demo", seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """The grids of both experiments; of every cell with lr 0.5 or 1e-6 and no norm seed 1 diverges.

    Seed 2 of BatchNorm is interrupted half-way, its last line torn.
    """
    for experiment, lrs in LRS.items():
        for norm in ("none", "batch"):
            for lr in lrs:
                for seed in seeds:
                    header = make_header(experiment, norm, lr, seed, scale)
                    outcome = "finished"
                    if norm == "none" and lr in (0.5, 1e-6) and seed == 1:
                        outcome = "diverged"
                    if norm == "batch" and seed == 2:
                        outcome = "interrupted"
                    lines = list(make_lines(experiment, norm, lr, seed, outcome))
                    torn = '{"step": 31, "train/lo' if outcome == "interrupted" else ""
                    name = f"{experiment}_{norm}_xavier_uniform_lr{lr}_seed{seed}"
                    write_record(root / experiment / name, header, lines, outcome, torn)


def make_lines(experiment: str, norm: str, lr: float, seed: int, outcome: str) -> Iterator[Line]:
    """The records of one run: half of the steps unless it finished, then if diverged infinities."""
    rng = np.random.default_rng([seed, len(norm), round(1e9 * lr)])
    last = STEPS[experiment] if outcome == "finished" else STEPS[experiment] // 2
    for step in range(last):
        progress = _progress(experiment, norm, lr, step)
        line = {"step": step, "time": 0.01 * step} | _training(experiment, norm, progress, rng)
        if experiment == "vgg" and step % 10 == 0:
            line |= {"test/loss": 2.3 - 2 * progress, "test/accuracy": 0.1 + 0.7 * progress}
        if step % 5 == 0:
            line |= _landscape(experiment, norm, lr, progress, rng)
            for number in PROBED[experiment]:
                line |= _layer(f"layer{number}", norm, progress, rng)
        yield line
    if outcome == "finished" and experiment == "vgg":
        accuracy = 0.1 + 0.7 * _progress(experiment, norm, lr, last)
        yield {"step": last, "time": 1.0, "test/loss": 0.4, "test/accuracy": accuracy}
    if outcome == "diverged":
        broken = _landscape(experiment, norm, lr, 0.0, rng)
        losses = broken["landscape/loss"]
        broken["landscape/loss"] = [*losses[:2], math.inf, *[math.nan] * (len(losses) - 3)]
        yield {"step": last, "time": 1.0, "train/loss": math.nan} | broken


def _progress(experiment: str, norm: str, lr: float, step: int) -> float:
    """From 0 to nearly 1: how much of the way to the minimum is done."""
    speed = {"none": 4.0, "batch": 10.0}[norm] * (0.0 if (norm, lr) == ("none", 0.5) else 1.0)
    return 1 - math.exp(-speed * step / STEPS[experiment])


def _training(experiment: str, norm: str, progress: float, rng: np.random.Generator) -> Line:
    if experiment == "deep_linear":
        return {"train/loss": 5e4 * 10 ** (-2 * progress)}
    accuracy = np.clip(0.1 + 0.88 * progress + 0.04 * rng.standard_normal(), 0, 1)
    return {"train/loss": 2.31 - 2.2 * progress, "train/accuracy": float(accuracy)}


def _landscape(
    experiment: str, norm: str, lr: float, progress: float, rng: np.random.Generator
) -> Line:
    multiples = np.array(MULTIPLES[experiment])
    loss = 2.31 - 2.2 * progress if experiment == "vgg" else 5e4 * 10 ** (-2 * progress)
    rough = (2.0 if norm == "batch" else 12.0 * (1.2 - progress)) * rng.lognormal(sigma=0.3)
    length = 2.0 * (1.1 - progress)
    changes = length * multiples * (1 + 0.2 * rough * multiples)
    return {
        "landscape/step_size": (lr * multiples).tolist(),
        "landscape/loss": (loss * (1 + 0.02 * rough * multiples)).tolist(),
        "landscape/gradient_change": changes.tolist(),
        "landscape/gradient_norm": length,
    }


def _layer(layer: str, norm: str, progress: float, rng: np.random.Generator) -> Line:
    """Internal covariate shift and activations of one layer; the first unit is constant."""
    shift = float(rng.lognormal(sigma=0.3) * (3.0 if norm == "batch" else 0.5))
    spread = 1.0 if norm == "batch" else 0.3 + 2 * progress
    samples = rng.standard_normal((4, 500)) * spread + (0.0 if norm == "batch" else progress)
    samples[0] = 0.5
    ranges = np.stack([samples.min(1), samples.max(1)], axis=1)
    return {
        f"internal_covariate_shift/l2/{layer}": shift,
        f"internal_covariate_shift/cosine/{layer}": math.cos(shift) if progress else math.nan,
        f"internal_covariate_shift/norm/{layer}": 1.0,
        f"activations/histogram/{layer}": [np.histogram(unit, 40)[0].tolist() for unit in samples],
        f"activations/range/{layer}": ranges.tolist(),
        f"activations/mean/{layer}": samples.mean(1).tolist(),
    }


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value
