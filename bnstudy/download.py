"""A file from the first of several mirrors that gives it whole, taken up where it stopped."""

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

from bnstudy.lock import locked

SECONDS = 30.0  # that a server may be silent
PIECE = 1 << 20  # bytes


def download(urls: Sequence[str], path: Path, md5: str, seconds: float = SECONDS) -> None:
    """Have the file with this checksum at `path`, from one of these addresses.

    One process downloads while others wait. What has come of a file is kept, and every mirror goes
    on from there. Raises OSError, which says what each mirror answered, if none gives the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    try:
        with locked(lock, 0):
            _download(urls, path, md5, seconds)
    except Timeout:
        print(f"Another process downloads {path}; this one waits.", file=sys.stderr, flush=True)
        with locked(lock, -1):
            _download(urls, path, md5, seconds)


def _download(urls: Sequence[str], path: Path, md5: str, seconds: float) -> None:
    if _has(path, md5):
        return
    part, faults = path.with_name(f"{path.name}.part"), []
    for url in urls:
        try:
            _fetch(url, part, seconds)
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: no address
            reason = getattr(error, "reason", None) or error
            faults.append(f"{url}: {reason}")
            continue
        if _has(part, md5):
            part.replace(path)
            return
        part.unlink()
        faults.append(f"{url}: the file has another checksum")
    raise OSError("; ".join(faults))


def _has(path: Path, md5: str) -> bool:
    """Whether there is a file with this checksum."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == md5


def _fetch(url: str, part: Path, seconds: float) -> None:
    """Append to `part` what is missing of it."""
    begun = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        answer = urllib.request.urlopen(request, timeout=seconds)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as file, _bar() as bar:
        size = int(answer.headers.get("Content-Length") or 0)
        total = file.tell() + size
        task = bar.add_task(url, total=total or None, completed=file.tell())
        while piece := answer.read(PIECE):
            file.write(piece)
            bar.update(task, advance=len(piece))
        if file.tell() < total:
            raise OSError(f"the connection ended after {file.tell()} of {total} bytes")


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
