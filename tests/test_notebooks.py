"""Notebooks: each runs as a script, and its .ipynb is the same cells and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest
from conftest import ROOT

NOTEBOOKS = ROOT / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))
# What any Jupyter has; a version of Python or a kernel's path would be this machine's.
METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
REMEDY = "run: jupytext --to ipynb --update notebooks/*.py"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_notebook_runs_as_a_script(script: Path, tmp_path: Path) -> None:
    environment = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_ipynb_has_the_cells_of_the_script_and_nothing_of_a_machine(script: Path) -> None:
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    expected = [(cell.cell_type, cell.source) for cell in jupytext.read(script).cells]
    assert cells == expected, REMEDY
    assert notebook["metadata"] == METADATA
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None


def test_notebooks_come_in_pairs() -> None:
    notebooks = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert notebooks == {script.stem for script in SCRIPTS} and SCRIPTS, REMEDY
