"""Series on common steps, edges of ranges, the edge of stability, and who trains."""

import math
from pathlib import Path

import made_up
import numpy as np
import pytest
from records_of_runs import HEADER, record

from bnstudy import results
from bnstudy.measures.landscape import edges, effective_beta
from bnstudy.measures.series import align, average
from bnstudy.measures.stability import edge_of_stability
from bnstudy.measures.train import chance, final_accuracy, learning_rates, stuck, trains
from bnstudy.results import Run


def test_align_takes_the_steps_that_all_runs_still_going_have() -> None:
    whole = np.array([0, 10, 20, 30]), np.array([1.0, 2.0, 3.0, 4.0])
    ended = np.array([0, 10, 15]), np.array([5.0, 6.0, 7.0])
    steps, values = align([whole, ended])
    np.testing.assert_array_equal(steps, [0, 10, 20, 30])
    np.testing.assert_array_equal(values, [[1, 2, 3, 4], [5, 6, np.nan, np.nan]])


def test_average_leaves_nan_out_and_keeps_infinity() -> None:
    values = np.array([[1.0, np.nan, np.nan, np.inf], [3.0, 5.0, np.nan, 2.0]])
    np.testing.assert_array_equal(average(values), [2.0, 5.0, np.nan, np.inf])


def test_average_is_geometric_on_a_log_axis() -> None:
    values = np.array([[1.0, np.nan, 0.0], [100.0, 5.0, 2.0]])
    np.testing.assert_allclose(average(values, log=True), [10.0, 5.0, 0.0])


def test_edges_are_the_range_over_step_sizes(tmp_path: Path) -> None:
    losses = [[3.0, 1.0, 2.0], [math.inf, 1.0, 2.0], [math.nan, 4.0, 5.0], [math.nan] * 3]
    run = record(tmp_path, [{"step": i, "landscape/loss": row} for i, row in enumerate(losses)])
    steps, low, high = edges(run, "landscape/loss")
    np.testing.assert_array_equal(steps, [0, 1, 2, 3])
    np.testing.assert_array_equal(low, [1.0, 1.0, 4.0, np.nan])
    np.testing.assert_array_equal(high, [3.0, np.inf, np.inf, np.inf])


def landscape_of(changes: list[float], length: float) -> made_up.Line:
    """What the landscape probe records that effective beta needs, at step sizes 0.05 and 0.2."""
    keys = ("step_size", "gradient_change", "gradient_norm")
    values = ([0.05, 0.2], changes, length)
    return {f"landscape/{key}": value for key, value in zip(keys, values, strict=True)}


def test_effective_beta_of_a_quadratic_is_its_curvature_along_the_gradient(tmp_path: Path) -> None:
    # L = (x^2 + 3 y^2) / 2 at (1, 1): g = (1, 3), H g = (1, 9), beta = ||H g|| / ||g||.
    change = math.hypot(1, 9)
    lines = [{"step": 0} | landscape_of([0.05 * change, 0.2 * change], math.hypot(1, 3))]
    steps, beta = effective_beta(record(tmp_path, lines))
    assert steps.tolist() == [0]
    np.testing.assert_allclose(beta, [math.sqrt(82 / 10)])


def test_effective_beta_is_the_largest_over_the_step_sizes(tmp_path: Path) -> None:
    changes = [[0.1, 1.2], [0.4, 0.1], [1.0, math.nan], [0.0, 0.0]]
    lengths = [1.0, 1.0, 1.0, 0.0]
    rows = zip(changes, lengths, strict=True)
    lines = [{"step": i} | landscape_of(*row) for i, row in enumerate(rows)]
    np.testing.assert_allclose(
        effective_beta(record(tmp_path, lines))[1], [6.0, 8.0, np.inf, np.nan]
    )


def test_the_edge_of_stability(tmp_path: Path) -> None:
    steps = np.array([0, 3])

    def of(lines: list[made_up.Line], optimizer: str = "sgd", **options: object) -> Run:
        run = record(tmp_path, lines)
        run.header["choices"]["optimizer"] = optimizer
        run.config["optimizer"].update(options)
        return run

    def edge(run: Run, of_batches: bool = False) -> list[float]:
        return edge_of_stability(run, steps, of_batches).tolist()

    plain, heavy = [{"step": 0}], {"momentum": 0.9}
    assert edge(of(plain)) == edge(of(plain), of_batches=True) == [20, 20]
    assert edge(of(plain, **heavy)) == pytest.approx([38, 38])
    assert edge(of(plain, "momentum", **heavy)) == pytest.approx([38, 38])
    assert edge(of(plain, nesterov=True, **heavy)) == pytest.approx([38 / 2.8] * 2)
    assert np.isnan(edge(of(plain, **heavy), of_batches=True)).all()
    assert np.isnan([edge(of(plain, name)) for name in ("adam", "adamw", "")]).all()
    changing = [{"step": 0, "train/lr": 0.0}, {"step": 3, "train/lr": 0.01}]
    assert edge(of(changing)) == [math.inf, 200]
    np.testing.assert_equal(learning_rates(of(changing), np.array([3, 4])), [0.01, np.nan])


@pytest.mark.parametrize(("b", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_torch_is_stable_below_the_edge_and_not_above(
    tmp_path: Path, b: float, nesterov: bool
) -> None:
    run = record(tmp_path, [{"step": 0}])
    run.config["optimizer"].update(momentum=b, nesterov=nesterov)
    (edge,) = edge_of_stability(run, np.array([0]))
    for share in (0.99, 1.01):
        x, velocity = 1.0, 0.0
        for _ in range(3000):  # as torch.optim.SGD does on 1/2 h x^2
            gradient = share * edge * x
            velocity = b * velocity + gradient
            x -= run.lr * (gradient + b * velocity if nesterov else velocity)
        assert (abs(x) < 1e-3) == (share < 1)


def test_a_run_trains_or_is_stuck_or_diverged(tmp_path: Path) -> None:
    def of(name: str, last: float, outcome: str = "finished", classes: int | None = 10) -> Run:
        header = HEADER | {"data": {"name": "x"} | ({"classes": classes} if classes else {})}
        lines = [{"step": 0, "test/accuracy": 0.15}, {"step": 9, "test/accuracy": last}]
        return results.load_run(
            made_up.write_record(tmp_path / name, header, list(lines), outcome=outcome)
        )

    good, bad = of("good", 0.15), of("bad", 0.149)
    assert (chance(good), final_accuracy(good)) == (0.1, 0.15)
    assert trains(good) and not stuck(good)
    assert stuck(bad) and not trains(bad)
    diverged = of("diverged", 0.9, "diverged")
    assert final_accuracy(diverged) == 0.1
    assert not trains(diverged) and not stuck(diverged)
    interrupted = of("interrupted", 0.1, "interrupted")
    assert not trains(interrupted) and not stuck(interrupted)
    # Without the number of classes chance is what the untrained network has.
    unknown = of("unknown", 0.19, classes=None)
    assert chance(unknown) == 0.15
    assert stuck(unknown)
