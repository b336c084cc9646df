"""Internal covariate shift as an optimizer meets it: Santurkar et al. 2018, definition 2.1."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bnstudy.params import Params, cosine, dot, length, subtract
from bnstudy.update import Update, select_layers


@dataclass(frozen=True)
class InternalCovariateShift:
    """How the update of everything below a layer changes that layer's gradient.

    G is the gradient of the step with respect to the layer's weights and bias, G' the same after
    all preceding parameters made their actual update, on the same batch. Records, per layer:
        l2/<layer>: ||G - G'||.
        cosine/<layer>: of the angle between G and G'.
        norm/<layer>: ||G||, to normalise by.
        share_below/<layer>: the share of the squared gradient norm that the preceding parameters
            hold. If G is an eigenvector of a Hessian of rank one, training at the edge of stability
            has G' = (1 - 2 share_below) G.
    and once:
        unlayered_share: the share of the squared gradient norm in parameters of no layer.

    `layers` names the layers to measure, None means all. `norm_below` moves gamma and beta of the
    preceding norms too: they change the layer's inputs. A norm belongs to the layer it follows. A
    parameter of no layer, such as a recurrent cell's, precedes the layers that are first used after
    it in a forward pass. In a chain of modules the forward pass of the moved layers is made once
    for all that follow.
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
        unlayered = _unlayered_before(update)
        for name, layer in update.layers.items():
            moved |= {p: update.new_params[p] for p in unlayered[name]}
            below = below + _square(update.grads, unlayered[name])
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
            below = below + _square(update.grads, preceding)
        layered = _layered(update)
        outside = [name for name in update.params if name not in layered]
        return measured | {"unlayered_share": _square(update.grads, outside) / total}


def _layered(update: Update) -> set[str]:
    """The parameters of all layers."""
    return {p for layer in update.layers.values() for p in (*layer.weights, *layer.norm)}


def _unlayered_before(update: Update) -> dict[str, list[str]]:
    """By layer, the parameters of no layer that are first used since the layer before it."""
    layered = _layered(update)
    waiting = [name for name in update.params if name not in layered]
    if not waiting:
        return {name: [] for name in update.layers}
    with FirstUse(update.params) as seen, torch.no_grad():
        update.loss(update.params)
    place = {name: seen.order.index(name) for name in waiting if name in seen.order}
    before: dict[str, list[str]] = {}
    for name, layer in update.layers.items():
        used = [seen.order.index(weight) for weight in layer.weights if weight in seen.order]
        start = min(used, default=0)
        before[name] = [p for p in waiting if place.get(p, start) < start]
        waiting = [p for p in waiting if p not in before[name]]
    return before


class FirstUse(TorchDispatchMode):
    """The order in which a forward pass first uses some tensors, as `order`, by name.

    A copy stands for the tensor that it is of: a loss computes with copies of the parameters.
    """

    def __init__(self, tensors: Params) -> None:
        super().__init__()
        self.order: list[str] = []
        self._names = {t.data_ptr(): name for name, t in tensors.items() if t.numel()}
        self._kept: list[Tensor] = []  # so that no address is given out again

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call an operation, and note the tensors among its arguments."""
        output = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs or {}))
        names = [self._names.get(a.data_ptr()) for a in leaves if isinstance(a, Tensor)]
        if func is torch.ops.aten.clone.default and names[0] is not None:
            self._names[output.data_ptr()] = names[0]
            self._kept.append(output)
        else:
            self.order += [n for n in dict.fromkeys(names) if n and n not in self.order]
        return output


def _square(grads: Params, names: Iterable[str]) -> Tensor:
    own = {name: grads[name] for name in names}
    if not own:
        return torch.zeros((), dtype=torch.float64)
    return dot(own, own)
