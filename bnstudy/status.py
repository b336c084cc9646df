"""Where a run stands, read from its folder while it goes on or after it ended; needs no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from bnstudy.lock import is_locked
from bnstudy.recorder import read_header, read_outcome

TAIL = 1_000_000  # bytes: the last lines of a record, some of which hold histograms


@dataclass(frozen=True)
class Status:
    """A run as far as it came: `step` of `steps`, `rate` in steps per second, 0 if unknown.

    `state` is "missing" (nothing there), "running", "interrupted", "failed" (`reason` says why),
    "finished" or "diverged".
    """

    directory: Path
    state: str
    step: int = 0
    steps: int = 0
    rate: float = 0.0
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do: a run that diverged has ended too."""
        return self.state in ("finished", "diverged")

    @property
    def seconds_left(self) -> float | None:
        """How long a running run goes on at its rate; None for one that is not running."""
        if self.state != "running" or not self.rate:
            return None
        return (self.steps - self.step) / self.rate


def read_status(directory: Path) -> Status:
    """The status of the run in a folder.

    Raises ValueError, naming the file, for a record that is none.
    """
    record = directory / "run.jsonl"
    header = read_header(record)
    running = is_locked(directory / "lock")
    reason = read_reason(directory / "error.txt")
    if header is None:
        state = "running" if running else "failed" if reason else "missing"
        return Status(directory, state, reason=reason)
    step, rate = read_pace(record)
    steps = header["config"].get("steps", 0)
    state = read_outcome(record)
    if state is None:  # a record that has an end is of no run that goes on
        state = "running" if running else "failed" if reason else "interrupted"
    return Status(directory, state, step, steps, rate, reason if state == "failed" else "")


def read_reason(error: Path) -> str:
    """The last line of a run's error, "" if there is none."""
    lines = error.read_text(encoding="utf-8").split("\n") if error.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def read_pace(record: Path) -> tuple[int, float]:
    """How many steps a record holds, and steps per second over its last lines."""
    with record.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        lines = file.read().split(b"\n")[1:-1]  # without a first line cut in two, and a torn last
    parsed = [json.loads(line) for line in lines if b'"train/loss"' in line]
    if not parsed:
        return 0, 0.0
    first, last = parsed[0], parsed[-1]
    seconds = last["time"] - first["time"]
    rate = (last["step"] - first["step"]) / seconds if seconds > 0 else 0.0
    return last["step"] + 1, rate
