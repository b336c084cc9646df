"""Runs with records of the theorems."""

from pathlib import Path
from typing import Any

import made_up

from bnstudy.claims import theory
from bnstudy.results import Run, load_run

Lines = list[made_up.Line]


def run_of(
    directory: Path, norm: str, records: Lines, outcome: str = "finished", seed: int = 0
) -> Run:
    """A run of the experiment, four layers, with these records at steps 0, 5, ..."""
    cell = made_up.cells("theory")[0] | {"norm": norm}
    header = made_up.cell_header("theory", cell, seed)
    header["layers"] = [f"layer{number}" for number in range(1, 5)]
    lines = [{"step": 5 * number} | record for number, record in enumerate(records)]
    path = directory / f"{norm}{seed}"
    return load_run(made_up.write_record(path, header, lines, outcome))


def of_layers(**values: Any) -> made_up.Line:
    """A record of theory with the same in layers 1 and 2; those with None are left out."""
    names = ("layer1", "layer2")
    line = {f"theory/{key}/{name}": value for key, value in values.items() for name in names}
    return {"theory/positive/layer1": 0.5, "theory/positive/layer2": 0.5} | line


TERMS = {"output_gradient": 2.0, "scaled_gradient": 8.0, "mean_term": 1.0, "projection_term": 3.0}


LAYER_NAMES = [f"layer{number}" for number in range(1, 5)]


CLAIMS = {claim.name: claim for claim in theory.CLAIMS}


def value(name: str, *runs: Run) -> float:
    return CLAIMS[name].measure(*runs)
