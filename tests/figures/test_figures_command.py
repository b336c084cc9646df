"""The command that draws figures."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import made_up
import pytest
from conftest import ROOT
from drawing import FIGURES
from zygote import Zygote

SCRIPT = ROOT / "scripts" / "figures.py"


# What may not be needed to draw: importing any of these fails. pyplot keeps state between figures.
BLOCKED = (
    "import sys, runpy; sys.modules |= dict.fromkeys("
    "['torch', 'hydra', 'wandb', 'omegaconf', 'matplotlib.pyplot']);"
)


def run_blocked(cwd: Path) -> subprocess.CompletedProcess[str]:
    """scripts/figures.py in that folder, where importing what it may not need fails."""
    program = f"{BLOCKED} runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    # The package may not be installed where the tests run.
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def runs_below(root: Path, experiment: str, norm: str, lr: float) -> None:
    """One run of an experiment at scale demo below `root`."""
    header = made_up.make_header(experiment, norm, lr, 0)
    lines = list(made_up.make_lines(experiment, norm, lr, 0, "finished"))
    made_up.write_record(root / "results/runs/demo" / experiment / "a", header, lines)


def test_the_command_draws_what_has_runs_without_torch(tmp_path: Path) -> None:
    runs_below(tmp_path, "deep_linear_lp", "l1", 1e-6)
    done = run_blocked(tmp_path)
    assert done.returncode == 0
    names = ("figure5b", "figure13")
    paths = [f"results/figures/demo/{name}.png" for name in names]
    assert done.stdout.splitlines() == paths
    for path in paths:
        assert (tmp_path / path).read_bytes()[:4] == b"\x89PNG"
    needed = sorted(
        {figure.EXPERIMENTS for figure in FIGURES.values()} - {FIGURES["figure13"].EXPERIMENTS}
    )
    assert sorted(line.count("experiment=") for line in done.stderr.splitlines()) == sorted(
        map(len, needed)
    )


def test_the_same_runs_give_the_same_bytes(tmp_path: Path, zygote: Zygote) -> None:
    runs_below(tmp_path, "vgg_lp", "l1", 0.1)
    digests = []
    for time in ("0", "1000000000"):
        out = tmp_path / time
        kinds = ("--format", "png,pdf,svg")
        assert (
            zygote.call(tmp_path, "figures.py", "figure5a", "--out", str(out), *kinds).returncode
            == 0
        )
        files = {path.suffix: path.read_bytes() for path in out.iterdir()}
        digests.append({kind: hashlib.sha256(file).hexdigest() for kind, file in files.items()})
        assert b"CreationDate" not in (out / "figure5a.pdf").read_bytes()
    assert digests[0] == digests[1]
    assert set(digests[0]) == {".png", ".pdf", ".svg"}


def test_the_command_lists_the_figures(tmp_path: Path, zygote: Zygote) -> None:
    done = zygote.call(tmp_path, "figures.py", "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(FIGURES)


def test_an_unknown_figure_is_refused_in_one_sentence(tmp_path: Path, zygote: Zygote) -> None:
    done = zygote.call(tmp_path, "figures.py", "figure99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"There is no figure99; the figures are {', '.join(FIGURES)}.\n"


@pytest.mark.parametrize("options", [(), ("--scale", "demo"), ("--runs", "elsewhere")])
def test_no_runs_at_all_is_one_sentence(
    tmp_path: Path, options: tuple[str, ...], zygote: Zygote
) -> None:
    done = zygote.call(tmp_path, "figures.py", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("There are no runs ")
    assert "python scripts/train.py -m experiment=vgg" in done.stderr
    assert done.stderr.count("\n") == 1


def test_with_runs_at_two_scales_one_has_to_be_chosen(tmp_path: Path, zygote: Zygote) -> None:
    header = made_up.make_header("vgg", "batch", 0.1, 0)
    for scale in ("demo", "small"):
        made_up.write_record(tmp_path / "results/runs" / scale / "vgg" / "a", header, [{"step": 0}])
    done = zygote.call(tmp_path, "figures.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "There are runs at scale demo and small; choose one with --scale.\n"


def test_figures_without_runs_are_named_with_the_command_that_makes_them(
    tmp_path: Path, zygote: Zygote
) -> None:
    runs_below(tmp_path, "vgg", "batch", 0.1)
    missing = (
        "No runs for figure9; make some: "
        "python scripts/train.py -m experiment=deep_linear scale=demo\n"
    )
    done = zygote.call(tmp_path, "figures.py", "figure9", "figure4")
    assert (done.returncode, done.stderr) == (1, missing)
    assert len(done.stdout.splitlines()) == 1


def test_a_broken_record_is_named_in_one_sentence(tmp_path: Path, zygote: Zygote) -> None:
    path = tmp_path / "runs" / "vgg" / "a" / "run.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("broken\n")
    done = zygote.call(tmp_path, "figures.py", "--runs", "runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"left out: {path.relative_to(tmp_path)}: ")
    assert done.stderr.count("\n") == 2
