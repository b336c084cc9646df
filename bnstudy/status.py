"""Where a run stands, read from its folder while it goes on or after it ended; needs no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bnstudy.lock import is_locked
from bnstudy.record import LOSS, Line, find_damage, open_record, parse, read_end, read_header

TAIL = 1_000_000  # bytes: the last lines of a record, some of which hold histograms


@dataclass(frozen=True)
class Status:
    """A run as far as it came: `step` of `steps`, `rate` in steps per second, 0 if unknown.

    `state` is "missing" (nothing there), "running", "interrupted", "failed", "damaged" (its record
    has an end, and a hole or a torn line), "finished" or "diverged"; `reason` says why.
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

    Raises ValueError, naming the file, for a record that is none; OSError if it cannot be read.
    """
    record = directory / "run.jsonl"
    header = read_header(record)
    running = is_locked(directory / "lock")
    reason = read_reason(directory / "error.txt")
    if header is None:
        state = "running" if running else "failed" if reason else "missing"
        return Status(directory, state, reason=reason)
    steps = header.get("config", {}).get("steps", 0)
    if end := read_end(record):  # a record that has an end is of no run that goes on
        step = end.get("step", -1) + 1  # of a last test of a run that has no more steps
        return Status(directory, end["outcome"], min(step, steps), steps)
    step, rate = read_pace(record)
    if running:
        return Status(directory, "running", step, steps, rate)
    if reason:
        return Status(directory, "failed", step, steps, rate, reason)
    if damage := find_damage(record):
        reason = f"{record}: line {damage} is damaged; the run's command goes on before it"
        return Status(directory, "damaged", step, steps, rate, reason)
    return Status(directory, "interrupted", step, steps, rate)


def read_reason(error: Path) -> str:
    """The last line of a run's error, "" if there is none."""
    if not error.is_file():
        return ""
    lines = error.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def read_pace(record: Path) -> tuple[int, float]:
    """How many steps a record holds, and steps per second over its last lines."""
    with open_record(record) as file:
        if record.exists():
            file.seek(max(0, record.stat().st_size - TAIL))
        lines = file.read().splitlines(keepends=True)[1:]  # without a first line cut in two
    trained = [line for line in lines if f'"{LOSS}"'.encode() in line]
    first, last = _first_step(trained), _first_step(reversed(trained))
    if first is None or last is None:
        return 0, 0.0
    seconds = last["time"] - first["time"]
    rate = (last["step"] - first["step"]) / seconds if seconds > 0 else 0.0
    return last["step"] + 1, rate


def _first_step(lines: Iterable[bytes]) -> Line | None:
    """The first of these lines that is whole and has a step and a time."""
    parsed = (parse(line) for line in lines)
    return next((line for line in parsed if line and {"step", "time"} <= set(line)), None)
