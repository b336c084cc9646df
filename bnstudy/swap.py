"""Another norm in a network that is there: the modules are replaced under their names."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter

from bnstudy.layers import NORMS, features_last, has_own_forward

Norm = Callable[[int], nn.Module]  # of the number of features
# What timm's norms hold besides, in the order of their forward pass.
HELD = ("drop", "act")
# Their layer norms of [N, C, H, W] have forward passes of their own that only normalise.
KNOWN = ("torch.nn.", "bnstudy.", "torchvision.", "timm.")


def swap_norms(
    model: nn.Module, norm: Norm, replace: Sequence[type[nn.Module]] = (_BatchNorm,)
) -> dict[str, int]:
    """Replace every norm of the classes `replace` by `norm(num_features)`; in place.

    `replace=(nn.LayerNorm,)` is for transformers; the default is all of torch's batch norms. The
    new norms have the names, dtype, device and training mode of the old ones, and are frozen where
    these were; eps, momentum, scale and shift are their own. Returns the numbers of features by
    name, of the new norms. Make the optimizer after it: there are other parameters.

    Norms take their features in dimension 1, or in the last, as torch's LayerNorm and RMSNorm do.
    Where the old and the new one differ in this, the new one is `FeaturesLast` under the old name,
    with the norm inside. A norm that holds dropout and an activation function, as timm's
    BatchNormAct2d, becomes a Sequential of `norm`, `drop` and `act`. Activation functions in place
    are so no more, because `norm=nn.Identity` gives on what may be needed elsewhere.

    Raises ValueError, and changes nothing, for what cannot be replaced: where there is no such
    norm, for one whose number of features is not known or that normalises more than features, for
    one with a forward pass of its own unless `replace` names its very class, and in modules that
    compute their norms in a fused function. So it does for a model that is compiled, scripted or
    wrapped for data-parallel training: swap before that.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    >>> swap_norms(model, lambda features: nn.GroupNorm(2, features))
    {'1': 8}
    >>> model[1].num_groups
    2
    """
    kinds = tuple(replace) if isinstance(replace, Sequence) else (replace,)
    if isinstance(norm, nn.Module) or not callable(norm):
        raise ValueError(
            f"norm is a {type(norm).__name__}; it must be a function of the number of features, "
            "such as functools.partial(nn.GroupNorm, 8)."
        )
    _refuse_wrapped(model)
    made = _made(model, norm, kinds)
    if not made:
        raise ValueError(
            f"{type(model).__name__} has no {_words(kinds)} to replace{_others(model)}."
        )
    for name, new in made.items():
        if hasattr(_norm_in(new), "normalize"):
            raise ValueError(
                f"{type(_norm_in(new)).__name__} acts on the weights of the layer before "
                f"{name!r}; bnstudy.models.external.External builds networks with such a norm."
            )
    return replace_norms(model, norm, kinds, made)


class FeaturesLast(nn.Module):
    """`norm`, which takes its features in dimension 1, on inputs with features last; or reversed.

    Inputs and outputs [N, ..., C] for `last`, and [N, C, ...] otherwise.
    """

    def __init__(self, norm: nn.Module, last: bool = True) -> None:
        super().__init__()
        self.norm, self.last = norm, last

    def forward(self, input: Tensor) -> Tensor:
        """The normalised inputs, in their own shape."""
        there, back = (-1, 1) if self.last else (1, -1)
        return self.norm(input.movedim(there, back)).movedim(back, there)


def replace_norms(
    model: nn.Module,
    norm: Norm,
    kinds: tuple[type[nn.Module], ...],
    made: dict[str, nn.Module] | None = None,
) -> dict[str, int]:
    """`swap_norms` for any `norm`, and for a network that may have none to replace."""
    made = _made(model, norm, kinds) if made is None else made
    features = {name: _features(name, model.get_submodule(name)) for name in made}
    for module in model.modules():
        own: Any = module
        if getattr(own, "inplace", False):
            own.inplace = False
    found: dict[str, int] = {}
    seen: set[nn.Module] = set()  # one module may have two names
    for name, new in made.items():
        model.set_submodule(name, new)
        if new not in seen:
            seen.add(new)
            inside = new is not _norm_in(new)
            found[f"{name}.norm" if inside else name] = features[name]
    return found


def _made(model: nn.Module, norm: Norm, kinds: tuple[type[nn.Module], ...]) -> dict[str, nn.Module]:
    """The new modules by the names of the old ones; nothing is replaced yet."""
    olds = dict(_of_kinds(model, kinds))
    _refuse_kept_aside(model, olds)
    new: dict[nn.Module, nn.Module] = {}
    for name, old in olds.items():
        if old not in new:
            _refuse(model, name, old, kinds)
            new[old] = _new(name, old, norm, next(model.parameters(), torch.zeros(())))
    return {name: new[old] for name, old in olds.items()}


def _of_kinds(
    model: nn.Module, kinds: tuple[type[nn.Module], ...]
) -> Iterator[tuple[str, nn.Module]]:
    inside = "\n"  # of no name
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, kinds) and not name.startswith(inside):
            inside = f"{name}."
            yield name, module


def _new(name: str, old: nn.Module, norm: Norm, default: Tensor) -> nn.Module:
    features = _features(name, old)
    try:
        new = norm(features)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ValueError(f"norm({features}), for {name!r}, cannot be built ({reason}).") from error
    if not isinstance(new, nn.Module):
        raise ValueError(
            f"norm({features}), for {name!r}, is a {type(new).__name__}; it must be a "
            "torch.nn.Module."
        )
    if not isinstance(new, nn.Identity) and _is_last(old) != features_last(new):
        new = FeaturesLast(new, _is_last(old))
    kept = [(part, child) for part in HELD for key, child in old.named_children() if key == part]
    tensors = [t for t in (*old.parameters(), *old.buffers()) if t.is_floating_point()]
    like = tensors[0] if tensors else default
    new.to(like.device, like.dtype).train(old.training)
    own = [parameter.requires_grad for parameter in old.parameters(recurse=False)]
    if own and not any(own):
        new.requires_grad_(False)
    return nn.Sequential(OrderedDict([("norm", new), *kept])).train(old.training) if kept else new


def _norm_in(new: nn.Module) -> nn.Module:
    """The norm itself, of a new module."""
    held = isinstance(new, FeaturesLast) or (type(new) is nn.Sequential and hasattr(new, "norm"))
    return _norm_in(new.get_submodule("norm")) if held else new


def _is_last(old: nn.Module) -> bool:
    """Whether an old norm takes its features in the last dimension."""
    states_features = any(hasattr(old, key) for key in ("num_features", "num_channels"))
    # Without such a number it is another package's RMSNorm, or the like.
    return features_last(old) or not (states_features or hasattr(old, "normalized_shape"))


def _features(name: str, old: nn.Module) -> int:
    for attribute in ("num_features", "num_channels"):
        found = getattr(old, attribute, None)
        if isinstance(found, int):
            return found
    shape = getattr(old, "normalized_shape", None)
    if shape is None and isinstance(getattr(old, "weight", None), Tensor):
        shape = tuple(old.get_parameter("weight").shape)
    if shape is None or len(shape) != 1:
        over = "" if shape is None else f", which normalises over {list(shape)}"
        raise ValueError(
            f"{name!r} is a {type(old).__name__}{over}: only norms of one number of features can "
            "be replaced."
        )
    return int(shape[0])


def _refuse(
    model: nn.Module, name: str, old: nn.Module, kinds: tuple[type[nn.Module], ...]
) -> None:
    """ValueError for a norm that cannot be replaced."""
    kind = type(old)
    if not name:
        raise ValueError(f"The model itself is a {kind.__name__}: there is no name to keep.")
    if any(isinstance(tensor, UninitializedParameter) for tensor in old.parameters()):
        raise ValueError(
            f"{name!r} is a {kind.__name__}, whose number of features is not known yet: call the "
            "model once on a batch before."
        )
    others = [key for key, _ in old.named_children() if key not in HELD]
    if others:
        raise ValueError(
            f"{name!r} is a {kind.__name__}, which holds {others[0]!r} besides: this would be lost."
        )
    holds = any(key == "act" for key, _ in old.named_children())
    own = has_own_forward(old) and not kind.__module__.startswith(KNOWN)
    if own and not holds and kind not in kinds:
        raise ValueError(
            f"{name!r} is a {kind.__name__}, which has a forward pass of its own: if it only "
            f"normalises, give replace=({kind.__name__},)."
        )
    hooks = (old._forward_hooks, old._forward_pre_hooks, old._backward_hooks)
    if any(hooks) or hasattr(old, "parametrizations"):
        raise ValueError(
            f"{name!r} has hooks or parametrizations, which would be lost: remove them before."
        )
    parent = model.get_submodule(name.rpartition(".")[0])
    fused = [each for each in type(parent).__mro__ if each.__module__.startswith("torch.ao.nn.")]
    if isinstance(parent, nn.TransformerEncoderLayer) or fused:
        raise ValueError(
            f"{name!r} is in a {type(parent).__name__}, which computes its norms in a fused "
            "function and not by calling them."
        )


def _refuse_wrapped(model: nn.Module) -> None:
    for name, module in model.named_modules():
        compiled: Any = getattr(module, "_compiled_call_impl", None)
        reasons = {
            "is compiled": hasattr(module, "_orig_mod") or compiled is not None,
            "is scripted": isinstance(module, torch.jit.ScriptModule),
            "is wrapped for data-parallel training": isinstance(
                module, nn.parallel.DistributedDataParallel | nn.DataParallel
            ),
        }
        for reason, holds in reasons.items():
            if holds:
                whose = f"{name!r}" if name else f"The model, a {type(module).__name__},"
                raise ValueError(f"{whose} {reason}: swap its norms before.")


def _refuse_kept_aside(model: nn.Module, olds: dict[str, nn.Module]) -> None:
    """ValueError for a norm that a plain list holds too, where no name leads to it."""
    names = {id(old): name for name, old in olds.items()}
    for owner, module in model.named_modules():
        for key, value in vars(module).items():
            items = value if isinstance(value, list | tuple) else ()
            if isinstance(value, dict) and key != "_modules":
                items = list(value.values())
            for item in items:
                if id(item) in names:
                    raise ValueError(
                        f"{names[id(item)]!r} is also in the {type(value).__name__} {key!r} of "
                        f"{owner or type(model).__name__!r}, where it would stay: use a ModuleList "
                        "or ModuleDict."
                    )


def _others(model: nn.Module) -> str:
    """What norms a model has instead, in words."""
    kinds = list(dict.fromkeys(type(m).__name__ for m in model.modules() if isinstance(m, NORMS)))
    return f"; its norms are {' and '.join(kinds)}: give replace=({kinds[0]},)" if kinds else ""


def _words(kinds: tuple[type[nn.Module], ...]) -> str:
    return " or ".join(kind.__name__.strip("_") for kind in kinds)
