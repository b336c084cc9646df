"""Standard output and error that may be closed, full, or read by nobody: no reason to stop work."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO


def open_closed() -> None:
    """Give the standard streams that are closed a place to write to.

    Otherwise the next files that are opened, such as the record, would take their numbers.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # where the locale has no such letter


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line, if there is anywhere to print to: what it tells lies in the results too."""
    stream = stream or sys.stdout
    try:
        print(line, file=stream, flush=True)
    except OSError:
        abandon(stream.fileno())


def abandon(number: int) -> None:
    """Let a stream that cannot be written go, so that Python does not try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def leave_with(command: Callable[[], int | None]) -> NoReturn:
    """Run a command that prints, and exit with its status; one sentence if it cannot print.

    A reader that has seen enough, such as `head`, is no fault.
    """
    open_closed()
    try:
        status = command() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        abandon(1)
        sys.exit(0)
    except OSError as error:
        try:
            print(flush=True)  # what is too long for the buffer has failed already
        except OSError:
            abandon(1)
            sys.exit(f"standard output cannot be written to ({error.strerror}).")
        raise
    sys.exit(status)
