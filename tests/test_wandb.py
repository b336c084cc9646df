"""W&B as users meet it: the real SDK and command line against a server on a loopback port."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import ANY

import made_up
import numpy as np
import pytest
import wandb
import yaml
from conftest import ROOT, lines
from wandb.apis.public import sweeps
from wandb.wandb_agent import Agent
from wandb_server import KEY, Server, Uploaded
from zygote import Forked, Zygote

from bnstudy.figures import discover
from bnstudy.record import Line
from bnstudy.wandb_mirror import pool, run_id, summarize

SMALL = ["model.depth=11", "model.width=0.0625", "batch_size=16", "data.held_out=1600"]
SMALL += ["probe_every=10", "test_every=20", "progress=none"]
# W&B sends what it has every second; usually it waits for fifteen.
QUICK = {"WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1"}
HEADER = {
    "fingerprint": "f" * 16,
    "experiment": "custom",
    "choices": {"model": "vgg", "norm": "batch", "init": "xavier_uniform"},
    "config": {"optimizer": {"lr": 0.1}},
}
# A run without a network to train: its lines, and a moment at which it waits to be disturbed.
DRIVER = """
import json, sys, time
from pathlib import Path
from unittest.mock import ANY
from bnstudy.record import Recorder
from bnstudy.wandb_mirror import wandb_run

header, options, directory = json.loads(sys.argv[1]), json.loads(sys.argv[2]), Path("run")
try:
    mirror = wandb_run(directory, header, project="bnstudy", entity=None, **options)
except ConnectionError as error:
    sys.exit(str(error))
recorder = Recorder(directory, header, mirrors=[mirror])
for step in range(4):
    recorder.log(step, {"train/loss": 1.0 / (step + 1)})
    recorder.flush()
    if step == 1:
        print("disturb", flush=True)
        sys.stdin.readline()
recorder.end("finished")
recorder.close()
"""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def environment(url: str, key: str = KEY) -> dict[str, str]:
    """Of a user of that server: none of this machine's own W&B settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**own, "WANDB_BASE_URL": url, "WANDB_API_KEY": key, "PYTHONPATH": str(ROOT)} | QUICK


def only_run(root: Path) -> Path:
    (path,) = root.glob("results/runs/*/*/*/run.jsonl")
    return path.parent


def sync(directory: Path, url: str) -> subprocess.CompletedProcess[str]:
    attempts = [str(path) for path in directory.glob("wandb/offline-run-*")]
    command = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes", *attempts]
    pipes = {"capture_output": True, "text": True, "timeout": 60}
    return subprocess.run(command, env=environment(url), cwd=directory, **pipes)  # logs go there


def kill_midway(
    zygote: Zygote, words: list[str], tmp_path: Path, url: str, when: Callable[[], bool]
) -> Path:
    """Stop a run after its first checkpoint, kill it when something has come true."""
    process = zygote.start(tmp_path, "train.py", *words, env=environment(url))
    try:
        wait_for(lambda: list(tmp_path.glob("results/**/checkpoint.pt")))
        process.send_signal(signal.SIGSTOP)
        wait_for(when)
    finally:
        process.kill()
        process.wait()
    directory = only_run(tmp_path)
    assert b'{"end"' not in (directory / "run.jsonl").read_bytes()
    return directory


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_is_the_record(uploaded: Uploaded, directory: Path) -> None:
    """Every line of the record is one row, under its step and with its numbers."""
    text = (directory / "run.jsonl").read_text()
    header, *steps, end = [json.loads(line) for line in text.splitlines()]
    assert [row["_step"] for row in uploaded.rows] == [line["step"] for line in steps]
    for row, line in zip(uploaded.rows, steps, strict=True):
        scalars = {key: value for key, value in line.items() if not isinstance(value, list)}
        # A resumed run's row that arrived before the kill has the time of then.
        assert {key: row[key] for key in scalars if key != "time"} == {
            key: value for key, value in scalars.items() if key != "time"
        }
        if "landscape/loss" in line:
            assert row["landscape/loss/min"] == min(line["landscape/loss"])
            assert row["landscape/loss/max"] == max(line["landscape/loss"])
            counts = line["activations/histogram/layer1"]
            assert sum(row["activations/histogram/layer1"]["values"]) == np.sum(counts)
    summary = json.loads(uploaded.summary)
    assert summary["outcome"] == "finished" and summary["seconds"] == end["end"]["seconds"]
    assert summary["test/accuracy"] == steps[-1]["test/accuracy"]
    assert uploaded.exit_code == 0
    assert uploaded.variables["groupName"] == "custom" and uploaded.variables["jobType"] == "train"
    assert uploaded.variables["tags"] == ["vgg", "batch", "xavier_uniform", "lr 0.1"]
    assert uploaded.config["header"]["choices"]["norm"] == "batch"
    assert uploaded.config["optimizer"]["lr"] == 0.1
    assert run_id(header["header"]) == uploaded.variables["name"]


def test_online_every_row_arrives_once_through_a_kill(cli, zygote, tmp_path, server):
    words = [*SMALL, "steps=40", "wandb.mode=online"]

    def some_arrived() -> bool:  # W&B sends every 15 seconds
        return any(run.history for run in server.runs.values())

    directory = kill_midway(zygote, words, tmp_path, server.url, some_arrived)
    (uploaded,) = server.runs.values()
    assert 0 < len(uploaded.history) < 41
    again = cli("train.py", *words, env=environment(server.url))
    assert again.returncode == 0 and again.stderr == ""
    assert list(server.runs.values()) == [uploaded]
    check_is_the_record(uploaded, directory)


def test_offline_needs_no_server_and_syncs_every_row_once_through_a_kill(
    cli, zygote, tmp_path, server
):
    words = [*SMALL, "steps=40"]
    nowhere = "http://127.0.0.1:9"
    directory = kill_midway(zygote, words, tmp_path, nowhere, lambda: True)
    sync(directory, server.url)  # what is there of the killed attempt, whose file is torn
    again = cli("train.py", *words, env=environment(nowhere, key=""))
    assert again.returncode == 0 and again.stderr == ""
    assert len(list(directory.glob("wandb/offline-run-*"))) == 1
    done = sync(directory, server.url)
    assert done.returncode == 0, done.stderr
    (uploaded,) = server.runs.values()
    check_is_the_record(uploaded, directory)


def test_a_run_goes_on_when_wandb_is_killed(zygote, tmp_path):
    words = [*SMALL, "steps=40"]
    process = zygote.start(tmp_path, "train.py", *words, env=environment("http://127.0.0.1:9"))
    try:
        wait_for(lambda: list(tmp_path.glob("results/**/checkpoint.pt")))
        os.kill(service_of(process), signal.SIGKILL)
        _, warnings = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0
    assert warnings.startswith("W&B shows no more of vgg_batch") and len(warnings.splitlines()) == 1
    _, *steps, end = lines(only_run(tmp_path))
    assert [line["step"] for line in steps] == list(range(41))
    assert end["end"]["outcome"] == "finished"


def drive(tmp_path: Path, url: str, key: str = KEY, **options) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(HEADER), json.dumps(options)],
        cwd=tmp_path,
        env=environment(url, key),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def service_of(process: subprocess.Popen[str] | Forked) -> int:
    """The process of W&B that a run has started."""
    found = subprocess.check_output(["pgrep", "-P", str(process.pid), "-f", "wandb-core"])
    return int(found)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_goes_on_when_wandb_hangs(tmp_path, server, mode):
    process = drive(tmp_path, server.url, mode=mode, patience=4.0)
    service = 0
    try:
        assert process.stdout.readline() == "disturb\n"
        service = service_of(process)
        os.kill(service, signal.SIGSTOP)
        started = time.monotonic()
        process.stdin.write("\n")
        process.stdin.flush()
        process.wait(timeout=60)
        assert time.monotonic() - started < 12
    finally:
        process.kill()
        if service:
            os.kill(service, signal.SIGKILL)
    _, warnings = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "W&B shows no more of run (" in warnings and len(warnings.splitlines()) == 1
    assert [line["step"] for line in lines(tmp_path / "run")[1:-1]] == [0, 1, 2, 3]


REFUSALS = {  # address, key, what is said
    "bad key": ("", "x" * 40, "the server refuses the API key"),
    "no key": ("", "", "No API key configured"),
    "no network": ("http://127.0.0.1:9", KEY, "the server does not answer in time"),
}


@pytest.mark.parametrize("fault", REFUSALS)
@pytest.mark.parametrize("fallback", [None, "offline"])
def test_what_cannot_start_is_one_sentence(tmp_path, server, fault, fallback):
    url, key, message = REFUSALS[fault]
    process = drive(
        tmp_path, url or server.url, key, mode="online", fallback=fallback, patience=4.0
    )
    _, said = process.communicate("\n", timeout=60)
    assert f"wandb.mode=online: no run could be started ({message})" in said
    assert len(said.splitlines()) == 1
    assert process.returncode == (0 if fallback else 1)
    assert (tmp_path / "run" / "run.jsonl").exists() == bool(fallback)
    assert len(list(tmp_path.glob("run/wandb/*run-2*"))) == bool(fallback)
    assert not server.runs


def test_the_command_refuses_before_it_trains(cli, tmp_path, server):
    done = cli("train.py", *SMALL, "wandb.mode=online", env=environment(server.url, "x" * 40))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the server refuses the API key" in done.stderr
    assert not list(tmp_path.glob("results/**/run.jsonl"))


def test_what_cannot_start_anew_keeps_its_record(cli, tmp_path, server):
    words = [*SMALL, "steps=2"]
    assert cli("train.py", *words, "wandb.mode=disabled").returncode == 0
    record = only_run(tmp_path) / "run.jsonl"
    before = record.read_bytes()
    forced = [*words, "force=true", "wandb.mode=online"]
    done = cli("train.py", *forced, env=environment(server.url, "x" * 40))
    assert done.returncode == 1 and "the server refuses the API key" in done.stderr
    assert record.read_bytes() == before


def test_one_header_is_one_run_and_another_start_is_another():
    first = HEADER | {"started": "2026-01-01T00:00:00+0000"}
    assert run_id(first) == run_id(json.loads(json.dumps(first)))
    assert run_id(first) != run_id(HEADER | {"started": "2026-01-01T00:00:01+0000"})


def test_bands_and_effective_beta_of_vectors():
    line = {
        "step": 3,
        "landscape/step_size": [0.1, 0.2],
        "landscape/loss": [2.0, "Infinity"],
        "landscape/gradient_change": [1.0, 4.0],
        "landscape/gradient_norm": 5.0,
        "test/loss": "NaN",
    }
    shown = summarize(line)
    assert shown["landscape/loss/min"] == 2.0 and shown["landscape/loss/max"] == np.inf
    assert shown["landscape/effective_beta"] == pytest.approx(4.0)
    assert np.isnan(shown["test/loss"]) and shown["step"] == 3
    assert "landscape/loss" not in shown


def test_pooled_histograms_keep_every_count_where_it_was():
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 50, (4, 40))
    low = generator.normal(size=4)
    edges = np.stack([low, low + generator.uniform(0.5, 2, 4)], axis=1)
    pooled, grid = pool(counts.tolist(), edges.tolist())
    assert pooled.sum() == counts.sum()
    assert grid[0] == edges.min() and grid[-1] == edges.max()
    one, _ = pool(counts[:1].tolist(), edges[:1].tolist())
    assert (one == counts[0]).all()
    assert pool([[1, 2]], [["NaN", "NaN"]]) is None


def test_the_report_shows_figures_and_verdicts_offline(cli, tmp_path):
    made_up.write_runs(tmp_path / "runs", seeds=(0,), experiments=["deep_linear_lp"])
    words = ["--runs", "runs", "--out", "out", "--wandb"]
    done = cli("report.py", *words, "offline", env=environment("http://127.0.0.1:9", key=""))
    assert done.returncode == 0 and done.stderr == ""
    (shown,) = tmp_path.glob("out/wandb/offline-run-*")
    figures = {path.name.split("_0_")[0] for path in shown.glob("files/media/images/figures/*")}
    drawn = {name for name, own in discover().items() if "deep_linear_lp" in own.EXPERIMENTS}
    assert figures == drawn != set(discover())
    (table,) = shown.glob("files/media/table/*.json")
    verdicts = json.loads((tmp_path / "out" / "claims.json").read_text())
    rows = json.loads(table.read_text())["data"]
    assert [row[1] for row in rows] == [verdict["title"] for verdict in verdicts]


def test_the_dashboard_shows_what_the_runs_log(cli, tmp_path):
    pytest.importorskip("wandb_workspaces", reason="the extra [dashboard] is not installed")
    done = cli("dashboard.py", "--dry-run", "--layers", "layer5", env=environment("", key=""))
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)["spec"]["section"]
    groups = [key["name"] for key in view["runSets"][0]["grouping"]]
    assert groups == ["header.value.choices.norm", "optimizer.value.lr"]
    sections = {s["name"]: s["panels"] for s in view["panelBankConfig"]["sections"]}
    plots = [panel["config"] for panels in sections.values() for panel in panels]
    plots = [plot for plot in plots if "metrics" in plot]
    assert all(plot["xAxis"] == "step" for plot in plots)
    words = [
        *SMALL,
        "steps=1",
        "+probes=[moments,sharpness,batch_sharpness,weights]",
        "wandb.mode=disabled",
        "results=runs",
    ]
    assert cli("train.py", *words).returncode == 0
    logged: set[str] = set()
    for line in lines(next(tmp_path.glob("runs/*/*/run.jsonl")).parent):
        logged |= summarize(line).keys()
    shown = {key for plot in plots for key in plot["metrics"]}
    # The layers of this network are others.
    assert {re.sub(r"layer\d+", "layer", key) for key in shown} <= {
        re.sub(r"layer\d+", "layer", key) for key in logged
    }
    for name, axes in (
        ("Figures 4, 12: landscape along the gradient, VGG", [True, False, False]),
        ("Figures 10, 13: landscape along the gradient, linear network", [True, True, True]),
    ):
        assert [panel["config"]["yLogScale"] for panel in sections[name]] == axes


def test_the_dashboard_is_refused_in_one_sentence(cli, tmp_path):
    pytest.importorskip("wandb_workspaces", reason="the extra [dashboard] is not installed")
    nobody = environment("http://127.0.0.1:9", key="") | {"HOME": str(tmp_path)}
    done = cli("dashboard.py", env=nobody)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "log in with `wandb login`" in done.stderr
    (tmp_path / "wandb_workspaces.py").write_text("raise ImportError")
    done = cli("dashboard.py", env=nobody | {"PYTHONPATH": f"{tmp_path}:{ROOT}"})
    assert done.returncode == 1
    assert done.stderr == (
        "The dashboard needs wandb-workspaces: pip install 'bnstudy[dashboard]'.\n"
    )


def test_wandb_is_not_imported_where_it_is_not_used():
    code = "import bnstudy.terminal, bnstudy.wandb_mirror, sys; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# A run that ended before, shown again as scripts/train.py shows it.
AGAIN = """
import json, sys
from pathlib import Path
from unittest.mock import ANY
from bnstudy.wandb_mirror import show_again

options = json.loads(sys.argv[2])
show_again(Path(sys.argv[1]), project="bnstudy", entity=None, patience=20.0, **options)
"""


def show_again(directory: Path, url: str, more: dict[str, str], **options) -> None:
    command = [sys.executable, "-c", AGAIN, str(directory), json.dumps(options)]
    caches = {name: str(directory / "cache") for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    done = subprocess.run(
        command, env=environment(url) | caches | more, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_run_that_ended_is_shown_to_the_agent_that_asks_for_it_again(tmp_path, server):
    header = made_up.make_header("vgg", "none", 0.5, 1)
    rows = list(made_up.make_lines("vgg", "none", 0.5, 1, "diverged"))
    directory = made_up.write_record(tmp_path / "vgg_none", header, rows, "diverged")
    (directory / "checkpoint.pt").write_bytes(b"weights")
    show_again(directory, server.url, {}, mode="online")  # there is no agent
    assert not server.runs
    agent = {"WANDB_SWEEP_ID": "abcd1234", "WANDB_RUN_ID": "agent2", "WANDB_PROJECT": "bnstudy"}
    show_again(directory, server.url, agent, mode="online", artifact=True)
    (uploaded,) = server.runs.values()
    assert uploaded.variables["name"] == "agent2" and uploaded.exit_code == 0
    assert [row["_step"] for row in uploaded.rows] == [line["step"] for line in rows]
    summary = json.loads(uploaded.summary)
    assert summary["diverged"] == 1 and 0 < summary["final/accuracy"] < 0.2
    assert uploaded.config["sweep_words"] == [str(directory), ANY]
    ((title, text, level),) = server.alerts
    assert title == "vgg_none diverged" and "step" in text and level == "WARN"
    (files,) = server.artifacts.values()
    assert files["run.jsonl"] == (directory / "run.jsonl").read_bytes()
    assert files["checkpoint.pt"] == b"weights"


def test_an_agent_whose_run_is_preempted_goes_on_with_it(tmp_path, server, monkeypatch):
    """The agent is W&B's own, with its loop and its processes; here are the server's answers."""
    sweep = yaml.safe_load((ROOT / "scripts" / "wandb_sweep.yaml").read_text())
    words = [*SMALL, "steps=150", "probes=[]", "test_every=0", "save_every=0"]
    values = {"norm": "none", "optimizer.lr": 0.25, "seed": 1.0}
    assert values.keys() == sweep["parameters"].keys()
    values |= dict(word.split("=") for word in words)
    program = {"program": str(ROOT / sweep["program"]), "run_id": "agent1"}
    records = lambda: list(tmp_path.glob("results/runs/*/*/*/run.jsonl"))  # noqa: E731
    told: list[str] = []

    def heartbeat(api: object, agent_id: str, metrics: object, running: object) -> list[Line]:
        run = server.runs.get("agent1")
        if not told:
            told.append("run")
        elif told == ["run"] and records() and run and run.variables.get("config"):
            told.append("stop")  # which SIGTERM is, as a machine that is taken away sends it
        elif told == ["run", "stop"] and not running:
            assert run and run.preempted and run.exit_code == 1
            assert b'"end"' not in only_run(tmp_path).joinpath("run.jsonl").read_bytes()
            told.append("resume")  # with the whole config, as W&B has it
            values.clear()
            values.update(run.config)
        elif told[-1] == "resume" and not running:
            told.append("exit")
        else:
            return []
        args = {key: {"value": value} for key, value in values.items()}
        return [{"type": told[-1], "args": args} | program]

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in environment(server.url).items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path))  # the agent sets them: to be undone
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps, "_sweep_with_runs", lambda *_: {"config": yaml.safe_dump(sweep)})
    monkeypatch.setattr(sweeps, "_register_agent", lambda *_, **__: {"id": "me"})
    monkeypatch.setattr(sweeps, "_agent_heartbeat", heartbeat)
    monkeypatch.setattr(wandb, "Api", lambda: None)
    monkeypatch.setattr(Agent, "POLL_INTERVAL", 0.2)
    Agent(None, queue.Queue()).run()
    assert told == ["run", "stop", "resume", "exit"]
    (uploaded,) = server.runs.values()
    assert uploaded.variables["name"] == "agent1" and uploaded.exit_code == 0
    header, *steps, end = lines(only_run(tmp_path))
    assert [row["_step"] for row in uploaded.rows] == [line["step"] for line in steps]
    config = header["header"]["config"]
    assert (config["optimizer"]["lr"], config["seed"], config["norm"]["_target_"]) == (
        0.25,
        1,
        "torch.nn.Identity",
    )
    assert sweep["metric"]["name"] in json.loads(uploaded.summary)
    assert end["end"]["outcome"] == "finished"
