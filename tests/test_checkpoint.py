"""Checkpoints: whole or not there, and only for the run that they are of."""

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
    assert checkpoint.load(tmp_path / "c.pt", "a", other, other_optimizer, CPU) == 3
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    momenta = [
        [s["momentum_buffer"] for s in o.state.values()] for o in (optimizer, other_optimizer)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*momenta, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_no_checkpoint_means_the_start(tmp_path):
    assert checkpoint.load(tmp_path / "c.pt", "a", *trained(0), CPU) == 0


def test_the_checkpoint_of_another_config_is_refused(tmp_path):
    checkpoint.save(tmp_path / "c.pt", 3, "a", *trained(3))
    with pytest.raises(FileExistsError, match=r"c\.pt is the checkpoint of another config"):
        checkpoint.load(tmp_path / "c.pt", "b", *trained(0), CPU)


def test_a_save_that_fails_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c.pt", 3, "a", *trained(3))
    before = (tmp_path / "c.pt").read_bytes()

    def full_disk(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path / "c.pt", 4, "a", *trained(4))
    assert (tmp_path / "c.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]
