"""Internal covariate shift as an optimizer meets it: Santurkar et al. 2018, definition 2.1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.params import Params, cosine, dot, length, subtract
from bnstudy.update import Layer, Update, select_layers


@dataclass(frozen=True)
class InternalCovariateShift:
    """How the update of the layers below a layer changes that layer's gradient.

    G is the gradient of the step with respect to the layer's weights and bias, G' the same after
    all preceding layers made their actual update, on the same batch. Records, per layer:
        l2/<layer>: ||G - G'||.
        cosine/<layer>: of the angle between G and G'.
        norm/<layer>: ||G||, to normalise by.
        share_below/<layer>: the preceding layers' share of the squared gradient norm over all
            layers. At the edge of stability G' = (1 - 2 share_below) G.

    `layers` names the layers to measure, None means all. `norm_below` moves gamma and beta of the
    preceding norms too: they change the layer's inputs. A norm belongs to the layer it follows.
    In a chain of modules the forward pass of the moved layers is made once for all that follow.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    norm_below: bool = True

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        measured: dict[str, Tensor] = {}
        moved = dict(update.params)
        total = dot(update.grads, update.grads)
        below = torch.zeros_like(total)
        prefix = None
        wanted = select_layers(update.layers, self.layers)
        for name, layer in update.layers.items():
            if name in wanted:
                grads = {weight: update.grads[weight] for weight in layer.weights}
                prefix = update.loss.prefix(moved, layer.weights[0], known=prefix)
                _, new_grads = update.loss.value_and_grad(moved, layer.weights, prefix)
                measured[f"l2/{name}"] = length(subtract(grads, new_grads))
                measured[f"cosine/{name}"] = cosine(grads, new_grads)
                measured[f"norm/{name}"] = length(grads)
                measured[f"share_below/{name}"] = below / total
            preceding = layer.weights + (layer.norm if self.norm_below else ())
            moved |= {name: update.new_params[name] for name in preceding}
            below = below + _square(update.grads, layer)
        return measured


def _square(grads: Params, layer: Layer) -> Tensor:
    own = {name: grads[name] for name in layer.weights + layer.norm}
    return dot(own, own)
