"""Checkpoints: whole or not there, and only for the run that they are of."""

import os

import pytest
import torch
from torch import nn

from bnstudy import checkpoint

CPU = torch.device("cpu")


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(step)
        optimizer.zero_grad()
        (model(torch.randn(8, 3)) ** 3).sum().backward()
        optimizer.step()
    return model, optimizer


def test_what_is_loaded_is_what_was_saved(tmp_path):
    model, optimizer = trained(3)
    checkpoint.save(tmp_path / "c.pt", 3, "a", model, optimizer)
    other, other_optimizer = trained(0)
    assert checkpoint.load(tmp_path / "c.pt", "a", other, other_optimizer, CPU, 3) == 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    momenta = [
        [s["momentum_buffer"] for s in o.state.values()] for o in (optimizer, other_optimizer)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_no_checkpoint_means_the_start(tmp_path):
    assert checkpoint.load(tmp_path / "c.pt", "a", *trained(0), CPU, 3) == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "torn or no checkpoint"),
        (lambda path: path.write_bytes(b""), "torn or no checkpoint"),
        (lambda path: torch.save([1, 2], path), "torn or no checkpoint"),
        (lambda path: checkpoint.save(path, 4, "b", *trained(4)), "of another config"),
        (lambda path: checkpoint.save(path, 7, "a", *trained(7)), "of step 7, .* after step 5"),
    ],
    ids=["half", "empty", "foreign file", "other config", "ahead of the record"],
)
def test_a_checkpoint_that_is_no_use_gives_way_to_the_one_before_it(tmp_path, fault, message):
    path = tmp_path / "c.pt"
    fault_at = tmp_path / "fault.pt"
    checkpoint.save(fault_at, 4, "a", *trained(4))
    fault(fault_at)
    checkpoint.save(path, 2, "a", *trained(2))
    checkpoint.save(path, 3, "a", *trained(3))
    path.write_bytes(fault_at.read_bytes())
    model, optimizer = trained(0)
    with pytest.warns(UserWarning, match=rf"c\.pt is not used: .*{message}"):
        assert checkpoint.load(path, "a", model, optimizer, CPU, 5) == 2
    expected = trained(2)[0].state_dict()
    assert all(torch.equal(expected[name], t) for name, t in model.state_dict().items())
    # Saving goes on over it and keeps what was of use, which is what a crash in between leaves.
    checkpoint.save(path, 4, "a", *trained(4))
    assert checkpoint.load(path, "a", *trained(0), CPU, 5) == 4
    path.unlink()
    assert checkpoint.load(path, "a", *trained(0), CPU, 5) == 2


def test_no_checkpoint_of_use_means_the_start_and_touches_nothing(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, 2, "a", *trained(2))
    checkpoint.save(path, 3, "a", *trained(3))
    model, optimizer = trained(0)
    with pytest.warns(UserWarning, match="is not used") as warned:
        assert checkpoint.load(path, "a", model, optimizer, CPU, 1) == 0
    assert len(warned) == 2
    expected = trained(0)[0].state_dict()
    assert all(torch.equal(expected[name], t) for name, t in model.state_dict().items())
    assert not optimizer.state


def test_the_checkpoint_before_the_last_is_kept_until_the_next(tmp_path):
    path = tmp_path / "c.pt"
    for step in (2, 3, 4):
        checkpoint.save(path, step, "a", *trained(step))
    names = {name.name for name in tmp_path.iterdir()}
    assert names == {"c.pt", "c.previous.pt"}
    path.unlink()  # a crash between the two renames
    assert checkpoint.load(path, "a", *trained(0), CPU, 9) == 3
    checkpoint.remove(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_save_that_fails_leaves_a_checkpoint(tmp_path, monkeypatch, moment):
    path = tmp_path / "c.pt"
    checkpoint.save(path, 3, "a", *trained(3))

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, moment, full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, 4, "a", *trained(4))
    monkeypatch.undo()
    assert checkpoint.load(path, "a", *trained(0), CPU, 9) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_kept_weights_are_those_of_their_steps(tmp_path):
    for step in (0, 10, 3):
        checkpoint.keep(tmp_path, step, trained(step)[0])
    kept = checkpoint.kept(tmp_path)
    assert list(kept) == [0, 3, 10]
    state, expected = torch.load(kept[3], weights_only=True), trained(3)[0].state_dict()
    assert state.keys() == expected.keys()  # buffers too
    assert all(torch.equal(state[name], expected[name]) for name in state)
    checkpoint.remove_kept(tmp_path)
    assert checkpoint.kept(tmp_path) == {}
