"""A forward pass that leaves no trace: it works on copies, and what it assigns is taken back.

A pass may write more than parameters and buffers: tensors, lists and dicts that a module keeps, its
own generators, hooks, and whatever the criterion reaches, such as a discriminator. `held` walks
through all of this before a pass. Tensors are replaced by copies. Modules, containers and plain
objects get their contents back after the pass, generators their states.
"""

import random
import sys
import sysconfig
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import CodeType, FunctionType, MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bnstudy.params import Params

# A list that is longer is data: its items are no state of a network.
MANY = 10_000
# Elements of a tensor outside the network of which no copy is made for every pass.
LARGE = 2**26
PLAIN = frozenset(
    (int, float, complex, bool, str, bytes, type(None), type, torch.dtype, torch.device)
)
# Dicts of hooks. A hook is called as it is, and what it keeps is its owner's: so they are the
# contents of a module, but nothing is looked for in them.
HOOKS = frozenset(name for name in vars(nn.Module()) if "hooks" in name)
OWN = frozenset(("_parameters", "_buffers"))  # of a module
# Objects of these packages are tools around a network, and no state of it: datasets, optimizers.
TOOLS = (
    *("torch", "numpy", "bnstudy", "lightning", "pytorch_lightning", "lightning_fabric", "wandb"),
    *("accelerate", "omegaconf", "logging", "threading", "multiprocessing", "concurrent", "queue"),
    *(
        "asyncio",
        "subprocess",
        "socket",
        "io",
        "weakref",
        "re",
        "pathlib",
        "inspect",
        "pandas",
        "enum",
    ),
)
# What a class keeps for all its objects; the rest of its attributes are what it is.
KEPT = (
    *(Tensor, np.ndarray, list, dict, set, deque, int, float, str, type(None)),
    *(torch.Generator, np.random.Generator, np.random.RandomState, random.Random),
)
_NONE = object()


class Held:
    """What a pass must not change; `tensors` are the copies of the network's own, by name."""

    def __init__(self, dtype: torch.dtype | None = None) -> None:
        self.tensors: Params = {}
        self._dtype = dtype
        self._stand_ins: dict[int, Any] = {}
        self._alive: list[Any] = []  # an id is only good as long as its object lives
        self._storages: dict[int, Tensor] = {}
        self._of_model: set[int] = set()
        self._contents: list[tuple[Any, Any]] = []  # containers, with what they held
        self._registered: list[tuple[Any, Any]] = []  # those of the network itself
        self._empty: list[Any] = []  # the same where nothing was in it: most are, and it is quick
        self._slots: list[tuple[Callable[[], Any], Callable[[Any], None], Any]] = []
        self._classes: list[tuple[type, set[str]]] = []  # with the names of their attributes
        self._copies: list[Tensor] = []
        self._watched: list[tuple[Tensor, int]] = []
        self._states: list[tuple[Callable[[], Any], Callable[[Any], None], Any]] = []

    def network(self, model: nn.Module, params: Params) -> None:
        """Hold a network that is called with `params` and with copies of all its other tensors."""
        own = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, tensor in own.items():
            # A parameter is copied too: an embedding with max_norm writes into its weight.
            copy = params[name].clone() if name in params else self._copy(tensor)
            self.tensors[name] = copy
            self._stand_in(tensor, copy)
        self._of_model = {id(module) for module in model.modules()}
        self.hold(model)

    def hold(self, value: Any) -> Any:
        """Hold a value and all that it reaches; what stands in for it during the pass."""
        kind = type(value)
        if kind in PLAIN:
            return value
        found = self._stand_ins.get(id(value), _NONE)
        if found is not _NONE:
            return found
        self._stand_in(value, value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray):
            return self._stand_in(value, value.copy()) if value.size <= LARGE else value
        if isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, dict):
            self._contents.append((value, dict(value)))
            if len(value) <= MANY:
                self._replace(value, dict(value))
        elif isinstance(value, list | deque):
            self._contents.append((value, list(value)))
            if len(value) <= MANY:
                for n, item in enumerate(list(value)):
                    new = self.hold(item)
                    if new is not item:
                        value[n] = new
        elif isinstance(value, set):
            self._contents.append((value, set(value)))
        elif isinstance(value, tuple):
            return self._tuple(value)
        elif isinstance(value, partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                self.hold(part)
        elif isinstance(value, MethodType):
            self.hold(value.__self__)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif not self._generator(value) and _is_followed(kind):
            self._contents.append((vars(value), dict(vars(value))))
            self._replace(vars(value), dict(vars(value)))
            self._class(kind)
        return value

    def changed(self) -> bool:
        """Whether the pass has left something for later, other than in parameters and buffers."""
        return (
            any(not self._as_it_was(*pair) for pair in self._contents)
            or any(not _is_full_of(*pair) for pair in self._registered)
            or any(self._empty)
            or any(set(vars(kind)) != names for kind, names in self._classes)
            or any(get() is not self._stand_ins.get(id(was), was) for get, _, was in self._slots)
            or any(copy._version for copy in self._copies)
            or any(not _equal(get(), was) for get, _, was in self._states)
        )

    def put_back(self) -> None:
        """Give everything its contents back; ValueError for what cannot have them back."""
        for container, was in (*reversed(self._contents), *self._registered):
            if not _is_full_of(container, was):
                _refill(container, was)
        for container in filter(None, self._empty):
            _refill(container, {})
        for kind, names in self._classes:
            for name in set(vars(kind)) - names:
                delattr(kind, name)
        for get, put, was in (*reversed(self._slots), *self._states):
            if get() is not was:
                put(was)
        for tensor, version in self._watched:
            if tensor._version != version:
                raise ValueError(
                    f"The forward pass writes into a tensor {list(tensor.shape)} that is too large "
                    "to be copied for every pass; register it as a buffer of the model."
                )

    def _stand_in(self, value: Any, new: Any) -> Any:
        self._stand_ins[id(value)] = new
        self._alive.append(value)
        return new

    def _copy(self, tensor: Tensor) -> Tensor:
        plain = tensor.layout == torch.strided and type(tensor) in (Tensor, nn.Parameter)
        size = tensor.numel() * tensor.element_size()
        key = tensor.untyped_storage().data_ptr() if plain and size else 0
        if key in self._storages and tensor.dtype == self._storages[key].dtype:
            # Views of one memory stay views of one memory.
            copy = (
                self._storages[key]
                .new_empty(0)
                .set_(
                    self._storages[key].untyped_storage(),
                    tensor.storage_offset(),
                    tensor.shape,
                    tensor.stride(),
                )
            )
        else:
            copy = tensor.detach().clone()
            if self._dtype is not None and copy.is_floating_point():
                copy = copy.to(self._dtype)
            elif key and tensor.untyped_storage().nbytes() == size:
                self._storages[key] = copy
        return copy.requires_grad_(tensor.requires_grad)

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.numel() > LARGE and not tensor.is_inference():
            self._watched.append((tensor, tensor._version))
            return tensor
        copy = self._copy(tensor)
        self._copies.append(copy)
        return self._stand_in(tensor, copy)

    def _replace(self, container: dict[Any, Any], was: dict[Any, Any]) -> None:
        """Put what stands in for them in the places of a dict's values."""
        for key, value in was.items():
            new = self.hold(value)
            if new is not value:
                _base(container).__setitem__(container, key, new)

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        new = [self.hold(item) for item in value]
        if all(a is b for a, b in zip(new, value, strict=True)):
            return value
        kind = cast("Any", type(value))
        return self._stand_in(value, kind(new) if kind is tuple else kind(*new))

    def _module(self, module: nn.Module) -> None:
        own = vars(module)
        was = dict(own)
        self._contents.append((own, was))
        registered = HOOKS | OWN if id(module) in self._of_model else HOOKS
        for key, value in was.items():
            if type(value) in PLAIN:
                continue
            if key in registered and isinstance(value, dict):
                # `functional_call` is what replaces a network's own tensors.
                if value:
                    self._registered.append((value, dict(value)))
                else:
                    self._empty.append(value)
            else:
                new = self.hold(value)
                if new is not value:
                    own[key] = new
        if isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            own["forward"] = module.module  # no message to another process
        if any(kind.__name__ == "LightningModule" for kind in type(module).__mro__):
            own |= {"log": _nothing, "log_dict": _nothing}
        self._class(type(module))

    def _class(self, kind: type) -> None:
        """Hold what a class of the user's own keeps for all its objects, and its functions."""
        for each in kind.__mro__:
            if not _is_of_user(each.__module__) or id(each) in self._stand_ins:
                continue
            self._stand_in(each, each)
            self._classes.append((each, set(vars(each))))
            for name, value in list(vars(each).items()):
                if isinstance(value, FunctionType):
                    self.hold(value)
                elif not name.startswith("__") and isinstance(value, KEPT):
                    self._slot(partial(vars(each).get, name), partial(setattr, each, name), value)

    def _function(self, function: FunctionType) -> None:
        root = (function.__module__ or "").partition(".")[0]
        ours = root == "bnstudy"  # such a function keeps what it measures
        if root in TOOLS and not ours:
            return
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # empty
                continue
            if ours:
                self.hold(getattr(value, "criterion", None))
                continue
            put = partial(setattr, cell, "cell_contents")
            self._slot(partial(getattr, cell, "cell_contents"), put, value)
        for value in (function.__defaults__, function.__kwdefaults__, vars(function)):
            self.hold(value)
        if not _is_of_user(function.__module__):
            return
        known = function.__globals__
        for name in _global_names(function.__code__):
            value = known.get(name, _NONE)
            if value is not _NONE and not isinstance(value, type):
                self._slot(partial(known.get, name), partial(known.__setitem__, name), value)

    def _slot(self, get: Callable[[], Any], put: Callable[[Any], None], value: Any) -> None:
        """Hold a place that has no container of its own: a variable, an attribute of a class."""
        new = self.hold(value)
        self._slots.append((get, put, value))
        if new is not value:
            put(new)

    def _generator(self, value: Any) -> bool:
        get: Callable[[], Any]
        put: Callable[[Any], Any]
        if isinstance(value, torch.Generator | np.random.RandomState):
            get, put = cast("Any", value.get_state), cast("Any", value.set_state)
        elif isinstance(value, np.random.Generator | np.random.BitGenerator):
            bits: Any = value.bit_generator if isinstance(value, np.random.Generator) else value
            get, put = partial(getattr, bits, "state"), partial(setattr, bits, "state")
        elif isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
            get, put = value.getstate, value.setstate
        else:
            return False
        self._states.append((get, put, get()))
        return True

    def _as_it_was(self, container: Any, was: Any) -> bool:
        """Whether a container holds what was put in; but for the mode, which the caller sets."""
        new = was
        if isinstance(was, dict):
            mode = {"training": container["training"]} if "training" in container else {}
            new = {k: self._stand_ins.get(id(v), v) for k, v in was.items()} | mode
        elif isinstance(was, list):
            new = [self._stand_ins.get(id(v), v) for v in was]
        return _is_full_of(container, new)


@contextmanager
def held(
    model: nn.Module, others: Any, params: Params, dtype: torch.dtype | None = None
) -> Iterator[Held]:
    """A forward pass at `params` in here changes nothing of a network, nor of what `others` reach.

    Give `tensors` of what it yields to `torch.func.functional_call`. With `dtype` all floating
    point copies have it. ValueError for what cannot be put back.
    """
    everything = Held(dtype)
    try:
        everything.network(model, params)
        everything.hold(others)
        yield everything
    finally:
        everything.put_back()


def traces(model: nn.Module) -> dict[str, Any]:
    """What a pass must leave alone, by what it is called, in a form that can be compared."""
    found: dict[str, Any] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        found[f"{name!r}"] = tensor.detach().clone()
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor):
                found[f"the tensor {key!r} of {name or 'the model'!r}"] = value.detach().clone()
            elif key in HOOKS and isinstance(value, dict):
                found[f"{key.strip('_')} of {name or 'the model'!r}"] = list(value)
    return found


def refuse_changes(model: nn.Module, before: dict[str, Any]) -> None:
    """ValueError that names what differs from `traces` taken earlier; tensors get values back."""
    after = traces(model)
    changed = [name for name in before if not _equal(before[name], after.get(name))]
    if not changed:
        return
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if f"{name!r}" in changed:
            tensor.detach().copy_(before[f"{name!r}"])
    raise ValueError(
        f"A forward pass of {type(model).__name__} changes {changed[0]} in a way that cannot be "
        "taken back, so that the model cannot be observed; let the loop change it, outside "
        "`forward`."
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        same = isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        return same and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _is_full_of(container: Any, was: Any) -> bool:
    """Whether a container holds these very objects."""
    if isinstance(was, set):
        return container == was
    if len(container) != len(was):
        return False
    if isinstance(was, dict):
        get = container.get
        return all(get(key, _NONE) is value for key, value in was.items())
    return all(a is b for a, b in zip(container, was, strict=True))


def _refill(container: Any, was: Any) -> None:
    if isinstance(was, dict):
        base = _base(container)
        base.clear(container)
        for key, value in was.items():
            base.__setitem__(container, key, value)
        return
    container.clear()
    (container.update if isinstance(was, set) else container.extend)(was)


def _base(container: dict[Any, Any]) -> type[dict[Any, Any]]:
    """The class whose methods fill a dict as it is, whatever a subclass does besides."""
    return OrderedDict if isinstance(container, OrderedDict) else dict


def _nothing(*_: Any, **__: Any) -> None:
    """In the place of `log` of a LightningModule: a probe's pass is no step of training."""


@cache
def _is_followed(kind: type) -> bool:
    """Whether objects of a class are looked into: not tools, and not what has no attributes."""
    roots = {each.__module__.partition(".")[0] for each in kind.__mro__ if each is not object}
    return kind.__dictoffset__ != 0 and not roots & {*TOOLS, "builtins"}


@cache
def _is_of_user(module: str | None) -> bool:
    """Whether a module is the user's own, and of no package that is installed."""
    found = sys.modules.get(module or "")
    if found is None or (module or "").partition(".")[0] in TOOLS:
        return False
    file = getattr(found, "__file__", None)
    if file is None:  # a notebook; or built into Python
        return module == "__main__"
    installed = (sysconfig.get_path("stdlib"), "site-packages", "dist-packages")
    return not any(part in file for part in installed)


@cache
def _global_names(code: CodeType) -> tuple[str, ...]:
    """The names that a function, and those that it defines, may look up."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= dict.fromkeys(_global_names(constant))
    return tuple(names)
