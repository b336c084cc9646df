"""The examples of a loop of one's own run, and Lightning's callback changes nothing."""

import re
import sys
from importlib import import_module, reload
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bnstudy.probes.consecutive_gradients import ConsecutiveGradients
from bnstudy.probes.landscape import Landscape
from bnstudy.results import load_run

EXAMPLES = sorted(path.stem for path in (ROOT / "scripts" / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.filterwarnings("ignore")  # of Lightning, on the machine that it finds
def test_an_example_runs(name, tmp_path, monkeypatch, capsys):
    if "lightning" in name:
        pytest.importorskip("lightning")
    monkeypatch.syspath_prepend(ROOT / "scripts" / "examples")
    example = import_module(name)
    monkeypatch.setattr(example, "STEPS", 8, raising=False)
    example.main(tmp_path)
    printed = capsys.readouterr().out
    assert any(character.isdigit() for character in printed) and "nan" not in printed
    (figure,) = tmp_path.glob("*.png")
    assert figure.stat().st_size > 5_000
    for record in tmp_path.rglob("run.jsonl"):
        run = load_run(record.parent)
        assert run.outcome == "finished" and len(run["train/loss"][0]) == 8


def test_the_readme_s_own_network_runs_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, inputs = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6)), torch.randn(8, 5)
    known: dict[str, Any] = {"model": model, "criterion": nn.functional.mse_loss, "inputs": inputs}
    known |= {"targets": torch.randn(8, 6), "loss": torch.tensor(1.0)}
    known["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
    section = (ROOT / "README.md").read_text().split("## Your own network")[1].split("\n## ")[0]
    for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL):
        exec(block, known)
    assert known["update"].lr == 0.1


def test_the_guide_to_own_models_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/own_model.md").read_text(), re.DOTALL)
    assert len(blocks[0].splitlines()) <= 12
    for block in blocks:
        exec(block, known)
    printed = capsys.readouterr().out
    assert "after a step of 0.10 along the gradient the loss is" in printed
    assert "batch_gauss_newton_eigenvalues/0 [" in printed and "{'1': 20}" in printed
    assert load_run("runs/own/batch").outcome == "finished" and Path("surface.png").is_file()


def fit(
    callbacks: list[Any], optimizers: int = 1, go_on: Path | None = None, **more: Any
) -> nn.Module:
    """A small LightningModule after five batches, or after the rest of them."""
    from lightning import LightningModule, Trainer, seed_everything

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))
            self.automatic_optimization = optimizers == 1
            self.losses: list[float] = []

        def forward(self, input: Tensor) -> Tensor:
            return self.net(input)

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            loss = nn.functional.mse_loss(self(batch[0]), batch[1])
            self.losses.append(loss.item())
            return loss

        def configure_optimizers(self) -> Any:
            made = [torch.optim.Adam(self.parameters(), lr=0.01) for _ in range(optimizers)]
            return made if optimizers > 1 else made[0]

    seed_everything(0, verbose=False)
    samples = TensorDataset(torch.randn(20, 3), torch.randn(20, 4))
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    module = Module()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", callbacks=callbacks, **dict.fromkeys(quiet, False), **more
    )
    trainer.fit(module, DataLoader(samples, batch_size=4), ckpt_path=go_on)
    return module


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_bitwise_the_same_with_the_callback(tmp_path):
    pytest.importorskip("lightning")
    from bnstudy.lightning import ObserveCallback

    def callback(probe: Any, path: Path | None = None) -> Any:
        return ObserveCallback(
            nn.functional.mse_loss, {"probe": probe}, recorder=path, norm="batch"
        )

    for more, seen in (({}, [0, 1, 2, 3, 4]), ({"accumulate_grad_batches": 2}, [1, 3, 4])):
        steps = len(seen)
        path = tmp_path / str(steps) / "run"
        states = []
        for callbacks in ([callback(Landscape(every=2), path)], []):
            module = fit(callbacks, **more)
            states.append(module.state_dict())
            states[-1]["generator"] = torch.get_rng_state()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])
        run = load_run(path)
        assert run.outcome == "finished" and run.lr == 0.01 and run.config["steps"] == steps
        assert run["train/loss"][0].tolist() == list(range(steps))
        assert run["train/loss"][1] == pytest.approx([module.losses[i] for i in seen])
        assert run["probe/loss"][0].tolist() == list(range(0, steps, 2))
    path = tmp_path / "failed"
    with pytest.raises(ValueError, match="A probe asks for the batch"):
        fit([callback(ConsecutiveGradients(), path)])
    assert load_run(path).outcome == "interrupted"
    with pytest.raises(ValueError, match="ObserveCallback found 2 optimizers"):
        fit([callback(Landscape())], optimizers=2)


@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_on_in_its_record_from_a_checkpoint(tmp_path):
    pytest.importorskip("lightning")
    from lightning import Callback

    from bnstudy.lightning import ObserveCallback

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Any, *others: Any) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "saved.ckpt")
                raise RuntimeError("on purpose")

    def callback() -> Any:
        return ObserveCallback(
            nn.functional.mse_loss, {"probe": Landscape()}, recorder=tmp_path / "a" / "run"
        )

    with pytest.raises(RuntimeError, match="on purpose"):
        fit([callback(), Stop()])
    assert load_run(tmp_path / "a" / "run").outcome == "interrupted"
    fit([callback()], go_on=tmp_path / "saved.ckpt")
    run = load_run(tmp_path / "a" / "run")
    assert run.outcome == "finished" and run["probe/loss"][0].tolist() == [0, 1, 2, 3, 4]


def test_without_lightning_it_is_said_what_to_install(monkeypatch):
    pytest.importorskip("lightning")
    module = import_module("bnstudy.lightning")
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ImportError, match=r"needs Lightning: pip install 'bnstudy\[lightning\]'"):
        reload(module)
