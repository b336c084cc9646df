"""What a run needs to go on exactly, written so that it is either whole or not there."""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save(
    path: Path, step: int, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write the state after `step` updates; the checkpoint before it is kept as `*.previous.pt`.

    Batches, augmentation and noise are functions of the seed and the step, so there is no state of
    a generator or a data loader to keep. At every moment one of the two files is whole.
    """
    state = {
        "step": step,
        "fingerprint": fingerprint,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with _written(path, state) as temporary:
        if path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)


def keep(directory: Path, step: int, model: nn.Module) -> None:
    """Write parameters and buffers after `step` updates to `weights/<step>.pt`, for surfaces."""
    folder = directory / "weights"
    folder.mkdir(exist_ok=True)
    path = folder / f"{step:08d}.pt"
    with _written(path, model.state_dict()) as temporary:
        os.replace(temporary, path)


def kept(directory: Path) -> dict[int, Path]:
    """The weights that a run kept, by step."""
    return {int(path.stem): path for path in sorted((directory / "weights").glob("*[0-9].pt"))}


def remove_kept(directory: Path) -> None:
    """Delete the weights that a run kept."""
    for path in kept(directory).values():
        path.unlink()


@contextmanager
def _written(path: Path, state: dict[str, Any]) -> Iterator[Path]:
    """The state in a whole file beside `path`, to be moved there."""
    # By way of memory: on a full disk torch's own writer says "unexpected pos" and not why.
    whole = io.BytesIO()
    torch.save(state, whole)
    temporary = path.with_suffix(".temporary.pt")
    try:
        with temporary.open("wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def load(
    path: Path,
    fingerprint: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    recorded: int,
) -> int:
    """Restore model and optimizer in place; the step to go on from, 0 without a checkpoint.

    `recorded` is the number of steps in the record: a checkpoint from after its end would leave a
    gap. A checkpoint that cannot be read, is of another config or is ahead of the record is passed
    over with a warning, for the one before it, which takes its place, or the start.
    """
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        state = read(candidate, device)
        fault = find_fault(state, fingerprint, recorded)
        if state is None or fault:
            warnings.warn(f"{candidate} is not used: {fault}.", stacklevel=2)
            continue
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if candidate != path:  # or the next save would keep the unusable one and drop this
            os.replace(candidate, path)
        return state["step"]
    return 0


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one lies."""
    return path.with_suffix(".previous.pt")


def remove(path: Path) -> None:
    """Delete a run's checkpoints."""
    path.unlink(missing_ok=True)
    previous(path).unlink(missing_ok=True)


def read(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state in a file; None for a file that is torn or no checkpoint."""
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception:  # a torn file raises whatever its first wrong byte leads to
        return None
    keys = {"step", "fingerprint", "model", "optimizer"}
    return state if isinstance(state, dict) and state.keys() >= keys else None


def find_fault(state: dict[str, Any] | None, fingerprint: str, recorded: int) -> str | None:
    """Why a run cannot go on from this state; None if it can."""
    if state is None:
        return "it is torn or no checkpoint"
    if state["fingerprint"] != fingerprint:
        return "it is of another config"
    if state["step"] > recorded:
        return f"it is of step {state['step']}, and the record ends after step {recorded}"
    return None
