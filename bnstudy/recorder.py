"""The record of a run: one file of JSON lines, and the views that mirror it."""

import json
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
Mirror = Callable[[Line], None]

# Reading a tensor waits for the device, so lines wait for each other, but not for long.
LINES_PER_WRITE = 100
SECONDS_PER_WRITE = 1.0


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
        existing = read_header(self.path)
        if existing is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8")
            self._write({"header": header})
        else:
            refuse_other_config(existing, header, self.path)
            self._seconds = _truncate(self.path, step)
            self._replay()
            self._file = self.path.open("a", encoding="utf-8")
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
            finite = math.isfinite(line.get("train/loss", 0.0))
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
            with self.path.open(encoding="utf-8") as file:
                for text in file:
                    line = json.loads(text)
                    for mirror in self.mirrors:
                        mirror(line)

    def _write(self, line: Line) -> None:
        self._file.write(dumps(line) + "\n")
        self._file.flush()
        for mirror in self.mirrors:
            mirror(line)


def read_header(path: Path) -> Line | None:
    """The header of a record, None if there is no record yet (or a torn first line)."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    if not first.endswith("\n"):
        return None
    try:
        return json.loads(first)["header"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a record of bnstudy: move it away.") from error


def read_outcome(path: Path) -> str | None:
    """The outcome in the end line of a record; None for a run without one."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1024))
        last = file.read().splitlines()[-1:]
    if not last or not last[0].startswith(b'{"end"'):
        return None
    return json.loads(last[0])["end"]["outcome"]


def count_steps(path: Path) -> int:
    """How many steps of training a record holds; 0 if there is none, a torn last line left out."""
    steps = 0
    if read_header(path) is None:
        return steps
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n") and (b'"train/loss"' in raw or b'"train/lr"' in raw):
                steps = json.loads(raw)["step"] + 1
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


def _truncate(path: Path, step: int) -> float:
    """Drop the lines from `step` on, the end line and a torn last line; the seconds at the cut."""
    seconds, size = 0.0, 0
    with path.open("rb") as file:
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            line = json.loads(raw)
            if "end" in line or line.get("step", -1) >= step:
                break
            seconds = line.get("time", seconds)
            size += len(raw)
    os.truncate(path, size)
    return seconds


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def dumps(line: Line) -> str:
    """A line of strict JSON: numbers that are not finite as strings that float() reads back."""
    try:
        return json.dumps(line, allow_nan=False)
    except ValueError:
        return json.dumps(_named(line), allow_nan=False)


def _named(value: Any) -> Any:
    """The same with numbers that JSON has no literal for as strings that float() reads back."""
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
