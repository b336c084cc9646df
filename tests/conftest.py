"""What the tests share: one thread, config options by name, small networks, the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = "1"

import made_up
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from zygote import Zygote

from bnstudy.data import Batch, DataSet
from bnstudy.record import Recorder
from bnstudy.results import load_runs
from bnstudy.train import train
from bnstudy.update import Probe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bnstudy.results import Run

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"

# What makes a network of each model small; a model that is not named here is small by itself.
SMALL = {
    "vgg": ["model.depth=11", "model.width=0.0625", "data.held_out=100", "batch_size=16"],
    "resnet": ["model.depth=8", "model.width=0.25", "data.held_out=100", "batch_size=16"],
    "plain": ["model.depth=8", "model.width=0.25", "data.held_out=100", "batch_size=16"],
    "resnet18": ["model.width=0.0625", "data.held_out=100", "batch_size=16"],
    "mlp": ["model.hidden=[20,20]", "data.held_out=100", "batch_size=16"],
    "torchvision": [
        "model.network._target_=torchvision.models.ShuffleNetV2",
        "+model.network.stages_repeats=[1,1,1]",
        "+model.network.stages_out_channels=[4,8,16,32,32]",
        "data.held_out=100",
        "batch_size=16",
    ],
    "transformer": [
        *("model.depth=1", "model.width=8", "model.heads=2", "model.patch=8"),
        *("data.held_out=100", "batch_size=16"),
    ],
    "deep_linear": ["data=deep_linear", "data.samples=20", "model.depth=4", "batch_size=20"],
}


def options(group: str) -> list[str]:
    """The options of a config group, so that a new one is tested without being told of it."""
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def config(*overrides: str) -> DictConfig:
    """The config of these overrides, as the command line would compose it."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", list(overrides))


@cache
def small_config(model: str, norm: str, *overrides: str) -> DictConfig:
    """A small network of this model and norm with data that it fits; tests share it, read-only."""
    of_norm = [word for word in overrides if word.startswith("norm")]
    cfg = small_model(model, *(word for word in overrides if word not in of_norm)).copy()
    OmegaConf.set_readonly(cfg, False)
    cfg.norm = norm_options(norm, *of_norm)
    OmegaConf.set_readonly(cfg, True)
    return cfg


# Hydra takes a quarter of a second for a config: apart, there are far fewer of these.
@cache
def small_model(model: str, *overrides: str) -> DictConfig:
    """A small network of this model, with BatchNorm."""
    lr = "optimizer.lr=1e-4" if model == "deep_linear" else "optimizer.lr=0.1"
    return config(f"model={model}", *SMALL.get(model, []), lr, *overrides)


@cache
def norm_options(norm: str, *overrides: str) -> DictConfig:
    """The options of a norm."""
    return config(f"norm={norm}", *overrides).norm


def build(cfg: DictConfig) -> tuple[DataSet, torch.nn.Module, torch.optim.Optimizer]:
    """Data, initialized model and optimizer, as scripts/train.py makes them."""
    data = data_of(OmegaConf.to_yaml(cfg.data, resolve=True))
    data = replace(data, train=few(data.train), criterion=instantiate(cfg.criterion))
    model = instantiate(
        cfg.model,
        norm=instantiate(cfg.norm),
        input_shape=data.input_shape,
        num_outputs=data.num_outputs,
    ).to(data.dtype)
    torch.manual_seed(cfg.seed)
    instantiate(cfg.init)(model)
    return data, model, instantiate(cfg.optimizer)(model.parameters())


def few(train: Batch) -> Batch:
    """Ten small batches of training samples: every test of a run evaluates over all of them."""
    few = train.targets.is_floating_point() or len(train.targets) <= 160
    return train if few else Batch(train.inputs[:160], train.targets[:160])


@cache
def data_of(options: str) -> DataSet:
    """The data set of these options; nothing changes one, so that tests may share it."""
    return instantiate(OmegaConf.create(options))


def run(
    cfg: DictConfig, directory: Path, probes: Mapping[str, Probe], steps: int = 3
) -> tuple[torch.nn.Module, torch.optim.Optimizer, list[dict[str, Any]]]:
    """Train a few steps; the model and optimizer afterwards, and the lines of the record."""
    data, model, optimizer = build(cfg)
    recorder = Recorder(directory, {"fingerprint": "", "config": {}})
    outcome = train(
        model,
        data,
        optimizer,
        recorder,
        steps=steps,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        probes=probes,
        schedule=instantiate(cfg.schedule),
        test_every=2,
    )
    recorder.end(outcome)
    recorder.close()
    return model, optimizer, lines(directory)


def lines(directory: Path) -> list[dict[str, Any]]:
    """The lines of a record without what differs between two runs of one config.

    Times; and the commit, which changes when somebody edits a file while the tests run.
    """
    parsed = [json.loads(text) for text in (directory / "run.jsonl").read_text().splitlines()]
    for line in parsed:
        line.pop("time", None)
        for key in ("started", "git"):
            line.get("header", {}).pop(key, None)
        line.get("end", {}).pop("seconds", None)
    return parsed


@pytest.fixture
def cli(zygote: Zygote, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script of the project in an empty folder, as a user would, but for its imports."""

    def call(
        script: str, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return zygote.call(tmp_path, script, *words, env=env)

    return call


@pytest.fixture
def new_process(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Does the same in a process that imports what it needs, which takes seconds."""

    def call(script: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "scripts" / script), *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.run(command, cwd=tmp_path, text=True, **(pipes | more))

    return call


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts a script as `cli` does, without waiting for its end."""
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.close()


# Made-up runs and what is drawn of them, made once


def _made_up(root: Path, **how: Any) -> dict[str, list["Run"]]:
    made_up.write_runs(root, **how)
    made_up.write_grids(root, **how)
    return {name: load_runs(name, root) for name in made_up.EXPERIMENTS}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list["Run"]]:
    """The made-up runs of all experiments at scale demo; nobody changes them."""
    return _made_up(tmp_path_factory.mktemp("made_up"))


@pytest.fixture(scope="session")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list["Run"]]:
    """The same at scale paper, one seed."""
    return _made_up(tmp_path_factory.mktemp("paper"), scale="paper", seeds=(0,))


@pytest.fixture(scope="session")
def draw(demo: dict[str, list["Run"]]) -> Callable[[str], "Figure"]:
    """Draws a figure from all made-up runs that it reads, once."""
    from drawing import FIGURES, runs_of

    return cache(lambda name: FIGURES[name].draw(runs_of(FIGURES[name], demo)))


@pytest.fixture
def no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures without a layout, which takes most of the time, for tests of their words."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)


@pytest.fixture
def axes() -> "Axes":
    """Axes to draw into."""
    from matplotlib.figure import Figure

    return Figure().subplots()
