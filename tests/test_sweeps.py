"""Sweeps that survive: kills, signals, full disks, torn files, rivals; nothing lost or doubled."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import lines
from zygote import Forked

from bnstudy.results import NOT_SCIENCE

TINY = [
    "wandb.mode=disabled",
    "progress=none",
    "model.depth=11",
    "model.width=0.0625",
    "data.held_out=1600",
    "batch_size=16",
    "probe_every=10",
    "test_every=20",
    "optimizer.momentum=0.9",
]
KILLS = 20
WORDS = [*TINY, "steps=60", "save_every=10"]


def wait_until(condition: Callable[[], bool], process: Forked) -> None:
    """Return when it is so, or the process has ended."""
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(scope="session")
def whole(zygote, tmp_path_factory) -> Path:
    """The run of WORDS that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    assert zygote.call(folder, "train.py", *WORDS).returncode == 0
    return folder


def record(root: Path) -> Path | None:
    """The record of the only run below a folder."""
    found = list(root.rglob("run.jsonl"))
    return found[0] if found else None


def length(root: Path) -> int:
    """How many lines the record has so far."""
    path = record(root)
    return path.read_bytes().count(b"\n") if path else 0


def same_but_for_place(one: Path, other: Path) -> bool:
    """Whether two runs have the same record, byte for byte apart from times and their folder."""
    parsed = []
    for root in (one, other):
        path = record(root)
        assert path is not None
        text = path.read_text()
        assert text.endswith("\n") and '"end"' in text.splitlines()[-1]
        parsed.append(lines(path.parent))
        for key in NOT_SCIENCE:
            parsed[-1][0]["header"]["config"].pop(key)
    return json.dumps(parsed[0]) == json.dumps(parsed[1])


def test_killed_at_random_moments_and_resumed_is_the_uninterrupted_record(zygote, tmp_path):
    """Twenty SIGKILLs of one run, in its start, its steps, its probes and its checkpoints."""
    words = ["model=mlp", "model.hidden=[20,20]", "data.held_out=1600", "batch_size=16"]
    words += ["wandb.mode=disabled", "progress=none", "optimizer.momentum=0.9"]
    words += ["steps=1500", "save_every=7", "probe_every=25", "test_every=50"]
    assert zygote.call(tmp_path, "train.py", *words, "results=whole").returncode == 0
    moments = random.Random(4)  # any: the seed makes a failure repeatable, as far as timing does
    killed = tmp_path / "killed"
    steps: list[int] = []
    for _ in range(KILLS):
        process = zygote.start(tmp_path, "train.py", *words, "results=killed")
        until = length(killed) + moments.randrange(1, 20)
        wait_until(lambda until=until: length(killed) >= until, process)
        time.sleep(moments.random() * 0.02)
        process.kill()
        process.communicate()
        steps.append(length(killed))
    assert len(set(steps)) > 10 and '"end"' not in record(killed).read_text()
    again = zygote.call(tmp_path, "train.py", *words, "results=killed")
    assert again.returncode == 0, again.stderr
    assert same_but_for_place(killed, tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_step_saves_and_says_so(zygote, whole, tmp_path, number):
    # No checkpoint is due in these steps: what is there afterwards the signal has saved.
    words = [*WORDS, "save_every=0", "save_seconds=0"]
    process = zygote.start(tmp_path, "train.py", *words, "results=stopped")
    stopped = tmp_path / "stopped"
    wait_until(lambda: length(stopped) > 0, process)
    process.send_signal(number)
    out, error = process.communicate()
    assert process.returncode == 128 + number
    assert out.endswith(": interrupted\n")
    assert error == "ending after this step; give the command again to go on\n"
    (checkpoint,) = stopped.rglob("checkpoint.pt")
    header, *rest = record(stopped).read_text().splitlines()
    assert len(rest) > 0 and '"end"' not in rest[-1]
    # What has not ended goes on, whether it is forced or not: Slurm gives the same command again.
    forced = "force=true" if number == signal.SIGTERM else "force=false"
    again = zygote.call(tmp_path, "train.py", *words, "results=stopped", forced)
    assert again.returncode == 0, again.stderr
    assert record(stopped).read_text().startswith(header)
    assert same_but_for_place(stopped, whole)
    assert not checkpoint.with_suffix(".previous.pt").exists()


@pytest.mark.parametrize("workers", [1, 2])  # one worker is the process itself, as on a GPU
def test_a_signal_ends_a_reproduction_and_every_run_of_it(cli, zygote, tmp_path, workers):
    words = ["reproduce.py", *TINY, "steps=4000", "seed=0", "optimizer.lr=0.1"]
    words += ["--experiments", "vgg", "--workers", str(workers)]
    process = zygote.start(tmp_path, *words)
    running = lambda: [p for p in tmp_path.rglob("run.jsonl") if p.stat().st_size > 9000]  # noqa: E731
    wait_until(lambda: len(running()) == workers, process)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal does
    out, error = process.communicate()
    assert process.returncode == 130, error
    assert out.count(": interrupted") == workers
    assert len(list(tmp_path.rglob("checkpoint.pt"))) == workers
    shown = cli("status.py")
    assert shown.returncode == 0
    assert shown.stdout.endswith(f"\n{workers} interrupted\n")
    plan = cli(*words[:-1], "1", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("interrupted  ") == workers
    assert "vgg: 2 runs at scale demo, 2 to do" in plan.stdout


def test_two_launches_of_one_sweep_share_its_runs(zygote, tmp_path):
    words = ["train.py", "-m", *TINY, "steps=60", "norm=none,batch", "seed=0,1"]
    launches = [zygote.start(tmp_path, *words) for _ in range(2)]
    said = [launch.communicate()[0] for launch in launches]
    assert [launch.returncode for launch in launches] == [0, 0]
    runs = sorted(path.parent for path in tmp_path.rglob("run.jsonl"))
    assert len(runs) == 4
    for path in runs:
        _, *steps, end = lines(path)
        assert [line["step"] for line in steps if "train/loss" in line] == list(range(60))
        assert end == {"end": {"outcome": "finished", "step": 60}}
        about = [line for text in said for line in text.splitlines() if f"{path.name}: " in line]
        told = [line.split(": ", 1)[1] for line in about]
        elsewhere = ("running in another process", "finished before; nothing to do", "finished")
        assert len(told) == 2 and "finished" in told and set(told) <= set(elsewhere)


@pytest.mark.parametrize(
    ("fault", "warns"),
    [
        ("record", False),
        ("checkpoint", True),
        ("both checkpoints", True),
        ("record before the checkpoint", True),
    ],
)
def test_torn_files_cost_time_and_nothing_else(zygote, whole, tmp_path, fault, warns):
    process = zygote.start(tmp_path, "train.py", *WORDS, "results=torn")
    wait_until(lambda: bool(list(tmp_path.glob("torn/*/*/checkpoint.previous.pt"))), process)
    process.kill()
    process.communicate()
    path = record(tmp_path / "torn")
    assert path is not None
    if fault == "record":
        with path.open("a") as file:
            file.write('{"step": 99, "train/lo')
    elif fault == "record before the checkpoint":
        os.truncate(path, len(path.read_bytes()) // 4)
    else:
        for torn in path.parent.glob("checkpoint*.pt"):
            if fault == "both checkpoints" or "previous" not in torn.name:
                os.truncate(torn, torn.stat().st_size - 1000)
    again = zygote.call(tmp_path, "train.py", *WORDS, "results=torn")
    assert again.returncode == 0, again.stderr
    assert ("is not used" in again.stderr) == warns
    assert same_but_for_place(tmp_path / "torn", whole)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2000k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("left", [30_000, 500_000], ids=["no checkpoint", "no second checkpoint"])
def test_a_full_disk_is_one_sentence_and_costs_nothing_but_time(
    cli, zygote, whole, tmp_path, small_disk, left
):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2_048_000 - left))
    full = cli("train.py", *WORDS, "results=disk/runs")
    assert full.returncode == 1
    assert "No space left on device. Make room and give the command again" in full.stderr
    assert len(full.stderr.splitlines()) == 1
    ballast.unlink()
    assert cli("status.py", "--runs", "disk/runs").stdout.count("failed") == 2
    again = zygote.call(tmp_path, "train.py", *WORDS, "results=disk/runs")
    assert again.returncode == 0, again.stderr
    assert same_but_for_place(small_disk, whole)


def test_force_runs_again_what_has_ended(zygote, tmp_path):
    words = ["train.py", *TINY, "steps=20"]
    assert zygote.call(tmp_path, *words).returncode == 0
    path = record(tmp_path)
    assert path is not None
    text, before = path.read_text(), lines(path.parent)
    again = zygote.call(tmp_path, *words, "force=true")
    assert again.stdout.endswith(": finished\n")
    assert path.read_text() != text  # other times
    assert lines(path.parent)[1:] == before[1:]
    # force is no part of what the run is
    assert "finished before" in zygote.call(tmp_path, *words).stdout


def test_a_run_that_has_ended_is_skipped_without_importing_torch(new_process, zygote, tmp_path):
    words = [*TINY, "steps=5"]
    assert zygote.call(tmp_path, "train.py", *words).returncode == 0
    trace = {"env": os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}}
    again = new_process("train.py", *words, **trace)
    assert "finished before; nothing to do" in again.stdout
    assert " hydra" in again.stderr and " torch" not in again.stderr


def test_a_failed_run_says_why_and_goes_on_when_the_fault_is_gone(
    cli, new_process, zygote, whole, tmp_path
):
    fault = tmp_path / "sitecustomize.py"
    fault.write_text(
        "import bnstudy.checkpoint as c\n"
        "def save(path, step, *rest, save=c.save):\n"
        "    if step > 20: raise RuntimeError('a cosmic ray')\n"
        "    save(path, step, *rest)\n"
        "c.save = save\n"
    )
    failed = new_process("train.py", *WORDS, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert failed.returncode == 1
    shown = cli("status.py")
    assert shown.returncode == 1
    assert "RuntimeError: a cosmic ray" in shown.stdout
    fault.unlink()
    again = zygote.call(tmp_path, "train.py", *WORDS)
    assert again.returncode == 0, again.stderr
    assert cli("status.py").stdout.endswith("\n1 finished\n")
    assert not list(tmp_path.rglob("error.txt"))
    assert same_but_for_place(tmp_path, whole)
