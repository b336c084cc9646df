"""Arms that are several runs of a seed."""

import json
from dataclasses import replace
from itertools import product

from claim_runs import cell
from judged import GRID

from bnstudy import claims
from bnstudy.claims import (
    Arm,
    judging,
)


def test_a_block_is_measured_by_all_its_runs_of_a_seed() -> None:
    runs = [cell(norm, lr, s) for norm, lr, s in product(("none", "batch"), (0.1, 1), (0, 1))]
    runs += [cell("batch", 3, seed) for seed in (0, 1)]
    result = claims.judge(GRID, {"vgg": runs})
    assert result.by_seed == {0: 1, 1: 1}
    assert (result.verdict, result.notes) == (claims.SUGGESTED, ())


def test_a_seed_whose_block_lacks_runs_is_left_out_and_said_to_be() -> None:
    runs = [cell(norm, lr, s) for norm, lr, s in product(("none", "batch"), (0.1, 1), (0, 1, 2))]
    runs[1] = replace(runs[1], outcome="interrupted")
    runs[3] = replace(runs[3], outcome="diverged")
    result = claims.judge(GRID, {"vgg": runs})
    assert result.by_seed == {0: 0, 2: 0}
    assert result.notes == (
        "Runs that diverged: 1 (standard, seed 0, after 10 of 10 steps).",
        "Left out: 1 run interrupted.",
        "Runs are lacking for seed 1.",
    )


def test_runs_of_a_block_differ_in_what_the_claim_compares_only() -> None:
    runs = [cell(norm, 0.1, s) for norm, s in product(("none", "batch"), (0, 1))]
    runs += [cell("batch", 0.1, 0, init="orthogonal")]
    plain = claims.judge(GRID, {"vgg": runs})
    assert plain.by_seed == {0: 0, 1: 0}
    assert plain.notes == ("Left out: 1 run with other settings.",)
    runs += [cell("batch", 0.1, 1, init="orthogonal")]
    assert claims.judge(replace(GRID, also=("init",)), {"vgg": runs}).by_seed == {0: 1, 1: 1}


def test_an_arm_can_be_told_by_options() -> None:
    run = cell("batch", 0.1, model="resnet", init="fixup", depth=56)
    assert judging.is_of(run, Arm("", "x", "batch", None, (("model", "resnet"),)))
    assert judging.is_of(run, Arm("", "x", None, 0.1, (("model.depth", 56), ("init", "fixup"))))
    assert not judging.is_of(run, Arm("", "x", None, None, (("model.depth", 20),)))
    assert not judging.is_of(run, Arm("", "x", "none", None))
    arm = Arm("BatchNorm", "vgg", "batch", None, (("model.depth", 56),))
    (entry,) = json.loads(claims.to_json([claims.judge(replace(GRID, arms=(arm,)), {})]))
    assert entry["arms"] == [{"norm": "batch", "lr": None, "model.depth": 56}]
    assert entry["notes"][0] == "No run that has ended of BatchNorm."
