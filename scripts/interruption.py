"""SIGTERM and SIGINT as a question that the loop asks after every step."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_came: list[int] = []


def listen(tell: Callable[[], None] = lambda: None, say: bool = True) -> None:
    """From now on SIGTERM and SIGINT are noted; a second SIGINT acts at once.

    A run then finishes its step and saves. `tell` passes the signal on to those who do the work.
    Only the main thread of a process can listen: elsewhere signals act as ever, and the run goes on
    from its last checkpoint.
    """

    def note(number: int, frame: FrameType | None) -> None:
        if _came and number == signal.SIGINT:
            raise KeyboardInterrupt
        if say and not _came:
            # Not by print: the signal may have come in the middle of one.
            os.write(2, b"ending after this step; give the command again to go on\n")
        _came.append(number)
        tell()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, note)


def listen_to_parent() -> None:
    """Note SIGTERM and nothing else: Ctrl-C reaches a whole group, and the parent passes it on."""
    listen(say=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def came() -> int:
    """The signal that came, 0 if none."""
    return _came[0] if _came else 0


def status() -> int:
    """The conventional exit status of a process that the signal ended."""
    return 128 + came()
