"""What gamma and beta become in training: Ioffe & Szegedy 2015, section 3, algorithm 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.update import Update, percentiles, sample_units, select_layers


@dataclass(frozen=True)
class ScaleAndShift:
    """The scale gamma and the shift beta of the norms, before the step.

    A norm starts with gamma = 1 and beta = 0; with others it can undo itself, so a norm forces no
    distribution on what the activation function sees. Records:
        layers: the number of layers measured; 0 where no norm has gamma or beta.
        gamma/<layer>, beta/<layer> [U]: of U units, evenly spaced.
        gamma_percentiles/<layer>, beta_percentiles/<layer> [3]: 15, 50, 85, over all units.

    `layers` names the layers to measure, None means all; those without gamma and beta have no
    records. The parameters are the weight and the bias of the norm.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    units: int = 4

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"probes.scale_and_shift.units={self.units} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        measured: dict[str, Tensor] = {}
        found = 0
        for name, layer in select_layers(update.layers, self.layers).items():
            start = f"{layer.norm_module}."
            own = (*layer.weights, *layer.norm)  # of a layer that is frozen its norm's
            parts = {part.removeprefix(start): part for part in own if part.startswith(start)}
            found += "weight" in parts or "bias" in parts
            for key, part in (("gamma", "weight"), ("beta", "bias")):
                if part in parts:
                    values = update.params[parts[part]].flatten()
                    measured[f"{key}/{name}"] = sample_units(values[None], self.units).flatten()
                    measured[f"{key}_percentiles/{name}"] = percentiles(values[None])[0]
        return {"layers": torch.tensor(found), **measured}
