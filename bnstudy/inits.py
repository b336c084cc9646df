"""Initializations: functions that fill the weights of every conv and linear layer of a model.

Each draws from the global generator (the caller seeds it), in the model's own order of modules, and
draws nothing for a norm: the arms of a comparison get the same weights. Biases become zero.
"""

from collections.abc import Callable, Iterator

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
