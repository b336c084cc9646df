"""How large the gradient is in every layer: whether it vanishes or explodes with depth."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from bnstudy.params import length
from bnstudy.update import Update, select_layers


@dataclass(frozen=True)
class Gradients:
    """The norm of the gradient of the step, whole and layer by layer.

    It is the gradient that the optimizer was given, without weight decay; no pass is made. Records:
        norm: over all parameters.
        norm/<layer>: over the layer's weights and bias, without gamma and beta.

    `layers` names the layers to measure, None means all.
    """

    layers: Sequence[str] | None = None
    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        measured = {"norm": length(update.grads)}
        for name, layer in select_layers(update.layers, self.layers).items():
            grads = {weight: update.grads[weight] for weight in layer.weights}
            measured[f"norm/{name}"] = length(grads)
        return measured
