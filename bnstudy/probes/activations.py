"""What the activation functions see: Santurkar et al. 2018, figures 1c, 6, 8, 9."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.update import Update, percentiles, sample_units, select_layers

# Where tanh z is within 8 % of z, and the sigmoid 1/2 + tanh(z / 2) / 2 of its own tangent.
LINEAR = (0.5, 1.0)


@dataclass(frozen=True)
class Activations:
    """The distribution of a layer's outputs (after its norm, before its activation function).

    A unit is one feature of a linear layer or one channel of a convolution, and its distribution is
    over the batch and all positions. `units` of them, evenly spaced, are recorded one by one,
    because a norm fixes the moments of a unit and not of a layer. Records, per layer, with U units:
        histogram/<layer> [U, bins]: counts between the unit's smallest and largest value.
        range/<layer> [U, 2]: these two values.
        mean/<layer>, variance/<layer> [U]: the variance divides by the number of values.
        percentiles/<layer> [U, 3]: 15, 50, 85.
        zeros/<layer>: over all units, the fraction that a ReLU would make zero.
        within/<layer> [2]: over all units, the fractions with |z| < 1/2 and |z| < 1, the linear
            ranges of tanh and of the sigmoid.

    `layers` names the layers to measure, None means all.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    units: int = 4
    bins: int = 40

    def __post_init__(self) -> None:
        for key, value in (("units", self.units), ("bins", self.bins)):
            if value < 1:
                raise ValueError(f"probes.activations.{key}={value} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        wanted = select_layers(update.layers, self.layers)
        modules = {name: layer.output for name, layer in wanted.items()}
        outputs = update.loss.activations(update.params, modules.values())
        measured: dict[str, Tensor] = {}
        for name, module in modules.items():
            for key, value in self._measure(outputs[module]).items():
                measured[f"{key}/{name}"] = value
        return measured

    def _measure(self, outputs: Tensor) -> dict[str, Tensor]:
        sampled = sample_units(outputs, self.units)
        low, high = sampled.amin(1), sampled.amax(1)
        return {
            "histogram": _histogram(sampled, low, high, self.bins),
            "range": torch.stack([low, high], dim=1),
            "mean": sampled.mean(1),
            "variance": sampled.var(1, correction=0),
            "percentiles": percentiles(sampled),
            "zeros": (outputs <= 0).double().mean(),
            "within": torch.stack([(outputs.abs() < limit).double().mean() for limit in LINEAR]),
        }


def _histogram(values: Tensor, low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Counts [U, bins] of values [U, M] in equal bins from low to high [U]; zeros if not finite."""
    low, width = low.unsqueeze(1), (high - low).unsqueeze(1)
    position = torch.where(width > 0, (values - low) / width, 0.0) * bins
    finite = torch.isfinite(width) & torch.isfinite(values)
    index = torch.where(finite, position, 0.0).long().clamp(0, bins - 1)
    counts = torch.zeros(len(values), bins, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(1, index, finite.long())
