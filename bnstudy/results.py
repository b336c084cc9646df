"""Runs read back from their records, and which of them may be compared.

What is read out of a run is in `measures`. Needs no more than numpy: whoever has the records can
redraw every figure without torch.
"""

import csv
import difflib
import gzip
import io
import json
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnstudy.record import LOSS, LR, NOT_SCIENCE, NOT_SCIENCE_OF_DATA, parse

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
VARY = ("norm", "optimizer.lr", "seed")
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
    `records` holds, by metric key, the steps [n] and the values [n, ...]. Nobody may write to them.
    """

    directory: Path
    header: dict[str, Any] = field(repr=False)
    outcome: str
    records: dict[str, tuple[Any, Any]] = field(repr=False)
    seconds: float = 0.0  # that the run took by its own clock; 0 without an end line

    def __getitem__(self, key: str) -> Series:
        """Steps [n] and values [n, ...] of the records that have the key; KeyError if none has."""
        if key not in self.records:
            nearest = difflib.get_close_matches(key, self.records, n=3, cutoff=0.0)
            raise KeyError(f"{self.directory.name} has no {key}; nearest: {', '.join(nearest)}")
        steps, values = self.records[key]
        return _frozen(np.asarray(steps, dtype=np.int64)), _frozen(np.asarray(values, np.float64))

    def steps(self, key: str) -> Steps:
        """The steps [n] of the records that have the key."""
        return self[key][0]

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


def _frozen(numbers: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written to: all who ask for a metric get the same numbers."""
    view = numbers.view()
    view.flags.writeable = False
    return view


def load_run(directory: Path | str, keys: Sequence[str] = ("",)) -> Run:
    """The run recorded in `directory`, by `run.jsonl` or, without one, by `run.jsonl.gz`.

    Of its metrics those whose key begins with one of `keys`, such as "train/" and "landscape/loss";
    by default all. The file is read line by line and kept as arrays, so that a run takes little
    more memory than the numbers that are asked for.

    A torn last line is left out. Raises ValueError, naming the file and the line, if any other line
    is broken, or if steps of training are missing between two lines.
    """
    path = _record_in(Path(directory))
    prefixes = tuple(keys)
    columns: dict[str, _Column] = {}
    unwanted: set[str] = set()
    holes = _Holes(path)
    outcome, seconds = "interrupted", 0.0
    lines = _read_lines(path)
    header = _read_header(path, next(lines, (1, b"", True))[1])
    for number, raw, is_last in lines:
        line = parse(raw)
        if line is None and is_last:
            break
        if line is None or not ("end" in line or isinstance(line.get("step"), int)):
            raise ValueError(f"{path}: line {number} is broken; move the run away.")
        if "end" in line:
            outcome, seconds = line["end"]["outcome"], line["end"].get("seconds", 0.0)
            continue
        step = line.pop("step")
        if LOSS in line or LR in line:
            holes.see(number, step)
        line.pop("skipped", None)  # why a probe of one's own loop has no value at this step
        for key, value in line.items():
            column = columns.get(key)
            if column is None:
                if key not in unwanted and key.startswith(prefixes):
                    columns[key] = _Column(step, value)
                else:
                    unwanted.add(key)
            elif type(value) is float and column.is_scalar:
                column.steps.append(step)
                column.numbers.append(value)
            else:
                column.add(step, value)
    holes.refuse()
    return Run(Path(directory), header, outcome, _arrays(columns), seconds)


class _Column:
    """The records of one key while they are read: numbers, or values as parsed if some are not."""

    def __init__(self, step: int, value: Any) -> None:
        self.steps = array("q")
        self.numbers = array("d")
        self.shape = _shape(value)
        self.is_scalar = self.shape == ()
        self.parsed: list[Any] | None = None  # where a value has another shape, or is no number
        self.add(step, value)

    def add(self, step: int, value: Any) -> None:
        """Take the value of a step."""
        count = len(self.steps)
        self.steps.append(step)
        if self.parsed is not None:
            self.parsed.append(value)
        elif not self._add(value):
            self.parsed = [*self._array(count).tolist(), value]
            self.numbers, self.is_scalar = array("d"), False

    def _add(self, value: Any) -> bool:
        """Whether the value is numbers of the shape of the others."""
        count = len(self.numbers)
        try:
            if len(self.shape) == 1 and len(value) == self.shape[0]:
                self.numbers.extend(value)
                return True
            if len(self.shape) == 2 and [*map(len, value)] == [self.shape[1]] * self.shape[0]:
                self.numbers.extend(chain.from_iterable(value))
                return True
        except TypeError:  # numbers that JSON cannot write are kept as words
            del self.numbers[count:]
        try:
            numbers = np.array(value, dtype=np.float64)  # reads "NaN" and "Infinity" too
        except (TypeError, ValueError):
            return False
        if numbers.shape != self.shape:
            return False
        self.numbers.frombytes(numbers.tobytes())
        return True

    def _array(self, count: int) -> Values:
        known = np.frombuffer(self.numbers) if self.numbers else np.empty(0)
        return known.reshape(count, *self.shape)

    def values(self) -> Values | list[Any]:
        """Values [n, ...]."""
        if self.parsed is not None:
            return self.parsed
        return self._array(len(self.steps))


def _shape(value: Any) -> tuple[int, ...]:
    return (len(value), *(_shape(value[0]) if value else ())) if isinstance(value, list) else ()


def _arrays(columns: dict[str, "_Column"]) -> dict[str, tuple[Any, Any]]:
    """Steps and values by key; keys that have the same steps share them."""
    shared: dict[bytes, Steps] = {}
    found = {}
    for key in list(columns):
        column = columns.pop(key)
        steps = shared.setdefault(column.steps.tobytes(), np.frombuffer(column.steps, np.int64))
        found[key] = (steps, column.values())
    return found


class _Holes:
    """Steps of training that are missing in a record; a thinned record has no holes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last: int | None = None
        self.first_hole: tuple[int, int, int] | None = None  # its line, its step and the one before
        self.every_step = False  # whether any two are successive

    def see(self, number: int, step: int) -> None:
        """Take a line with a step of training."""
        if self.last is not None and step - self.last == 1:
            self.every_step = True
        elif self.last is not None and self.first_hole is None:
            self.first_hole = (number, step, self.last)
        self.last = step

    def refuse(self) -> None:
        """ValueError if steps are missing in a record of every step."""
        if self.every_step and self.first_hole:
            number, after, before = self.first_hole
            raise ValueError(
                f"{self.path}: line {number} is step {after}, and the line before it is step "
                f"{before}; give the run's command again, or move the run away."
            )


def load_runs(
    experiment: str,
    root: Path | str,
    unreadable: list[str] | None = None,
    keys: Sequence[str] = ("",),
) -> list[Run]:
    """All runs of an experiment below `root`, such as results/runs/demo, sorted by name.

    Interrupted and diverged ones too. A folder without a record, or with an empty one because the
    run is just starting, is skipped. A record that cannot be read raises ValueError or OSError;
    where there is a list `unreadable`, it gets their sentences, and the other runs are read. `keys`
    are those of `load_run`.
    """
    found = [path.parent for name in RECORDS for path in Path(root, experiment).glob(f"*/{name}")]
    runs: list[Run] = []
    for directory in sorted(set(found)):
        try:
            if _record_in(directory).stat().st_size:
                runs.append(load_run(directory, keys))
        except (OSError, ValueError) as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
    return runs


def _record_in(directory: Path) -> Path:
    plain, compressed = (directory / name for name in RECORDS)
    return compressed if compressed.exists() and not plain.exists() else plain


def _read_lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """The number of every line, from 1, the line, and whether it is the last."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            number, line = 1, file.readline()
            while line:
                following = file.readline()
                yield number, line, not following
                number, line = number + 1, following
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: this is no whole gzip file; copy it again.") from error


def _read_header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)["header"]
        missing = {"experiment", "scale", "choices", "config", "layers", "data"} - set(header)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: the first line is no header; move the run away.") from error
    if missing:
        raise ValueError(f"{path}: the header lacks {', '.join(sorted(missing))}.")
    return header


def table(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row per run: what it is, how it ended, and the last value of every scalar that it recorded.

    The rows are dicts by column; a run lacks the columns of what it did not record. So is
    `pandas.DataFrame(table(runs))` a table.
    """
    return [_row(run) for run in runs]


def _row(run: Run) -> dict[str, Any]:
    known = {
        "experiment": run.experiment,
        "scale": run.scale,
        "model": run.choices.get("model"),
        "norm": run.norm,
        "init": run.choices.get("init"),
        "lr": run.lr,
        "seed": run.seed,
        "steps": run.config["steps"],
        "outcome": run.outcome,
    }
    scalars = ((key, run[key][1]) for key in run.keys())  # noqa: SIM118  a run is no mapping
    return known | {key: float(values[-1]) for key, values in scalars if values.ndim == 1}


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as CSV: numbers in six digits, nothing where a run has no value."""
    out = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(out, list(columns), lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                key: f"{value:.6g}" if isinstance(value, float) else value
                for key, value in row.items()
            }
        )
    return out.getvalue()


def settings(run: Run, vary: Sequence[str] = VARY) -> str:
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
    vary = (*VARY, *also)
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
