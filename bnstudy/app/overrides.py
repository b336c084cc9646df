"""What a command line asks for, refused where Hydra would misread it or run something else."""

import re
import sys
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override

from bnstudy.app import CONFIGS

# A protocol is what experiments share, and no choice of its own.
NO_GROUPS = ("hydra", "protocol")
GROUPS = sorted(
    path.name for path in CONFIGS.iterdir() if path.is_dir() and path.name not in NO_GROUPS
)
LISTS = ("probes", "sweep")  # groups of which several options may be chosen
WHOLE_GRIDS = ("experiment", "scale", "sweep")  # what the axes of a sweep come from
NEEDED = ("data", "model", "norm", "init", "optimizer", "schedule", "scale")


def read_command_line() -> None:
    """Refuse what `sys.argv` must not say, ValueError in a sentence; write out ~ in it."""
    # Where it stands between overrides, those after it would be unknown arguments.
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: word not in ("-m", "--multirun"))
    options = get_args_parser().parse_args()
    if options.shell_completion:
        return
    words = read(options.overrides, options.multirun)
    for before, after in zip(options.overrides, words, strict=True):
        sys.argv[sys.argv.index(before, 1)] = after


def read(words: list[str], multirun: bool) -> list[str]:
    """The overrides, with ~ in `results` written out; ValueError in a sentence for a wrong one.

    `multirun` is whether several values of a key make several runs.
    """
    overrides = [parsed(word) for word in words]
    multirun = multirun or any(
        o.key_or_group == "hydra.mode" and str(o.value()).upper() == "MULTIRUN" for o in overrides
    )
    experiments = [word for word, o in zip(words, overrides, strict=True) if is_experiment(o)]
    if len(experiments) > 1:
        raise ValueError(f"{' '.join(experiments)}: a run belongs to one experiment; give one.")
    probes = [word for word, o in zip(words, overrides, strict=True) if is_probes(o)]
    if len(probes) > 1 and any(word.startswith("+") for word in probes):  # Hydra would drop some
        raise ValueError(f"{' '.join(probes)}: list all probes in one of these.")
    for word, override in zip(words, overrides, strict=True):
        axis = override.key_or_group.removeprefix("hydra.sweeper.params.")
        if axis != override.key_or_group and axis in (*WHOLE_GRIDS, *keys_of_grids()):
            raise ValueError(f"{word}: the grid depends on {axis}; it cannot be an axis of it.")
        if override.is_sweep_override():
            check_sweep(word, override, multirun)
        check_choice(word, override)
    return [written_out(word, o) for word, o in zip(words, overrides, strict=True)]


def parsed(word: str) -> Override:
    """An override as Hydra reads it; ValueError if it cannot."""
    key, _, value = word.partition("=")
    try:
        override = OverridesParser.create().parse_override(word)
    except Exception as error:  # also of the functions that an override may call
        reason = f"({first_line(error)}){quoted(key, value)}"
        raise ValueError(f"{word!r} cannot be read {reason}.") from error
    if not override.key_or_group:
        raise ValueError(f"{word!r} names no key; write KEY=VALUE.")
    return override


def first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def quoted(key: str, value: str) -> str:
    """Advice for a value that is missing, or has signs of Hydra's grammar in it."""
    if not value:
        return "; write KEY=VALUE"
    if value[0] in "'\"[{":
        return ""
    return f"; if the value is text, write \"{key}='{value}'\""


def is_experiment(override: Override) -> bool:
    """Whether an override chooses the experiment."""
    return override.key_or_group == "experiment" and not override.is_delete()


def is_probes(override: Override) -> bool:
    """Whether an override chooses probes, or adds some to those that are chosen."""
    return override.key_or_group == "probes" and not override.is_delete()


def check_sweep(word: str, override: Override, multirun: bool) -> None:
    """ValueError for several values where one is wanted, or of what a grid is made of."""
    key = override.key_or_group
    if isinstance(override.value(), IntervalSweep):
        raise ValueError(f"{word}: an interval has no values to run; list them, as in {key}=A,B.")
    if key == "experiment":
        names = " ".join(map(str, values(override))) or "A B"
        raise ValueError(
            f"{word}: every experiment has a grid of its own; give one a command, or use "
            f"python scripts/reproduce.py --experiments {names}."
        )
    if key in WHOLE_GRIDS or key.startswith("hydra") or key in keys_of_grids():
        raise ValueError(f"{word}: the grid depends on {key}; give one value a command.")
    if not multirun:
        raise ValueError(
            f"{word} has several values: -m makes a run of each, and quotes make text of them, "
            f"\"{key}='...'\"."
        )


def keys_of_grids() -> set[str]:
    """The keys of the scale that the grids of experiments are made of."""
    texts = (path.read_text(encoding="utf-8") for path in CONFIGS.glob("sweep/*.yaml"))
    return {key for text in texts for key in re.findall(r"\$\{(scale\.[\w.]+)\}", text)}


def values(override: Override) -> list[Any]:
    """The values of an override that lists them, its own if it has one."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return [getattr(item, "text", item) for item in value.list]
    return [] if override.is_sweep_override() else [value]


def check_choice(word: str, override: Override) -> None:
    """ValueError unless the override of a group names options of it."""
    key = override.key_or_group
    if key == "hydra" or key.startswith("hydra/"):
        named = override.is_delete() or all(isinstance(v, str | list) for v in values(override))
        if not named:
            raise ValueError(f"{word}: {key} must be the name of one of its options.")
        return
    if key not in GROUPS or isinstance(override.value(), Glob):
        return
    options = ", ".join(sorted(path.stem for path in (CONFIGS / key).glob("*.yaml")))
    if override.is_delete():
        if key in LISTS:
            raise ValueError(f"{word}: choose none of them with {key}=[].")
        if key in NEEDED:
            raise ValueError(f"{word}: no run goes without {key}; {key} must be one of {options}.")
        return
    if override.is_add() and not override.package and not is_probes(override):
        raise ValueError(f"{word}: a group is chosen without +, {word.lstrip('+')}.")
    if override.is_sweep_override() and not values(override):
        raise ValueError(f"{word}: {key} must be one of {options}.")
    for value in values(override):
        names = value if isinstance(value, list) and key in LISTS else [value]
        if len(set(map(str, names))) < len(names):
            raise ValueError(f"{word} must not have anything twice.")
        if not all(is_option(name) for name in names):
            several = f" or several, {key}=[A,B]" if key in LISTS else ""
            raise ValueError(f"{word}: {key} must be one of {options}{several}.")


def is_option(name: Any) -> bool:
    """Whether this may be the name of an option: text, and no path of a file."""
    if not isinstance(name, str) or not name.strip():
        return False
    return not (name.endswith((".yaml", ".yml")) or name.startswith("/") or ".." in name)


def written_out(word: str, override: Override) -> str:
    """An override whose results folder has the user's folder for ~; others as they are."""
    value = override.value()
    if override.key_or_group != "results" or not str(value).startswith("~"):
        return word
    return f"results='{Path(str(value)).expanduser()}'"
