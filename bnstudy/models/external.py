"""Networks that were not written for this study, with their norms replaced: torchvision, timm."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnstudy.models.layer import weighted

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
# What timm's BatchNormAct2d holds besides, in the order of its forward pass.
KEPT = ("drop", "act")


class External(nn.Module):
    """`network` with its norms replaced; outputs [N, num_outputs].

    `network` is a constructor that takes `num_classes`. Each of its norms, the modules of the
    classes `replace`, becomes `norm(num_features)` under the same name; one that holds dropout and
    an activation function too, as timm's do, a Sequential of `norm` and these. Its eps, momentum
    and initial gamma are dropped. With `repeat_channel` data of one channel are shown as grey in
    three.

    `layers` are found by a forward pass in evaluation mode: every conv and linear, by its name in
    the network, in the order of first calls. Its norm is the one that takes its outputs, or is
    called next, before another conv or linear, and takes as many features as it gives. What the
    activation function sees is taken to be the norm's output, or its own if it has no norm. So a
    norm after an addition belongs to the layer before it, and one after a concatenation to none.

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
        norms = _replace(self.network, norm, tuple(replace))
        _forbid_in_place(self.network)
        if not norms and getattr(norm, "func", norm) is not nn.Identity:
            raise ValueError(
                f"{self._name} has no {' or '.join(kind.__name__.strip('_') for kind in replace)}, "
                "so that any norm would be the same network; use norm=none."
            )
        calls = self._trace(input_shape, num_outputs, norms)
        self.layers = {
            weights: (
                f"network.{weights}",
                norm and f"network.{norm}",
                f"network.{norm or weights}",
            )
            for weights, norm in calls.items()
        }
        self._act_on_weights(calls, norms)

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

    def _trace(
        self, input_shape: Sequence[int], num_outputs: int, norms: dict[str, int]
    ) -> dict[str, str | None]:
        """Convs and linears in the order of their first calls, and the norm of each."""
        calls: dict[str, str | None] = {}
        outputs_of: dict[str, Tensor] = {}
        last: list[str] = []  # the conv or linear called last, until a norm is called

        def weighted_called(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                last[:] = [name]
                calls.setdefault(name, None)
                outputs_of.setdefault(name, output)

            return hook

        def norm_called(name: str) -> Callable[[nn.Module, Any], None]:
            def hook(_module: nn.Module, inputs: Any) -> None:
                direct = [layer for layer, output in outputs_of.items() if output is inputs[0]]
                for layer in (direct or last)[:1]:
                    free = calls[layer] is None and name not in calls.values()
                    if free and norms[name] == _features(self.network.get_submodule(layer)):
                        calls[layer] = name
                last.clear()

            return hook

        hooks = [
            module.register_forward_hook(weighted_called(name))
            for name, module in self.network.named_modules()
            if isinstance(module, WEIGHTED)
        ]
        hooks += [
            self.network.get_submodule(name).register_forward_pre_hook(norm_called(name))
            for name in norms
        ]
        try:
            outputs = self._outputs_of_zeros(input_shape)
        finally:
            for hook in hooks:
                hook.remove()
        if not calls:
            raise ValueError(
                f"{self._name} calls no conv and no linear; there is nothing to study."
            )
        if outputs.shape != (1, num_outputs):
            found = _shape(outputs.shape[1:])
            raise ValueError(
                f"{self._name} gives outputs {found}; they must be [N, {num_outputs}]."
            )
        return calls

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

    def _act_on_weights(self, calls: dict[str, str | None], norms: dict[str, int]) -> None:
        """Let norms with `normalize` have the weight of their layer, as `bnstudy.models.layer`."""
        follows = {norm: weights for weights, norm in calls.items()}
        for name in norms:
            norm = self.network.get_submodule(name)
            if not hasattr(norm, "normalize"):
                continue
            module = self.network.get_submodule(follows[name]) if name in follows else None
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


def _replace(
    network: nn.Module, norm: Callable[[int], nn.Module], kinds: tuple[type[nn.Module], ...]
) -> dict[str, int]:
    """Replace the norms in place; the numbers of features of the new ones, by name."""
    features: dict[str, int] = {}
    new: dict[nn.Module, nn.Module] = {}  # one module may have two names
    for name, old in list(network.named_modules(remove_duplicate=False)):
        if not isinstance(old, kinds):
            continue
        kept = [
            (part, child) for part in KEPT for key, child in old.named_children() if key == part
        ]
        first = old not in new
        num_features = cast("int", old.num_features)
        if first:
            new[old] = norm(num_features)
            if kept:
                new[old] = nn.Sequential(OrderedDict([("norm", new[old]), *kept]))
        network.set_submodule(name, new[old])
        if first:
            features[f"{name}.norm" if kept else name] = num_features
    return features


def _forbid_in_place(network: nn.Module) -> None:
    # After an identity, an activation function in place would overwrite what that was given: with
    # norm=none, a block that normalises its input would lose its shortcut.
    for module in cast("Iterator[Any]", network.modules()):
        if getattr(module, "inplace", False):
            module.inplace = False


def _features(module: Any) -> int:
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels


def _shape(sizes: Sequence[int]) -> str:
    return f"[{', '.join(['N', *map(str, sizes)])}]"


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
