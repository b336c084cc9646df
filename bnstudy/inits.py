"""Initializations: functions that fill the weights of every conv and linear layer of a model.

Each draws from the global generator (the caller seeds it), in the model's own order of modules, and
draws nothing for a norm: the arms of a comparison get the same weights. Biases become zero.

`zero_gamma`, `skipinit` and `fixup` are known remedies for residual networks, of which they start
every block as the identity. They take a module with `branch`, names of layers, for a block
(`bnstudy.models.resnet`); on a network without blocks the first two are `kaiming`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Everything with a weight that maps inputs to outputs; norms, which start as the identity, are not.
_Layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def xavier_uniform(model: nn.Module, gain: float = 1.0) -> None:
    """Uniform with variance gain^2 * 2 / (fan_in + fan_out): Glorot & Bengio 2010, eq. 16."""
    _check(gain)
    _fill(model, lambda weight: nn.init.xavier_uniform_(weight, gain=gain))


def xavier_normal(model: nn.Module, gain: float = 1.0) -> None:
    """Normal with variance gain^2 * 2 / (fan_in + fan_out): Glorot & Bengio 2010."""
    _check(gain)
    _fill(model, lambda weight: nn.init.xavier_normal_(weight, gain=gain))


def kaiming(model: nn.Module) -> None:
    """Normal with variance 2 / fan_in: He et al. 2015, eq. 10."""
    _fill(model, lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"))


def torch_default(model: nn.Module) -> None:
    """What torch's constructors do: weights and biases uniform with variance 1 / (3 fan_in)."""
    for layer in _layers(model):
        layer.reset_parameters()


def orthogonal(model: nn.Module, gain: float = 1.0) -> None:
    """Rows or columns of length `gain`, at right angles to each other: Saxe et al. 2014."""
    _check(gain)
    _fill(model, lambda weight: nn.init.orthogonal_(weight, gain=gain))


def zero_gamma(model: nn.Module) -> None:
    """`kaiming`, with gamma zero in the last norm of every residual branch: Goyal et al. 2017, 5.1.

    Without a norm it is `kaiming` alone.
    """
    kaiming(model)
    for branch in _branches(model):
        gamma = getattr(branch[-1].norm, "weight", None)
        if gamma is not None:
            nn.init.zeros_(gamma)


def skipinit(model: nn.Module) -> None:
    """`kaiming`, with a scalar at the end of every residual branch that starts at zero.

    De & Smith 2020, section 4: for networks without a norm, whose convolutions then have biases.
    The scalars become parameters of the branches' last layers.
    """
    kaiming(model)
    for branch in _branches(model):
        branch[-1].scale_out = Scale(0.0, like=_weight(branch[-1]))


def fixup(model: nn.Module) -> None:
    """Zhang et al. 2019, section 3: `kaiming`, and then for residual networks without a norm:

    (1) the last layer of the network and of every residual branch become zero; (2) the other
    layers of L branches of m layers are scaled by L^(-1 / (2m - 2)); (3) every branch gets a scalar
    factor, from 1, and every conv, linear and activation function of the network a scalar bias
    before it, from 0, but for the first conv, which sees the images. The scalars become parameters
    of the layers. ResNet-20 has 47, as in the authors' code.
    """
    kaiming(model)
    branches = list(_branches(model))
    for branch in branches:
        for layer in branch:
            layer.bias_in = Offset(like=_weight(layer))
            layer.scale_out = Offset(like=_weight(layer))
            with torch.no_grad():
                _weight(layer).mul_(len(branches) ** (-1 / (2 * len(branch) - 2)))
        last = _weight(branch[-1])
        nn.init.zeros_(last)
        branch[-1].scale_out = nn.Sequential(Scale(1.0, like=last), Offset(like=last))
    nn.init.zeros_(list(_layers(model))[-1].weight)
    # Those around the branches, where they have a place for scalars: the stem and the head.
    inside = {layer for branch in branches for layer in branch}
    around = [m for m in model.modules() if hasattr(m, "bias_in") and m not in inside]
    if branches and around:
        around[0].scale_out = Offset(like=_weight(around[0]))
        around[-1].bias_in = Offset(like=_weight(around[-1]))


class Scale(nn.Module):
    """A scalar factor, from `value`; of the type and device of the tensor `like`."""

    def __init__(self, value: float, like: Tensor) -> None:
        super().__init__()
        self.factor = nn.Parameter(like.new_tensor(value))

    def forward(self, input: Tensor) -> Tensor:
        """The input times the factor."""
        return input * self.factor


class Offset(nn.Module):
    """A scalar bias, from zero; of the type and device of the tensor `like`."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.offset = nn.Parameter(like.new_zeros(()))

    def forward(self, input: Tensor) -> Tensor:
        """The input plus the bias."""
        return input + self.offset


def _branches(model: nn.Module) -> Iterator[list[Any]]:
    """The layers of every residual branch."""
    for module in model.modules():
        names = getattr(module, "branch", None)
        if names is not None:
            yield [module.get_submodule(name) for name in names]


def _weight(layer: nn.Module) -> Tensor:
    return next(_layers(layer)).weight


def _check(gain: float) -> None:
    if not gain > 0:
        raise ValueError(f"init.gain={gain} must be a number, more than 0.")


def _fill(model: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    for layer in _layers(model):
        fill(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _layers(model: nn.Module) -> Iterator[nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d]:
    return (module for module in model.modules() if isinstance(module, _Layers))
