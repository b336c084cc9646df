"""Who may import whom: the package is cut in two by run.jsonl, and Hydra stays at the edge."""

import ast
import re
from collections import Counter

import pytest
from conftest import ROOT

# Of bnstudy, and of the packages that are not for everyone.
ALLOWED = {
    "bnstudy": set(),
    "params": {"torch"},
    "seeds": {"torch"},
    "record": set(),
    "digests": {"record"},
    "tasks": {"torch"},
    "evaluation": {"torch", "data", "params", "seeds", "tasks", "update"},
    "download": {"lock", "rich"},
    "data": {
        "torch",
        "torchvision",
        "rich",
        "seeds",
        "record",
        "tasks",
        "memory_format",
        "download",
    },
    "norms": {"torch"},
    "inits": {"torch"},
    "memory_format": {"torch"},
    "models": {"torch", "models", "layers", "swap"},
    "swap": {"torch", "layers"},
    "untouched": {"torch", "params"},
    "derivatives": {"torch", "params"},
    "update": {"torch", "data", "layers", "params", "seeds", "untouched", "derivatives"},
    "lanczos": {"torch", "params", "update", "scipy"},
    "probes": {"torch", "update", "params", "lanczos", "layers", "tasks", "probes"},
    "surfaces": {
        *("torch", "params", "record", "tasks", "update", "seeds", "observe", "lanczos"),
        *("surface_plots", "figures", "matplotlib"),
    },
    "surface_plots": {"figures", "matplotlib", "plotly"},
    "layers": {"torch"},
    "observe": {
        *("torch", "params", "update", "layers", "data", "record", "seeds"),
        *("tasks", "untouched"),
    },
    "lightning": {"torch", "observe", "data", "record", "lightning"},
    "checkpoint": {"torch"},
    "terminal": {"record", "rich"},
    "wandb_mirror": {"record", "results", "measures", "wandb"},
    "wandb_records": {"wandb"},
    "schedules": set(),
    "train": {
        *("torch", "update", "params", "data", "record", "schedules", "seeds"),
        *("evaluation", "tasks"),
    },
    "results": {"record"},
    "lock": set(),
    "status": {"lock", "record"},
    "measures": {"results", "record", "measures"},
    "figures": {"results", "measures", "figures", "matplotlib"},
    "claims": {"results", "measures", "claims"},
    "streams": set(),
    "interruption": set(),
    "session": {
        *("torch", "checkpoint", "data", "interruption", "lock", "terminal", "params", "record"),
        *("train", "update", "wandb_mirror"),
    },
    "__main__": {"app"},
    "publish": {"results", "measures", "figures", "claims", "jinja2"},
    "explorer": {"results", "record", "measures", "claims"},
    "report": {"results", "measures", "figures", "claims", "matplotlib", "jinja2"},
}
RESTRICTED = {
    "torch",
    "torchvision",
    "sklearn",
    "scipy",
    "hydra",
    "omegaconf",
    "wandb",
    "rich",
    "matplotlib",
    "jinja2",
    "joblib",
    "lightning",
    "plotly",
}
FILES = sorted((ROOT / "bnstudy").rglob("*.py"))


def place(path) -> str:
    """The first name of a file's module below bnstudy."""
    return path.relative_to(ROOT / "bnstudy").parts[0].removesuffix(".py")


def imported(path) -> set[str]:
    """The modules of bnstudy (by their first name below it) and the restricted packages."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            first, *rest = module.split(".")
            if first == "bnstudy":
                names.add(rest[0])
            elif first in RESTRICTED:
                names.add(first)
    return names


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_imports_flow_one_way(path):
    if place(path) == "app":  # the command line: nothing but `python -m bnstudy` imports it
        return
    allowed = ALLOWED[{"__init__": "bnstudy"}.get(place(path), place(path))]
    assert imported(path) <= allowed


def test_a_probe_knows_no_other_probe():
    for path in (ROOT / "bnstudy" / "probes").glob("*.py"):
        assert path.stem == "__init__" or "bnstudy.probes" not in path.read_text()


# Who measures and who reads measures; observe and lightning train in a loop of one's own.
SPELL_KEYS = {"probes", "train", "evaluation", "observe", "lightning", "record", "measures"}


def test_nobody_but_who_measures_and_the_measures_spells_a_metric_key():
    probes = [path.stem for path in (ROOT / "bnstudy" / "probes").glob("*.py")]
    key = re.compile(rf"({'|'.join(['train', 'test', *probes])})/")
    others = [path for path in FILES if place(path) not in SPELL_KEYS]
    for path in [*others, *(ROOT / "results" / "reference").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                text = node.value.decode() if isinstance(node.value, bytes) else node.value
                assert not key.match(text), f"{path}:{node.lineno}: {text}; ask a measure for it"


def test_a_function_has_one_name_in_measures_claims_and_figures():
    names = Counter(
        node.name
        for folder in ("measures", "claims", "figures")
        for path in (ROOT / "bnstudy" / folder).glob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    )
    assert [name for name, count in names.items() if count > 1 and name != "draw"] == []
