"""Sweeps: side by side, by Slurm, Ray and W&B's agent; and what becomes of runs that fail."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import joblib
import pytest
import yaml
from conftest import CONFIGS, ROOT, lines, options

from bnstudy.measures.summary import single_numbers
from bnstudy.results import load_run

SMALL = ["wandb.mode=disabled", "model.width=0.0625", "data.held_out=100", "batch_size=16"]
SMALL += ["steps=4", "probe_every=2", "test_every=2"]
# Smaller still, and without the wait for scikit-learn's digits.
LINEAR = ["wandb.mode=disabled", "model=deep_linear", "data=deep_linear", "data.samples=20"]
LINEAR += ["model.depth=4", "batch_size=20", "norm=batch", "probe_every=2", "test_every=2"]
LAUNCHERS = {"joblib": "hydra_plugins.hydra_joblib_launcher", "local": "hydra"}
LAUNCHERS |= {"slurm": "hydra_plugins.hydra_submitit_launcher"}
LAUNCHERS |= {"ray": "hydra_plugins.hydra_ray_launcher"}

needs_slurm = pytest.mark.skipif(
    os.environ.get("BNSTUDY_TEST_SLURM") != "1",
    reason="BNSTUDY_TEST_SLURM=1 starts a Slurm on this machine (as root; Debian's packages)",
)
needs_ray = pytest.mark.skipif(
    os.environ.get("BNSTUDY_TEST_RAY") != "1",
    reason="BNSTUDY_TEST_RAY=1 runs a sweep on a local Ray (pip install 'bnstudy[ray]')",
)

# Norms of a user who makes mistakes. The error is one that cannot be pickled and read back.
BROKEN = """
import os
import signal
import torch

class Fault(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first}\\n{second}")

class Raises(torch.nn.BatchNorm1d):
    calls = 0
    def forward(self, x):
        Raises.calls += 1
        if Raises.calls > 40:
            raise Fault("the norm", "is broken")
        return super().forward(x)

class Dies(torch.nn.BatchNorm1d):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def only(paths) -> Path:
    """The one path that there is."""
    (path,) = paths
    return path


def science(directory: Path) -> list[dict]:
    """The record without what may differ between two executions of one run."""
    parsed = lines(directory)
    parsed[0]["header"].pop("device")  # says the number of threads
    for key in ("results", "threads"):
        parsed[0]["header"]["config"].pop(key)
    return parsed


def with_broken_norms(folder: Path) -> dict[str, str]:
    """An environment that finds broken.Raises and broken.Dies, and limits no threads."""
    (folder / "broken.py").write_text(BROKEN)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    environment.pop("OMP_NUM_THREADS")
    return environment


@pytest.mark.parametrize("launcher", ["local", "joblib"])
def test_runs_that_fail_do_not_end_their_sweep(cli, tmp_path, launcher):
    norms = "norm._target_=broken.Raises,bnstudy.norms.BatchNorm"
    words = [*LINEAR, "seed=0", "steps=20", norms, "optimizer.lr=1e-6,-1"]
    more = (
        ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else ["hydra.sweeper.max_batch_size=1"]
    )
    environment = with_broken_norms(tmp_path)
    if launcher == "local":
        environment["OMP_NUM_THREADS"] = "1"
    done = cli("train.py", "-m", f"hydra/launcher={launcher}", *more, *words, env=environment)
    assert done.returncode == 1
    *_, summary, fault, refusal, second_refusal = done.stderr.splitlines()
    notes = only(tmp_path.glob("results/runs/demo/sweeps/*/failed"))
    assert summary == f"3 runs failed; tracebacks: {notes.relative_to(tmp_path)}"
    assert fault.startswith("failed: norm=batch seed=0 ")
    assert " norm._target_=broken.Raises " in fault
    assert fault.endswith(": Fault: the norm is broken")
    for line in (refusal, second_refusal):
        assert line.endswith(" optimizer.lr=-1: optimizer.lr=-1 must be a number, more than 0.")
    assert "Traceback" not in done.stderr
    assert 'raise Fault("the norm", "is broken")' in (notes / "0.txt").read_text()
    ended = []
    for path in tmp_path.glob("results/runs/demo/custom/*/run.jsonl"):
        written = [json.loads(line) for line in path.read_text().splitlines()]
        if "end" in written[-1]:
            ended.append(written[0]["header"])
    (good,) = ended
    assert good["config"]["norm"]["_target_"] == "bnstudy.norms.BatchNorm"
    if launcher == "joblib":  # the cores are shared out among the processes
        assert f", {max(1, joblib.cpu_count() // 2)} threads" in good["device"]


def test_a_worker_that_dies_is_said_in_one_sentence(cli, tmp_path):
    words = [*LINEAR, "seed=0,1", "norm._target_=broken.Dies"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = cli("train.py", "-m", *launcher, *words, env=with_broken_norms(tmp_path))
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("the sweep stopped (TerminatedWorkerError: ")
    assert last.endswith("; the same command again goes on with what is left.")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_launcher_composes(cli, launcher):
    if launcher == "ray" and not find_spec(LAUNCHERS["ray"]):
        pytest.skip("needs pip install 'bnstudy[ray]'")
    done = cli("train.py", f"hydra/launcher={launcher}", "--cfg", "hydra", "-p", "hydra.launcher")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert yaml.safe_load(done.stdout)["_target_"].startswith(LAUNCHERS[launcher])
    assert set(options("hydra/launcher")) <= set(LAUNCHERS)


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("joblib", "pip install 'hydra-joblib-launcher'"),
        ("slurm", "pip install 'bnstudy[slurm]'"),
        ("ray", "pip install 'bnstudy[ray]'"),
        ("slrum", "hydra/launcher=slrum is unknown; it must be one of joblib, local, ray, slurm."),
    ],
)
def test_a_launcher_that_is_not_there_is_one_sentence(cli, tmp_path, launcher, message):
    # A package of that name hides all of Hydra's plugins.
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "__init__.py").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    words = ["-m", f"hydra/launcher={launcher}", "norm=none", "seed=0"]
    done = cli("train.py", *words, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("results"))


def test_slurm_warns_a_run_where_submitit_takes_it_for_the_time_limit():
    launcher = yaml.safe_load((CONFIGS / "hydra" / "launcher" / "slurm.yaml").read_text())
    limit = 60 * launcher["timeout_min"]
    warned = limit - launcher["signal_delay_s"]
    # submitit.core.job_environment: earlier than this it counts as a preemption.
    assert warned > min(0.8 * limit, limit - 600)


GPUS = """
import os, sys, time
from joblib import Parallel, delayed
sys.path.insert(0, sys.argv[1])

def gpu(number):
    import sweeps
    sweeps.share_machine(number)
    time.sleep(0.3)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("OMP_NUM_THREADS")

if __name__ == "__main__":
    print(sorted(set(Parallel(3, batch_size=1)(delayed(gpu)(7) for _ in range(9)))))
    os.environ["SUBMITIT_EXECUTOR"] = "local"
    print([gpu(4)])
"""


@pytest.mark.parametrize(
    ("gpus", "visible", "workers", "fifth"),
    [
        (4, None, ["0", "1", "2"], "0"),
        (4, "2,3", ["2", "2", "3"], "2"),
    ],
)
def test_processes_side_by_side_share_gpus_out(tmp_path, gpus, visible, workers, fifth):
    tool = tmp_path / "nvidia-smi"
    listed = "".join(f"GPU {i}: NVIDIA H200 (UUID: GPU-0000-{i})\n" for i in range(gpus))
    tool.write_text(f"#!/bin/sh\ncat <<'E'\n{listed}E\nexit {0 if gpus else 9}\n")
    tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    for key in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        environment.pop(key, None)
    environment |= {"CUDA_VISIBLE_DEVICES": visible} if visible else {}
    (tmp_path / "gpus.py").write_text(GPUS)
    command = [sys.executable, str(tmp_path / "gpus.py"), str(ROOT / "scripts")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    side_by_side, alone = map(eval, done.stdout.splitlines())
    # Each process has one GPU for all of its runs.
    assert sorted((gpu for _, gpu, _ in side_by_side), key=str) == workers
    assert alone[0][1:] == (fifth, "1")


def test_the_agent_of_a_wandb_sweep_runs_what_the_command_line_takes(tmp_path, monkeypatch):
    from wandb.wandb_agent import Agent

    sweep = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())
    assert (ROOT / sweep["program"]).exists()
    values = {"norm": "none", "optimizer.lr": 0.25, "seed": 1}
    assert values.keys() == sweep["parameters"].keys()
    values |= dict(word.split("=") for word in SMALL[1:])
    command = {
        "run_id": "abc",
        "program": str(ROOT / sweep["program"]),
        "args": {key: {"value": value} for key, value in values.items()},
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path))  # the agent sets them: to be undone
    agent = Agent(None, None)
    # All as it is in the file, but for the account that online needs.
    agent._sweep_command = [str(word).replace("=online", "=disabled") for word in sweep["command"]]
    agent._command_run(command)
    assert agent._run_processes["abc"].wait() == 0
    record = only(tmp_path.glob("results/runs/demo/custom/*/run.jsonl"))
    header, *_, end = lines(record.parent)
    config = header["header"]["config"]
    assert (config["optimizer"]["lr"], config["seed"]) == (0.25, 1)
    assert header["header"]["choices"]["norm"] == "none"
    assert config["wandb"]["mode"] == "disabled"
    assert sweep["metric"]["name"] in single_numbers(load_run(record.parent))
    assert end["end"]["outcome"] == "finished"


def a_sweep_with_a_failure(cli, tmp_path, launcher: list[str], environment: dict[str, str]) -> None:
    """Two runs end with the records that they have alone, the third fails and is named."""
    words = ["norm=none,batch", "seed=0", "optimizer.lr=0.1,-1", *SMALL]
    done = cli("train.py", "-m", *launcher, *words, "results=sweep", env=environment)
    assert done.returncode == 1
    summary, *failed = done.stderr.splitlines()[-3:]
    assert summary.startswith("2 runs failed; tracebacks: sweep/sweeps/")
    assert all("optimizer.lr=-1 must be a number, more than 0." in line for line in failed)
    for norm in ("none", "batch"):
        words = [f"norm={norm}", "seed=0", "optimizer.lr=0.1", *SMALL]
        assert cli("train.py", *words, "results=alone", "threads=1").returncode == 0
    alone = sorted(tmp_path.glob("alone/custom/*"))
    assert len(alone) == 2
    for directory in alone:
        swept = tmp_path / "sweep" / "custom" / directory.name
        assert science(swept) == science(directory)
        header = json.loads((swept / "run.jsonl").read_text().partition("\n")[0])["header"]
        assert ", 1 threads" in header["device"]


@pytest.fixture
def slurm(tmp_path: Path):
    """A Slurm of this machine; the environment in which its commands find it."""
    script = ["sh", str(ROOT / "scripts" / "one_node_slurm.sh")]
    folder = tmp_path / "slurm"
    started = subprocess.run([*script, "start", str(folder)], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    environment.pop("OMP_NUM_THREADS")
    yield environment
    subprocess.run(["scancel", "--user", "root"], env=environment)
    subprocess.run([*script, "stop", str(folder)], check=True)


@needs_slurm
def test_a_sweep_through_slurm(cli, tmp_path, slurm):
    a_sweep_with_a_failure(cli, tmp_path, ["hydra/launcher=slurm"], slurm)


def wait_for(condition: Callable[[], object]) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs_slurm
def test_a_job_that_slurm_preempts_goes_on(cli, tmp_path, slurm):
    words = [*SMALL, "norm=batch", "seed=0", "steps=300", "optimizer.momentum=0.9"]
    words += ["save_every=0", "save_seconds=0"]  # what the preempted job saves is all that there is
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "-m", "hydra/launcher=slurm"]
    command += [*words, "results=preempted"]
    with (tmp_path / "output").open("w") as output:
        sweep = subprocess.Popen(command, cwd=tmp_path, env=slurm, stdout=output, stderr=output)
        wait_for(lambda: list(tmp_path.glob("preempted/custom/*/run.jsonl")))
        for name in ("TERM", "USR2"):  # as Slurm does it, and submitit expects it
            time.sleep(2)
            subprocess.run(["scancel", "--user", "root", "--signal", name], env=slurm, check=True)
        wait_for(lambda: list(tmp_path.glob("preempted/custom/*/checkpoint.pt")))
        assert '"end"' not in only(tmp_path.glob("preempted/custom/*/run.jsonl")).read_text()
        assert sweep.wait(timeout=120) == 0, (tmp_path / "output").read_text()
    printed = only(tmp_path.glob("preempted/sweeps/*/jobs/*/*.out")).read_text()
    assert printed.count("Starting with JobEnvironment") == 2
    assert "Requeued job" in printed
    assert cli("train.py", *words, "results=whole", "threads=1").returncode == 0
    whole, preempted = (only(tmp_path.glob(f"{name}/custom/*")) for name in ("whole", "preempted"))
    assert science(preempted) == science(whole)


@needs_ray
def test_a_sweep_on_ray(cli, tmp_path):
    assert find_spec(LAUNCHERS["ray"]), "pip install 'bnstudy[ray]'"
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    a_sweep_with_a_failure(cli, tmp_path, ["hydra/launcher=ray"], environment)
