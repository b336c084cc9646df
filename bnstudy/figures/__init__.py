"""Figures drawn from runs, the paper's and others: one module each, EXPERIMENTS and draw(runs).

A new figure is a new file in this folder; nothing else has to know of it.
"""

import os
import pkgutil
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def discover() -> dict[str, ModuleType]:
    """Every figure by name: the modules with EXPERIMENTS and draw.

    The paper's first, figure4 before figure10, then the others by name.
    """
    names = sorted((module.name for module in pkgutil.iter_modules(__path__)), key=_natural)
    modules = {name: import_module(f"{__name__}.{name}") for name in names}
    return {
        name: module
        for name, module in modules.items()
        if hasattr(module, "EXPERIMENTS") and hasattr(module, "draw")
    }


def draw_or_say(name: str, figure: ModuleType, runs: Sequence[Any]) -> "Figure | str":
    """The figure drawn from these runs; or, if that fails, a sentence that says why.

    Runs of one's own may hold what no figure expects; the other figures are drawn all the same.
    """
    try:
        return figure.draw(runs)
    except Exception as error:
        said = (str(error.args[0] if error.args else error).splitlines() or [""])[0].rstrip(".")
        return f"{name} cannot be drawn from these runs ({type(error).__name__}: {said})."


def title(figure: ModuleType) -> str:
    """The first line of the docstring of a figure's module."""
    return (figure.__doc__ or "").strip().split("\n")[0]


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    parts = [(int(digits or 0), letters) for digits, letters in re.findall(r"(\d*)(\D*)", name)]
    return not name.startswith("figure"), parts


def _import_matplotlib() -> None:
    """Import it also where the backend that a notebook exports is not installed."""
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend:
        os.environ["MPLBACKEND"] = backend
        with suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


_import_matplotlib()
