"""The digest of a data set in files, known without reading them again.

A digest is computed once, when the data set is loaded, and kept in the user's cache folder under a
key that changes with every file: its name, its size, its time of change. So whether a run has ended
before is known in a fraction of a second, and a folder that has changed is another data set.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from bnstudy.record import NOT_SCIENCE_OF_DATA


def known_digest(options: Mapping[str, Any]) -> str | None:
    """The digest of the data set with these options of the config; None if it is not known yet.

    Raises FileNotFoundError where `root` is no folder.
    """
    try:
        return _file(options).read_text(encoding="ascii") or None
    except FileNotFoundError as error:
        root = options.get("root")
        if root is not None and not Path(root).expanduser().is_dir():
            raise FileNotFoundError(
                f"data.root={root} is no folder; it must be the folder that holds the data."
            ) from error
        return None
    except (OSError, UnicodeDecodeError):  # torn, or in a folder that may not be read
        return None


def remember_digest(options: Mapping[str, Any], digest: str) -> None:
    """Keep the digest of the data set with these options, where the cache can be written."""
    file = _file(options)
    temporary = file.with_name(f"{file.name}.{uuid4().hex}.tmp")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(digest, encoding="ascii")
        os.replace(temporary, file)


def _file(options: Mapping[str, Any]) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    science = {k: v for k, v in options.items() if k not in NOT_SCIENCE_OF_DATA}
    key = hashlib.blake2b(repr(sorted(science.items())).encode(), digest_size=16)
    root = options.get("root")
    if root is not None:
        folder = os.path.realpath(Path(root).expanduser())
        key.update(
            "\0".join([folder, *sorted(_listing(folder, "", set()))]).encode("utf-8", "replace")
        )
    return home / "bnstudy" / "digests" / key.hexdigest()


def _listing(folder: str, below: str, seen: set[str]) -> list[str]:
    """Name, size and time of change of every file below a folder; links are followed once."""
    real = os.path.realpath(folder)
    if real in seen:
        return []
    seen.add(real)
    found: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):  # hidden: the cache of decoded images is one
                continue
            if entry.is_dir():
                found += _listing(entry.path, f"{below}{entry.name}/", seen)
            else:
                with suppress(OSError):  # a dead link; loading the data says so
                    stat = entry.stat()
                    found.append(f"{below}{entry.name} {stat.st_size} {stat.st_mtime_ns}")
    return found
