"""Claims are judged seed by seed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from claim_runs import cell, series, write
from judged import CLAIM, GRID, final, pair

from bnstudy import claims
from bnstudy.claims import (
    Arm,
    Control,
    Needs,
    judging,
)
from bnstudy.measures.train import final_percent
from bnstudy.results import Run


def test_a_claim_is_judged_seed_by_seed(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [2, 9, 8], "batch": [1, 3, 2]}))
    assert result.by_seed == {0: 2, 1: 3, 2: 4}
    assert (result.value, result.low, result.high, result.n) == (3, 2, 4, 3)
    assert result.verdict == claims.SUGGESTED
    assert result.measured.replace("\u00a0", " ") == "3.00× [2.00, 4.00], n = 3"
    assert result.paper == "2×"
    assert result.scale == "small"
    assert result.notes == ()


def test_five_seeds_support_and_contradict(tmp_path: Path) -> None:
    five = pair(tmp_path, {"none": [2, 9, 8, 3, 4], "batch": [1, 3, 2, 2, 1]})
    assert claims.judge(CLAIM, five).verdict == claims.SUPPORTED
    turned = replace(CLAIM, measure=lambda standard, batch: 1 / final(standard, batch))
    assert claims.judge(turned, five).verdict == claims.CONTRADICTED


def test_one_seed_suggests(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [9], "batch": [1]}))
    assert result.verdict == claims.SUGGESTED
    assert result.measured.replace("\u00a0", " ") == "9.00×, n = 1"


def test_seeds_that_an_arm_lacks_do_not_count(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [2, 9], "batch": [1]}))
    assert list(result.by_seed) == [0]


def test_interrupted_runs_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    losses = {"none": [2, 9], "batch": [1, 1]}
    result = claims.judge(CLAIM, pair(tmp_path, losses, batch1="interrupted"))
    assert list(result.by_seed) == [0]
    assert result.notes == ("Left out: 1 run interrupted.",)


def test_a_diverged_run_is_a_result(tmp_path: Path) -> None:
    losses = {"none": [2, 9], "batch": [1, 1]}
    result = claims.judge(CLAIM, pair(tmp_path, losses, none1="diverged"))
    assert result.by_seed == {0: 2, 1: math.inf}
    assert result.notes == (
        "Runs that diverged: 1 (the standard network at lr 0.1, seed 1, after 0 of 1 steps).",
    )
    assert result.verdict == claims.SUGGESTED


def test_runs_with_other_settings_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [2, 9], "batch": [1, 1]})
    other = write(tmp_path / "other", series("train/loss", [5]), seed=2, steps=1, batch_size=7)
    result = claims.judge(CLAIM, {"vgg": [*runs["vgg"], other]})
    assert result.notes == ("Left out: 1 run with other settings.",)


def test_an_arm_without_runs_says_which_and_how_to_make_them(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [2]}))
    assert (result.verdict, result.n, result.measured) == (claims.NO_RUNS, 0, "")
    assert result.notes == (
        "No run that has ended of BatchNorm at lr 0.1.",
        "Make some: python scripts/train.py -m experiment=vgg scale=small",
    )


def test_arms_that_share_no_seed_have_no_verdict(tmp_path: Path) -> None:
    losses = {"none": [2, 9], "batch": [1, 1]}
    runs = pair(tmp_path, losses, batch1="interrupted", none0="interrupted")
    result = claims.judge(CLAIM, runs)
    assert result.verdict == claims.NO_RUNS
    assert result.notes[0] == "No seed has a run of every arm."


def test_a_metric_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    claim = replace(CLAIM, measure=lambda standard, batch: standard["moments/mean/layer2"][1][0])
    result = claims.judge(claim, pair(tmp_path, {"none": [2], "batch": [1]}))
    assert result.verdict == claims.NO_RUNS
    assert result.notes[0] == ("vgg_none_0.1_0 has no moments/mean/layer2.")


def test_a_seed_without_a_value_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [2, math.inf], "batch": [1, math.inf]})
    result = claims.judge(CLAIM, runs)
    assert list(result.by_seed) == [0]
    assert result.notes == ("No value for seed 1.",)
    unknown = claims.judge(replace(CLAIM, measure=lambda standard, batch: math.nan), runs)
    assert (unknown.verdict, unknown.n) == (claims.NOT_MEASURABLE, 0)


def test_a_seed_that_lacks_a_metric_is_left_out(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [2, 3], "batch": [1, 1]})
    runs["vgg"][1].records["new"] = ([0], [5.0])  # only one seed of the standard network
    result = claims.judge(replace(CLAIM, measure=lambda s, b: s["new"][1][0]), runs)
    assert (result.n, result.by_seed) == (1, {1: 5.0})
    assert "has no new" in result.notes[0]


def test_runs_of_scale_demo_illustrate_and_are_never_judged(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [9] * 5, "batch": [1] * 5})
    for run in runs["vgg"]:
        run.header["scale"] = "demo"
    result = claims.judge(replace(CLAIM, primary=True, seeds_from=10), runs)
    assert (result.verdict, result.value, result.n) == (claims.NOT_MEASURABLE, 9, 5)
    assert result.notes == ("Runs of scale demo illustrate the study; they are not judged.",)


def test_a_claim_needs_a_length_and_no_name_of_a_scale(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [9] * 5, "batch": [1] * 5})
    for run in runs["vgg"]:
        run.header["scale"] = "paper"
    long = replace(CLAIM, needs=Needs(steps=2))
    result = claims.judge(long, runs)
    assert (result.verdict, result.value) == (claims.NOT_MEASURABLE, 9)
    assert result.notes == ("Too short. Needs runs with 2 steps or more.",)
    for run in runs["vgg"]:
        run.config["steps"] = 2
        run.records["train/loss"][0][0] = 1
    assert claims.judge(long, runs).verdict == claims.SUPPORTED


def test_a_length_in_samples_counts_the_batches() -> None:
    run = cell()  # ten steps of eight samples
    assert Needs(samples=80).met_by(run) and not Needs(samples=81).met_by(run)
    assert Needs(steps=10).met_by(run) and not Needs(steps=11).met_by(run)
    assert str(Needs(steps=3, plateau=True)) == (
        "Needs runs with 3 steps or more and a training accuracy that has come to rest."
    )


def test_training_has_come_to_rest_if_the_last_two_tenths_agree() -> None:
    def of(values: Sequence[float], outcome: str = "finished") -> Run:
        return cell(records={"train/accuracy": list(values)}, outcome=outcome)

    assert judging.plateaued(of([0.1] * 8 + [0.7, 0.705]))
    assert judging.plateaued(of([0.1] * 8 + [0.7, 0.6]))
    assert not judging.plateaued(of([0.1] * 8 + [0.7, 0.72]))
    assert judging.plateaued(of([0.1] * 4, outcome="diverged"))
    short = of([0.1] * 4)
    assert not judging.plateaued(short)
    del short.records["train/accuracy"]
    assert not judging.plateaued(short)


def test_seeds_that_were_looked_at_do_not_confirm(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [9] * 12, "batch": [1] * 12})
    fresh = replace(CLAIM, seeds_from=10)
    result = claims.judge(fresh, runs)
    assert list(result.by_seed) == [10, 11]
    assert result.notes[0].startswith("Left out: seeds 0, 1, 2, 3, 4, 5, 6, 7, 8 and 9, looked at")
    early = claims.judge(fresh, {"vgg": [run for run in runs["vgg"] if run.seed < 10]})
    assert early.verdict == claims.NO_RUNS
    assert early.notes[-1].endswith("experiment=vgg scale=small seed=10,11,12,13,14")
    assert "Judged on seeds from 10 on." in fresh.rule_in_words


def test_a_seed_counts_only_if_the_control_is_met(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [9, 2, 9], "batch": [1, 1, 1]})
    control = Control("the loss is high", lambda standard, batch: final(standard, batch) > 5)
    result = claims.judge(replace(CLAIM, control=control), runs)
    assert list(result.by_seed) == [0, 2]
    assert result.notes == ("The control (the loss is high) is not met for seed 1.",)
    never = Control("never", lambda standard, batch: False)
    assert claims.judge(replace(CLAIM, control=never), runs).verdict == claims.NOT_MEASURABLE


def test_no_seed_picks_the_number_that_it_reports() -> None:
    # Seed 0 is lucky at lr 1. It may not use its luck, and the others inherit its choice.
    luck = {(0.1, 0): 0.5, (0.1, 1): 0.5, (0.1, 2): 0.5, (1, 0): 0.9, (1, 1): 0.3, (1, 2): 0.3}
    runs = [cell("batch", lr, seed, accuracy=a) for (lr, seed), a in luck.items()]
    claim = replace(
        GRID,
        arms=(Arm("BatchNorm", "vgg", "batch", None),),
        measure=final_percent,
        pick=final_percent,
    )
    result = claims.judge(claim, {"vgg": runs})
    assert result.by_seed == pytest.approx({0: 50, 1: 30, 2: 30})
    alone = claims.judge(claim, {"vgg": [run for run in runs if run.seed == 0]})
    assert alone.verdict == claims.NO_RUNS
    assert "no other seed" in alone.notes[0]
