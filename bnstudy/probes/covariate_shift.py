"""Covariate shift put in on purpose: what moved inputs do to a network with and without a norm."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from bnstudy.layers import features_last
from bnstudy.tasks import accuracy
from bnstudy.update import Layer, Loss, Update, first_tensor, select_layers


@dataclass(frozen=True)
class CovariateShift:
    """Loss and accuracy on test samples while the inputs of one layer are moved.

    Every channel is moved by `sizes` times its own standard deviation over the samples and all
    positions: x + size * std. At the first layer the data themselves are moved, as in covariate
    shift between training and test; at others the shift is inside the network. Parameters are
    those before the step. Records, with K sizes, which 0 must be among:
        size [K]: in units of the standard deviation.
        running_loss/<layer>, running_accuracy/<layer> [K]: with running statistics, as a network
            is evaluated.
        batch_loss/<layer>, batch_accuracy/<layer> [K]: with the statistics of the moved samples
            themselves (prediction-time batch normalization: Nado et al. 2020), and in training
            mode, noise included. The same as above where nothing depends on the mode.

    A norm over the batch right after a linear layer undoes the shift of its inputs entirely with
    batch statistics; after a convolution, but for the zeros of the padding, which do not move.

    `layers` names the layers to measure; None means the first, one in the middle, and the last
    before the outputs. `samples` are taken evenly from the test samples of the update, at most as
    many as there are. Accuracy is for classes only; no test set, no records.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    sizes: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0, 2.0)
    samples: int = 500

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        if 0 not in self.sizes or not all(math.isfinite(size) for size in self.sizes):
            raise ValueError(
                f"probes.covariate_shift.sizes={list(self.sizes)} must be finite numbers with 0 "
                "among them, such as [0, 0.25, 0.5, 1, 2]."
            )
        if self.samples < 1:
            raise ValueError(f"probes.covariate_shift.samples={self.samples} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        if update.test is None or not update.layers:
            return {}
        batch = update.test.spread(self.samples)
        wanted = _three(list(update.layers)) if self.layers is None else self.layers
        measured = {"size": torch.tensor(self.sizes, dtype=torch.float64)}
        statistics: tuple[Literal["running", "batch"], ...] = ("running", "batch")
        for name, layer in select_layers(update.layers, wanted).items():
            module = _module(update.loss.model, name, layer)
            for kind in statistics:
                loss = replace(update.loss, batch=batch, statistics=kind)
                points = [_evaluate(loss, update, module, size) for size in self.sizes]
                for key in points[0]:
                    values = torch.stack([point[key] for point in points])
                    measured[f"{kind}_{key}/{name}"] = values
        return measured


def _three(names: list[str]) -> list[str]:
    """The first, a middle one, and the last but one; fewer where these are the same."""
    return [names[i] for i in sorted({0, len(names) // 2, max(0, len(names) - 2)})]


def _module(model: nn.Module, name: str, layer: Layer) -> nn.Module:
    """The module that takes the layer's inputs: the layer itself, or else its conv or linear."""
    modules = dict(model.named_modules())
    return modules[name if name in modules else layer.weights[0].rpartition(".")[0]]


@torch.no_grad()
def _evaluate(loss: Loss, update: Update, module: nn.Module, size: float) -> dict[str, Tensor]:
    with _moved_inputs(module, size):
        outputs = loss.outputs(update.params)
    measured = {"loss": loss.criterion(outputs, loss.batch.targets)}
    right = accuracy(outputs, loss.batch.targets)
    return measured if right is None else measured | {"accuracy": right}


@contextmanager
def _moved_inputs(module: nn.Module, size: float) -> Iterator[None]:
    def move(
        _module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        first = first_tensor((*inputs, *named.values()))  # others: say, the shortcut around it
        channel = first.dim() - 1 if features_last(module) else 1
        over = [dim for dim in range(first.dim()) if dim != channel]
        moved = first + size * first.std(over, correction=0, keepdim=True)
        if inputs:
            return (moved, *inputs[1:]), named
        return (), named | {next(iter(named)): moved}

    hook = module.register_forward_pre_hook(move, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()
