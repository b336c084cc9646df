"""What people install: a wheel that works without the checkout, and is light."""

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

from bnstudy import probes

# Of the study, and not of the probes; torch itself needs Jinja2 and filelock.
EXTRAS = (
    *("matplotlib", "plotly", "PIL", "torchvision", "scipy", "sklearn", "pandas", "transformers"),
    *("hydra", "omegaconf", "joblib", "wandb", "rich", "lightning", "timm"),
)
PROBED = """
import importlib.abc
import importlib.machinery
import sys

class Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in sys.argv[2:]:
            return importlib.machinery.ModuleSpec(name, self)

    def exec_module(self, module):
        name = module.__name__
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())

from torch import nn
from torch.nn.functional import cross_entropy

import bnstudy
from bnstudy import data, surfaces
from bnstudy.observe import Observer, observe
from bnstudy.probes import Activations, Landscape, Sharpness
from bnstudy.results import load_run
from bnstudy.swap import swap_norms

assert bnstudy.__file__.startswith(sys.argv[1]), bnstudy.__file__
layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)]
model, digits = nn.Sequential(*layers), data.digits(image_size=8)
batch = digits.train.inputs[:9].float(), digits.train.targets[:9]
update = observe(model, cross_entropy, *batch)
for probe in (Landscape(), Sharpness(layers=None), Activations()):
    assert probe(update)
with Observer(model, cross_entropy, {}, None, "own/run", steps=1) as observer:
    with observer.step(*batch, lr=0.1):  # an optimizer of torch imports its compiler, for seconds
        pass
assert load_run("own/run").outcome == "finished"
assert swap_norms(model, nn.Identity) == {"1": 4}
try:
    surfaces.draw(model, cross_entropy, [batch])
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of the wheel, as pip would install it."""
    source, made = (tmp_path_factory.mktemp(name) for name in ("source", "made"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    left = shutil.ignore_patterns("__pycache__")
    for name in ("bnstudy", "configs", "results/reference/records"):
        shutil.copytree(ROOT / name, source / name, ignore=left)
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    command = [sys.executable, "-c", build, str(made)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    with zipfile.ZipFile(next(made.glob("*.whl"))) as archive:
        archive.extractall(made / "site")
    return made / "site"


def test_probes_from_the_wheel_need_torch_and_numpy_only(wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-c", PROBED, str(wheel), *EXTRAS]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    expected = "Surfaces are drawn with plotly: pip install 'bnstudy[surfaces]'.\n"
    assert ended.stdout == expected


def test_the_wheel_has_what_the_package_reads(wheel):
    for path in (ROOT / "bnstudy").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (wheel / path.relative_to(ROOT)).is_file(), path
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert (wheel / "bnstudy" / path.relative_to(ROOT)).is_file(), path
    records = ROOT / "results/reference/records"
    found = [path.relative_to(records) for path in records.rglob("run.jsonl.gz")]
    assert found and all((wheel / "bnstudy/records" / path).is_file() for path in found)
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    lines = metadata.read_text().partition("\n\n")[0].splitlines()
    needs = [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert [line.split()[1].partition(">")[0] for line in needs] == ["torch", "numpy"]


def test_the_command_of_the_wheel_trains_without_the_checkout(wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    words = ["steps=2", "model.width=0.0625", "batch_size=16", "test_every=null", "progress=none"]
    command = [sys.executable, "-m", "bnstudy", "train", "wandb.mode=disabled", *words]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    (record,) = tmp_path.glob("results/runs/demo/custom/*/run.jsonl")
    assert '"git": "unknown"' in record.read_text()


def test_the_command_names_its_commands():
    for words, status, said in ((["--help"], 0, "reproduce"), (["draw"], 1, "draw is unknown")):
        command = [sys.executable, "-m", "bnstudy", *words]
        ended = subprocess.run(command, capture_output=True, text=True)
        assert ended.returncode == status and said in ended.stdout + ended.stderr


def test_every_probe_can_be_imported_from_one_place():
    files = [path.stem for path in (ROOT / "bnstudy/probes").glob("*.py") if path.stem[0] != "_"]
    for file in files:
        module = importlib.import_module(f"bnstudy.probes.{file}")
        name = file.replace("_", " ").title().replace(" ", "")
        assert getattr(probes, name) is getattr(module, name)
    assert len(probes.__all__) == len(files)
