"""SIGTERM, SIGINT and SIGHUP as a question that the loop asks after every step."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_came: list[int] = []
_answers: list[Callable[[], object]] = []  # to the signals that came, once all is saved


def listen(tell: Callable[[], None] = lambda: None, say: bool = True) -> None:
    """From now on SIGTERM, SIGINT and SIGHUP are noted; a second SIGINT acts at once.

    SIGHUP comes when a terminal is closed; where `nohup` has it ignored, it stays so. A run then
    finishes its step and saves. `tell` passes the signal on to those who do the work. Only the main
    thread of a process can listen: elsewhere signals act as ever, and the run goes on from its last
    checkpoint.
    """

    def note(number: int, frame: FrameType | None) -> None:
        if _came and number == signal.SIGINT:
            raise KeyboardInterrupt
        if say and not _came:
            # Not by print: the signal may have come in the middle of one.
            with suppress(OSError):  # the terminal may be gone
                os.write(2, b"ending after this step; give the command again to go on\n")
        _came.append(number)
        tell()

    if threading.current_thread() is not threading.main_thread():
        return
    if "SUBMITIT_EXECUTOR" in os.environ:
        listen_to_submitit()
        return
    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and not (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, note)


def listen_to_parent() -> None:
    """Note SIGTERM and SIGHUP alone: Ctrl-C reaches a whole group, and the parent passes it on."""
    listen(say=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def listen_to_submitit() -> None:
    """Note the signal at which submitit puts the job back into the queue; it does so in `leave`.

    SIGTERM stays with submitit, which ignores it: Slurm sends it a moment before.
    """
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    number = getattr(signal, f"SIG{name}")
    requeue = signal.getsignal(number)

    def note(number: int, frame: FrameType | None) -> None:
        _came.append(number)
        if callable(requeue):
            _answers.append(lambda: requeue(number, frame))

    signal.signal(number, note)


def came() -> int:
    """The signal that came, 0 if none."""
    return _came[0] if _came else 0


def leave() -> NoReturn:
    """End the process as the signal asked, with the conventional exit status."""
    for answer in _answers:
        answer()
    sys.exit(128 + came())
