"""The layer that networks are made of: a conv or linear, its norm, its activation function."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}
PLACEMENTS = ("before", "after")


class Layer(nn.Module):
    """One conv or linear (as `conv` or `linear`), `norm` and `activation`, the identity for None.

    The norm is placed before the activation function, on z, or after it, on a. In a residual block
    the last layer takes the shortcut too and adds it before the activation function. The output of
    `preactivation` is what the activation function sees. `bias_in` and `scale_out`, identities,
    are where inits of residual networks put their scalars.

    Raises ValueError for an unknown placement.
    """

    def __init__(
        self,
        weights: nn.Linear | nn.Conv2d,
        norm: nn.Module,
        activation: nn.Module | None = None,
        placement: str = "before",
    ) -> None:
        super().__init__()
        if placement not in PLACEMENTS:
            raise ValueError(f"model.placement={placement} must be before or after.")
        self.kind = "linear" if isinstance(weights, nn.Linear) else "conv"
        self.placement = placement
        self.bias_in: nn.Module = nn.Identity()
        self.add_module(self.kind, weights)
        self.norm = norm
        self.scale_out: nn.Module = nn.Identity()
        self.preactivation = nn.Identity()
        self.activation = activation or nn.Identity()

    def forward(self, input: Tensor, shortcut: Tensor | None = None) -> Tensor:
        """The activations, of inputs and, in a residual block, of what its shortcut gives."""
        z = weighted(self.get_submodule(self.kind), self.norm, self.bias_in(input))
        if self.placement == "before":
            z = self.norm(z)
        z = self.scale_out(z)
        if shortcut is not None:
            z = z + shortcut
        a = self.activation(self.preactivation(z))
        return self.norm(a) if self.placement == "after" else a


def weighted(module: nn.Module, norm: nn.Module, input: Tensor) -> Tensor:
    """The output of a conv or linear; a norm with `normalize(weight)` acts on its weight."""
    normalize = getattr(norm, "normalize", None)
    if normalize is None:
        return module(input)
    weight = normalize(module.weight)
    if isinstance(module, nn.Linear):
        return F.linear(input, weight, module.bias)
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    return module._conv_forward(input, weight, module.bias)


def activation(name: str) -> nn.Module:
    """The activation function of that name; ValueError if there is none."""
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"model.activation={name} is unknown; it must be one of {known}.")
    return ACTIVATIONS[name]()
