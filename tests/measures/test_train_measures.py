"""Measures of training."""

from pathlib import Path

from drawing import trained

from bnstudy.figures import (
    norms,
)
from bnstudy.measures.train import training_accuracy


def test_the_accuracy_of_a_run_is_over_its_last_tenth(tmp_path: Path) -> None:
    run = trained(tmp_path, [0.0] * 18 + [0.5, 1.0])
    run.config["steps"] = 20
    assert training_accuracy(run, norms.LAST) == 75
