"""Views of a run while it goes on: a progress bar or lines on a terminal.

Each function returns a callable that takes the lines of the record as they are written. A stream
that cannot be written to, on a full disk or a terminal that is gone, ends the view and not the run.
"""

import sys
import time

from bnstudy.record import ACCURACY, LOSS, Line, Mirror

SECONDS_PER_LINE = 10.0


def progress_bar(name: str, steps: int) -> Mirror:
    """A bar with loss, accuracy, steps per second and time left, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    rate = _Rate()

    def mirror(line: Line) -> None:
        if "header" in line:
            bar.start()
            bar.add_task(name, total=steps, state="")
        elif "end" in line:
            bar.stop()
        elif LOSS in line:
            state = f"{_state(line)}  {rate(line):.1f} steps/s"
            bar.update(bar.task_ids[0], completed=line["step"] + 1, state=state)

    return _while_it_can(mirror)


def progress_lines(name: str, steps: int) -> Mirror:
    """A line every ten seconds and at the last step, on standard error."""
    printed = time.monotonic()
    rate = _Rate()

    def mirror(line: Line) -> None:
        nonlocal printed
        if LOSS not in line:
            return
        done, speed = line["step"] + 1, rate(line)
        if done == steps or time.monotonic() - printed > SECONDS_PER_LINE:
            printed = time.monotonic()
            left = f"{(steps - done) / speed:.0f} s left" if speed else ""
            print(
                f"{name}: step {done}/{steps}  {_state(line)}  {speed:.1f} steps/s  {left}",
                file=sys.stderr,
                flush=True,
            )

    return _while_it_can(mirror)


def _while_it_can(mirror: Mirror) -> Mirror:
    """A view that stops at the first line that it cannot write."""
    gone = False

    def careful(line: Line) -> None:
        nonlocal gone
        if not gone:
            try:
                mirror(line)
            except (OSError, ValueError):  # ValueError: the stream is closed
                gone = True

    return careful


def _state(line: Line) -> str:
    accuracy = f"  accuracy {line[ACCURACY]:.3f}" if ACCURACY in line else ""
    return f"loss {line[LOSS]:.4g}{accuracy}"


class _Rate:
    """Steps per second since the first line, by the times in the record: lines come in bunches."""

    def __init__(self) -> None:
        self._first: Line | None = None

    def __call__(self, line: Line) -> float:
        if self._first is None:
            self._first = line
        seconds = line["time"] - self._first["time"]
        return (line["step"] - self._first["step"]) / seconds if seconds > 0 else 0.0
