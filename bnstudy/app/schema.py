"""What every option may be: its type and range are known once, from the annotation it has.

A key at the root of the config is annotated here. An option of a group is annotated in the
signature of the constructor that takes it, which also refuses what a type cannot say.
"""

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from hydra._internal.utils import _locate  # get_object also logs what it raises
from omegaconf import DictConfig, OmegaConf

LARGEST = 3e38  # of a number: float32 has no larger one
LARGEST_WHOLE = 2**63 - 1  # torch's


class Least(NamedTuple):
    """The range of an annotated number, from `value` on."""

    value: float
    included: bool = True

    def holds(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return number > self.value or (self.included and number == self.value)

    def __str__(self) -> str:
        """The range in words."""
        return f"{self.value} or more" if self.included else f"more than {self.value}"


class Most(NamedTuple):
    """The range of an annotated number, up to `value`."""

    value: float

    def holds(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return number <= self.value

    def __str__(self) -> str:
        """The range in words."""
        return f"{self.value} at most"


class Below(NamedTuple):
    """The range of an annotated number, from 0 on and below `value`."""

    value: float

    def holds(self, number: float) -> bool:
        """Whether a number lies in the range."""
        return 0 <= number < self.value

    def __str__(self) -> str:
        """The range in words."""
        return f"from 0 to less than {self.value}"


Count = Annotated[int, Least(1)]
Whole = Annotated[int, Least(0)]
Positive = Annotated[float, Least(0, included=False)]
NotNegative = Annotated[float, Least(0)]
Fraction = Annotated[float, Below(1)]


@dataclass
class Root:
    """The keys that are in no group."""

    experiment: str
    seed: Whole
    steps: Count
    batch_size: Count
    probe_every: Count
    test_every: Whole | None
    save_every: Whole | None
    keep_every: Whole
    precise_statistics: bool
    save_seconds: NotNegative
    results: Path
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Annotated[int, Least(1), Most(1024)] | None  # far more end the process in OpenMP
    force: bool
    memory_format: Literal["channels_last", "contiguous", "auto"]
    progress: Literal["auto", "none"]


@dataclass
class Optimizer:
    """Constants of torch's optimizers with ranges that its annotations do not have.

    They are refused without torch, which takes seconds to import.
    """

    lr: Positive
    momentum: NotNegative
    weight_decay: NotNegative
    eps: NotNegative
    betas: tuple[Fraction, Fraction]


@dataclass
class Wandb:
    """The section of Weights & Biases."""

    mode: Literal["offline", "online", "disabled"]
    project: str
    entity: str | None
    fallback: Literal["offline", "disabled"] | None
    patience: Positive
    dir: str | None = None
    artifact: bool = False


@dataclass
class Scale:
    """The one key of the scale that is used by itself; it names a folder."""

    name: str


class Group(NamedTuple):
    """A group of the config: `arguments` are the names that the caller gives its constructor."""

    arguments: tuple[str, ...]
    partial: bool  # whether the constructor is called later, with these


GROUPS = {
    "criterion": Group(("outputs", "targets"), True),
    "data": Group((), False),
    "model": Group(("input_shape", "num_outputs", "norm"), False),
    "norm": Group(("num_features",), True),
    "init": Group(("model",), True),
    "optimizer": Group(("params",), True),
    "schedule": Group(("step", "steps"), True),
}
UNBOUNDED = ("norm.p",)  # numbers that may be infinite


def check(cfg: DictConfig) -> None:
    """Refuse, without torch, what no run can be made of: ValueError, which names the key."""
    hints = get_type_hints(Root, include_extras=True)
    sections: dict[str, type] = {"wandb": Wandb, "scale": Scale}
    known = [*hints, *GROUPS, "probes", *sections]
    for key in cfg:
        if key not in known:
            raise ValueError(f"{key} is not a key; the keys are {', '.join(known)}.")
    for key, kind in hints.items():
        check_value(key, found(cfg, key), kind)
    for key, section in sections.items():
        check_section(key, cfg.get(key))
        for name, kind in get_type_hints(section, include_extras=True).items():
            if name in cfg[key] or not hasattr(section, name):  # those with a default may be absent
                check_value(f"{key}.{name}", found(cfg[key], name, f"{key}."), kind)
    for name in cfg.wandb:
        if name not in Wandb.__annotations__:
            words = ", ".join(Wandb.__annotations__)
            raise ValueError(f"wandb.{name} is not a key; those of wandb are {words}.")
    for key, group in GROUPS.items():
        check_group(key, cfg.get(key), group.partial)
    for name, kind in get_type_hints(Optimizer, include_extras=True).items():
        if name in cfg.optimizer or name == "lr":
            check_value(f"optimizer.{name}", found(cfg.optimizer, name, "optimizer."), kind)
    check_section("probes", cfg.get("probes"))
    for name, options in cfg.probes.items():
        check_probe(f"probes.{name}", options)
    if any(mark in cfg.scale.name for mark in "/\\") or cfg.scale.name in (".", ".."):
        raise ValueError(f"scale.name={cfg.scale.name} must be the name of a folder.")
    for key in ("results", "data.root", "data.cache"):
        check_folder(key, OmegaConf.select(cfg, key))


def check_options(cfg: DictConfig) -> None:
    """Refuse options that the constructors of a config do not take; ValueError with the key."""
    for key, group in GROUPS.items():
        check_target(key, cfg[key], group.arguments)
    for name, options in cfg.probes.items():
        check_target(f"probes.{name}", options, ())
        for option, value in options.items():
            if OmegaConf.is_list(value) and len(set(value)) < len(value):
                shown = f"probes.{name}.{option}={in_words(value)}"
                raise ValueError(f"{shown} must not have anything twice.")
        if options.get("layers") == []:
            raise ValueError(
                f"probes.{name}.layers=[] measures nothing; ~probes.{name} leaves it out."
            )


def found(section: DictConfig, key: str, prefix: str = "") -> Any:
    """The value of a key; ValueError if it is missing."""
    if key not in section:
        raise ValueError(f"{prefix}{key} is missing; give {prefix}{key}=VALUE.")
    return section[key]


def check_section(key: str, section: Any) -> None:
    """ValueError unless this is a section of the config, with keys of its own."""
    if not OmegaConf.is_dict(section):
        examples = {"wandb": "wandb.mode=disabled", "probes": "probes=[]"}
        example, shown = examples.get(key, f"{key}=OPTION"), in_words(section)
        raise ValueError(f"{key}={shown} replaces a section of the config; use {example}.")


def check_group(key: str, node: Any, partial: bool) -> None:
    """ValueError unless an option of this group was chosen."""
    if not OmegaConf.is_dict(node):
        raise ValueError(f"{key}={in_words(node)} is no option; choose one with {key}=OPTION.")
    if "_target_" not in node:
        raise ValueError(f"{key} has no _target_; choose one of its options with {key}=OPTION.")
    if node.get("_partial_", False) is not partial:
        right = "true" if partial else "false"
        raise ValueError(f"{key}._partial_={in_words(node.get('_partial_'))} must be {right}.")


def check_probe(key: str, options: Any) -> None:
    """ValueError unless these are the options of a probe, due every so many steps."""
    if not OmegaConf.is_dict(options):
        shown, leave = in_words(options), f"~{key}"
        raise ValueError(f"{key}={shown} replaces the options of a probe; {leave} leaves it out.")
    if "_target_" not in options:
        name = key.removeprefix("probes.")
        raise ValueError(f"{key} is no probe that was chosen; choose probes with probes=[{name}].")
    check_value(f"{key}.every", found(options, "every", f"{key}."), Count)


def check_folder(key: str, value: Any) -> None:
    """ValueError for the name of a folder in which the shell was to put something."""
    home = key == "results" and str(value).startswith("~")  # the data expand it themselves
    if isinstance(value, str) and (home or re.search(r"(^|/)\$[\w{]", value)):
        mark = "~" if home else "$"
        raise ValueError(f"{key}={value} has a {mark} that nothing replaces; write the folder out.")


def check_target(key: str, node: DictConfig, arguments: Sequence[str]) -> None:
    """ValueError unless the constructor of a node takes the node's options."""
    target = locate(key, node._target_)
    parameters = inspect.signature(target).parameters
    if node._target_ == "torch.nn.Identity":  # it takes any option, and ignores it
        parameters = {}
    hints = hints_of(target)
    rest = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
    for name, value in zip(map(str, node), node.values(), strict=True):
        option = f"{key}.{name}"
        if name.startswith("_"):
            check_word_of_hydra(option, name, value)
        elif name in parameters or rest:
            kind = hints.get(name if name in parameters else rest or "", Any)
            check_value(option, value, kind)
            if OmegaConf.is_dict(value) and "_target_" in value:
                check_target(option, value, ("num_classes",))
        else:
            known = [p for p in parameters if p not in arguments and p != rest]
            words = ", ".join(known) or "none"
            raise ValueError(f"{option} is no option of {node._target_}; its options are {words}.")
    given = {*node, *arguments}
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if required and name not in given and not key.startswith("model."):
            raise ValueError(f"{key}.{name} is missing; give {key}.{name}=VALUE.")


def locate(key: str, target: Any) -> Callable[..., Any]:
    """The constructor of that name; ValueError if there is none."""
    try:
        constructor = _locate(target)
    except Exception as error:  # whatever the import of a module raises
        cause = error.__cause__ or error
        reason = str(cause).strip().partition("\n")[0] or type(cause).__name__
        raise ValueError(f"{key}._target_={target} cannot be imported ({reason}).") from error
    if not callable(constructor):
        raise ValueError(f"{key}._target_={target} must be a class or a function.")
    return constructor


@cache
def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a constructor's arguments; those that cannot be read are left out."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # names that only a type checker imports
        return {}


def check_word_of_hydra(option: str, name: str, value: Any) -> None:
    """ValueError unless this is a key with which `instantiate` is told how to build a node."""
    kinds = {
        "_target_": str,
        "_partial_": bool,
        "_recursive_": bool,
        "_convert_": Literal["none", "partial", "object", "all"],
        "_args_": Any if option.startswith("model.network.") else None,
    }
    if kinds.get(name) is None:
        raise ValueError(f"{option} is not a key.")
    check_value(option, value, kinds[name])


def check_value(key: str, value: Any, kind: Any) -> None:
    """ValueError unless a value is of this kind: names the key, what was found, what is right."""
    if fits(value, kind) or (key in UNBOUNDED and value == math.inf):
        return
    if words := choices(kind):
        raise ValueError(
            f"{key}={in_words(value)} is unknown; it must be one of {', '.join(words)}."
        )
    right = described(kind)
    limit = LARGEST_WHOLE if "whole" in right else LARGEST
    numbers = [n for n in (value if is_list(value) else [value]) if isinstance(n, (int, float))]
    if any(limit < abs(number) < math.inf for number in numbers):
        right += f", {'each' if is_list(value) else 'and'} {limit} at most"
    if value in (math.inf, -math.inf):
        right = right.replace("a number", "a finite number")
    raise ValueError(f"{key}={in_words(value)} must be {right}.")


def check_positive_int(key: str, value: Any) -> None:
    """ValueError unless value is a whole number from 1 on."""
    check_value(key, value, Count)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of the config is of an annotated kind; kinds not known here take any."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return fits(value, parts[0]) and all(part.holds(value) for part in parts[1:])
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(value is part or (value == part and type(value) is type(part)) for part in parts)
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return is_number(value, kind)
    if kind in (str, Path):
        return isinstance(value, str) and value.strip() != ""
    if kind in (None, type(None)):
        return value is None
    if origin is tuple and parts[-1:] != (...,):
        return is_list(value) and len(value) == len(parts) and all(map(fits, value, parts))
    if origin in (tuple, list, Sequence):
        return is_list(value) and all(fits(item, parts[0]) for item in value)
    if origin in (dict, Mapping):
        return OmegaConf.is_dict(value) or isinstance(value, dict)
    if origin is Callable:
        return OmegaConf.is_dict(value) and "_target_" in value
    return getattr(kind, "__name__", "") != "Tensor"


def is_number(value: Any, kind: type) -> bool:
    """A finite number that torch has room for, whole for int; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        return False
    return abs(value) <= (LARGEST_WHOLE if kind is int else LARGEST)


def is_list(value: Any) -> bool:
    """A list, as OmegaConf or Python has it."""
    return OmegaConf.is_list(value) or isinstance(value, (list, tuple))


def choices(kind: Any) -> list[str]:
    """The words that a kind allows, if it allows nothing else."""
    if get_origin(kind) is Literal:
        return [str(part) for part in get_args(kind)]
    if get_origin(kind) in (Union, types.UnionType):
        some = [choices(part) for part in get_args(kind) if part is not type(None)]
        if len(some) == 1 and some[0]:
            return ["null", *some[0]]
    return []


def described(kind: Any, plural: bool = False) -> str:
    """A kind in words, for a sentence that begins with "must be"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        comma = " " if plural else ", "
        return comma.join([described(parts[0], plural), *map(str, parts[1:])])
    if origin in (Union, types.UnionType):
        plain = [part for part in parts if getattr(part, "__name__", "") != "Tensor"]
        plain = [part for part in plain if not (part is str and Path in parts)]
        return " or ".join(described(part, plural) for part in plain)
    if origin is Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin is tuple and parts[-1:] != (...,):
        return f"{('no', 'one', 'two', 'three')[len(parts)]} {described(parts[0], plural=True)}"
    if origin in (tuple, list, Sequence):
        return f"a list of {described(parts[0], plural=True)}"
    one, many = {
        bool: ("true or false", "true or false"),
        int: ("a whole number", "whole numbers"),
        float: ("a number", "numbers"),
        str: ("text", "texts"),
        Path: ("a folder", "folders"),
        type(None): ("null", "null"),
    }.get(kind, ("a section with _target_", "sections with _target_"))
    return many if plural else one


def in_words(value: Any) -> str:
    """A value as it is written on the command line."""
    if is_list(value):
        return f"[{', '.join(map(in_words, value))}]"
    if OmegaConf.is_dict(value) or isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_words(item)}" for key, item in value.items()) + "}"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
