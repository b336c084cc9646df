"""The arms of claims."""

from pathlib import Path

from claim_runs import write

from bnstudy.claims import (
    Arm,
    judging,
)


def test_arms_are_told_apart_by_norm_and_learning_rate(tmp_path: Path) -> None:
    run = write(tmp_path, [{"step": 0}], "batch", lr=1e-6)
    assert judging.is_of(run, Arm("BatchNorm", "x", "batch", 0.000001))
    assert not judging.is_of(run, Arm("BatchNorm", "x", "batch", 1e-7))
    assert not judging.is_of(run, Arm("standard", "x", "none", 1e-6))
