"""One process at a time, on file systems with flock and on those without."""

import errno
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows, where filelock has other means
    fcntl = None

# What a file system says that has no flock: some of NFS, of FUSE and of clusters.
NO_FLOCK = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
SECONDS_TO_WRITE = 10  # who makes a lock file without flock writes who it is at once


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock at `path`; `filelock.Timeout` if another process holds it for `seconds`.

    Without flock the lock is a file that says who holds it, and is gone when it is free.
    """
    flock = has_flock(path.parent)
    if not flock and is_left_over(path):
        path.unlink()
    with FileLock(path, timeout=seconds) if flock else SoftFileLock(path, timeout=seconds):
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock at `path`; reading it is enough, as another user may."""
    try:
        with path.open("rb") as file:
            if fcntl is None:
                with FileLock(path, timeout=0):
                    return False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return is_held_by(file.read(200))  # of a lock without flock that was copied here
    except (BlockingIOError, Timeout, PermissionError):  # that of another user: it may be held
        return True
    except OSError as error:
        with suppress(OSError):
            return error.errno in NO_FLOCK and is_held_by(path.read_bytes())
    return False


def has_flock(folder: Path) -> bool:
    """Whether files in a folder can be locked by flock; Windows has its own locks."""
    if fcntl is None:
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_FLOCK:
                return False
            raise
    return True


def is_left_over(path: Path) -> bool:
    """Whether this is an empty file, as flock leaves it: without flock, a lock names its holder."""
    with suppress(OSError):
        found = path.stat()
        return found.st_size == 0 and time.time() - found.st_mtime > SECONDS_TO_WRITE
    return False


def is_held_by(content: bytes) -> bool:
    """Whether the process that a lock without flock names, by number and host, may be alive."""
    number, _, rest = content.partition(b"\n")
    if not number.isdigit():
        return False
    if rest.partition(b"\n")[0].decode(errors="replace") != socket.gethostname():
        return True  # nobody can tell from here
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
