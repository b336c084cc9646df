"""Made-up but plausible runs, as the recorder writes them, for the tests of what reads them."""

import json
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

Line = dict[str, Any]

# By network, which is also the first part of an experiment's name.
STEPS = {"vgg": 60, "deep_linear": 100}
DEPTH = {"vgg": 14, "deep_linear": 25}  # layers, a VGG-16's last linear one among them
MULTIPLES = {"vgg": [0.5, 1.0, 2.0, 4.0], "deep_linear": [0.01, 0.1, 1.0, 10.0, 31.6]}
PROBED = {"vgg": (2, 3, 5, 9, 10, 11, 13), "deep_linear": (1, 9, 11, 17, 24)}
UNITS = 4
# By experiment: its norms and learning rates.
GRIDS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "vgg": (("none", "batch"), (0.1, 0.01, 0.5)),
    "vgg_noise": (("noisy_batch", "noise"), (0.1,)),
    "vgg_lp": (("l1", "l2", "linf"), (0.1,)),
    "deep_linear": (("none", "batch"), (1e-6, 1e-7)),
    "deep_linear_lp": (("l1", "l2", "linf"), (1e-6,)),
}
DATA = {"demo": "digits", "small": "cifar10", "paper": "cifar10"}
# How fast a norm trains, over a run; without one lr 0.5 does not train at all.
SPEED = {"none": 4, "batch": 10, "noisy_batch": 8, "noise": 0, "l1": 11, "l2": 10, "linf": 7}


def network(experiment: str) -> str:
    """The network of an experiment: vgg or deep_linear."""
    return "vgg" if experiment.startswith("vgg") else "deep_linear"


def make_header(experiment: str, norm: str, lr: float, seed: int, scale: str = "demo") -> Line:
    """The header of a run, with the keys of configs/train.yaml that readers look at."""
    net = network(experiment)
    data = DATA[scale] if net == "vgg" else "deep_linear"
    model: Line = {"depth": 16, "width": 0.125, "head": [], "bias": True}
    every = {"every": 5}
    probes: Line = {
        "landscape": {"multiples": MULTIPLES[net], "random_direction": experiment == "vgg"} | every,
        "internal_covariate_shift": {"norm_below": True} | every,
        "activations": {"units": UNITS, "bins": 40} | every,
    }
    if net == "vgg":
        probes["moments"] = {"units": UNITS} | every
    if experiment == "vgg":
        probes["consecutive_gradients"] = dict(every)
    config = {
        "experiment": experiment,
        "seed": seed,
        "steps": STEPS[net],
        "batch_size": 64 if net == "vgg" else 1000,
        "probe_every": 5,
        "results": f"results/runs/{scale}",
        "data": {"held_out": 297} if net == "vgg" else {"samples": 1000, "seed": seed},
        "model": model if net == "vgg" else {"depth": 25},
        "norm": {"_target_": norm},
        "optimizer": {"lr": lr, "momentum": 0.0, "weight_decay": 0.0},
        "probes": probes,
    }
    choices = {"data": data, "model": net, "norm": norm, "init": "xavier_uniform"}
    return {
        "experiment": experiment,
        "scale": scale,
        "choices": choices | {"scale": scale},
        "config": config,
        "fingerprint": f"{experiment}{norm}{lr}{seed}",
        "layers": [f"layer{i}" for i in range(1, DEPTH[net] + 1)],
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
    text = "".join(_dumps(line) + "\n" for line in written)
    (directory / "run.jsonl").write_text(text + torn, encoding="utf-8")
    return directory


def write_runs(root: Path, scale: str = "demo", seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """The grids of all experiments; of every cell with lr 0.5 or 1e-6 and no norm seed 1 diverges.

    Seed 2 of BatchNorm is interrupted half-way, its last line torn.
    """
    for experiment, (norms, lrs) in GRIDS.items():
        for norm, lr, seed in product(norms, lrs, seeds):
            header = make_header(experiment, norm, lr, seed, scale)
            outcome = "finished"
            if norm == "none" and lr in (0.5, 1e-6) and seed == 1:
                outcome = "diverged"
            if norm == "batch" and seed == 2:
                outcome = "interrupted"
            lines = list(make_lines(experiment, norm, lr, seed, outcome))
            torn = '{"step": 31, "train/lo' if outcome == "interrupted" else ""
            name = f"{network(experiment)}_{norm}_xavier_uniform_lr{lr}_seed{seed}"
            write_record(root / experiment / name, header, lines, outcome, torn)


def make_lines(experiment: str, norm: str, lr: float, seed: int, outcome: str) -> Iterator[Line]:
    """The records of one run: half of the steps unless it finished, then if diverged infinities."""
    net = network(experiment)
    rng = np.random.default_rng([seed, list(SPEED).index(norm), round(1e9 * lr)])
    last = STEPS[net] if outcome == "finished" else STEPS[net] // 2
    for step in range(last):
        progress = _progress(net, norm, lr, step)
        line = {"step": step, "time": 0.01 * step} | _training(net, progress, rng)
        if net == "vgg" and step % 10 == 0:
            line |= {"test/loss": 2.3 - 2 * progress, "test/accuracy": 0.1 + 0.7 * progress}
        if step % 5 == 0:
            line |= _landscape(experiment, norm, lr, progress, rng)
            for number in PROBED[net]:
                line |= _layer(f"layer{number}", norm, progress, rng)
                if net == "vgg":
                    line |= _moments(f"layer{number}", norm, progress, rng)
            if experiment == "vgg":
                line |= _consecutive_gradients(norm, progress, rng)
        yield line
    if outcome == "finished" and net == "vgg":
        accuracy = 0.1 + 0.7 * _progress(net, norm, lr, last)
        yield {"step": last, "time": 1.0, "test/loss": 0.4, "test/accuracy": accuracy}
    if outcome == "diverged":
        broken = _landscape(experiment, norm, lr, 0.0, rng)
        losses = broken["landscape/loss"]
        broken["landscape/loss"] = [*losses[:2], math.inf, *[math.nan] * (len(losses) - 3)]
        yield {"step": last, "time": 1.0, "train/loss": math.nan} | broken


def _progress(net: str, norm: str, lr: float, step: int) -> float:
    """From 0 to nearly 1: how much of the way to the minimum is done."""
    speed = 0.0 if (norm, lr) == ("none", 0.5) else SPEED[norm]
    speed *= 0.5 if lr == 0.01 else 1.0
    return 1 - math.exp(-speed * step / STEPS[net])


def _loss(net: str, progress: float) -> float:
    return 2.31 - 2.2 * progress if net == "vgg" else 5e4 * 10 ** (-2 * progress)


def _training(net: str, progress: float, rng: np.random.Generator) -> Line:
    line: Line = {"train/loss": _loss(net, progress)}
    if net == "vgg":
        accuracy = np.clip(0.1 + 0.88 * progress + 0.04 * rng.standard_normal(), 0, 1)
        line["train/accuracy"] = float(accuracy)
    return line


def _landscape(
    experiment: str, norm: str, lr: float, progress: float, rng: np.random.Generator
) -> Line:
    net = network(experiment)
    multiples = np.array(MULTIPLES[net])
    loss = _loss(net, progress)
    normed = norm not in ("none", "noise")
    rough = (2.0 if normed else 12.0 * (1.2 - progress)) * rng.lognormal(sigma=0.3)
    length = 2.0 * (1.1 - progress)
    changes = length * multiples * (1 + 0.2 * rough * multiples)
    losses = loss * (1 + 0.02 * rough * multiples)
    line: Line = {
        "landscape/step_size": (lr * multiples).tolist(),
        "landscape/loss": losses.tolist(),
        "landscape/gradient_change": changes.tolist(),
        "landscape/gradient_norm": length,
    }
    if experiment == "vgg":
        line["landscape/random_loss"] = (loss + 0.05 * (losses - loss)).tolist()
        line["landscape/random_gradient_change"] = (0.1 * changes).tolist()
    return line


def _layer(layer: str, norm: str, progress: float, rng: np.random.Generator) -> Line:
    """Internal covariate shift and activations of one layer; the first unit is constant."""
    normed = norm not in ("none", "noise")
    shift = float(rng.lognormal(sigma=0.3) * (3.0 if normed else 0.5))
    spread = 1.0 if normed else 0.3 + 2 * progress
    samples = rng.standard_normal((UNITS, 500)) * spread + (0.0 if normed else progress)
    samples[0] = 0.5
    low, high = samples.min(1, keepdims=True), samples.max(1, keepdims=True)
    bins = np.minimum(40 * (samples - low) / np.maximum(high - low, 1e-9), 39).astype(int)
    return {
        f"internal_covariate_shift/l2/{layer}": shift,
        f"internal_covariate_shift/cosine/{layer}": math.cos(shift) if progress else math.nan,
        f"internal_covariate_shift/norm/{layer}": 1.0,
        f"activations/histogram/{layer}": [np.bincount(row, minlength=40).tolist() for row in bins],
        f"activations/range/{layer}": np.hstack([low, high]).tolist(),
        f"activations/mean/{layer}": samples.mean(1).tolist(),
    }


def _moments(layer: str, norm: str, progress: float, rng: np.random.Generator) -> Line:
    """Mean and variance of every recorded unit at two successive steps, with their own noise."""
    noisy, normed = norm in ("noise", "noisy_batch"), norm not in ("none", "noise")
    line: Line = {}
    for prefix in ("", "next_"):
        shifts = rng.uniform(-0.5, 0.5, UNITS) if noisy else 0.02 * rng.standard_normal(UNITS)
        scales = rng.uniform(1, 1.25, UNITS) ** 2 if noisy else np.ones(UNITS)
        drift = (0.1 if normed else 1.0) * progress * np.arange(-1, UNITS - 1)
        line[f"moments/{prefix}mean/{layer}"] = (drift + shifts).tolist()
        line[f"moments/{prefix}variance/{layer}"] = (scales * (1 + np.abs(drift))).tolist()
    return line


def _consecutive_gradients(norm: str, progress: float, rng: np.random.Generator) -> Line:
    change = (3.0 if norm == "batch" else 2.0) * (1.2 - progress) * rng.lognormal(sigma=0.3)
    return {
        "consecutive_gradients/change": change,
        f"consecutive_gradients/change/layer{DEPTH['vgg']}": 0.3 * change,
    }


def _dumps(line: Line) -> str:
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:
        return json.dumps(_named(line), allow_nan=False)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value
