"""The record of a run, one file of JSON lines: its header, who writes it, and who reads it."""

import gzip
import hashlib
import json
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

try:
    import orjson
except ModuleNotFoundError:  # the study needs its speed, and probes alone do not
    orjson = None

Line = dict[str, Any]
Mirror = Callable[[Line], None]

# Reading a tensor waits for the device, so lines wait for each other, but not for long.
LINES_PER_WRITE = 100
SECONDS_PER_WRITE = 1.0
# What every step of training records; the lr where a schedule may change it.
LOSS, ACCURACY, LR = "train/loss", "train/accuracy", "train/lr"
END_BYTES = 1000  # an end line is shorter
# How the lines of a record begin.
STEP = re.compile(rb'\{"step": ?(\d+)[,}]')
NEXT_STEP = b'}\n{"step": '  # after a whole line
OTHERS = (b'{"header"', b'{"end"')

# Keys of the config that say how and where a run is executed, and labels. Runs that differ only in
# these are the same run.
NOT_SCIENCE = (
    "results",
    "device",
    "threads",
    "memory_format",
    "progress",
    "wandb",
    "save_every",
    "keep_every",
    "save_seconds",
    "force",
    "scale",
)
NOT_SCIENCE_OF_DATA = ("root", "cache", "download", "url", "name")
# Data sets whose content follows from their options: they are made from them, or every file is
# compared with a published checksum. The content of all others is told by a digest.
KNOWN_BY_OPTIONS = tuple(
    f"bnstudy.data.{name}" for name in ("digits", "deep_linear", "cifar10", "cifar100")
)


@dataclass(frozen=True)
class DataFacts:
    """The facts of a data set that readers use; None where a loop of one's own does not say it."""

    name: str  # for captions, such as CIFAR-10
    task: str | None = None  # classification or regression
    classes: int | None = None  # 0 for a regression
    train_samples: int | None = None
    test_samples: int | None = None
    digest: str | None = None  # of all inputs and targets


@dataclass(frozen=True)
class Header:
    """The first line of a record, complete: whoever writes one builds it here.

    `config` is the resolved config and `choices` the option of every config group. `steps` and
    `batch_size` (samples per step) are those of the whole run. `layers` are in forward order.
    """

    experiment: str
    scale: str
    choices: dict[str, Any]
    config: dict[str, Any]
    fingerprint: str
    layers: list[str]
    data: DataFacts
    steps: int
    batch_size: int
    device: str
    memory_format: str
    versions: dict[str, str]
    started: str  # ISO 8601
    git: str = "unknown"

    def line(self) -> dict[str, Any]:
        """The header as `run.jsonl` has it."""
        return asdict(self)


def fingerprint(config: Mapping[str, Any], digest: str | None = None) -> str:
    """What makes two runs the same run: a hash of the scientific config and the data's digest.

    The digest is None for data whose content follows from the config.
    """
    science = {key: value for key, value in config.items() if key not in NOT_SCIENCE}
    data = config.get("data", {})
    science["data"] = {k: v for k, v in data.items() if k not in NOT_SCIENCE_OF_DATA}
    text = json.dumps([science, digest], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Recorder:
    """Writes `run.jsonl` in `directory`: a header line, a line per step, an end line.

    Tensors are kept as they are until the lines are written, at least every 100 lines or second.
    The file is append-only and flushed line by line; numbers that are not finite become the strings
    "NaN", "Infinity" and "-Infinity", so every line is strict JSON. `mirrors` are called with each
    line as it is written.

    An existing record is continued: lines from `step` on are dropped, those before it go to the
    mirrors once more. FileExistsError if it is of another config (other fingerprint), which is left
    untouched.
    """

    def __init__(
        self, directory: Path, header: Line, step: int = 0, mirrors: Sequence[Mirror] = ()
    ) -> None:
        self.path = Path(directory) / "run.jsonl"
        self.mirrors = mirrors
        self._waiting: list[tuple[int, float, Line]] = []
        self._written = time.monotonic()
        self._seconds = 0.0
        self._step = step
        self._ended = False
        unpack(self.path)
        existing = read_header(self.path)
        if existing is None:
            self._file = continued(self.path, 0)
            self._write({"header": header})
        else:
            refuse_other_config(existing, header, self.path)
            if damage := find_damage(self.path):
                warnings.warn(
                    f"{self.path}: line {damage} is damaged; the run goes on before it.",
                    stacklevel=2,
                )
            size, self._seconds = _kept(self.path, step)
            self._file = continued(self.path, size)
            self._replay()
        self._started = time.monotonic() - self._seconds

    def log(self, step: int, record: Line) -> bool:
        """Take the record of a step; False once the run is known to have diverged."""
        self._waiting.append((step, time.monotonic() - self._started, record))
        late = time.monotonic() - self._written > SECONDS_PER_WRITE
        return self.flush() if late or len(self._waiting) >= LINES_PER_WRITE else True

    def flush(self) -> bool:
        """Write what waits; False from the first training loss on that is not finite.

        That line is the last one: what the run did after it is not a measurement.
        """
        finite = True
        while self._waiting and finite:
            step, seconds, record = self._waiting.pop(0)
            line = {"step": step, "time": round(seconds, 4)}
            line |= {key: _plain(value) for key, value in record.items()}
            self._write(line)
            self._step = step
            finite = math.isfinite(line.get(LOSS, 0.0))
        self._written = time.monotonic()
        return finite

    def sync(self) -> bool:
        """Write what waits through to the disk, so that no checkpoint is ahead of the record.

        False if the run has diverged.
        """
        finite = self.flush()
        os.fsync(self._file.fileno())
        return finite

    def end(self, outcome: str) -> None:
        """Write the end line: the outcome (finished or diverged), the last step, the seconds."""
        seconds = round(time.monotonic() - self._started, 3)
        self._write({"end": {"outcome": outcome, "step": self._step, "seconds": seconds}})
        os.fsync(self._file.fileno())
        self._ended = True

    def close(self) -> None:
        """Close the file; mirrors of a run that has not ended are told that it was interrupted."""
        self._file.close()
        if not self._ended:
            for mirror in self.mirrors:
                mirror({"end": {"outcome": "interrupted", "step": self._step}})

    def _replay(self) -> None:
        """Show the mirrors what is there: none of them has to remember an interrupted attempt."""
        if self.mirrors:
            with self.path.open("rb") as file:
                for raw in file:
                    line = json.loads(raw)
                    for mirror in self.mirrors:
                        mirror(line)

    def _write(self, line: Line) -> None:
        write_line(self._file, line)
        for mirror in self.mirrors:
            mirror(line)


def continued(path: Path, size: int) -> IO[str]:
    """A file of JSON lines, opened to go on after its first `size` bytes; made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8")
    file.truncate(size)
    return file


def write_line(file: IO[str], line: Line) -> None:
    """Append a line, and leave nothing of it in a buffer."""
    file.write(dumps(line) + "\n")
    file.flush()


def read_header(path: Path) -> Line | None:
    """The header of a record, None if there is no record yet (or a torn first line).

    Raises ValueError, naming the file, for a file that is no record.
    """
    if not is_there(path):
        return None
    with open_record(path) as file:
        first = file.readline()
    if not first.endswith(b"\n"):
        return None
    header = (parse(first) or {}).get("header")
    if not isinstance(header, dict):
        raise ValueError(f"{path} is not a record of bnstudy: line 1 is no header; move it away.")
    return header


def parse(raw: bytes) -> Line | None:
    """A line of a record; None for one that is torn: without its end, or no JSON object."""
    try:
        line = _loads(raw) if raw.endswith(b"\n") else None
    except ValueError:  # what is no UTF-8 is no JSON
        return None
    return line if isinstance(line, dict) else None


def _loads(raw: bytes) -> Any:
    return json.loads(raw.decode()) if orjson is None else orjson.loads(raw)


def read_lines(path: Path) -> Iterator[tuple[bytes, Line]]:
    """The lines of a record, as they are and parsed, before any that is torn or skips a step."""
    expected = None
    with open_record(path) as file:
        for raw in file:
            line = parse(raw)
            if line is None:
                return
            if "step" in line:
                if expected not in (None, line["step"]):
                    return
                expected = line["step"] + 1
            yield raw, line


def read_end(path: Path) -> Line | None:
    """What the end line of a record says; None for a run without one, or with damage."""
    if not is_there(path):
        return None
    with open_record(path) as file:
        if path.exists():
            file.seek(max(0, path.stat().st_size - END_BYTES))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    end = (parse(last + b"\n") or {}).get("end")
    return end if isinstance(end, dict) and find_damage(path) is None else None


def read_outcome(path: Path) -> str | None:
    """The outcome in the end line of a record; None for a run without one, or with damage."""
    return (read_end(path) or {}).get("outcome")


def find_damage(path: Path) -> int | None:
    """The number of the first line that is torn or skips a step; None for a whole record.

    A torn last line is what every interruption may leave, and no damage. Of every line it looks at
    the beginning and the end alone, so that a status takes no time.
    """
    with open_record(path) as file:
        if _is_whole(file.read()):
            return None
        file.seek(0)
        return _first_damage(file)


def _is_whole(content: bytes) -> bool:
    """Whether counts alone say that a record has no damage: far faster than line by line.

    As many steps as from the first to the last, each after a whole line, and nothing else but a
    header and an end.
    """
    first, last = content.find(NEXT_STEP), content.rfind(NEXT_STEP)
    span = [STEP.match(content, place + 2) for place in (first, last) if place >= 0]
    known = [int(match[1]) for match in span if match]
    if len(known) < 2 or not content.startswith(OTHERS[0]) or not content.endswith(b"}\n"):
        return False
    steps = known[1] - known[0] + 1
    ends = content.startswith(b"}\n" + OTHERS[1], content.rfind(b"}\n", 0, -1))
    lines = content.count(b"\n")
    return lines == 1 + steps + ends and content.count(NEXT_STEP) == steps and b"\0" not in content


def _first_damage(file: IO[bytes]) -> int | None:
    expected = None
    for number, raw in enumerate(file, start=1):
        step = STEP.match(raw)
        if step and expected not in (None, int(step[1])):
            return number
        begun = step or raw.startswith(OTHERS)
        if not begun or not raw.endswith((b"}\n", b"}\r\n")) or b"\0" in raw:
            return number if file.readline() else None
        expected = int(step[1]) + 1 if step else expected
    return None


def is_there(path: Path) -> bool:
    """Whether there is a record, as it was written or packed by gzip."""
    return path.exists() or packed(path).exists()


def packed(path: Path) -> Path:
    """Where a record lies that was packed by gzip."""
    return path.with_name(f"{path.name}.gz")


def open_record(path: Path) -> IO[bytes]:
    """The file of a record, or of one that was packed by gzip."""
    return path.open("rb") if path.exists() else cast(IO[bytes], gzip.open(packed(path)))


def unpack(path: Path) -> None:
    """Write out a record of which there is a packed one alone, so that it can go on."""
    if not path.exists() and packed(path).exists():
        temporary = path.with_name(f"{path.name}.tmp")
        with open_record(path) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target)
        temporary.replace(path)


def count_steps(path: Path) -> int:
    """How many steps of training a record holds before any damage; 0 if there is no record."""
    if read_header(path) is None:
        return 0
    steps = 0
    for _, line in read_lines(path):
        if LOSS in line or LR in line:
            steps = line["step"] + 1
    return steps


def refuse_other_config(existing: Line, header: Line, path: Path) -> None:
    """FileExistsError that shows the differences, if the record at `path` is of another config."""
    if existing.get("fingerprint") == header["fingerprint"]:
        return
    old, new = _leaves(existing.get("config", {})), _leaves(header["config"])
    digests = [h.get("data", {}).get("digest") for h in (existing, header)]
    if all(digests):
        old["data.digest"], new["data.digest"] = digests
    differences = [
        f"{key}: {old.get(key, 'absent')} there, {new.get(key, 'absent')} here"
        for key in sorted(old | new)
        if old.get(key, "absent") != new.get(key, "absent")
    ]
    raise FileExistsError(
        f"{path} holds a run of another config ({'; '.join(differences) or 'other version'}): "
        "move it away or choose another folder (`results`)."
    )


def _kept(path: Path, step: int) -> tuple[int, float]:
    """The bytes and seconds before `step`, before the end line, and before damage."""
    seconds, size = 0.0, 0
    for raw, line in read_lines(path):
        if "end" in line or line.get("step", -1) >= step:
            break
        seconds = line.get("time", seconds)
        size += len(raw)
    return size, seconds


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def dumps(line: Line) -> str:
    """A line of strict JSON: numbers that are not finite as strings that float() reads back."""
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:
        return json.dumps(_named(line), allow_nan=False)


def _named(value: Any) -> Any:
    """A value with its numbers that JSON cannot write as strings that float() reads back."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _leaves(config: Any, prefix: str = "") -> Line:
    if not isinstance(config, dict):
        return {prefix: config}
    leaves: Line = {}
    for key, value in config.items():
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else key)
    return leaves
