"""The loop: what it records when, how it ends, and that it is a function of config and seed."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, build, data_of, lines, options, run, small_config
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from bnstudy import checkpoint
from bnstudy.data import Batch
from bnstudy.params import add_scaled
from bnstudy.record import Recorder, count_steps
from bnstudy.train import evaluate, penalty, take_step, train
from bnstudy.update import Update

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Call:
    """A probe made of a function."""

    function: Callable[[Update], dict[str, Tensor]]
    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        return self.function(update)


def test_the_same_config_and_seed_twice_is_the_same_record(tmp_path):
    cfg = small_config("vgg", "batch", "data.augment=true", "probe_every=2")
    records = []
    for name in ("first", "second"):
        torch.rand(3)  # whatever happened before
        probes = instantiate(cfg.probes, _convert_="all")
        records.append(run(cfg, tmp_path / name, probes)[2])
    assert records[0] == records[1]
    other = run(small_config("vgg", "batch", "seed=1"), tmp_path / "other", {})[2]
    assert other[1]["train/loss"] != records[0][1]["train/loss"]


def test_what_is_recorded_when(tmp_path):
    probe = Call(lambda update: {"step": torch.tensor(update.step)}, every=2)
    *_, record = run(small_config("vgg", "batch"), tmp_path, {"spy": probe}, steps=5)
    _, *steps, end = record
    assert [line["step"] for line in steps] == [0, 1, 2, 3, 4, 5]
    assert [line["step"] for line in steps if "train/loss" in line] == [0, 1, 2, 3, 4]
    assert [line["spy/step"] for line in steps if "spy/step" in line] == [0, 2, 4]
    # Every second step, and once more after the last update.
    assert [line["step"] for line in steps if "test/accuracy" in line] == [0, 2, 4, 5]
    assert end["end"]["outcome"] == "finished"


def test_training_accuracy_is_that_of_the_batch_before_the_update(tmp_path):
    seen = []

    def look(update: Update) -> dict[str, Tensor]:
        loss = update.loss
        outputs = torch.func.functional_call(loss.model, update.params, (loss.batch.inputs,))
        seen.append((outputs.argmax(1) == loss.batch.targets).float().mean().item())
        return {}

    *_, record = run(small_config("vgg", "none"), tmp_path, {"look": Call(look)})
    assert [line["train/accuracy"] for line in record if "train/accuracy" in line] == seen


@pytest.mark.parametrize("norm", options("norm"))
def test_the_next_loss_is_bitwise_that_of_the_next_step(norm, tmp_path):
    """With augmentation, with dropout, and from one epoch to the next: 100 images, 16 a batch."""
    cfg = small_config("vgg", norm, "data.augment=true", "data.held_out=1697", "batch_size=16")
    data, model, optimizer = build(cfg)
    model.append(torch.nn.Dropout(0.5))
    recorder = Recorder(tmp_path, {"fingerprint": "", "config": {}})
    probe = Call(lambda update: {"loss": update.losses(1)(update.new_params)})
    numbers = {"steps": 9, "batch_size": 16, "seed": 0}
    train(model, data, optimizer, recorder, probes={"next": probe}, **numbers)
    recorder.close()
    steps = [line for line in lines(tmp_path) if "train/loss" in line]
    assert [line["next/loss"] for line in steps[:-1]] == [line["train/loss"] for line in steps[1:]]
    assert len(steps) == 9


def test_noise_is_the_same_along_the_gradient_and_new_at_every_step(tmp_path):
    seen: list[list[Tensor]] = []

    def look(update: Update) -> dict[str, Tensor]:
        noise = []
        for step_size in (0.0, 0.4):
            there = add_scaled(update.params, update.grads, -step_size)
            outputs = update.loss.activations(there, ["layer1.conv", "layer1.norm"])
            noise.append(outputs["layer1.norm"] - outputs["layer1.conv"])
        seen.append(noise)
        return {}

    # With s = 1, what is added to the input of the noise is m.
    cfg = small_config("vgg", "noise", "norm.n_sigma=1", "norm.r_sigma=0")
    run(cfg, tmp_path, {"look": Call(look)})
    (here, there), (other, _), _ = seen
    torch.testing.assert_close(here, there, rtol=0, atol=1e-5)
    units, other_units = here.mean((0, 2, 3)), other.mean((0, 2, 3))
    assert (units - other_units).abs().max() > 0.1


def test_regression_has_no_accuracy_and_no_test_set(tmp_path):
    *_, record = run(small_config("deep_linear", "batch"), tmp_path, {})
    assert {key for line in record for key in line} == {"header", "step", "train/loss", "end"}


def test_evaluation_is_over_the_whole_test_set_with_running_statistics():
    data, model, _ = build(small_config("vgg", "batch", "data.held_out=707"))  # 500 and a rest
    model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    measured = evaluate(model, data, batch_size=64, seed=0)
    assert model.training
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())
    model.eval()
    (batch,) = data.test_batches(707)
    outputs = model(batch.inputs)
    expected = torch.nn.functional.cross_entropy(outputs, batch.targets)
    torch.testing.assert_close(measured["test/loss"], expected)
    right = (outputs.argmax(1) == batch.targets).float().mean()
    torch.testing.assert_close(measured["test/accuracy"], right)


def test_penalty_is_what_weight_decay_descends():
    parameter = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    assert penalty(torch.optim.SGD([parameter], lr=0.1)) == {}
    optimizer = torch.optim.SGD([parameter], lr=0.1, weight_decay=0.01)
    assert penalty(optimizer)["train/penalty"].item() == pytest.approx(0.01 / 2 * 25)
    parameter.grad = torch.zeros(2)
    optimizer.step()
    gradient = (torch.tensor([3.0, 4.0]) - parameter.detach()) / 0.1
    torch.testing.assert_close(gradient, 0.01 * torch.tensor([3.0, 4.0]))


def test_decoupled_weight_decay_is_no_penalty():
    parameters = [torch.nn.Parameter(torch.ones(2, 2))]
    decay = {"lr": 0.1, "weight_decay": 0.01}
    coupled = [torch.optim.Adam(parameters, **decay), torch.optim.NAdam(parameters, **decay)]
    assert [penalty(optimizer)["train/penalty"].item() for optimizer in coupled] == [
        pytest.approx(0.01 / 2 * 4)
    ] * 2
    for decoupled in (torch.optim.AdamW, torch.optim.Adafactor, torch.optim.Muon):
        assert penalty(decoupled(parameters, **decay)) == {}
    nadamw = torch.optim.NAdam(parameters, decoupled_weight_decay=True, **decay)
    assert penalty(nadamw) == {}


def test_the_penalty_is_recorded_beside_the_loss(tmp_path):
    cfg = small_config("vgg", "batch", "optimizer.weight_decay=0.01")
    *_, record = run(cfg, tmp_path, {})
    _, model, _ = build(cfg)
    expected = 0.005 * sum(p.square().sum().item() for p in model.parameters())
    assert record[1]["train/penalty"] == pytest.approx(expected, rel=1e-5)


def test_divergence_ends_the_run_and_leaves_a_record(tmp_path):
    cfg = small_config("vgg", "none", "optimizer.lr=1e6")
    *_, record = run(cfg, tmp_path, instantiate(cfg.probes, _convert_="all"), steps=200)
    *steps, end = record[1:]
    assert end["end"]["outcome"] == "diverged"
    assert len(steps) < 200
    losses = [float(line["train/loss"]) for line in steps]
    assert all(math.isfinite(loss) for loss in losses[:-1]) and not math.isfinite(losses[-1])


class Killed(Exception):
    pass


def attempt(cfg: DictConfig, directory: Path, killed_at: int | None = None) -> None:
    """Seven steps, from the checkpoint of an earlier attempt if there is one."""
    data, network, optimizer = build(cfg)
    path = directory / "checkpoint.pt"
    recorded = count_steps(directory / "run.jsonl")
    start = checkpoint.load(path, "a", network, optimizer, CPU, recorded)

    def kill(update: Update) -> dict[str, Tensor]:
        if update.step == killed_at:
            raise Killed
        return {}

    probes = {"a": Call(kill)} if killed_at is not None else {}
    probes |= instantiate(cfg.probes, _convert_="all")
    recorder = Recorder(directory, {"fingerprint": "a", "config": {}}, start)
    try:
        outcome = train(
            network,
            data,
            optimizer,
            recorder,
            steps=7,
            batch_size=cfg.batch_size,
            seed=0,
            probes=probes,
            schedule=instantiate(cfg.schedule),
            test_every=3,
            start=start,
            save=lambda step: checkpoint.save(path, step, "a", network, optimizer),
            save_due=lambda step: step % 2 == 0,
        )
        recorder.end(outcome)
    finally:
        recorder.close()


def compare_killed_with_whole(cfg: DictConfig, directory: Path, *moments: int) -> None:
    attempt(cfg, directory / "whole")
    for killed_at in moments:
        killed = directory / f"killed{killed_at}"
        with pytest.raises(Killed):
            attempt(cfg, killed, killed_at)
        attempt(cfg, killed)
        assert lines(killed) == lines(directory / "whole")


# With a checkpoint after every second step: before the first, right after one, and in between.
# The probes of all layers once; for the other networks one probe, which takes far less time.
@pytest.mark.parametrize(
    ("model", "moments", "probes"),
    [("vgg", (0, 3, 4, 6), ())]
    + [(model, (0, 4), ("probes=[landscape]",)) for model in options("model") if model != "vgg"],
)
def test_killed_and_resumed_is_the_uninterrupted_record(model, moments, probes, tmp_path):
    cfg = small_config(model, "batch", "optimizer.momentum=0.9", "probe_every=2", *probes)
    compare_killed_with_whole(cfg, tmp_path, *moments)


@pytest.mark.parametrize("optimizer", options("optimizer"))
def test_killed_and_resumed_in_a_schedule_with_every_optimizer(optimizer, tmp_path):
    words = [f"optimizer={optimizer}", "schedule=cosine", "schedule.warmup=3", "probe_every=2"]
    cfg = small_config("vgg", "batch", *words, "optimizer.lr=0.01", "probes=[landscape]")
    compare_killed_with_whole(cfg, tmp_path, 5)


def test_the_lr_of_a_step_is_the_schedules(tmp_path):
    def look(update: Update) -> dict[str, Tensor]:
        moved = add_scaled(update.params, update.grads, -update.lr)
        gap = [(moved[name] - update.new_params[name]).abs().max() for name in moved]
        return {"lr": torch.tensor(update.lr), "gap": torch.stack(gap).max()}

    cfg = small_config("vgg", "batch", "schedule=step", "schedule.warmup=2")
    _, optimizer, record = run(cfg, tmp_path, {"look": Call(look)}, steps=8)
    steps = [line for line in record if "train/lr" in line]
    expected = [0.05, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert [line["train/lr"] for line in steps] == pytest.approx(expected)
    assert [line["look/lr"] for line in steps] == pytest.approx(expected)
    assert all(line["look/gap"] < 1e-6 for line in steps)
    assert optimizer.param_groups[0]["lr"] == 0.1  # what a checkpoint holds is the config's


def test_every_group_of_parameters_follows_the_schedule():
    slow, fast = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    slow.grad, fast.grad = torch.ones(1), torch.ones(1)
    optimizer = torch.optim.SGD([{"params": [slow], "lr": 0.1}, {"params": [fast], "lr": 0.2}])
    assert take_step(optimizer, 0.5) == 0.05
    assert (slow.item(), fast.item()) == pytest.approx((0.95, 0.9))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


GOLDEN = ROOT / "tests" / "golden.json"


def golden_trajectory(tmp_path: Path) -> dict[str, list[dict]]:
    """A few float64 steps with every probe: exact enough to be compared across machines."""
    trajectories = {}
    for model in ("vgg", "deep_linear"):
        for norm in ("none", "batch"):
            cfg = small_config(
                model,
                norm,
                "probe_every=2",
                "data.seed=0" if model == "deep_linear" else "data.augment=true",
                "probes.activations.layers=[layer2]",
                "probes.internal_covariate_shift.layers=[layer3]",
            )
            data, network, optimizer = build(cfg)
            if model == "vgg":
                whole = data_of(OmegaConf.to_yaml(cfg.data, resolve=True)).train
                train_set = Batch(whole.inputs.double() / 255, whole.targets)
                data = replace(data, train=train_set, test=None)
            network.double()
            recorder = Recorder(tmp_path / f"{model}_{norm}", {"fingerprint": "", "config": {}})
            probes = instantiate(cfg.probes, _convert_="all")
            numbers = {"steps": 5, "batch_size": cfg.batch_size, "seed": 0}
            recorder.end(train(network, data, optimizer, recorder, probes=probes, **numbers))
            recorder.close()
            trajectories[f"{model}_{norm}"] = lines(tmp_path / f"{model}_{norm}")[1:]
    return trajectories


def test_the_golden_trajectory(tmp_path):
    """Numbers move only on purpose: then delete tests/golden.json, run, and say so in CHANGELOG."""
    measured = golden_trajectory(tmp_path)
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(measured, indent=1) + "\n")
        pytest.fail(f"{GOLDEN.name} was written anew; look at it and commit it")
    golden = json.loads(GOLDEN.read_text())
    assert measured.keys() == golden.keys()
    for name, expected in golden.items():
        assert len(measured[name]) == len(expected)
        for line, expected_line in zip(measured[name], expected, strict=True):
            assert line.keys() == expected_line.keys()
            for key, value in expected_line.items():
                if key != "end" and "histogram" not in key:
                    ours, theirs = torch.tensor(line[key]), torch.tensor(value)
                    torch.testing.assert_close(
                        ours.double(), theirs.double(), rtol=1e-7, atol=1e-12
                    )
