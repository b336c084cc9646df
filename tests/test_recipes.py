"""CONTRIBUTING's recipes, followed in a copy of the project: each thing is one file and its config.

A norm, a model, a probe, a measure, a figure, a claim and an experiment are added, trained, drawn,
judged and reported.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

ADDED = {
    "bnstudy/mine.py": '''"""My norm."""

import torch


class Mine(torch.nn.GroupNorm):
    """One group of all channels."""

    def __init__(self, num_features: int) -> None:
        super().__init__(1, num_features)
''',
    "configs/norm/mine.yaml": "# Mine.\n_target_: bnstudy.mine.Mine\n_partial_: true\n",
    "bnstudy/models/tiny.py": '''"""A model of two layers."""

from math import prod

from torch import nn

from bnstudy.models.layer import Layer


class Tiny(nn.Sequential):
    """A hidden layer with a norm, and the outputs."""

    def __init__(self, input_shape, num_outputs, norm, units=8):
        super().__init__()
        self.layers = ["layer1", "layer2"]
        self.add_module("flatten", nn.Flatten())
        hidden = nn.Linear(prod(input_shape), units)
        self.add_module("layer1", Layer(hidden, norm(units), nn.ReLU()))
        self.add_module("layer2", Layer(nn.Linear(units, num_outputs), nn.Identity()))
''',
    "configs/model/tiny.yaml": "# Tiny.\n_target_: bnstudy.models.tiny.Tiny\nunits: 8\n",
    "configs/experiment/mine.yaml": """# @package _global_
# My norm in my model.
defaults:
  - override /model: tiny
  - override /probes: [landscape, weight_norm]
  - override /sweep: [norm]

experiment: mine
steps: 3
probe_every: 1
""",
    "bnstudy/probes/weight_norm.py": '''"""The length of all parameters."""

from dataclasses import dataclass

from torch import Tensor

from bnstudy.params import length
from bnstudy.update import Update


@dataclass(frozen=True)
class WeightNorm:
    """||theta||. Records: all."""

    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurement at one step."""
        return {"all": length(update.params)}
''',
    "configs/probes/weight_norm.yaml": """# ||theta||.
weight_norm:
  _target_: bnstudy.probes.weight_norm.WeightNorm
  every: ${probe_every}
""",
    "bnstudy/measures/weight_norm.py": '''"""The length of all parameters."""

from bnstudy.measures.series import median
from bnstudy.results import Run

ALL = "weight_norm/all"


def typical_weight_norm(run: Run) -> float:
    """||theta||, the median over steps."""
    return median(run[ALL][1])
''',
    "bnstudy/figures/weight_norm.py": '''"""The length of all parameters

It is what the weights are.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from bnstudy.figures import panels, style
from bnstudy.measures.weight_norm import ALL
from bnstudy.results import Run

EXPERIMENTS = ("norms",)


def draw(runs: Sequence[Run]) -> Figure:
    """A curve per norm."""
    chosen = panels.choose(runs, EXPERIMENTS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.0), layout="constrained")
        axes = figure.subplots()
        for norm in dict.fromkeys(run.norm for run in chosen):
            panels.curve(axes, [run for run in chosen if run.norm == norm], lambda run: run[ALL])
        panels.legend(figure, [axes])
        panels.finish(figure, runs, chosen)
    return figure
''',
    "bnstudy/claims/weight_norm.py": '''"""What is said of the length of all parameters."""

from bnstudy.claims.judging import Arm, Claim
from bnstudy.claims.rules import greater
from bnstudy.measures.weight_norm import typical_weight_norm

CLAIMS = (
    Claim(
        topic="My own",
        name="has_length",
        title="The parameters have a length",
        says="They do.",
        source="this test",
        arms=(Arm("my norm", "norms", "mine", None),),
        quantity="the length of all parameters",
        measure=lambda runs: typical_weight_norm(runs[0]),
        rule=greater(0, unit=""),
    ),
)
''',
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with what the recipes add, and a run of three steps of it."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("bnstudy", "configs", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, root / folder, ignore=ignored)
    for name, text in ADDED.items():
        assert not (root / name).exists()
        (root / name).write_text(text, encoding="utf-8")
    # Own records are at any lr.
    options = "experiment=norms norm=mine scale=demo steps=3 probe_every=1 optimizer.lr=0.07"
    call(
        root, "train.py", *options.split(), "probes=[landscape,weight_norm]", "wandb.mode=disabled"
    )
    return root


def call(root: Path, script: str, *arguments: str) -> str:
    """A command of the copy, which has to succeed; what it prints."""
    done = subprocess.run(
        [sys.executable, f"scripts/{script}", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_the_recipes_add_is_trained_drawn_judged_and_reported(copy: Path) -> None:
    (record,) = copy.glob("results/runs/demo/norms/*/run.jsonl")
    assert '"weight_norm/all"' in record.read_text()
    call(copy, "report.py", "--scale", "demo", "--out", "page", "--figures", "pictures")
    drawn = {path.stem for path in (copy / "pictures").iterdir()}
    assert drawn == {"norms", "weight_norm"}
    verdicts = {v["name"]: v for v in json.loads((copy / "page" / "claims.json").read_text())}
    assert verdicts["has_length"]["value"] > 0
    page = (copy / "page" / "report.html").read_text()
    assert "The parameters have a length" in page
    assert "The length of all parameters" in page
    assert "cannot be drawn" not in page


def test_an_experiment_of_one_s_own_runs_its_grid_with_a_model_of_one_s_own(copy: Path) -> None:
    words = ["experiment=mine", "norm=none,mine", "test_every=null", "wandb.mode=disabled"]
    call(copy, "train.py", "-m", *words)
    records = sorted(copy.glob("results/runs/demo/mine/*/run.jsonl"))
    assert [path.parent.name.split("_")[:2] for path in records] == [
        ["tiny", "mine"],
        ["tiny", "none"],
    ]
    assert all('"landscape/loss"' in path.read_text() for path in records)
