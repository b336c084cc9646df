"""How far the distribution of a unit moves from one training step to the next."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bnstudy.layers import features_last
from bnstudy.params import Params
from bnstudy.update import Layer, Loss, Update, first_tensor, sample_units, select_layers

PLACES = ("norm_input", "preactivation", "activation")


@dataclass(frozen=True)
class Drift:
    """The distance between a unit's distributions before and after a step, at three places.

    The places are the input of the norm (`norm_input`, y), the input of the activation function
    (`preactivation`, z), and what the next layer takes (`activation`, a). A norm fixes the mean of
    z but for beta, so that z alone says little about stability: y and a are free to move.

    A unit is one feature of a linear layer or one channel of a convolution. Its distribution is
    over the batch and all positions. All distances are in units of its standard deviation before
    the step. `same` compares both ends of the step on the step's own batch and noise; `next`
    compares with the parameters and the batch of the next step, which adds the noise of sampling.
    Records per layer, with U units, evenly spaced:
        <place>_same/<layer>, <place>_next/<layer> [U]: the Wasserstein-1 distance.
        <place>_mean_same/<layer>, <place>_mean_next/<layer>: |change of the mean|, averaged over
            all units.
    NaN for a unit that does not vary. In a layer without a norm y is z. A place that has no module,
    as `activation` in networks that were not written for this study, has no records.

    `layers` names the layers to measure, None means all. Three forward passes.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    units: int = 4

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"probes.drift.units={self.units} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        wanted = select_layers(update.layers, self.layers)
        before = _distributions(update.loss, update.params, wanted, self.units)
        same = _distributions(update.loss, update.new_params, wanted, self.units)
        after = _distributions(update.losses(1), update.new_params, wanted, self.units)
        measured: dict[str, Tensor] = {}
        for when, others in (("same", same), ("next", after)):
            for (place, name), first in before.items():
                if (place, name) in others:  # a layer may be left out of another pass
                    distance, mean = _distances(first, others[place, name])
                    measured[f"{place}_{when}/{name}"] = distance
                    measured[f"{place}_mean_{when}/{name}"] = mean
        return measured


@dataclass(frozen=True)
class _Distribution:
    """The mean and standard deviation of all units [C], and the sorted values of U units [U, M]."""

    mean: Tensor
    std: Tensor
    sampled_std: Tensor
    values: Tensor


def _distances(first: _Distribution, other: _Distribution) -> tuple[Tensor, Tensor]:
    shift = (other.mean - first.mean).abs() / first.std
    varies = first.std > 0
    distance = _wasserstein(first.values, other.values) / first.sampled_std
    return distance.where(first.sampled_std > 0, torch.nan), shift[varies].mean()


def _wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """The Wasserstein-1 distances [U] of distributions by their values [U, M] and [U, M'], sorted.

    The integral of the difference of their quantile functions.
    """
    if a.shape == b.shape:
        return (a - b).abs().mean(1)
    # Both quantile functions are constant between these levels.
    levels = [torch.arange(1, v.shape[1] + 1, dtype=torch.float64) / v.shape[1] for v in (a, b)]
    upper = torch.cat(levels).sort().values
    lower = torch.cat([torch.zeros(1, dtype=torch.float64), upper[:-1]])
    first, second = (_quantiles(values, (lower + upper) / 2) for values in (a, b))
    return ((first - second).abs() * (upper - lower).to(a)).sum(1)


def _quantiles(ranked: Tensor, levels: Tensor) -> Tensor:
    """The quantiles [U, K] at levels [K] between 0 and 1 of sorted values [U, M]."""
    index = (levels * ranked.shape[1]).long().clamp(max=ranked.shape[1] - 1)
    return ranked[:, index.to(ranked.device)]


@torch.no_grad()
def _distributions(
    loss: Loss, params: Params, layers: dict[str, Layer], units: int
) -> dict[tuple[str, str], _Distribution]:
    found: dict[tuple[str, str], _Distribution] = {}

    def keep(place: str, name: str, module: nn.Module, values: Any) -> None:
        if (place, name) not in found:  # of a module that is called again the first call counts
            outputs = first_tensor(values)
            outputs = outputs.movedim(-1, 1) if features_last(module) else outputs
            found[place, name] = _distribution(outputs, units)

    with _watched(loss.model, layers, keep):
        loss(params)
    return found


def _distribution(outputs: Tensor, units: int) -> _Distribution:
    over = [0, *range(2, outputs.dim())]
    sampled = sample_units(outputs, units)
    return _Distribution(
        outputs.mean(over),
        outputs.std(over, correction=0),
        sampled.std(1, correction=0),
        sampled.sort(1).values,
    )


@contextmanager
def _watched(model: nn.Module, layers: dict[str, Layer], keep: Any) -> Iterator[None]:
    hooks: list[RemovableHandle] = []

    def after(place: str, name: str, module: str) -> None:
        def hook(place: str, m: nn.Module, _inputs: Any, output: Any) -> None:
            keep(place, name, m, output)

        hooks.append(model.get_submodule(module).register_forward_hook(partial(hook, place)))

    def before(name: str, module: str) -> None:
        def hook(m: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            keep("norm_input", name, m, (*inputs, *named.values()))

        norm = model.get_submodule(module)
        hooks.append(norm.register_forward_pre_hook(hook, with_kwargs=True))

    try:
        for name, layer in layers.items():
            if layer.norm_module is None:
                after("norm_input", name, layer.output)
            else:
                before(name, layer.norm_module)
            after("preactivation", name, layer.output)
            if layer.activation is not None:
                after("activation", name, layer.activation)
        yield
    finally:
        for hook in hooks:
            hook.remove()
