"""A multilayer perceptron, as in the first experiment of Ioffe & Szegedy 2015."""

from collections.abc import Callable, Sequence
from math import prod

from torch import nn

from bnstudy.models.layer import Layer
from bnstudy.models.layer import activation as activation_of


class MLP(nn.Sequential):
    """Inputs [N, ...], flattened, to logits [N, num_outputs] by linear layers.

    `hidden` lists the widths of the hidden layers, each linear - norm - activation (Ioffe & Szegedy
    2015, section 4.1: three of 100 units with sigmoids). The last layer has neither of the two.

    Raises ValueError for a layer without units, an unknown activation function or placement.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int], nn.Module],
        hidden: Sequence[int] = (100, 100, 100),
        activation: str = "relu",
        placement: str = "before",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.add_module("flatten", nn.Flatten())
        self.layers: list[str] = []
        features = prod(input_shape)
        for units in hidden:
            if units < 1:
                raise ValueError(
                    f"model.hidden={list(hidden)} has a layer of {units} units; use 1 or more."
                )
            linear = nn.Linear(features, units, bias=bias)
            self._add(Layer(linear, norm(units), activation_of(activation), placement))
            features = units
        self._add(Layer(nn.Linear(features, num_outputs), nn.Identity()))

    def _add(self, layer: Layer) -> None:
        self.layers.append(f"layer{len(self.layers) + 1}")
        self.add_module(self.layers[-1], layer)
