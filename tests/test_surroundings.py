"""What surrounds a command: git, streams, locks, mirrors that fail, files that are damaged."""

import errno
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import made_up
import matplotlib
import numpy as np
import pytest
from conftest import ROOT
from filelock import Timeout
from PIL import Image

from bnstudy import figures
from bnstudy.data import first_look, image_folder
from bnstudy.download import download
from bnstudy.figures import style
from bnstudy.lock import is_locked, locked
from bnstudy.record import Recorder, count_steps, find_damage, read_outcome
from bnstudy.results import load_runs
from bnstudy.status import read_status

TINY = ["model.depth=11", "model.width=0.0625", "data.held_out=1600", "batch_size=8"]
TINY += ["probes=[]", "test_every=0"]
QUIET = ["progress=none", "wandb.mode=disabled"]
HEADER = {"fingerprint": "a", "config": {"steps": 6}}


def test_a_lost_terminal_saves_the_run(zygote, tmp_path):
    run = zygote.start(tmp_path, "train.py", *QUIET, *TINY, "steps=100000", "save_every=0")
    while not list(tmp_path.rglob("run.jsonl")):
        time.sleep(0.05)
    run.send_signal(signal.SIGHUP)
    _, error = run.communicate()
    assert run.returncode == 128 + signal.SIGHUP, error
    assert list(tmp_path.rglob("checkpoint.pt"))


def test_a_full_stream_ends_no_run(tmp_path):
    with open("/dev/full", "w") as full:
        words = ["train.py", *TINY, "steps=2", "wandb.mode=disabled"]
        command = [sys.executable, str(ROOT / "scripts" / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=full)
    (record,) = tmp_path.rglob("run.jsonl")
    assert done.returncode == 0 and '"finished"' in record.read_text()


@pytest.mark.parametrize(
    ("stdout", "status", "said"),
    [
        ("| head -c 1 >/dev/null", 0, ""),
        (">/dev/full", 1, "standard output cannot be written to (No space left on device).\n"),
        (">&- 2>&-", 0, ""),
    ],
)
def test_a_command_that_cannot_print_ends_in_one_sentence_at_most(stdout, status, said):
    code = "from bnstudy import streams; streams.leave_with(lambda: print('x' * 1_000_000))"
    shell = f'set -o pipefail; "$0" -c "$1" {stdout}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (status, said)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_one_process_at_a_time_without_flock(tmp_path, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = tmp_path / "lock"
    with locked(lock, 0):
        assert is_locked(lock)
        with pytest.raises(Timeout), locked(lock, 0):
            pass
    assert not is_locked(lock)


def test_a_lock_is_looked_at_without_writing(tmp_path):
    lock = tmp_path / "lock"
    with locked(lock, 0):
        lock.chmod(0o444)
        assert is_locked(lock)
    assert not is_locked(lock) and not is_locked(tmp_path)  # a folder holds nobody up


def record(folder: Path, steps: int = 6) -> Path:
    recorder = Recorder(folder, HEADER)
    for step in range(steps):
        recorder.log(step, {"train/loss": 1.0})
    recorder.flush()
    recorder.end("finished")
    recorder.close()
    return folder / "run.jsonl"


DAMAGES = {
    "zeros": lambda lines: [*lines[:4], b"\0" * 50 + b"\n", *lines[4:]],
    "torn": lambda lines: [*lines[:3], lines[3][:20] + lines[4], *lines[5:]],
    "hole": lambda lines: [*lines[:3], *lines[5:]],
    "not UTF-8": lambda lines: [*lines[:3], b'{"step": \xff\xfe\n', *lines[3:]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_not_finished_and_goes_on_before_the_damage(tmp_path, damage):
    path = record(tmp_path)
    path.write_bytes(b"".join(DAMAGES[damage](path.read_bytes().splitlines(keepends=True))))
    line = find_damage(path)
    assert line and read_outcome(path) is None
    status = read_status(tmp_path)
    assert status.state == "damaged" and f"line {line}" in status.reason
    steps = count_steps(path)
    assert 0 < steps < 6
    with pytest.warns(UserWarning, match=f"line {line} is damaged"):
        recorder = Recorder(tmp_path, HEADER, steps)
    for step in range(steps, 6):
        recorder.log(step, {"train/loss": 1.0})
    recorder.flush()
    recorder.end("finished")
    recorder.close()
    assert find_damage(path) is None and read_status(tmp_path).state == "finished"


def test_a_damaged_record_hides_no_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "vgg" / name).mkdir(parents=True)
        (tmp_path / "vgg" / name / "run.jsonl").write_bytes(b"\0\0\n")
    unreadable: list[str] = []
    assert load_runs("vgg", tmp_path, unreadable) == []
    assert len(unreadable) == 2 and "a/run.jsonl" in unreadable[0]


def test_the_commit_is_that_of_this_checkout(tmp_path, monkeypatch):
    from bnstudy.session import git_revision

    own = git_revision()
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert git_revision() == own


@pytest.fixture
def mirror(tmp_path) -> Iterator[str]:
    """The address of a server of the files in tmp_path/served."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            begun = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            torn = self.path == "/torn"  # the connection ends after a third
            if not begun and not torn:
                return super().do_GET()
            content = (tmp_path / "served" / "right").read_bytes()[begun:]
            self.send_response(206 if begun else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: 1000 if torn else None])

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_comes_from_the_first_mirror_that_has_it_whole(tmp_path, mirror):
    content = os.urandom(3000)
    md5 = hashlib.md5(content).hexdigest()
    (tmp_path / "served" / "wrong").write_bytes(b"a page that says no")
    (tmp_path / "served" / "right").write_bytes(content)
    target = tmp_path / "data" / "archive"
    with pytest.raises(OSError, match="another checksum"):
        download([f"{mirror}/wrong", f"{mirror}/missing"], target, md5)
    assert not target.exists()
    download([f"{mirror}/missing", f"{mirror}/wrong", f"{mirror}/right"], target, md5)
    assert target.read_bytes() == content
    download([], target, md5)  # it is there
    assert [path.name for path in target.parent.iterdir() if path.name[0] != "."] == ["archive"]


def test_a_download_goes_on_at_the_next_mirror_where_it_stopped(tmp_path, mirror):
    content = os.urandom(3000)
    served, part = tmp_path / "served" / "right", tmp_path / "archive.part"
    served.write_bytes(content)
    md5 = hashlib.md5(content).hexdigest()
    with pytest.raises(OSError, match="ended after 1000 of 3000 bytes"):
        download([f"{mirror}/torn"], tmp_path / "archive", md5)
    assert part.read_bytes() == content[:1000]
    served.write_bytes(b"x" * 1000 + content[1000:])  # what has come is not asked for again
    download([f"{mirror}/right"], tmp_path / "archive", md5)
    assert (tmp_path / "archive").read_bytes() == content and not part.exists()


def images(root: Path, count: int = 5) -> Path:
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / "train" / label).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / label / f"{i}.png")
    return root


def test_what_is_no_image_of_its_own_is_passed_over_and_counted(tmp_path, capsys):
    root = images(tmp_path / "one")
    cat = root / "train" / "cat"
    (cat / "loop").symlink_to(".")
    (cat / "again.png").symlink_to("0.png")
    (cat / "@eaDir").mkdir()
    (cat / "notes.txt").write_text("")
    data = image_folder(root, held_out=0.2)
    assert len(data.train.targets) == 8 and data.test and len(data.test.targets) == 2
    assert f"{root}: 4 passed over, such as {cat}" in capsys.readouterr().err
    assert first_look(root, held_out=0.2) == ((3, 8, 8), 2)


def test_a_turned_image_is_turned(tmp_path):
    root = images(tmp_path / "one", 2)
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255
    for label in ("cat", "dog"):
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        Image.fromarray(pixels).save(root / "train" / label / "0.png", exif=exif)
    (root / "val").symlink_to("train")
    data = image_folder(root, test="val")
    assert data.train.inputs[0, 0, 7].eq(255).all() and data.train.inputs[0, 0, 0].eq(0).all()


def test_a_single_class_is_refused(tmp_path):
    root = images(tmp_path / "one")
    (root / "train" / "dog").rename(tmp_path / "dog")
    with pytest.raises(ValueError, match="holds one class, cat; use two or more"):
        image_folder(root, held_out=0.5)


def test_pictures_that_cannot_be_written_are_one_sentence(cli, tmp_path):
    (tmp_path / "file").touch()
    done = cli("figures.py", "--runs", "nowhere", "--out", "file")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "file cannot be written to" in done.stderr


def test_the_users_matplotlib_changes_no_picture(tmp_path):
    run = made_up.write_record(
        tmp_path / "runs" / "vgg_lp" / "a",
        made_up.make_header("vgg_lp", "l1", 0.1, 0),
        list(made_up.make_lines("vgg_lp", "l1", 0.1, 0, "finished")),
    )
    runs = load_runs("vgg_lp", run.parent.parent)
    pictures = []
    for settings in ({}, {"figure.facecolor": "black", "axes.grid": True, "savefig.bbox": "tight"}):
        with matplotlib.rc_context(settings):
            style.save(figures.discover()["figure5a"].draw(runs), tmp_path / "a.png")
        pictures.append((tmp_path / "a.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_figures_are_drawn_where_the_backend_of_a_notebook_is_not_installed(tmp_path):
    environment = os.environ | {"MPLBACKEND": "module://nowhere", "PYTHONPATH": str(ROOT)}
    code = "from bnstudy.figures import style; from matplotlib.figure import Figure; Figure()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path)
    assert done.returncode == 0
