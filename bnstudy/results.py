"""Runs read back from their records, and the reductions that figures and claims share.

Needs no more than numpy: whoever has the records can redraw every figure without torch.
"""

import difflib
import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, reduce
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnstudy.header import NOT_SCIENCE, NOT_SCIENCE_OF_DATA
from bnstudy.recorder import parse

Steps = NDArray[np.int64]
Values = NDArray[np.float64]
Series = tuple[Steps, Values]  # a metric over a run: steps [n], values [n, ...]

RECORDS = ("run.jsonl", "run.jsonl.gz")  # of a run that has both the first counts

# Keys of the config.
# What is measured along the way and how often: training is the same, bit by bit, whatever it is.
MEASURING = ("probes", "probe_every", "test_every", "precise_statistics")
# How much a probe records; all its other options say what it measures.
EXTENT_OF_PROBES = ("every", "layers", "random_direction", "small_multiples", "curve_multiples")
# In which the runs of every comparison may differ.
ARMS = ("norm", "optimizer.lr", "seed")
# A network has learned something if its test accuracy is this far above that of guessing.
ABOVE_CHANCE = 0.05
SAMPLES = 2000  # of a running mean over noisy mini-batches, at least
# Eigenvalues of a Hessian that stand out, one for each of ten classes (Gur-Ari et al. 2018).
OUTLIERS = 10
SGD = ("sgd", "momentum")  # options of the optimizer group whose edge of stability is known
NETWORKS = {
    "vgg": "VGG",
    "resnet": "ResNet",
    "plain": "plain",  # He et al. 2016: plain-20
    "deep_linear": "deep linear network",
    "mlp": "MLP",
}


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
    seconds: float = 0.0  # that the run took by its own clock; 0 without an end line

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

    def option(self, path: str) -> Any:
        """What was chosen or set: "init" gives "kaiming", "model.depth" 56; None if there is none.

        A path is the name of a config group, whose option it gives, or of a key of the config.
        """
        if path in self.choices:
            return self.choices[path]
        return reduce(lambda found, key: (found or {}).get(key), path.split("."), self.config)

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
    """The run recorded in `directory`, by `run.jsonl` or, without one, by `run.jsonl.gz`.

    A torn last line is left out. Raises ValueError, naming the file and the line, if any other line
    is broken, or if steps of training are missing between two lines.
    """
    path = _record_in(Path(directory))
    lines = _read_lines(path)
    header = _read_header(path, lines)
    outcome, seconds = "interrupted", 0.0
    records: dict[str, tuple[list[int], list[Any]]] = {}
    trained: list[tuple[int, int]] = []  # lines with a step of training
    for number, raw in enumerate(lines[1:], start=2):
        line = parse(raw)
        if line is None and number == len(lines):
            break
        if line is None or not ("end" in line or isinstance(line.get("step"), int)):
            raise ValueError(f"{path}: line {number} is broken; move the run away.")
        if "end" in line:
            outcome, seconds = line["end"]["outcome"], line["end"].get("seconds", 0.0)
            continue
        step = line.pop("step")
        if "train/loss" in line or "train/lr" in line:
            trained.append((number, step))
        line.pop("skipped", None)  # why a probe of one's own loop has no value at this step
        for key, value in line.items():
            steps, values = records.setdefault(key, ([], []))
            steps.append(step)
            values.append(value)
    _refuse_hole(path, trained)
    return Run(Path(directory), header, outcome, records, seconds)


def _refuse_hole(path: Path, trained: list[tuple[int, int]]) -> None:
    """ValueError if steps are missing in a record of every step; a thinned record has no holes."""
    pairs = list(pairwise(trained))
    if not any(after - before == 1 for (_, before), (_, after) in pairs):
        return
    for (_, before), (number, after) in pairs:
        if after - before != 1:
            raise ValueError(
                f"{path}: line {number} is step {after}, and the line before it is step {before}; "
                "give the run's command again, or move the run away."
            )


def load_runs(experiment: str, root: Path | str, unreadable: list[str] | None = None) -> list[Run]:
    """All runs of an experiment below `root`, such as results/runs/demo, sorted by name.

    Interrupted and diverged ones too. A folder without a record, or with an empty one because the
    run is just starting, is skipped. A record that cannot be read raises ValueError or OSError;
    where there is a list `unreadable`, it gets their sentences, and the other runs are read.
    """
    found = [path.parent for name in RECORDS for path in Path(root, experiment).glob(f"*/{name}")]
    runs: list[Run] = []
    for directory in sorted(set(found)):
        try:
            if _record_in(directory).stat().st_size:
                runs.append(load_run(directory))
        except (OSError, ValueError) as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
    return runs


def _record_in(directory: Path) -> Path:
    plain, compressed = (directory / name for name in RECORDS)
    return compressed if compressed.exists() and not plain.exists() else plain


def _read_lines(path: Path) -> list[bytes]:
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: this is no whole gzip file; copy it again.") from error
    return content.splitlines(keepends=True)


def _read_header(path: Path, lines: list[bytes]) -> dict[str, Any]:
    try:
        header = json.loads(lines[0])["header"]
        missing = {"experiment", "scale", "choices", "config", "layers", "data"} - set(header)
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the first line is no header; move the run away.") from error
    if missing:
        raise ValueError(f"{path}: the header lacks {', '.join(sorted(missing))}.")
    return header


def settings(run: Run, vary: Sequence[str] = ARMS) -> str:
    """What two runs must share to be compared: how they are trained, but for what may vary.

    `vary` are names of config groups and paths of keys.
    """
    config = json.loads(json.dumps(run.config))
    for path in (*NOT_SCIENCE, *MEASURING, "experiment", *vary):
        _drop(config, path)
    # Data that is made from the run's seed has that seed in its own config.
    for key in (*NOT_SCIENCE_OF_DATA, "seed"):
        _drop(config, f"data.{key}")
    return json.dumps([run.scale, config], sort_keys=True)


def _drop(config: dict[str, Any], path: str) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config.get(key, {})
    config.pop(last, None)


def comparable(runs: Sequence[Run], also: Sequence[str] = ()) -> list[Run]:
    """The largest set of runs that differ in nothing but norm, lr and seed; each training once.

    `also` names what else is compared: config groups such as "init", keys such as "model.depth".

    A folder may hold more than the experiment's grid, say a run with another init; without this it
    would pass for one more seed. Two settings of one norm, say another momentum, count as well.
    The runs may be of several experiments: neither its name nor which probes it has, how often and
    on which layers, is a difference, but what a probe measures, say its step sizes, is one. Of runs
    that agree in all that varies the one that recorded most is kept: they are no two seeds.
    """
    vary = (*ARMS, *also)
    kept = _agreeing(runs, partial(settings, vary=vary))
    for group in vary:
        if any(group in run.choices for run in kept):
            nested = [path for path in vary if path.startswith(f"{group}.")]
            for option in dict.fromkeys(run.option(group) for run in kept):
                options_of = partial(_options, group=group, option=option, but=nested)
                kept = _agreeing(kept, options_of)
    for probe in dict.fromkeys(name for run in kept for name in run.config.get("probes", {})):
        kept = _agreeing(kept, partial(_probe_options, probe=probe))
    fullest: dict[tuple[Any, ...], Run] = {}
    for run in kept:
        same = tuple(run.option(path) for path in vary)
        fullest[same] = max(fullest.get(same, run), run, key=_size)
    return [run for run in kept if fullest[tuple(run.option(path) for path in vary)] is run]


def _agreeing(runs: Sequence[Run], of: Callable[[Run], str | None]) -> list[Run]:
    """The runs with the most common value, and those with None, which it does not concern."""
    values = [of(run) for run in runs]
    common = Counter(value for value in values if value is not None).most_common(1)
    wanted = {None, *(value for value, _ in common)}
    return [run for run, value in zip(runs, values, strict=True) if value in wanted]


def _options(run: Run, group: str, option: str, but: Sequence[str]) -> str | None:
    if run.option(group) != option:
        return None
    config = json.loads(json.dumps({group: run.config.get(group)}))
    for path in but:
        _drop(config, path)
    return json.dumps(config, sort_keys=True)


def _probe_options(run: Run, probe: str) -> str | None:
    options = run.config.get("probes", {}).get(probe)
    if options is None:
        return None
    measured = {k: v for k, v in options.items() if k not in EXTENT_OF_PROBES}
    return json.dumps(measured, sort_keys=True)


def _size(run: Run) -> int:
    return sum(len(steps) for steps, _ in run.records.values())


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


def find_layer(run: Run, number: int, of: int, kind: str) -> int | None:
    """The number, from 1, of the layer that stands for layer `number` of the paper's `of`.

    In a shallower network the layer at the same relative depth; of the layers that have `kind`
    recorded the nearest, None if no layer has it. A VGG's linear layers do not count.
    """
    head = run.config.get("model", {}).get("head")
    depth = len(run.layers) - (0 if head is None else len(head) + 1)
    wanted = number if depth >= of else max(1, round(number * depth / of))
    recorded = [i for i, name in enumerate(run.layers, start=1) if f"{kind}/{name}" in run]
    return min(recorded, key=lambda i: abs(i - wanted)) if recorded else None


def window(run: Run) -> int:
    """The steps of a running mean over noisy mini-batches: 1/150 of the run, an odd number."""
    return 2 * (run.config["steps"] // 300) + 1


def chance(run: Run) -> float:
    """The accuracy of guessing, a fraction: 1 / number of classes.

    Where the record does not say how many classes there are, the test accuracy before the first
    step. KeyError if there is neither.
    """
    classes = run.header["data"].get("classes")
    return 1 / classes if classes else float(run["test/accuracy"][1][0])


def final_accuracy(run: Run) -> float:
    """The last test accuracy, a fraction; that of guessing if the run diverged."""
    return chance(run) if run.outcome == "diverged" else float(run["test/accuracy"][1][-1])


def stuck(run: Run) -> bool:
    """Whether a run finished without learning: not 5 points of test accuracy above chance."""
    return run.outcome == "finished" and final_accuracy(run) < chance(run) + ABOVE_CHANCE - 1e-9


def trains(run: Run) -> bool:
    """Whether a run finished at least 5 points of test accuracy above chance."""
    return run.outcome == "finished" and not stuck(run)


def steps_to(run: Run, level: float) -> float:
    """Steps until the training accuracy reaches a level [steps], infinite if never.

    The accuracy is a running mean over 2,000 samples or 1/150 of the run, whichever is more: of
    fewer samples the mean reaches a level by chance.
    """
    steps, means = smooth_accuracy(run)
    reached = np.flatnonzero(means >= level - 1e-9)
    return float(steps[reached[0]] + 1) if len(reached) else np.inf


def smooth_accuracy(run: Run) -> Series:
    """The training accuracy as that running mean: steps [n], each in the middle, and values [n]."""
    steps, accuracies = run["train/accuracy"]
    samples = 2 * (math.ceil(SAMPLES / run.batch_size) // 2) + 1
    width = min(max(window(run), samples), len(steps))
    means = np.convolve(accuracies, np.full(width, 1 / width), mode="valid")
    return steps[width // 2 :][: len(means)], means


def edges(run: Run, key: str) -> tuple[Steps, Values, Values]:
    """The smallest and the largest value over the step sizes: figures 4a, 4b, 10, 12, 13.

    Steps [n], low [n], high [n]. The range ends at infinity where any point is not finite.
    """
    steps, values = run[key]
    finite = np.isfinite(values)
    low = np.fmin.reduce(np.where(finite, values, np.nan), axis=1)
    return steps, low, np.where(finite, values, np.inf).max(axis=1)


def learning_rates(run: Run, steps: Steps) -> Values:
    """The learning rate at these steps [n], which a schedule changes; NaN where it is not known."""
    if "train/lr" not in run:
        return np.full(len(steps), run.lr)
    known = dict(zip(*(values.tolist() for values in run["train/lr"]), strict=True))
    return np.array([known.get(step, np.nan) for step in steps.tolist()], dtype=np.float64)


def edge_of_stability(run: Run, steps: Steps, of_batches: bool = False) -> Values:
    """The sharpness above which training is not stable, at these steps [n]: 2 / lr.

    With momentum b 2 (1 + b) / lr, with Nesterov's 2 (1 + b) / (lr (1 + 2 b)): Cohen et al. 2021.
    NaN where it is not known: Adam's, say, is one of the preconditioned Hessian; and with momentum
    that of batch sharpness, if `of_batches`, depends on the batch size (Andreyev et al. 2026).
    """
    momentum = run.option("optimizer.momentum") or 0.0
    if run.choices.get("optimizer") not in SGD or (momentum and of_batches):
        return np.full(len(steps), np.nan)
    nesterov = 1 + 2 * momentum if run.option("optimizer.nesterov") else 1.0
    with np.errstate(divide="ignore"):
        return 2 * (1 + momentum) / nesterov / learning_rates(run, steps)


def effective_beta(run: Run, prefix: str = "") -> Series:
    """Effective beta-smoothness, max over eta of gradient_change / (eta ||g||): figures 4c, 10c.

    Steps [n] and values [n], in units of 1 / lr. NaN where the gradient vanishes, infinite where a
    point on the line is not finite. Where the smallest eta already changes the gradient completely
    it says 1 / min(eta), and where training sits at the edge of stability 2 / lr: neither of them
    is a property of the network. With the `prefix` "small_" over the second set of step sizes,
    which tells the two apart.
    """
    steps, changes = run[f"landscape/{prefix}gradient_change"]
    step_sizes = run[f"landscape/{prefix}step_size"][1]
    distances = step_sizes * run["landscape/gradient_norm"][1][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(np.isfinite(changes), changes, np.inf) / distances
    return steps, ratios.max(axis=1)


def own_step(run: Run) -> Series:
    """The gradient change over the step that training makes, step size lr: steps [n], values [n].

    The lr is that of the step. Infinite where the change is not finite; NaN where the step size was
    not measured.
    """
    steps, changes = run["landscape/gradient_change"]
    lrs = learning_rates(run, steps)[:, None]
    own = np.isclose(run["landscape/step_size"][1], lrs, rtol=1e-3, atol=0)
    values = changes[np.arange(len(steps)), own.argmax(axis=1)]
    values = np.where(np.isfinite(values), values, np.inf)
    return steps, np.where(own.any(axis=1), values, np.nan)


def converged(run: Run, key: str) -> NDArray[np.bool_]:
    """Where the eigenvalues [n, K] of `key` have errors within the tolerance of their probe.

    Everywhere if error or tolerance is not known.
    """
    values, errors = run[key][1], key.replace("_eigenvalues", "_error")
    tolerance = run.option(f"probes.{key.split('/')[0]}.tolerance")
    if errors not in run or tolerance is None:
        return np.full(values.shape, True)
    return run[errors][1] <= tolerance * np.abs(values)


def gradient_share(run: Run) -> Series:
    """The share of ||g||^2 in the span of the ten top eigenvectors, statistics of the batch."""
    steps, shares = run["spectrum/batch_gradient_share"]
    return steps, shares[:, :OUTLIERS].sum(axis=1)


def outlier_ratio(run: Run) -> Series:
    """The largest eigenvalue over the eleventh, statistics of the batch.

    Infinite where only the largest is positive; NaN where it is not, or either was not measured.
    """
    steps, eigenvalues = run["spectrum/batch_eigenvalues"]
    if eigenvalues.shape[1] <= OUTLIERS:
        return steps, np.full(len(steps), np.nan)
    top, bulk = eigenvalues[:, 0], eigenvalues[:, OUTLIERS]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(bulk > 0, top / bulk, np.inf)
    return steps, np.where((top > 0) & ~np.isnan(bulk), ratios, np.nan)


def spearman(xs: Values, ys: Values) -> float:
    """Spearman's rank correlation, ties with their mean rank; NaN if either does not vary."""
    ranks = [_ranks(np.asarray(values, dtype=float)) for values in (xs, ys)]
    x, y = (rank - rank.mean() for rank in ranks)
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else float("nan")


def _ranks(values: Values) -> Values:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
