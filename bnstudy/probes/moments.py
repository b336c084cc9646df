"""How the moments of a unit move from one training step to the next: Santurkar et al., figure 8."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bnstudy.update import Update, sample_units, select_layers


@dataclass(frozen=True)
class Moments:
    """Mean and variance of what an activation function sees, at this step and at the next.

    Santurkar et al. 2018, appendix B. The next step has its own parameters, batch and noise: these
    are the moments of two successive steps of training. They are taken after the norm, and after
    the noise where there is some. Records, per layer, with U units, evenly spaced:
        mean/<layer>, variance/<layer> [U]: at step t, over the batch and all positions; the
            variance divides by the number of values.
        next_mean/<layer>, next_variance/<layer> [U]: at step t + 1.

    `layers` names the layers to measure, None means all.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    units: int = 4

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"probes.moments.units={self.units} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        wanted = select_layers(update.layers, self.layers)
        modules = [layer.output for layer in wanted.values()]
        now = update.loss.activations(update.params, modules)
        then = update.losses(1).activations(update.new_params, modules)
        measured: dict[str, Tensor] = {}
        for prefix, outputs in (("", now), ("next_", then)):
            for name, layer in wanted.items():
                sampled = sample_units(outputs[layer.output], self.units)
                measured[f"{prefix}mean/{name}"] = sampled.mean(1)
                measured[f"{prefix}variance/{name}"] = sampled.var(1, correction=0)
        return measured
