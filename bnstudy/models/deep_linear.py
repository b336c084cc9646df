"""The deep linear network of Santurkar et al. 2018, appendix A.1."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import nn

from bnstudy.models.layer import Layer


class DeepLinear(nn.Sequential):
    """Inputs [N, D] to outputs [N, D] by `depth` square linear layers, a norm after every one.

    No biases and no activation functions: without norms, outputs = W_depth ... W_1 inputs. The
    paper's product is written W_1 ... W_k x; here, as in its figures, layer1 is next to the input.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int], nn.Module],
        depth: int = 25,
    ) -> None:
        if depth < 1:
            raise ValueError(f"model.depth={depth} leaves no layer; it must be at least 1.")
        if len(input_shape) != 1 or input_shape[0] != num_outputs:
            raise ValueError(
                f"The deep linear network is square; the data has inputs {list(input_shape)} "
                f"and {num_outputs} outputs. Use data=deep_linear."
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i in range(1, depth + 1):
            linear = nn.Linear(num_outputs, num_outputs, bias=False)
            layers[f"layer{i}"] = Layer(linear, norm(num_outputs))
        super().__init__(layers)
        self.layers = list(layers)
