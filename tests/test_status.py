"""Where a run stands, from what lies in its folder."""

import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from filelock import FileLock

from bnstudy.lock import is_locked
from bnstudy.record import Recorder
from bnstudy.status import read_pace, read_status

HEADER = {"fingerprint": "a", "config": {"steps": 40}}


def record(folder: Path, steps: int, outcome: str | None = None, loss: float = 1.0) -> Path:
    """A run so far: every step took a quarter of a second."""
    recorder = Recorder(folder, HEADER)
    for step in range(steps):
        recorder._waiting.append((step, step / 4, {"train/loss": loss, "probe/x": [0.0] * 100}))
    recorder.flush()
    if outcome:
        recorder.end(outcome)
    recorder.close()
    return folder


def test_a_folder_without_a_run_is_missing(tmp_path):
    assert read_status(tmp_path / "no such folder").state == "missing"
    (tmp_path / "lock").touch()
    assert read_status(tmp_path).state == "missing"


@pytest.mark.parametrize("outcome", ["finished", "diverged"])
def test_how_a_run_ended(tmp_path, outcome):
    status = read_status(record(tmp_path, 7, outcome))
    assert (status.state, status.step, status.steps) == (outcome, 7, 40)
    assert status.seconds_left is None


def test_a_run_that_goes_on_has_a_rate_and_a_time_left(tmp_path):
    record(tmp_path, 8)
    with FileLock(tmp_path / "lock"):
        status = read_status(tmp_path)
    assert (status.state, status.step, status.steps) == ("running", 8, 40)
    assert status.rate == pytest.approx(4.0)
    assert status.seconds_left == pytest.approx(8.0)
    assert read_status(tmp_path).state == "interrupted"  # nobody holds the lock any more


def test_the_lock_of_a_dead_process_does_not_count(tmp_path):
    lock = tmp_path / "lock"
    pid = os.fork()
    if not pid:
        FileLock(lock).acquire()
        os._exit(0)
    os.waitpid(pid, 0)
    assert lock.exists() and not is_locked(lock)


def test_a_failed_run_gives_the_last_line_of_its_error(tmp_path):
    (tmp_path / "error.txt").write_text("Traceback\n  ...\nRuntimeError: cosmic ray\n\n")
    assert read_status(tmp_path).state == "failed"  # before its first line
    status = read_status(record(tmp_path, 3))
    assert (status.state, status.reason) == ("failed", "RuntimeError: cosmic ray")
    with FileLock(tmp_path / "lock"):  # somebody has given the command again
        assert read_status(tmp_path).state == "running"


def test_a_lock_of_another_user_holds_no_run_that_has_ended(tmp_path, monkeypatch):
    opened = Path.open

    def refuse(path: Path, *rest: Any, **more: Any) -> Any:
        if path.name == "lock":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(Path, "open", refuse)
    for name, end, state in (("a", "finished", "finished"), ("b", None, "running")):
        record(tmp_path / name, 3, end)
        (tmp_path / name / "lock").touch()
        assert read_status(tmp_path / name).state == state


@pytest.mark.parametrize("torn", ["", '{"step": 5, "train/lo', '{"step": 5, "train/loss": 2'])
@pytest.mark.parametrize("tail", [1000, 10**6])
def test_the_pace_is_read_from_the_end_of_a_long_record(tmp_path, monkeypatch, torn, tail):
    monkeypatch.setattr("bnstudy.status.TAIL", tail)
    record(tmp_path, 5)
    with (tmp_path / "run.jsonl").open("a") as file:
        file.write(torn)
    step, rate = read_pace(tmp_path / "run.jsonl")
    assert step == 5
    assert rate == (pytest.approx(4.0) if tail > 1000 else 0.0)  # two lines do not fit into 1000


def test_the_command_says_what_there_is_and_fails_if_a_run_has(cli, tmp_path):
    runs = tmp_path / "results" / "runs" / "demo"
    assert cli("status.py").stderr == "There are no runs in results/runs.\n"
    record(runs / "vgg" / "one", 40, "finished")
    record(runs / "mlp" / "two", 4)
    shown = cli("status.py")
    assert shown.returncode == 0
    head, *rows, total = shown.stdout.splitlines()
    assert head.split() == ["experiment", "run", "state", "step", "steps/s", "left"]
    assert [row.split() for row in rows] == [
        ["mlp", "two", "interrupted", "4/40"],
        ["vgg", "one", "finished", "40/40"],
    ]
    assert total == "1 finished, 1 interrupted"
    assert cli("status.py", "vgg").stdout.splitlines()[-1] == "1 finished"
    (runs / "mlp" / "two" / "error.txt").write_text("OSError: [Errno 28] No space left\n")
    failed = cli("status.py", "--scale", "demo")
    assert failed.returncode == 1
    assert "failed" in failed.stdout and "No space left" in failed.stdout


def test_the_command_needs_no_torch(new_process, tmp_path):
    record(tmp_path / "results" / "runs" / "demo" / "vgg" / "one", 2)
    (tmp_path / "torch.py").write_text("raise ImportError\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    assert new_process("status.py", env=environment).returncode == 0
