"""SIGTERM and SIGINT as a question that the loop asks after every step."""

import signal
import sys
import threading
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_came: list[int] = []


def listen() -> None:
    """From now on the first of the signals is noted; the same one again acts as if never heard.

    A run then finishes its step and saves. Only the main thread of a process can listen: elsewhere
    signals act at once, and the run goes on from its last checkpoint.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in SIGNALS:
        if number not in _came:
            signal.signal(number, _note)


def came() -> int:
    """The signal that came, 0 if none."""
    return _came[0] if _came else 0


def status() -> int:
    """The conventional exit status of a process that the signal ended."""
    return 128 + came()


def _note(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    signal.signal(number, signal.SIG_DFL)
    name = signal.Signals(number).name
    print(f"{name}: ending after this step; give the command again to go on", file=sys.stderr)
