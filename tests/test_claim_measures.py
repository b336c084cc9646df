"""What exploratory claims measure, on records made by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
from claim_runs import cell, series, walks, write

from bnstudy.claims import (
    Arm,
    covariate_shift,
    depth,
    judging,
    landscape,
    learning_rates,
    lp,
    norms,
    placement,
    primary,
    scale_and_shift,
    smooth_landscape,
    training,
)
from bnstudy.claims.comparisons import loss_ratio, orders
from bnstudy.claims.this_study import late_beta_ratio
from bnstudy.measures.activations import linear_share
from bnstudy.measures.covariate_shift import accuracy_at, middle_layer
from bnstudy.measures.grids import best, matched
from bnstudy.measures.internal_covariate_shift import correlation, lowest_cosine, sign_share
from bnstudy.measures.landscape import (
    beta_at_edge,
    loss_width,
    own_change,
    pinned_by_grid,
    pinned_share,
    relative_change,
)
from bnstudy.measures.layers import layer_key
from bnstudy.measures.train import (
    above_chance,
    final_loss,
    final_percent,
    steps_to_batch_level,
    training_accuracy,
)
from bnstudy.results import Run

ETAS = [0.05, 0.1, 0.2, 0.4]


# Measures


def accuracy(directory: Path, values: Sequence[float], seed: int = 0, **config: Any) -> Run:
    """A run with these training accuracies."""
    return write(directory, series("train/accuracy", values), seed=seed, **config)


def test_steps_to_a_level_are_counted_by_a_running_mean(tmp_path: Path) -> None:
    # 2,000 samples are 33 batches of 64: half of them are past the jump at step 100, 90 % at 113.
    run = accuracy(tmp_path, [0.0] * 100 + [1.0] * 800, steps=900)
    assert steps_to_batch_level(run, 0.5) == 101
    assert steps_to_batch_level(run, 0.9) == 114
    never = accuracy(tmp_path, [0.4] * 900, seed=1, steps=900)
    assert steps_to_batch_level(never, 0.5) == math.inf
    short = accuracy(tmp_path, [0.0, 1.0], seed=2, steps=900)
    assert steps_to_batch_level(short, 0.5) == 2


def test_noise_alone_does_not_reach_a_level(tmp_path: Path) -> None:
    # The accuracy of a batch of 64 of a network that gets 42 % right reaches 50 % now and then.
    batches = np.random.default_rng(0).binomial(64, 0.42, 400) / 64
    assert batches.max() > 0.5
    run = accuracy(tmp_path, batches.tolist(), steps=400)
    assert steps_to_batch_level(run, 0.5) == math.inf


def test_accuracies_at_the_end(tmp_path: Path) -> None:
    lines = [
        {"step": step, "train/accuracy": 0.1 * step, "test/accuracy": 0.1 + 0.05 * step}
        for step in range(10)
    ]
    run = write(tmp_path, lines, steps=10)
    assert training_accuracy(run, share=0.1) == pytest.approx(90)
    assert training_accuracy(run, share=0.3) == pytest.approx(80)
    assert final_percent(run) == pytest.approx(55)
    assert above_chance(run) == pytest.approx(45)
    diverged = write(tmp_path, lines, steps=10, seed=1, outcome="diverged")
    assert above_chance(diverged) == 0
    assert training.test_difference(diverged, run) == pytest.approx(45)
    assert training.training_difference(diverged, run) == pytest.approx(100 * 0.8 - 10)


def test_the_final_loss_is_a_median_over_the_last_hundredth(tmp_path: Path) -> None:
    values = [9.0] * 297 + [1.0, 5.0, 2.0]
    run = write(tmp_path, series("train/loss", values), steps=300)
    assert final_loss(run) == 2
    diverged = write(tmp_path, series("train/loss", values), seed=1, steps=300, outcome="diverged")
    assert final_loss(diverged) == math.inf
    assert loss_ratio(diverged, run) == math.inf
    assert math.isnan(loss_ratio(diverged, diverged))
    assert lp.worst_loss_ratio(run, run, diverged) == math.inf


def test_cosines_of_the_deep_linear_network(tmp_path: Path) -> None:
    def of(seed: int, ninth: Sequence[float], seventeenth: float) -> Run:
        lines = [
            {
                "step": step,
                "internal_covariate_shift/cosine/layer9": cosine,
                "internal_covariate_shift/cosine/layer17": seventeenth,
            }
            for step, cosine in enumerate(ninth)
        ]
        return write(tmp_path, lines, seed=seed, experiment="deep_linear")

    # At nine steps in ten the cosine is 1; what it exceeds at 95 % of them is 0.
    mostly = of(0, [math.nan, *[1.0] * 90, *[0.0] * 10], seventeenth=1.0)
    assert lowest_cosine(mostly) == 0
    assert lowest_cosine(of(1, [1.0] * 9, seventeenth=-0.3)) == -0.3
    opposite = of(2, [0.2, 0.3, 0.4], seventeenth=-0.9)
    assert correlation(opposite) == 0.9


def test_the_loss_range_is_the_highest_less_the_lowest_loss(tmp_path: Path) -> None:
    run = write(tmp_path, walks([[1, 2, 4, 16], [3, 3, 3, 3], [1, 2, math.inf, 4]]))
    assert list(loss_width(run)[1]) == [15, 0, math.inf]
    assert list(loss_width(run, "landscape/random_loss")[1]) == [15, 0, math.inf]


def test_gradient_changes_are_relative_to_the_gradient(tmp_path: Path) -> None:
    changes = [[1, 2, 3, 8], [1, 2, 3, 6], [1, 2, 3, 1000]]
    standard = write(tmp_path, walks(changes, length=2.0), steps=6)
    assert list(relative_change(standard)[1]) == [4, 3, 500]
    assert list(own_change(standard)[1]) == [1, 1, 1]


def test_orders_of_magnitude_lie_between_the_highest_values(tmp_path: Path) -> None:
    standard = write(tmp_path, walks([[1, 2, 3, 8], [1, 2, 3, 1000]]))
    batch, l1 = (write(tmp_path, walks([[1, 1, 1, a]]), b) for a, b in ((4, "batch"), (1, "l1")))
    assert orders(standard, batch, l1) == pytest.approx(math.log10(1000 / 4))
    assert landscape.loss_orders(standard, l1) == pytest.approx(3)
    exploded = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1, outcome="diverged")
    assert orders(exploded, batch) == math.inf


def test_effective_beta_is_pinned_by_the_grid_or_at_the_edge() -> None:
    # beta = largest change / (eta ||g||); 1 / eta_min = 20 = 2 / lr.
    def of(row: Sequence[float], small: Sequence[float]) -> Run:
        records = {
            "landscape/step_size": [ETAS] * 12,
            "landscape/gradient_change": [list(row)] * 12,
            "landscape/gradient_norm": [1.0] * 12,
            "landscape/small_step_size": [[0.1 / 64, 0.1 / 8]] * 12,
            "landscape/small_gradient_change": [list(small)] * 12,
        }
        return cell(records=records)

    pinned = of([1, 1, 1, 1], [0.4, 1.0])  # it turns completely within lr / 8: beta is 128 there
    at_edge = of([1, 1, 1, 1], [20 * 0.1 / 64, 20 * 0.1 / 8])
    assert pinned_share(pinned) == pinned_share(pinned, at_edge) == 1
    assert pinned_by_grid(pinned) == 1
    assert pinned_by_grid(at_edge) == 0
    assert pinned_by_grid(pinned, at_edge) == 0.5
    free = of([0.5, 0.5, 0.5, 0.5], [0.4, 1.0])
    assert pinned_share(free) == 0
    assert math.isnan(pinned_by_grid(free))
    few = of([1, 1, 1, 1], [0.4, 1.0])
    for steps, values in few.records.values():
        del steps[4:], values[4:]
    assert math.isnan(pinned_share(few)) and math.isnan(pinned_by_grid(few))


def test_the_edge_of_stability_is_measured_late(tmp_path: Path) -> None:
    def of(norm: str, beta: float) -> Run:
        lines = walks([[9, 9, 9, 9], *[[eta * beta for eta in ETAS]] * 3])
        for line, step in zip(lines, (0, 1000, 1100, 1200), strict=True):
            line["step"] = step
        return write(tmp_path, lines, norm, lr=1e-6, experiment="deep_linear")

    assert beta_at_edge(of("batch", 2e6)) == pytest.approx(1)
    assert late_beta_ratio(of("none", 2e4), of("batch", 2e6)) == pytest.approx(100)
    early = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1)
    assert math.isnan(beta_at_edge(early))


def test_the_sign_of_the_cosine_follows_the_share_below(tmp_path: Path) -> None:
    cosines, shares = [0.9, -0.9, 0.9, -0.9], [0.2, 0.7, 0.7, 0.8]
    lines = [
        {"step": 1000 + step}
        | {f"internal_covariate_shift/cosine/layer{number}": a for number in (9, 17)}
        | {f"internal_covariate_shift/share_below/layer{number}": b for number in (9, 17)}
        for step, (a, b) in enumerate(zip(cosines, shares, strict=True))
    ]
    assert sign_share(write(tmp_path, lines, experiment="deep_linear")) == 0.75
    early = [line | {"step": line["step"] - 1000} for line in lines]
    assert math.isnan(sign_share(write(tmp_path, early, experiment="deep_linear")))


def test_layers_stand_for_those_at_the_same_depth(tmp_path: Path) -> None:
    lines: list[made_up.Line] = [{"step": 0} | {f"x/layer{i}": 1.0 for i in (1, 4, 6, 8, 9)}]
    run = write(tmp_path, lines)
    assert layer_key(run, 6, 13, "x") == "x/layer6"
    shallow = replace(run, header=run.header | {"layers": [f"layer{i}" for i in range(1, 10)]})
    assert layer_key(shallow, 13, 13, "x") == "x/layer8"  # the ninth is the linear one
    assert layer_key(shallow, 6, 13, "x") == "x/layer4"
    with pytest.raises(KeyError, match="vgg_none_0.1_0 has no y"):
        layer_key(run, 6, 13, "y")


def test_arms_are_told_apart_by_norm_and_learning_rate(tmp_path: Path) -> None:
    run = write(tmp_path, [{"step": 0}], "batch", lr=1e-6)
    assert judging.is_of(run, Arm("BatchNorm", "x", "batch", 0.000001))
    assert not judging.is_of(run, Arm("BatchNorm", "x", "batch", 1e-7))
    assert not judging.is_of(run, Arm("standard", "x", "none", 1e-6))


# Measures over grids


def test_options_of_runs_are_matched_over_blocks() -> None:
    ours = [cell(lr=lr) for lr in (0.01, 0.1, 1)]
    theirs = [cell("batch", lr) for lr in (1, 0.1)]
    shared = matched(ours, theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in shared] == [[0.1, 1], [0.1, 1]]
    shared = matched(ours, theirs[:1], theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in shared] == [[1], [1], [1]]
    assert best(ours, lambda run: run.lr) == 1
    assert math.isnan(best([], lambda run: run.lr))


def test_the_own_change_is_that_over_the_step_taken() -> None:
    landscape = {
        "landscape/step_size": [[0.05, 0.1, 0.2]] * 3,
        "landscape/gradient_change": [[9, 1, 9], [9, 6, 9], [9, math.nan, 9]],
        "landscape/gradient_norm": [2.0, 3.0, 1.0],
    }
    assert list(own_change(cell(records=landscape))[1]) == [0.5, 2, math.inf]
    assert np.isnan(own_change(cell(lr=0.3, records=landscape))[1]).all()


def grid(norm: str, accuracies: Mapping[str, Sequence[float | None]]) -> list[Run]:
    """Runs by init, at learning rates 0.01, 0.1, 1; None diverges."""
    return [
        cell(norm, lr, init=init, accuracy=a or 0.9, outcome="finished" if a else "diverged")
        for init, row in accuracies.items()
        for lr, a in zip((0.01, 0.1, 1), row, strict=False)
    ]


def test_a_grid_of_learning_rates_and_inits() -> None:
    standard = grid("none", {"a": [0.5, 0.1, None], "b": [0.3, 0.6, 0.1]})
    batch = grid("batch", {"a": [0.5, 0.7, 0.1], "b": [0.4, 0.7, 0.1]})
    # 3 and 4 of 6 train; the largest lr is 0.01 and 0.1 with a, 0.1 with b either way.
    assert primary.share_difference(standard, batch) == pytest.approx(100 / 6)
    assert learning_rates.largest_lr_ratio(standard, batch) == pytest.approx(math.sqrt(10))
    # The best mean is at lr 0.01 without a norm, 50 and 30, and at 0.1 with it, 70 and 70.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)
    # Within 5 points of the best are one of 6 cells and two.
    assert learning_rates.near_best_difference(standard, batch) == pytest.approx(100 / 6)


def test_a_cell_that_one_arm_lacks_is_compared_in_neither() -> None:
    standard = grid("none", {"a": [0.5, 0.9, 0.1], "b": [0.3]})
    batch = grid("batch", {"a": [0.5, 0.7, 0.6], "b": [0.5, 0.9, 0.9]})
    assert learning_rates.near_best_difference(standard, batch) == pytest.approx(0)
    assert primary.share_difference(standard, batch) == pytest.approx(25)
    # Both inits are there at lr 0.01 only.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)


def test_an_init_from_which_one_network_never_trains_has_no_ratio() -> None:
    standard = grid("none", {"a": [None, 0.1, 0.14], "b": [0.5, 0.5, 0.1]})
    batch = grid("batch", {"a": [0.1, 0.2, 0.15], "b": [0.5, 0.5, 0.5]})
    assert learning_rates.largest_lr_ratio(standard, batch) == pytest.approx(10)
    assert learning_rates.inits_in_words(standard, batch) == (
        "Not compared: 1 inits from which only BatchNorm trains, 0 from which only the standard "
        "network does."
    )
    assert math.isnan(learning_rates.largest_lr_ratio(standard[:3], batch[:3]))
    assert math.isnan(learning_rates.init_spread_difference(standard[:3], batch[:3]))
    apart = grid("batch", {"c": [0.1]})
    assert math.isnan(primary.share_difference(standard, apart))
    assert math.isnan(learning_rates.near_best_difference(standard, apart))


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


def test_placements_are_compared_over_the_learning_rates_that_all_have() -> None:
    standard = grid("none", {"a": [0.5, None, 0.1]})
    before = grid("batch", {"a": [0.6, 0.7, 0.1]})
    after = grid("batch", {"a": [0.55, 0.4, 0.3]})
    assert placement.accuracy_difference(before[1], after[0]) == pytest.approx(15)
    assert placement.worse_difference(standard[0], before[1], after[0]) == pytest.approx(5)
    assert placement.lr_difference(before, after) == -1
    assert placement.fewer_difference(standard, before, after) == 1
    assert math.isnan(placement.lr_difference(before, []))


def test_what_an_activation_function_sees_is_averaged_over_hidden_layers_and_late_steps() -> None:
    def of(norm: str, first: float, second: float) -> Run:
        records: dict[str, list[Any]] = {}
        for name, value in (("layer1", first), ("layer2", second), ("layer4", 9.0)):
            records[f"activations/zeros/{name}"] = [0.0] * 7 + [value] * 3
            records[f"activations/within/{name}"] = [[9.0, 9.0]] * 7 + [[9.0, value]] * 3
        return cell(norm, records=records)

    run = of("batch_no_affine", 0.4, 0.8)
    assert scale_and_shift.zeros(run) == pytest.approx(0.6)
    assert linear_share(run) == pytest.approx(0.6)
    others = of("none", 0.1, 0.3), of("batch", 0.2, 0.3)
    assert scale_and_shift.more_linear(run, *others) == pytest.approx(0.35)
    with pytest.raises(KeyError, match="has no activations/zeros"):
        scale_and_shift.zeros(cell())
    early = {"activations/zeros/layer1": [0.5]}
    assert math.isnan(scale_and_shift.zeros(cell(records=early, outcome="diverged")))
    gained = scale_and_shift.restored(cell(accuracy=0.5), cell(accuracy=0.6))
    assert gained == pytest.approx(10)


def shifted(running: Sequence[float], batch: Sequence[float], **changes: Any) -> Run:
    """A run with these accuracies at sizes 0, 1, 2 of the last step, inside a tenth of a loss."""
    records = {"covariate_shift/size": [[0.0, 1.0, 2.0]] * 2}
    for kind, values in (("running", running), ("batch", batch)):
        records[f"covariate_shift/{kind}_accuracy/layer1"] = [[0, 0, 0], list(values)]
        inside = [values[0], values[0] - (values[0] - values[1]) / 10, 0]
        records[f"covariate_shift/{kind}_accuracy/layer2"] = [[0, 0, 0], inside]
        records[f"covariate_shift/{kind}_accuracy/layer3"] = [[0, 0, 0], [0.9, 0.9, 0.9]]
    return cell(records=records, **changes)


def test_a_shift_costs_accuracy_that_batch_statistics_recover() -> None:
    batch = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6])
    assert covariate_shift.lost_to_data(batch) == pytest.approx(40)
    assert covariate_shift.lost_inside(batch) == pytest.approx(4)
    assert covariate_shift.recovered(batch) == pytest.approx(0.75)
    # Of what is above chance 40 points of 70 and 20 of 40: the better network loses a larger share.
    standard = shifted([0.5, 0.3, 0.1], [0.6, 0.1, 0.1])
    assert covariate_shift.share_lost(standard) == pytest.approx(0.5)
    assert covariate_shift.lost_less(standard, batch) == pytest.approx(0.5 - 4 / 7)
    unhurt = shifted([0.8, 0.795, 0.1], [0.8, 0.8, 0.6])
    assert math.isnan(covariate_shift.recovered(unhurt))


def test_who_does_not_train_has_no_accuracy_to_lose() -> None:
    stuck = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], accuracy=0.1)
    assert math.isnan(covariate_shift.lost_to_data(stuck))
    diverged = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], outcome="diverged")
    assert math.isnan(covariate_shift.lost_inside(diverged))
    assert math.isnan(accuracy_at(stuck, "running", "layer1", 0.5))
    with pytest.raises(KeyError, match="of a layer inside"):
        middle_layer(cell())


def test_the_share_of_the_gain_that_another_norm_has() -> None:
    none, batch = cell(accuracy=0.2), cell("batch", accuracy=0.6)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.5)) == pytest.approx(0.75)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.7)) == pytest.approx(1.25)
    assert math.isnan(norms.share_of_gain(none, cell("batch", accuracy=0.205), none))
    diverged = cell("l1", accuracy=0.5, outcome="diverged")
    assert norms.share_of_gain(none, batch, diverged) == pytest.approx(-0.25)


def changing(norm: str, change: float, accuracy: float = 0.5) -> Run:
    """A run whose gradient changes by this, relative to itself, over the step taken."""
    landscape = {
        "landscape/step_size": [[0.05, 0.1]] * 3,
        "landscape/gradient_change": [[0.0, 2 * change]] * 3,
        "landscape/gradient_norm": [2.0] * 3,
        "train/loss": [2.0] * 3,
    }
    return cell(norm, accuracy=accuracy, records=landscape)


def test_the_smoother_the_more_accurate() -> None:
    runs = [changing(norm, 5 - i, 0.5 + i / 10) for i, norm in enumerate(("a", "b", "c", "d"))]
    assert norms.smooth_and_accurate(runs) == pytest.approx(-1)
    assert math.isnan(norms.smooth_and_accurate(runs[:3]))
    unmeasured = changing("d", 2)
    unmeasured.records["landscape/step_size"] = ([0], [[0.05, 0.2]])
    assert math.isnan(norms.smooth_and_accurate([*runs[:3], unmeasured]))
    # The network without a norm does not count; an infinite change ranks last.
    assert norms.smooth_and_accurate([*runs, changing("none", 0.1, 0.1)]) == pytest.approx(-1)
    assert norms.smooth_and_accurate([*runs[1:], changing("a", math.inf, 0.1)]) == -1


def test_gradients_are_more_predictable_with_a_norm() -> None:
    standard = changing("none", 3)
    assert smooth_landscape.own_change_ratio(standard, changing("batch", 2)) == pytest.approx(1.5)
    runs = [standard, changing("batch", 2), changing("l1", 2), changing("l2", 4)]
    assert smooth_landscape.share_more_predictable(standard, runs) == pytest.approx(2 / 3)
    broken = changing("linf", math.nan)  # as good as infinite
    assert smooth_landscape.share_more_predictable(standard, [*runs, broken]) == 0.5
    assert math.isnan(smooth_landscape.share_more_predictable(standard, [standard]))


def test_a_flat_region_is_at_chance_and_level() -> None:
    def of(norm: str, highs: Sequence[float], accuracies: Sequence[float]) -> Run:
        records = {
            "landscape/loss": [[2.0, high] for high in highs for _ in range(5)],
            "train/accuracy": [accuracy for accuracy in accuracies for _ in range(5)],
        }
        run = cell(norm, records=records)
        run.config["batch_size"] = 2000  # a mean of three batches
        return run

    # The third is not level, the fourth has learned; at the seam the mean is at chance no more.
    at_chance = [0.1, 0.14, 0.1, 0.9]
    flat = of("none", [2.01, 2.01, 2.03, 2.01], at_chance)
    assert smooth_landscape.flat_share(flat) == 0.5
    broken = of("none", [2.01, math.inf, math.nan, 2.01], [0.1] * 4)
    assert smooth_landscape.flat_share(broken) == 0.5
    steep = of("batch", [2.1, 2.1, 2.1, 2.01], [0.1, 0.1, 0.1, 0.1])
    assert smooth_landscape.flat_difference(flat, steep) == pytest.approx(0.25)
    for steps, values in steep.records.values():
        del steps[19:], values[19:]
    assert math.isnan(smooth_landscape.flat_share(steep))
