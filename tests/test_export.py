"""The table of runs, by the command line."""

import csv
import io
from pathlib import Path

import made_up
import pytest

SCRIPT = "export.py"


def runs(root: Path) -> Path:
    """Two runs of one experiment."""
    for seed in (0, 1):
        header = made_up.make_header("vgg", "batch", 0.1, seed)
        lines = [{"step": 0, "train/loss": 2.0 + seed}]
        made_up.write_record(root / "vgg" / f"seed{seed}", header, lines)
    return root


def test_a_table_of_runs_is_exported(cli, tmp_path: Path) -> None:
    done = cli(SCRIPT, "--runs", str(runs(tmp_path)))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["seed"], row["train/loss"]) for row in rows] == [("0", "2"), ("1", "3")]


def test_without_runs_it_says_where_it_looked(cli, tmp_path: Path) -> None:
    done = cli(SCRIPT, "--runs", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.strip() == f"There are no runs in {tmp_path}; --scale or --runs says where."


def test_parquet_has_the_same_table(cli, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    done = cli(SCRIPT, "--runs", str(runs(tmp_path)), "--out", str(tmp_path / "runs.parquet"))
    assert done.returncode == 0
    table = parquet.read_table(tmp_path / "runs.parquet")
    assert table.column("train/loss").to_pylist() == [2.0, 3.0]
