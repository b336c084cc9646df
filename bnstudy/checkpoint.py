"""What a run needs to go on exactly, written so that it is either whole or not there."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save(
    path: Path, step: int, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state after `step` updates; the previous checkpoint stays until this one is whole.

    Batches, augmentation and noise are functions of the seed and the step, so there is no state of
    a generator or a data loader to keep.
    """
    state = {
        "step": step,
        "fingerprint": fingerprint,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(
    path: Path,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> int:
    """Restore model and optimizer in place; the step to go on from, 0 without a checkpoint."""
    if not path.exists():
        return 0
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["fingerprint"] != fingerprint:
        raise FileExistsError(
            f"{path} is the checkpoint of another config: move it away or choose another `results`."
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]
