"""Networks that were not written for this study, with their norms replaced: torchvision, timm."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnstudy.layers import Names, find_layers
from bnstudy.models.layer import weighted
from bnstudy.swap import replace_norms

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class External(nn.Module):
    """`network` with its norms replaced; outputs [N, num_outputs].

    `network` is a constructor that takes `num_classes`. Each of its norms, the modules of the
    classes `replace`, becomes `norm(num_features)` under the same name; one that holds dropout and
    an activation function too, as timm's do, a Sequential of `norm` and these. Its eps, momentum
    and initial gamma are dropped. With `repeat_channel` data of one channel are shown as grey in
    three.

    `layers` are found by a forward pass in evaluation mode, each with its norm: see
    `bnstudy.layers`. They have the names that they have in the network.

    Raises ValueError where a network cannot be built or called so, where there is no norm to
    replace, and for norms that act on the weights of a layer where they cannot.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int], nn.Module],
        network: Callable[..., nn.Module],
        replace: Sequence[type[nn.Module]] = (_BatchNorm,),
        repeat_channel: bool = False,
    ) -> None:
        super().__init__()
        self.repeat_channel = repeat_channel and len(input_shape) == 3 and input_shape[0] == 1
        self.network, self._name = _build(network, num_outputs)
        norms = replace_norms(self.network, norm, tuple(replace))
        if not norms and getattr(norm, "func", norm) is not nn.Identity:
            raise ValueError(
                f"{self._name} has no {' or '.join(kind.__name__.strip('_') for kind in replace)}, "
                "so that any norm would be the same network; use norm=none."
            )
        self.layers = self._find_layers(input_shape, num_outputs, norms)
        self._act_on_weights(norms)

    def forward(self, input: Tensor) -> Tensor:
        """The network's outputs [N, num_outputs]."""
        if self.repeat_channel:
            input = input.expand(-1, 3, -1, -1)
        outputs = self.network(input)
        if not isinstance(outputs, Tensor):
            raise ValueError(
                f"{self._name} gives {type(outputs).__name__} where one tensor is wanted; "
                "for networks with auxiliary outputs try +model.network.aux_logits=false."
            )
        return outputs

    def _find_layers(
        self, input_shape: Sequence[int], num_outputs: int, norms: dict[str, int]
    ) -> dict[str, Names]:
        shape: list[torch.Size] = []
        found = find_layers(
            self,
            lambda: shape.append(self._outputs_of_zeros(input_shape).shape),
            {f"network.{name}": (features,) for name, features in norms.items()},
        )
        if not found:
            raise ValueError(
                f"{self._name} calls no conv and no linear; there is nothing to study."
            )
        if shape != [(1, num_outputs)]:
            raise ValueError(
                f"{self._name} gives outputs {_shape(shape[0][1:])}; "
                f"they must be [N, {num_outputs}]."
            )
        return {name.removeprefix("network."): names for name, names in found.items()}

    @torch.no_grad()
    def _outputs_of_zeros(self, input_shape: Sequence[int]) -> Tensor:
        """Outputs in evaluation mode, which leave buffers, modes and generators as they are."""
        buffers = {name: buffer.clone() for name, buffer in self.named_buffers()}
        modes = [(module, module.training) for module in self.modules()]
        try:
            with torch.random.fork_rng(devices=[]):
                zeros = torch.zeros(1, *input_shape)
                return torch.func.functional_call(self.eval(), buffers, (zeros,))
        except ValueError:
            raise
        except Exception as error:  # whatever it raises for inputs that do not fit
            shape = _shape(input_shape)
            advice = ""
            if len(input_shape) == 3 and input_shape[0] == 1:
                advice = f"; try model.repeat_channel={str(not self.repeat_channel).lower()}"
            reason = f"{self._name} cannot be called with inputs {shape} ({_line(error)}){advice}."
            raise ValueError(reason) from error
        finally:
            for module, training in modes:
                module.training = training

    def _act_on_weights(self, norms: dict[str, int]) -> None:
        """Let norms with `normalize` have the weight of their layer, as `bnstudy.models.layer`."""
        follows = {norm: weights for weights, norm, _ in self.layers.values()}
        for name in norms:
            norm = self.network.get_submodule(name)
            if not hasattr(norm, "normalize"):
                continue
            weights = follows.get(f"network.{name}")
            module = None if weights is None else self.get_submodule(weights)
            if module is None or type(module).forward not in {kind.forward for kind in WEIGHTED}:
                fault = "follows none" if module is None else f"follows a {type(module).__name__}"
                raise ValueError(
                    f"{type(norm).__name__} acts on the weight of a conv or linear of torch, and "
                    f"{name} of {self._name} {fault}; use another norm or model."
                )
            module.forward = partial(weighted, module, norm)


def _build(network: Callable[..., nn.Module], num_outputs: int) -> tuple[nn.Module, str]:
    if isinstance(network, nn.Module) or not callable(network):
        raise ValueError(
            f"model.network is {type(network).__name__} where a constructor is wanted; "
            "use model.network._partial_=true."
        )
    constructor = getattr(network, "func", network)
    options = [f"{key}={value}" for key, value in getattr(network, "keywords", {}).items()]
    name = getattr(constructor, "__name__", str(constructor))
    name += f"({', '.join(options)})" if options else ""
    try:
        built = network(num_classes=num_outputs)
    except TypeError as error:
        raise ValueError(
            f"model.network {name} cannot be built ({_line(error)}); besides its own options it "
            "must take num_classes."
        ) from error
    except Exception as error:  # whatever it raises where its options do not fit
        raise ValueError(f"model.network {name} cannot be built ({_line(error)}).") from error
    if not isinstance(built, nn.Module):
        kind = type(built).__name__
        raise ValueError(f"model.network {name} makes a {kind}; it must make a torch.nn.Module.")
    return built, f"model.network {name}"


def _shape(sizes: Sequence[int]) -> str:
    return f"[{', '.join(['N', *map(str, sizes)])}]"


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
