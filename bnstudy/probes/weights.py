"""How long the weights are and how far they move: what scale invariance leaves of a step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.params import Params, add_scaled, dot, length, subtract, unit
from bnstudy.update import Update, select_layers


@dataclass(frozen=True)
class Weights:
    """The norm of every layer's weights, that of their step, and how far they are from the start.

    Under a norm the loss is the same for any positive multiple of a layer's weights w, so a step
    of size lr turns them as one of size lr / ||w||^2 would if they were of length 1: the effective
    learning rate (van Laarhoven 2017, section 2). That, and the step relative to ||w||, are
    reductions of these. No pass is made. The weights of a layer with `weight_norm` or another
    reparametrization are those that it makes. Records, for the conv or linear, without its bias:
        norm, norm/<layer>: ||w|| before the step; of all layers together, and of each.
        step, step/<layer>: ||w_new - w||, with momentum and weight decay.
        rotation/<layer>: the angle between w and w_new, in radians (Kosson et al. 2024).
        distance/<layer>: ||w - w_0||, with w_0 the weights before the first step.
        initial_product/<layer>: <w, w_0>.
        initial_norm/<layer>: ||w_0||.
        lr: the learning rate of the step, with the schedule's factor.

    `layers` names the layers to measure, None means all; "all layers together" are these. Layers
    that are not trained have no records, and without `update.initial` there is nothing of w_0.
    """

    layers: Sequence[str] | None = None
    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        layers = {
            name: [weight for weight in layer.weights if not weight.endswith("bias")]
            for name, layer in select_layers(update.layers, self.layers).items()
        }
        layers = {name: weights for name, weights in layers.items() if weights}
        everything = [weight for weights in layers.values() for weight in weights]
        measured = {"lr": torch.tensor(update.lr, dtype=torch.float64)}
        if everything:
            measured |= _moved(update, everything, "")
        for name, weights in layers.items():
            measured |= _moved(update, weights, f"/{name}")
            old, new = (_part(update, p, weights) for p in (update.params, update.new_params))
            measured[f"rotation/{name}"] = angle(old, new)
            if update.initial is not None:
                now, initial = (_part(update, p, weights) for p in (update.params, update.initial))
                measured[f"distance/{name}"] = length(subtract(now, initial))
                measured[f"initial_product/{name}"] = dot(now, initial)
                measured[f"initial_norm/{name}"] = length(initial)
        return measured


def _moved(update: Update, weights: list[str], suffix: str) -> dict[str, Tensor]:
    now, new = (_part(update, params, weights) for params in (update.params, update.new_params))
    return {f"norm{suffix}": length(now), f"step{suffix}": length(subtract(new, now))}


def angle(a: Params, b: Params) -> Tensor:
    """The angle between a and b in radians; NaN where one of them is zero.

    By the half of it, which is exact for small angles too: Kahan 2006, section 12.
    """
    one, other = (unit({name: tensor.double() for name, tensor in p.items()}) for p in (a, b))
    return 2 * torch.atan2(length(subtract(one, other)), length(add_scaled(one, other, 1.0)))


def _part(update: Update, params: Params, names: list[str]) -> Params:
    return update.loss.effective(params, names)
