"""Made-up but plausible runs, as the recorder writes them, for the tests of what reads them."""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from bnstudy.record import DataFacts, Header, dumps

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
    "curvature_deep_linear": (("none", "batch"), (1e-6, 1e-7)),
}
DATA = {"demo": "digits", "small": "cifar10", "paper": "cifar10"}
# How fast a norm trains, over a run; without one lr 0.5 does not train at all.
SPEED = {"none": 4, "batch": 10, "noisy_batch": 8, "noise": 0, "l1": 11, "l2": 10, "linf": 7}
SPEED |= {"layer": 9, "group": 9, "instance": 6, "weight": 5, "weight_standardized": 7}
SPEED |= {"batch_no_affine": 9, "ghost_batch": 9}

# By experiment whose runs differ in more than norm, lr and seed: its axes. `depth` is model.depth,
# `placement` and `activation` likewise. At scale paper LONG has the axes of these names.
PAIR = {"norm": ("none", "batch")}
LRS = {"lr": (0.01, 0.1, 3.0)}
INITS = {"init": ("xavier_uniform", "kaiming", "xavier_large")}
TWO_LRS = {"lr": (0.01, 0.1)}
DEPTHS = {"depth": (20, 56)}
Axes = dict[str, tuple[Any, ...]]
NETWORK_NORMS: Axes = {"norm": ("none", "batch", "layer")}
TRANSFORMER: Axes = {"model": ("transformer",), "placement": ("pre", "post")} | NETWORK_NORMS
TRANSFORMER |= TWO_LRS
DECAYS: Axes = {"weight_decay": (0.0, 0.001, 0.01)}
EARLY: Axes = {"init": ("kaiming", "xavier_large"), "schedule": ("constant", "warmup")}
AXES: dict[str, Axes] = {
    "lr_by_init_vgg": {"model": ("vgg",)} | PAIR | LRS | INITS,
    "lr_by_init_resnet": {"model": ("resnet",)} | PAIR | LRS | INITS,
    "depth_vgg": {"model": ("vgg",)} | PAIR | TWO_LRS | {"depth": (11, 16)},
    "depth_resnet": {"model": ("resnet", "plain")} | PAIR | TWO_LRS | DEPTHS,
    "depth_remedies": {"model": ("resnet",), "init": ("skipinit", "fixup")} | TWO_LRS | DEPTHS,
    "depth_zero_gamma": {"model": ("resnet",), "norm": ("batch",), "init": ("zero_gamma",)}
    | TWO_LRS
    | DEPTHS,
    "placement": {"model": ("vgg",), "norm": ("batch",), "placement": ("after",)}
    | {"init": ("xavier_uniform",)}
    | LRS,
    "scale_and_shift": {
        "model": ("mlp",),
        "norm": ("none", "batch", "batch_no_affine"),
        "activation": ("relu", "sigmoid", "tanh"),
    },
    "covariate_shift": {"model": ("vgg",)} | PAIR,
    "norms": {
        "model": ("vgg",),
        "norm": (
            *("none", "batch", "layer", "group", "instance"),
            *("weight", "weight_standardized", "l1", "l2", "linf"),
        ),
    }
    | TWO_LRS,
    "step0": {"model": ("vgg",)} | PAIR,
    "curvature": {"model": ("vgg",)} | PAIR | {"lr": (0.01, 0.1, 0.5)},
    "spectra": {"model": ("vgg",)} | PAIR,
    "theory": {"model": ("vgg",)} | PAIR,
    "tolerance_vgg": {"model": ("vgg",)} | PAIR | LRS | INITS,
    "transformer": TRANSFORMER,
    "transformer_sgd": TRANSFORMER,
    "transformer_text": TRANSFORMER,
    "signal_propagation": {"model": ("plain", "resnet")} | PAIR | {"depth": (20, 56)},
    "batch_size": {"model": ("vgg",)} | PAIR | TWO_LRS | {"batch_size": (64, 512)},
    "divergence": {"model": ("vgg",)} | PAIR | {"lr": (0.1, 3.0)},
    "representations": {"model": ("mlp",)} | PAIR | {"init": ("kaiming", "orthogonal_relu")},
    "rotation": {"model": ("vgg",)} | PAIR | DECAYS,
    "scale_invariance": {"model": ("vgg",), "norm": ("batch_no_affine",)} | DECAYS,
    "scale_invariance_lr": {
        "model": ("vgg",),
        "norm": ("batch_no_affine",),
        "schedule": ("exponential",),
    },
    "early_sharpness": {"model": ("vgg",)} | PAIR | LRS | EARLY,
    "statistics": {"model": ("vgg",), "norm": ("none", "batch", "noisy_batch")} | TWO_LRS,
    "ghost_batch": {"model": ("vgg",), "norm": ("ghost_batch",), "samples": (4, 64)} | TWO_LRS,
    "networks_vgg": {"model": ("vgg",)} | NETWORK_NORMS | TWO_LRS,
    "networks_resnet": {"model": ("resnet",), "depth": (20,)} | NETWORK_NORMS | TWO_LRS,
}
LONG: Axes = {
    "lr": (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "init": (
        *("xavier_uniform", "kaiming", "orthogonal"),
        *("torch_default", "xavier_small", "xavier_large"),
    ),
    "depth": (20, 32, 56, 110),
}
# What a cell has along an axis that its experiment has not.
USUAL = {"norm": "none", "lr": 0.1, "init": "kaiming"}
PROBES_OF = {
    "depth_vgg": ("gradients",),
    "depth_resnet": ("gradients",),
    "depth_remedies": ("gradients",),
    "depth_zero_gamma": ("gradients",),
    "scale_and_shift": ("activations", "scale_and_shift"),
    "covariate_shift": ("moments", "internal_covariate_shift", "covariate_shift"),
    "norms": ("landscape",),
    "step0": ("small_landscape", "internal_covariate_shift"),
    "curvature": ("landscape", "curvature"),
    "spectra": ("spectrum",),
    "theory": ("theory",),
    "transformer": ("landscape", "curvature", "internal_covariate_shift"),
    "transformer_sgd": ("landscape", "curvature", "internal_covariate_shift"),
    "transformer_text": ("landscape", "internal_covariate_shift"),
    "signal_propagation": ("gradients", "branches"),
    "divergence": ("moments",),
    "representations": ("representations",),
    "rotation": ("curvature",),
    "scale_invariance": ("curvature",),
    "scale_invariance_lr": ("curvature",),
    "early_sharpness": ("curvature",),
    "ghost_batch": ("landscape",),
    "networks_vgg": ("landscape", "curvature"),
    "networks_resnet": ("landscape", "curvature"),
}
# What was found since 2018.
SINCE = ("transformer", "transformer_sgd", "transformer_text", "signal_propagation", "batch_size")
SINCE += ("divergence", "representations", "rotation", "early_sharpness", "statistics")
SINCE += ("networks_vgg", "networks_resnet")
SIZES = [-1.0, 0.0, 1.0, 2.0, 4.0]
EXPERIMENTS = (*GRIDS, *AXES)
# By option of the data group, as the data sets themselves say it: a test compares them.
FACTS = {
    "digits": DataFacts("digits", "classification", 10, 1500, 297, "0" * 16),
    "cifar10": DataFacts("CIFAR-10", "classification", 10, 50_000, 10_000, "0" * 16),
    "deep_linear": DataFacts("deep_linear", "regression", 0, 1000, 0, "0" * 16),
}


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
    return Header(
        experiment=experiment,
        scale=scale,
        choices=choices | {"optimizer": "sgd", "scale": scale},
        config=config,
        fingerprint=f"{experiment}{norm}{lr}{seed}",
        layers=[f"layer{i}" for i in range(1, DEPTH[net] + 1)],
        data=FACTS[data],
        steps=STEPS[net],
        batch_size=64 if net == "vgg" else 1000,
        device="cpu (x86_64, 1 threads)",
        memory_format="contiguous",
        versions={"python": "3.11.7", "bnstudy": "0.1.0", "torch": "2.14.1"},
        started="2026-11-25T12:00:00+0000",
        git="0" * 40,
    ).line()


def write_record(
    directory: Path, header: Line, lines: list[Line], outcome: str = "finished", torn: str = ""
) -> Path:
    """A run.jsonl; no end line if the outcome is "interrupted"; `torn` is left without an end."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [{"header": header}, *lines]
    if outcome != "interrupted":
        written.append({"end": {"outcome": outcome, "step": lines[-1]["step"], "seconds": 1.5}})
    text = "".join(dumps(line) + "\n" for line in written)
    (directory / "run.jsonl").write_text(text + torn, encoding="utf-8")
    return directory


def write_runs(
    root: Path,
    scale: str = "demo",
    seeds: tuple[int, ...] = (0, 1, 2),
    experiments: Iterable[str] = tuple(GRIDS),
) -> None:
    """The grids of experiments; of every cell with lr 0.5 or 1e-6 and no norm seed 1 diverges.

    Seed 2 of BatchNorm is interrupted half-way, its last line torn.
    """
    for experiment in experiments:
        norms, lrs = GRIDS[experiment]
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
            if experiment == "curvature_deep_linear":
                layers = [f"layer{number}" for number in PROBED[net]]
                line |= curvature(norm, lr, layers, progress, rng)
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


def write_grids(root: Path, scale: str = "demo", seeds: tuple[int, ...] = (0, 1, 2)) -> None:
    """The grids of AXES; what `_fate` says diverges; seed 2 of BatchNorm is interrupted."""
    for experiment in AXES:
        for number, cell in enumerate(cells(experiment, scale)):
            for seed in seeds:
                header = cell_header(experiment, cell, seed, scale)
                outcome, level = _fate(experiment, cell, seed)
                rng = np.random.default_rng([seed, number])
                lines = list(_cell_lines(experiment, cell, header["layers"], outcome, level, rng))
                directory = root / experiment / f"{experiment}_cell{number:03}_seed{seed}"
                write_record(directory, header, lines, outcome)


def cells(experiment: str, scale: str = "demo") -> list[Line]:
    """The cells of an experiment's grid, each with what it has along every axis."""
    axes = dict(AXES[experiment])
    if scale == "paper" and experiment != "curvature":
        axes |= {name: LONG[name] for name in LONG if len(axes.get(name, ())) > 2}
        if axes.get("depth") == DEPTHS["depth"]:
            axes["depth"] = LONG["depth"]
    return [USUAL | dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def cell_header(experiment: str, cell: Line, seed: int, scale: str = "demo") -> Line:
    """The header of a run of a cell."""
    header = make_header("vgg", cell["norm"], cell["lr"], seed, scale)
    probes = header["config"]["probes"]
    more = ("gradients", "scale_and_shift", "curvature", "spectrum", "theory", "small_landscape")
    more += ("branches", "representations")
    probes |= {name: {"every": 5} for name in more}
    probes["covariate_shift"] = {"sizes": SIZES, "every": 5}
    depth = cell.get("depth", 16)
    layers = depth - 2 if cell["model"] == "vgg" else depth  # of 16 layers two are of the head
    model: Line = {"depth": depth, "placement": cell.get("placement", "before")}
    if cell["model"] == "mlp":
        layers, model = 4, {"hidden": [100, 100, 100], "activation": cell.get("activation", "relu")}
    elif cell["model"] != "vgg":
        # Without norms only the offsets of fixup and skipinit are left.
        model = {"depth": depth, "bias": cell["init"] in ("fixup", "skipinit")}
    if cell["model"] == "transformer":
        layers, model = 4, {"depth": 2, "placement": cell["placement"]}
    header["experiment"] = header["config"]["experiment"] = experiment
    header["choices"] |= {"model": cell["model"], "init": cell["init"]}
    header["config"] |= {"model": model, "init": {"_target_": cell["init"]}}
    header["config"]["probes"] = {name: probes[name] for name in PROBES_OF.get(experiment, ())}
    header["config"]["optimizer"]["weight_decay"] = cell.get("weight_decay", 0.0)
    header["config"]["norm"] |= {"samples": cell["samples"]} if "samples" in cell else {}
    header["config"]["batch_size"] = cell.get("batch_size", 64)
    header["choices"]["schedule"] = cell.get("schedule", "constant")
    header["fingerprint"] = f"{experiment}{json.dumps(cell)}{seed}"
    header["layers"] = [f"layer{i}" for i in range(1, layers + 1)]
    return header


def _fate(experiment: str, cell: Line, seed: int) -> tuple[str, float]:
    """How a run ends and how far it gets, from 0 (chance) to 1.

    Without a norm lr 3 and 56 plain layers do not learn, and seed 1 diverges there; so it does in
    one cell at least of every experiment. From xavier_large at lr 3 every seed diverges.
    """
    norm, lr = cell["norm"], cell["lr"]
    hopeless = norm == "none" and (
        lr > 1 or (cell["model"] == "plain" and cell["depth"] > 50 and lr == 0.1)
    )
    if norm in ("none", "weight") and cell["init"] == "xavier_large" and lr > 1:
        return "diverged", 0.0
    if experiment == "norms" and norm == "weight" and lr == 0.1:
        return "diverged", 0.0
    unlucky = experiment in ("covariate_shift", "step0", "norms", "curvature", "spectra", "theory")
    unlucky = unlucky or cell.get("activation") == "sigmoid" or experiment in SINCE
    if seed == 1 and norm == "none" and (hopeless or (unlucky and lr == 0.1)):
        return "diverged", 0.3
    if hopeless or (norm == "none" and cell["init"] == "xavier_large" and seed == 0):
        return "finished", 0.0
    level = SPEED[norm] / 11 - 0.15 * abs(math.log10(lr / 0.1)) - 0.002 * cell.get("depth", 0)
    level += 0.1 * (cell["init"] in ("fixup", "skipinit")) - 0.03 * seed
    level -= 0.1 * (cell.get("placement") == "after")
    return "interrupted" if norm == "batch" and seed == 2 else "finished", max(0.1, level)


def _cell_lines(
    experiment: str,
    cell: Line,
    layers: list[str],
    outcome: str,
    level: float,
    rng: np.random.Generator,
) -> Iterator[Line]:
    """The records of a run of a cell: half of the steps unless it finished."""
    steps = STEPS["vgg"]
    last = steps if outcome == "finished" else steps // 2
    for step in range(last):
        progress = level * (1 - math.exp(-6 * step / steps))
        line = {"step": step, "time": 0.01 * step} | _training("vgg", progress, rng)
        if step == 0:
            line |= {"test/loss": 2.3, "test/accuracy": 0.1}
        if step % 20 == 0 and experiment in ("statistics", "ghost_batch"):
            gain = 0.1 * (cell["norm"] != "none")
            line |= {"test/accuracy": 0.1 + 0.8 * progress}
            line["test/precise_accuracy"] = 0.1 + (0.8 + gain) * progress
        if step % 5 == 0:
            for probe in PROBES_OF.get(experiment, ()):
                probed = layers[::3] if experiment == "step0" else layers
                line |= _probe(probe, cell, probed, progress, rng)
        yield line
    if outcome == "finished":
        line = {"step": last, "time": 1.0, "test/loss": 0.4, "test/accuracy": 0.1 + 0.85 * level}
        if experiment in ("statistics", "ghost_batch"):
            line["test/precise_accuracy"] = 0.1 + 0.87 * level
        yield line
    if outcome == "diverged":
        yield {"step": last, "time": 1.0, "train/loss": math.nan, "train/accuracy": 0.1}


def _probe(
    probe: str, cell: Line, layers: list[str], progress: float, rng: np.random.Generator
) -> Line:
    """What one probe records at one step of a run of a cell."""
    norm, line = cell["norm"], {}
    if probe == "landscape":
        return _landscape("vgg_lp", norm, cell["lr"], progress, rng)
    if probe == "small_landscape":  # with the second, smaller set of step sizes
        line = _landscape("vgg_lp", norm, cell["lr"], progress, rng)
        for key in ("step_size", "gradient_change"):
            line[f"landscape/small_{key}"] = [0.01 * size for size in line[f"landscape/{key}"]]
        return line
    if probe == "curvature":
        return curvature(norm, cell["lr"], layers, progress, rng)
    if probe == "spectrum":
        return spectrum(norm, rng)
    if probe == "theory":
        return theory(norm, layers, progress, rng)
    if probe == "gradients":
        slope = {"none": 0.02, "batch": 0.002}[norm] / (4 if cell["model"] == "resnet" else 1)
        slope -= 0.01 * (cell["init"] == "fixup")
        for i, layer in enumerate(layers):
            exponent = slope * (i - len(layers)) + 0.05 * rng.standard_normal()
            # At first SkipInit's branches are multiplied by zero.
            vanishes = cell["init"] == "skipinit" and progress == 0 and layer != layers[-1]
            line[f"gradients/norm/{layer}"] = 0.0 if vanishes else 10**exponent
        return line | {"gradients/norm": 1.0}
    if probe == "covariate_shift":
        line["covariate_shift/size"] = SIZES
    if probe == "representations":
        line["representations/samples"] = 64
    if probe == "branches":
        line["branches/blocks"] = 9 if cell["model"] == "resnet" else 0
        for block in range(1, line["branches/blocks"] + 1):
            line[f"branches/branch_variance/block{block}"] = 1.0
            line[f"branches/skip_variance/block{block}"] = 0.5 + 0.5 * block
    for i, layer in enumerate(layers):
        if probe in ("activations", "internal_covariate_shift"):
            recorded = _layer(layer, norm, progress, rng)
            line |= {key: value for key, value in recorded.items() if key.startswith(probe)}
        if probe == "activations":
            middle = progress + rng.uniform(0, 0.1)
            line[f"activations/percentiles/{layer}"] = [[middle - 1, middle, middle + 1]] * UNITS
            line[f"activations/zeros/{layer}"] = 0.5 - 0.2 * progress
            line[f"activations/within/{layer}"] = [0.4 - 0.2 * progress, 0.7 - 0.2 * progress]
        elif probe == "representations":
            kept = 0.95 if norm == "batch" else 0.5 if cell["init"] == "kaiming" else 0.8
            line[f"representations/effective_rank/{layer}"] = 1 + 60 * kept ** (i + 1)
            line[f"representations/orthogonality_gap/{layer}"] = 0.9 - 0.8 * kept ** (i + 1)
            line[f"representations/mean_cosine/{layer}"] = 1 - kept ** (i + 1)
        elif probe == "moments":
            line |= _moments(layer, norm, progress, rng)
        elif probe == "scale_and_shift" and norm == "batch" and layer != layers[-1]:
            for name, start in (("gamma", 1.0), ("beta", 0.0)):
                spread = 0.5 * progress * np.array([-1, 0.3, 1])
                line[f"scale_and_shift/{name}_percentiles/{layer}"] = (start + spread).tolist()
                line[f"scale_and_shift/{name}/{layer}"] = [start] * UNITS
        elif probe == "covariate_shift" and i in (0, len(layers) // 2, len(layers) - 2):
            best, shift = 0.1 + 0.85 * progress, np.abs(SIZES)
            loss = {"running": 0.2 if norm == "none" else 0.1, "batch": 0.2}
            loss["batch"] = loss["running"] if norm == "none" else 0.01
            for statistics, rate in loss.items():
                fall = np.exp(-rate * shift * (1 + i / len(layers)))
                key = f"covariate_shift/{statistics}"
                line[f"{key}_accuracy/{layer}"] = (0.1 + (best - 0.1) * fall).tolist()
                line[f"{key}_loss/{layer}"] = (2.3 - 2 * progress * fall).tolist()
    return line


def curvature(
    norm: str, lr: float, layers: list[str], progress: float, rng: np.random.Generator
) -> Line:
    """What sharpness, batch_sharpness, hessian_trace and weights record at one step."""
    largest = (0.3 + 0.7 * progress) * 2 / lr * (1.0 if norm == "batch" else 0.1)
    largest *= rng.lognormal(sigma=0.1)
    line: Line = {"weights/lr": lr, "weights/norm": 9.0 + progress}
    for statistics, factor in (("batch", 1.0), ("running", 9.0 if norm == "batch" else 1.0)):
        values = largest * factor * np.array([1.0, 0.6, 0.2])
        line |= {
            f"sharpness/{statistics}_eigenvalues": values.tolist(),
            f"sharpness/{statistics}_error": (1e-3 * values).tolist(),
            f"sharpness/{statistics}_products": 20,
            f"batch_sharpness/{statistics}_curvature": (values * [0.9, 1.3, -0.5]).tolist(),
            f"batch_sharpness/{statistics}_gradient_norm": [1.0, 2.0, 1.5],
            f"hessian_trace/{statistics}_samples": (3 * values).tolist(),
        }
    for number, layer in enumerate(layers):
        length = 1.0 + 0.1 * number + (progress if norm == "batch" else -0.2 * progress)
        line |= {
            f"weights/norm/{layer}": length,
            f"weights/step/{layer}": lr * length * rng.lognormal(sigma=0.3),
            f"weights/initial_norm/{layer}": 1.0 + 0.1 * number,
            f"weights/rotation/{layer}": 0.01 * (1 + 0.1 * number) * rng.lognormal(sigma=0.3),
        }
    return line


def spectrum(norm: str, rng: np.random.Generator) -> Line:
    """What the probe spectrum records at one step: two draws, 40 iterations, 11 eigenvectors."""
    top = 3.0 if norm == "batch" else 30.0
    line: Line = {}
    for statistics, factor in (("batch", 1.0), ("running", 9.0)):
        nodes = -np.sort(-np.append(factor * top, rng.normal(0.5, 1, 39)))
        weights = np.where(nodes > 3, 1e-4, 1.0)
        weights = (weights / weights.sum()).tolist()
        shares = [0.05 * (norm == "none") + 0.01] * 11
        line |= {
            f"spectrum/{statistics}_nodes": [nodes.tolist()] * 2,
            f"spectrum/{statistics}_weights": [weights] * 2,
            f"spectrum/{statistics}_gradient_share": shares,
            f"spectrum/{statistics}_eigenvalues": nodes[:11].tolist(),
            f"spectrum/{statistics}_error": [1e-3] * 11,
        }
    return line


def theory(norm: str, layers: list[str], progress: float, rng: np.random.Generator) -> Line:
    """What theory and weights record at one step; theory of all layers but the last, with a norm.

    Where the identities hold they hold here too: 4.1, the first line of 4.2.
    """
    line: Line = {"theory/layers": len(layers) - 1 if norm == "batch" else 0}
    for number, layer in enumerate(layers):
        line |= {
            f"weights/norm/{layer}": 1.0 + 0.2 * progress,
            f"weights/distance/{layer}": 0.1 + (0.5 if norm == "batch" else 1.0) * progress,
            f"weights/initial_product/{layer}": 0.9,
            f"weights/initial_norm/{layer}": 1.0,
        }
        if norm != "batch" or layer == layers[-1]:
            continue
        plain, scale = 10 ** (-1 - 2 * progress), 2.0 - 0.1 * number
        mean_term, projection = (float(x) for x in scale * plain * rng.uniform(0, 0.1, 2))
        term = plain * rng.normal(1, 1, UNITS)
        bend, bound = -0.1 * plain * rng.normal(1, 1, UNITS), 100 * plain * rng.uniform(1, 2, UNITS)
        of_layer = {
            "input_gradient": scale * plain - mean_term - projection,
            "output_gradient": plain,
            "scaled_gradient": scale * plain,
            "mean_term": mean_term,
            "projection_term": projection,
            "error": 3e-7,
            "violated": 0.98,
            "scale_percentiles": [0.5 * scale, scale, 2 * scale],
            "positive": float(rng.uniform(0.4, 0.6)),
            "curvature": (term + bend + 1e-6 * plain).tolist(),
            "curvature_first": (term + bend).tolist(),
            "curvature_second": (term * rng.uniform(0.5, 1.5, UNITS) + bend).tolist(),
            "curvature_term": term.tolist(),
            "largest_input": 100.0,
            "weight_gradient": (0.01 * bound).tolist(),
            "weight_bound": bound.tolist(),
            "weight_bound_printed": (bound**2 / (1 + number) - bound).tolist(),
        }
        line |= {f"theory/{key}/{layer}": value for key, value in of_layer.items()}
    return line
