"""The difference of the gradients of two successive training steps, often taken for smoothness."""

from dataclasses import dataclass

from torch import Tensor

from bnstudy.params import length, subtract
from bnstudy.update import Update


@dataclass(frozen=True)
class ConsecutiveGradients:
    """||g_{t+1} - g_t||, every gradient on the batch of its own step.

    This is not gradient predictiveness: see `landscape` for that. Between two steps the batch
    changes as well as the parameters, so the difference contains the gradient noise of two
    batches, at every learning rate, and does not vanish with it. Much copied code plots the last
    layer's under the name all the same, so it is recorded, to be shown for what it is. Records:
        change: over all parameters.
        change/<last layer>: over its weights and bias.
    """

    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        _, new_grads = update.losses(1).value_and_grad(update.new_params)
        change = subtract(new_grads, update.grads)
        measured = {"change": length(change)}
        for name, layer in list(update.layers.items())[-1:]:
            measured[f"change/{name}"] = length(
                {weight: change[weight] for weight in layer.weights}
            )
        return measured
