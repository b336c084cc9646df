"""Which layers a network has and which norm belongs to each, found by a forward pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

CONVS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
# An attention does not call its projections as modules: together they are one layer.
WEIGHTED = (nn.Linear, *CONVS, nn.MultiheadAttention)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # _NormBase: batch and instance norms

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
    """Whether a module's outputs are [N, ..., C], of which others' are [N, C, ...]."""
    shape = getattr(module, "normalized_shape", ())
    return isinstance(module, (nn.Linear, nn.MultiheadAttention)) or len(shape) == 1


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
