"""Which layers a network has and which norm belongs to each, found by a forward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

CONVS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
# An attention does not call its projections as modules: together they are one layer.
WEIGHTED = (nn.Linear, *CONVS, nn.MultiheadAttention)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # _NormBase: batch and instance norms

LAYER_NORMS = (F.layer_norm, torch.layer_norm, F.rms_norm, torch.rms_norm)
NORMALISING = (F.batch_norm, torch.batch_norm, F.instance_norm, torch.instance_norm)
NORMALISING += (F.group_norm, torch.group_norm, *LAYER_NORMS)
# Functions that a norm may call after it has normalised, by name; with _ they are in place.
ACTIVATIONS = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu"),
        *("mish", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "logsigmoid", "tanh"),
        *("softplus", "softsign", "threshold", "clamp", "clamp_min"),
    )
)

Names = tuple[str, str | None, str]  # of the conv, linear or attention; of its norm; of the output


def find_layers(
    model: nn.Module,
    run: Callable[[], object],
    norms: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Names]:
    """The layers of a model in the order of their first calls in `run()`, one forward pass.

    A layer is a conv, a linear or an attention that is called; it has the name of that module. Its
    norm is the one that takes its outputs, or is called next, before another layer, and takes as
    many features as it gives. What the activation function sees is taken to be the norm's output,
    or its own if it has no norm. So a norm after an addition belongs to the layer before it, and
    one after a concatenation to none.

    `norms` are by name the numbers of features that a norm may take, those of `find_norms` for
    None. What `run` changes (buffers, generators) is not put back; it may run in any mode.
    """
    norms = find_norms(model) if norms is None else norms
    modules = dict(model.named_modules())
    calls: dict[str, str | None] = {}
    outputs_of: dict[str, object] = {}
    last: list[str] = []  # the layer called last, until a norm is called

    def layer_called(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            last[:] = [name]
            calls.setdefault(name, None)
            # An attention gives its outputs and its weights.
            outputs_of.setdefault(name, output[0] if isinstance(output, tuple) else output)

        return hook

    def norm_called(name: str, sizes: Sequence[int]) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            input = next(iter((*args, *named.values())), None)
            direct = [layer for layer, output in outputs_of.items() if output is input]
            for layer in (direct or last)[:1]:
                free = calls[layer] is None and name not in calls.values()
                if free and (not sizes or _features(modules[layer]) in sizes):
                    calls[layer] = name
            last.clear()

        return hook

    hooks = [
        module.register_forward_hook(layer_called(name))
        for name, module in modules.items()
        if isinstance(module, WEIGHTED) and name not in norms
    ]
    hooks += [
        modules[name].register_forward_pre_hook(norm_called(name, sizes), with_kwargs=True)
        for name, sizes in norms.items()
    ]
    # A block of torch's transformer that has hooks calls its modules; without, it may not, in
    # evaluation mode.
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    # The model itself has no name: a layer that is the whole model has that of its class.
    return {
        name or type(model).__name__.lower(): (name, norm, name if norm is None else norm)
        for name, norm in calls.items()
    }


def find_norms(
    model: nn.Module, classes: Sequence[type[nn.Module]] = ()
) -> dict[str, tuple[int, ...]]:
    """The norms of torch and of `classes`, by name, with the numbers of features they may take.

    A norm over channels and positions states several. () for a norm that states none: any.
    """
    return {
        name: _sizes(module)
        for name, module in model.named_modules()
        if isinstance(module, (*NORMS, *classes))
    }


def features_last(module: nn.Module) -> bool:
    """Whether a module's outputs are [N, ..., C], of which others' are [N, C, ...].

    A layer norm with a forward pass of its own, such as the LayerNorm2d of torchvision and timm,
    is taken to be of channels if its name ends in 2d or 3d.
    """
    kind = type(module)
    shape = getattr(module, "normalized_shape", ())
    of_channels = "2d" in kind.__name__ or "3d" in kind.__name__
    layer_norm = len(shape) == 1 and not (has_own_forward(module) and of_channels)
    return isinstance(module, (nn.Linear, nn.MultiheadAttention)) or layer_norm


@contextmanager
def outputs_of(model: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs [N, C, ...] of modules in the next forward pass: by name one for each call.

    Of a norm that holds an activation function they are what this function sees.
    """
    outputs: dict[str, list[Tensor]] = {}
    with ExitStack() as stack:
        for name in names:
            module = model.get_submodule(name)
            calls = outputs.setdefault(name, [])
            if isinstance(module, NORMS) and has_own_forward(module):
                stack.enter_context(_inside(module, calls))
            else:
                stack.enter_context(_outside(module, calls))
        yield outputs
    for name in names:
        if not outputs[name]:
            del outputs[name]


@contextmanager
def _outside(module: nn.Module, calls: list[Tensor]) -> Iterator[None]:
    def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
        calls.append(_kept(first_tensor(output), features_last(module)))

    hook = module.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _inside(norm: nn.Module, calls: list[Tensor]) -> Iterator[None]:
    """What the activation function sees that a norm holds; its outputs if it holds none."""
    watching = _Watching(features_last(norm))

    def enter(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        watching.input, watching.normalised, watching.seen = (
            first_tensor((inputs, named)),
            False,
            [],
        )
        watching.__enter__()

    def leave(_module: nn.Module, _inputs: object, output: Any) -> None:
        watching.__exit__(None, None, None)
        if output is not None:  # it is None after an exception
            watching.see(first_tensor(output))
            calls.append(_kept(watching.seen[0], watching.last))

    hooks = [
        norm.register_forward_pre_hook(enter, with_kwargs=True),
        norm.register_forward_hook(leave, always_call=True),
    ]
    hooks += [  # of a norm that computes by itself
        child.register_forward_pre_hook(lambda _module, inputs: watching.see(inputs[0]))
        for name, child in norm.named_children()
        if name == "act"
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Watching(TorchFunctionMode):
    """Keeps the input of the first activation function after something is normalised."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last  # whether features are last
        self.input: Tensor | None = None
        self.normalised = False
        self.seen: list[Tensor] = []

    def see(self, values: Tensor) -> None:
        if not self.seen:
            # Cloned: the function may be in place.
            self.seen.append(values.detach().clone())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        if self.normalised and name in ACTIVATIONS and args:
            self.see(args[0])
        if func in NORMALISING and args:
            self.normalised = True
            if func in LAYER_NORMS and self.input is not None:
                # Over the last dimension of a view: it was another dimension of the input.
                self.last &= args[0].stride() == self.input.stride()
        return func(*args, **(kwargs or {}))


def _kept(output: Tensor, last: bool) -> Tensor:
    # Cloned: an in-place activation function after the module would overwrite it.
    kept = output.detach().clone()
    return kept.movedim(-1, 1) if last else kept


def first_tensor(values: Any) -> Tensor:
    """The first tensor of what a module takes or returns: an attention's outputs, say.

    ValueError where there is none.
    """
    found = next(_tensors(values), None)
    if found is None:
        raise ValueError(f"There is no tensor in {type(values).__name__} {values!r:.60}.")
    return found


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors(value)
    elif isinstance(values, tuple | list):
        for value in values:
            yield from _tensors(value)
    elif hasattr(values, "__dict__") and not isinstance(values, (type, nn.Module)):
        yield from _tensors(vars(values))


def has_own_forward(module: nn.Module) -> bool:
    """Whether the forward pass of a norm is neither torch's nor ours, which hold no other parts."""
    kind = next(each for each in type(module).__mro__ if "forward" in vars(each))
    return not kind.__module__.startswith(("torch.nn.", "bnstudy."))


def _sizes(norm: Any) -> tuple[int, ...]:
    for attribute in ("num_features", "num_channels", "normalized_shape"):
        found = getattr(norm, attribute, None)
        if found is not None:
            return (found,) if isinstance(found, int) else tuple(found)
    weight = getattr(norm, "weight", None)
    return (weight.numel(),) if isinstance(weight, Tensor) else ()


def _features(module: Any) -> int:
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim
    return module.out_features if isinstance(module, nn.Linear) else module.out_channels
