"""Claims on depth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from claim_runs import cell

from bnstudy.claims import (
    depth,
)
from bnstudy.results import Run


def test_depths_are_compared_at_the_learning_rate_with_the_better_test_accuracy() -> None:
    def of(norm: str, accuracies: Mapping[tuple[int, float], float]) -> list[Run]:
        return [cell(norm, lr, accuracy=a, depth=d) for (d, lr), a in accuracies.items()]

    standard = of("none", {(8, 0.01): 0.4, (8, 0.1): 0.6, (20, 0.01): 0.3, (20, 0.1): 0.1})
    batch = of("batch", {(8, 0.1): 0.8, (20, 0.01): 0.7, (20, 0.1): 0.5, (56, 0.1): 0.9})
    assert depth.deepest_difference(standard, batch) == pytest.approx(40)
    assert depth.deepest_difference(batch, standard) == pytest.approx(-40)
    assert depth.degradation(standard) == pytest.approx(30)
    assert depth.degradation(batch) == pytest.approx(-10)
    assert math.isnan(depth.degradation(batch[:1]))
    assert math.isnan(depth.deepest_difference(standard, batch[-1:]))
    diverged = [replace(run, outcome="diverged") for run in batch]
    assert depth.deepest_difference(standard, diverged) == pytest.approx(10 - 30)
    # It is picked by another number than the one that is reported.
    overfitted = cell("none", 0.1, accuracy=0.3, depth=20, records={"train/accuracy": [0.9] * 10})
    tested = cell("none", 0.01, accuracy=0.4, depth=20)
    assert depth.trained([overfitted, tested], 20) == pytest.approx(40)


def test_speed_is_a_geometric_mean_over_the_depths_at_which_both_train() -> None:
    def of(norm: str, layers: int, lr: float, step: int, to: float = 0.95) -> Run:
        rising = {"train/accuracy": [0.1] * step + [to] * (10 - step)}
        run = cell(norm, lr, depth=layers, records=rising)
        run.config["batch_size"] = 1000  # a running mean over three batches
        return run

    standard = [of("none", 8, 0.01, 9), of("none", 8, 0.1, 7), of("none", 20, 0.1, 5, to=0.4)]
    batch = [of("batch", 8, 0.01, 1), of("batch", 8, 0.1, 3), of("batch", 20, 0.1, 2)]
    # To 90 % in a mean of three: steps 9 and 3; to 35 %: 7 and 2.
    fast = depth.times_faster_where_both_train(standard, batch)
    assert fast == pytest.approx(math.sqrt(9 / 3 * 7 / 2))
    slow = [of("none", 8, 0.1, 7), of("none", 20, 0.1, 10)]
    assert depth.times_faster_where_both_train(slow, batch) == pytest.approx(9 / 3)
    assert depth.depths_in_words(slow, batch) == (
        "Not compared: 1 depths at which only BatchNorm reaches 20 %, 0 at which only the standard "
        "network does."
    )
    never = [of("none", 8, 0.1, 10), of("none", 20, 0.1, 10)]
    assert math.isnan(depth.times_faster_where_both_train(never, batch))


def growing(factor: float, layers: int, stages: Sequence[float] = (1, 1, 1)) -> Run:
    """A plain network whose gradient grows by a factor per layer, towards the input."""
    size = (layers - 2) // 3
    norms = {"gradients/norm/layer1": [7.0, 1.0], f"gradients/norm/layer{layers}": [9.0, 1.0]}
    for i in range(layers - 2):
        own = stages[i // size] * factor ** (layers - i) * (1 if i % size else 5)
        norms[f"gradients/norm/layer{i + 2}"] = [own, 1.0]
    run = cell(records=norms, depth=layers)
    run.header["layers"] = [f"layer{i}" for i in range(1, layers + 1)]
    return run


def test_the_growth_of_the_gradient_is_that_within_stages_of_the_deepest_network() -> None:
    deep = growing(1.2, 20)
    assert depth.growth_in_deepest([growing(3.0, 14), deep]) == pytest.approx(1.2)
    # Stages of other widths have other sizes of the gradient; that is no growth.
    assert depth.growth_in_deepest([growing(1.0, 20, stages=(1, 10, 100))]) == pytest.approx(1)
    vanished = growing(1.2, 20)
    vanished.records["gradients/norm/layer5"] = ([0], [0.0])
    assert math.isnan(depth.growth_in_deepest([vanished]))
    assert math.isnan(depth.growth_in_deepest([growing(1.2, 5)]))
