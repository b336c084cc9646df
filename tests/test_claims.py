"""The verdicts: rules at their boundaries, intervals, and every measure on records made by hand."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest

from bnstudy import claims, figures, results
from bnstudy.claims import (
    Arm,
    Claim,
    Range,
    Rule,
    added,
    at_least,
    at_most,
    covariate_shift,
    depth,
    judging,
    landscape,
    learning_rates,
    less_than,
    lp,
    more_than,
    noise,
    norms,
    placement,
    reductions,
    scale_and_shift,
    shift,
    smooth_landscape,
    training,
)
from bnstudy.results import Run

BY_NAME = {claim.name: claim for claim in claims.CLAIMS}
CURVES = json.loads(
    (Path(figures.__file__).with_name("paper_curves.json")).read_text(encoding="utf-8")
)
ETAS = [0.05, 0.1, 0.2, 0.4]


def write(
    directory: Path,
    lines: Sequence[made_up.Line],
    norm: str = "none",
    lr: float = 0.1,
    seed: int = 0,
    experiment: str = "vgg",
    outcome: str = "finished",
    scale: str = "demo",
    **config: Any,
) -> Run:
    """A run with these lines, its config changed."""
    header = made_up.make_header(experiment, norm, lr, seed, scale)
    header["config"] |= config
    name = f"{experiment}_{norm}_{lr}_{seed}"
    return results.load_run(made_up.write_record(directory / name, header, list(lines), outcome))


def series(key: str, values: Sequence[Any]) -> list[made_up.Line]:
    """Lines with one metric, at steps 0, 1, 2 ..."""
    return [{"step": step, key: value} for step, value in enumerate(values)]


def walks(changes: Sequence[Sequence[float]], length: float = 1.0) -> list[made_up.Line]:
    """Lines of the landscape probe with these gradient changes, which are its losses too."""
    return [
        {
            "step": step,
            "landscape/step_size": ETAS,
            "landscape/loss": row,
            "landscape/random_loss": row,
            "landscape/gradient_change": row,
            "landscape/gradient_norm": length,
        }
        for step, row in enumerate(changes)
    ]


def cell(
    norm: str = "none",
    lr: float = 0.1,
    seed: int = 0,
    accuracy: float = 0.5,
    *,
    experiment: str = "vgg",
    outcome: str = "finished",
    model: str = "vgg",
    init: str = "kaiming",
    records: Mapping[str, Sequence[Any]] | None = None,
    **options: Any,
) -> Run:
    """A run of a grid: ten steps on ten classes, by key what was recorded at steps 0, 1, 2 ...

    `accuracy` is its training accuracy throughout and its test accuracy at the end; `options` are
    those of its model.
    """
    config = {
        "experiment": experiment,
        "seed": seed,
        "steps": 10,
        "batch_size": 8,
        "model": options,
        "norm": {"_target_": norm},
        "init": {"_target_": init},
        "optimizer": {"lr": lr},
    }
    header = {
        "experiment": experiment,
        "scale": "demo",
        "choices": {
            "data": "digits",
            "model": model,
            "norm": norm,
            "init": init,
            "optimizer": "sgd",
        },
        "config": config,
        "layers": [f"layer{number}" for number in range(1, 5)],
        "data": {"name": "digits", "classes": 10},
    }
    own = {"train/accuracy": [accuracy] * 10} | dict(records or {})
    known = {key: (list(range(len(values))), list(values)) for key, values in own.items()}
    known["test/accuracy"] = ([0, 10], [0.12, accuracy])
    directory = Path(f"{experiment}_{model}_{norm}_{init}_{lr}_{seed}")
    return Run(directory, header, outcome, known)


# Rules and verdicts


@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (1.5, (1.4, 1.6), claims.REPRODUCED),
        (1.5, (1.4 - 1e-9, 1.6), claims.PARTLY),
        (1.5, (math.nan, math.nan), claims.PARTLY),  # one seed
        (1.2, (1.1, 1.3), claims.PARTLY),
        (1.0, (0.5, 1.6), claims.PARTLY),
        (1.0 - 1e-9, (0.5, 1.6), claims.NOT_REPRODUCED),
        (0.9, (math.nan, math.nan), claims.NOT_REPRODUCED),
        (math.inf, (1.4, math.inf), claims.REPRODUCED),
        (math.nan, (math.nan, math.nan), claims.NOT_MEASURABLE),
    ],
)
def test_the_verdict_at_the_boundaries_of_its_rule(
    value: float, interval: tuple[float, float], verdict: str
) -> None:
    rule = Rule(at_least(1.4), at_least(1))
    assert rule.verdict(value, *interval, "demo") == verdict


def test_a_rule_without_a_weaker_range_is_partly_where_the_interval_sticks_out() -> None:
    rule = Rule(at_most(2))
    assert rule.verdict(1.9, 1.8, 2.1, "demo") == claims.PARTLY
    assert rule.verdict(2.1, 1.8, 2.2, "demo") == claims.NOT_REPRODUCED


def test_a_range_has_two_ends() -> None:
    rule = Rule(Range(0.9, 1.1), Range(0.5, 2))
    assert rule.verdict(1.0, 0.9, 1.1, "demo") == claims.REPRODUCED
    assert rule.verdict(1.0, 0.9, 1.2, "demo") == claims.PARTLY
    assert rule.verdict(2.1, 0.9, 2.5, "demo") == claims.NOT_REPRODUCED


def test_a_claim_about_the_papers_size_is_judged_at_its_scale_only() -> None:
    rule = Rule(at_least(1), scales=("paper",))
    assert rule.verdict(2, 2, 2, "paper") == claims.REPRODUCED
    assert rule.verdict(2, 2, 2, "small") == claims.NOT_MEASURABLE
    assert "Judged at scale paper only." in str(rule)


def test_the_words_of_a_rule_are_its_numbers() -> None:
    assert str(claims.as_large(4)) == (
        "Reproduced: the whole interval is at least 2 (half of the paper's effect). "
        "Partly: the value is at least 1. With one seed at most partly."
    )
    assert "from 0.8 to 1.25" in str(Rule(Range(0.8, 1.25)))
    assert "at most 2" in str(claims.comparable_to(1))
    assert claims.as_large(4).paper_meets_it
    assert claims.comparable_to(1.5).paper_meets_it is False
    assert Rule(at_least(1)).paper_meets_it is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e-6, "1e-6"),
        (-0.5, "−0.5"),
        (2.0625, "2.06"),
        (1234.5, "1234"),
        (2.01e6, "2.01e6"),
        (0.0, "0"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, ""),
    ],
)
def test_numbers_in_words(value: float, words: str) -> None:
    assert claims.in_words(value) == words


def test_measured_numbers_keep_their_zeros() -> None:
    assert [claims.in_words(value, fixed=True) for value in (1, 0.5, 99.9)] == [
        "1.00",
        "0.500",
        "99.9",
    ]


def test_an_open_range_is_without_its_ends() -> None:
    assert 0 not in more_than(0) and 1e-9 in more_than(0) and math.inf in more_than(0)
    assert 0 not in less_than(0) and -1e-9 in less_than(0) and -math.inf in less_than(0)
    assert (str(more_than(0)), str(less_than(1))) == ("more than 0", "less than 1")
    rule = Rule(at_least(5), more_than(0))
    assert rule.verdict(0, -1, 1, "demo") == claims.NOT_REPRODUCED
    assert rule.verdict(0.1, -1, 1, "demo") == claims.PARTLY


# Intervals


def test_one_seed_has_a_value_and_no_interval() -> None:
    value, low, high = claims.summary([3.0])
    assert value == 3
    assert math.isnan(low) and math.isnan(high)
    assert all(math.isnan(number) for number in claims.summary([]))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_few_seeds_is_their_range(n: int) -> None:
    values = [float(i) for i in range(n)]
    assert claims.summary(values) == (np.median(values), 0, n - 1)


def test_the_interval_is_that_of_the_exact_bootstrap() -> None:
    # Of 13 values the median of a resample is at most the 3rd smallest with probability 1.6 %, at
    # most the 4th with 7.1 % (binomial): the 2.5th percentile is the 4th, by symmetry the other
    # end the 10th.
    values = [float(i) for i in np.random.default_rng(1).permutation(13)]
    assert claims.summary(values) == (6, 3, 9)
    assert claims.summary(values) == claims.summary(values)


def test_infinite_values_have_an_interval() -> None:
    assert claims.summary([1.0, 2.0, math.inf]) == (2, 1, math.inf)


def test_several_numbers_a_seed_are_drawn_together() -> None:
    # Over seeds each number varies, their difference does not.
    rows = [(float(i), i + 2.0) for i in range(4)]
    assert claims.summary(rows, lambda v, axis: np.diff(v.mean(axis=axis))[..., 0]) == (2, 2, 2)


# Judging


def final(standard: Run, batch: Run) -> float:
    """What the test claim measures."""
    return reductions.final_loss(standard) / reductions.final_loss(batch)


CLAIM = Claim(
    topic="Topic",
    name="claim",
    title="A claim",
    says="They say | so.",
    source="section 1",
    arms=(reductions.STANDARD, reductions.BATCH),
    quantity="final loss",
    measure=final,
    rule=claims.as_large(2),
)


def pair(
    directory: Path, losses: Mapping[str, Sequence[float]], **outcomes: str
) -> dict[str, list[Run]]:
    """Runs of both arms with these final losses, a seed each; by arm how they ended."""
    runs = [
        write(
            directory,
            series("train/loss", [loss]),
            norm,
            seed=seed,
            outcome=outcomes.get(f"{norm}{seed}", "finished"),
            steps=1,
        )
        for norm, own in losses.items()
        for seed, loss in enumerate(own)
    ]
    return {"vgg": runs}


def test_a_claim_is_judged_seed_by_seed(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [2, 9, 8], "batch": [1, 3, 2]}))
    assert result.by_seed == {0: 2, 1: 3, 2: 4}
    assert (result.value, result.low, result.high, result.n) == (3, 2, 4, 3)
    assert result.verdict == claims.REPRODUCED
    assert result.measured.replace("\u00a0", " ") == "3.00× [2.00, 4.00], n = 3"
    assert result.paper == "2×"
    assert result.scale == "demo"
    assert result.notes == ()


def test_one_seed_is_partly_at_most(tmp_path: Path) -> None:
    result = claims.judge(CLAIM, pair(tmp_path, {"none": [9], "batch": [1]}))
    assert result.verdict == claims.PARTLY
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
    assert result.notes == ("Runs that diverged: 1.",)
    assert result.verdict == claims.REPRODUCED


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
        "Make some: python scripts/train.py -m experiment=vgg scale=demo",
    )


def test_arms_that_share_no_seed_have_no_verdict(tmp_path: Path) -> None:
    losses = {"none": [2, 9], "batch": [1, 1]}
    runs = pair(tmp_path, losses, batch1="interrupted", none0="interrupted")
    result = claims.judge(CLAIM, runs)
    assert result.verdict == claims.NO_RUNS
    assert result.notes[0] == "No seed has a run of every arm."


def test_without_any_runs_every_claim_says_so() -> None:
    for result in claims.evaluate({}):
        assert result.verdict == claims.NO_RUNS
        assert "python scripts/train.py -m experiment=" in result.notes[-1]


def test_a_metric_that_was_not_recorded_is_named(tmp_path: Path) -> None:
    claim = replace(CLAIM, measure=lambda standard, batch: standard["moments/mean/layer2"][1][0])
    result = claims.judge(claim, pair(tmp_path, {"none": [2], "batch": [1]}))
    assert result.verdict == claims.NO_RUNS
    assert result.notes[0] == (
        "vgg_none_0.1_0 has no moments/mean/layer2: it was recorded without that probe."
    )


def test_a_seed_without_a_value_is_left_out_and_said_to_be(tmp_path: Path) -> None:
    runs = pair(tmp_path, {"none": [2, math.inf], "batch": [1, math.inf]})
    result = claims.judge(CLAIM, runs)
    assert list(result.by_seed) == [0]
    assert result.notes == ("No value for seed 1.",)
    none = claims.judge(replace(CLAIM, measure=lambda standard, batch: math.nan), runs)
    assert (none.verdict, none.n) == (claims.NOT_MEASURABLE, 0)


def test_one_more_claim_is_one_more_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", (*claims.CLAIMS, CLAIM))
    judged = claims.evaluate(pair(tmp_path, {"none": [2], "batch": [1]}))
    assert judged[-1].claim is CLAIM
    assert json.loads(claims.to_json(judged))[-1]["name"] == "claim"
    assert "| **A claim.** They say \\| so. (section 1) | 2× |" in claims.to_markdown(judged)


# Blocks: arms of several runs of a seed

GRID = Claim(
    topic="Topic",
    name="grid",
    title="A claim",
    says="They say so.",
    source="section 1",
    arms=(Arm("standard", "vgg", "none", None), Arm("BatchNorm", "vgg", "batch", None)),
    quantity="runs",
    measure=lambda standard, batch: float(len(batch) - len(standard)),
    rule=Rule(at_least(1), more_than(0)),
)


def test_a_block_is_measured_by_all_its_runs_of_a_seed() -> None:
    runs = [cell(norm, lr, s) for norm, lr, s in product(("none", "batch"), (0.1, 1), (0, 1))]
    runs += [cell("batch", 3, seed) for seed in (0, 1)]
    result = claims.judge(GRID, {"vgg": runs})
    assert result.by_seed == {0: 1, 1: 1}
    assert (result.verdict, result.notes) == (claims.REPRODUCED, ())


def test_a_seed_whose_block_lacks_runs_is_left_out_and_said_to_be() -> None:
    runs = [cell(norm, lr, s) for norm, lr, s in product(("none", "batch"), (0.1, 1), (0, 1, 2))]
    runs[1] = replace(runs[1], outcome="interrupted")
    runs[3] = replace(runs[3], outcome="diverged")
    result = claims.judge(GRID, {"vgg": runs})
    assert result.by_seed == {0: 0, 2: 0}
    assert result.notes == (
        "Runs that diverged: 1.",
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


# Topics


def test_the_papers_topics_come_first_and_have_a_module_each() -> None:
    found = claims.discover()
    assert list(found)[: len(claims.PAPER)] == list(claims.PAPER)
    assert not {"judging", "rules", "tables", "reductions"} & set(found)
    topics = {name: {claim.topic for claim in module.CLAIMS} for name, module in found.items()}
    assert all(own == {found[name].TOPIC} for name, own in topics.items())
    assert claims.ADDED == added.TOPIC
    assert set(claims.OTHERS) == {found[name].TOPIC for name in found if name not in claims.PAPER}


def test_a_new_topic_is_one_more_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zebra.py").write_text("CLAIMS = ()\n")
    monkeypatch.setattr(claims, "__path__", [*claims.__path__, str(tmp_path)])
    assert list(claims.discover())[-1] == "zebra"
    monkeypatch.delitem(sys.modules, "bnstudy.claims.zebra")


# Output


def test_the_json_is_strict_and_complete(tmp_path: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    losses = {"none": [2, 9], "batch": [1, 3]}
    judged = [
        claims.judge(CLAIM, pair(tmp_path, losses, none1="diverged")),
        claims.judge(CLAIM, {}),
    ]
    entry, absent = json.loads(claims.to_json(judged), parse_constant=refuse)
    assert entry["value"] == "Infinity"
    assert entry["interval"] == [2, "Infinity"]
    assert entry["by_seed"] == {"0": 2, "1": "Infinity"}
    assert (entry["n"], entry["verdict"], entry["paper"]) == (2, claims.REPRODUCED, 2)
    assert entry["arms"] == [{"norm": "none", "lr": 0.1}, {"norm": "batch", "lr": 0.1}]
    assert entry["rule"] == str(CLAIM.rule)
    assert (absent["value"], absent["interval"], absent["n"]) == (None, None, 0)


def test_the_markdown_has_a_row_for_every_claim() -> None:
    text = claims.to_markdown(claims.evaluate({}))
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert len(rows) == len(claims.CLAIMS)
    assert all(line.count(" | ") == 3 for line in rows)
    assert text.count("## ") == len({claim.topic for claim in claims.CLAIMS})


# All claims


def test_the_claims_are_well_formed() -> None:
    assert len(BY_NAME) == len(claims.CLAIMS)
    for claim in claims.CLAIMS:
        weaker = claim.rule.weaker or claim.rule.claimed
        assert claim.rule.claimed.low in weaker, claim.name
        assert claim.rule.claimed.high in weaker, claim.name
        assert not claim.title.endswith("."), claim.name
        assert claim.says.endswith((".", "”")), claim.name
        assert " " not in claim.name


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    """Two seeds of every arm of every claim, with every metric."""
    root = tmp_path_factory.mktemp("complete")
    arms = {arm for claim in claims.CLAIMS for arm in claim.arms}
    blocks = sorted({arm.experiment for arm in arms if arm.is_block or arm.options})
    blocks += ["covariate_shift", "spectra", "theory"]
    own = {(arm.experiment, arm.norm, arm.lr) for arm in arms if arm.experiment not in blocks}
    runs: dict[str, list[Run]] = {"vgg": [], "deep_linear": []}
    for experiment, norm, lr in sorted(own):
        network = made_up_network(experiment)
        for seed in (0, 1):
            lines = plausible(network, lr, 1.0 + 0.1 * len(norm) + seed)
            run = write(root, lines, norm, lr, seed, network, scale="paper", steps=1151)
            runs[network].append(run)
    # A claim finds its arms by norm and lr, whichever of its experiments they were run for.
    complete = {experiment: runs[made_up_network(experiment)] for experiment, _, _ in own}
    return complete | {name: block(name, arms) for name in blocks}


def block(experiment: str, arms: set[Arm]) -> list[Run]:
    """Two seeds of every run of an experiment's arms, with every metric."""
    found: dict[str, Run] = {}
    for arm in arms:
        if arm.experiment != experiment:
            continue
        options = dict(arm.options)
        model = options.pop("model", "mlp" if experiment == "scale_and_shift" else "vgg")
        inits = [options.pop("init", "kaiming")]
        of_model = {path.removeprefix("model."): value for path, value in options.items()}
        axes = (
            [arm.norm] if arm.norm else list(norms.OTHERS),
            [arm.lr] if arm.lr else [0.01, 0.1],
            [8, 20] if experiment.startswith("depth") else [8],
            ["kaiming", "xavier_uniform"] if "init" in experiment else inits,
            (0, 1),
        )
        for norm, lr, layers, init, seed in product(*axes):
            run = cell(
                norm,
                lr,
                seed,
                accuracy=0.2 if norm == "none" else 0.3 + 0.05 * len(norm) + 0.01 * seed,
                experiment=experiment,
                model=model,
                init=init,
                records=everything(lr, 1.0 + 0.1 * len(norm)),
                **{"placement": "before", "depth": layers} | of_model,
            )
            run.header["scale"] = "paper"  # at which every claim can be judged
            found[str((run.config, run.choices))] = run
    return list(found.values())


def everything(lr: float, scale: float) -> dict[str, list[Any]]:
    """Ten steps of everything that claims about grids need; `scale` makes it differ from others."""
    line: made_up.Line = {
        "landscape/step_size": [lr * multiple for multiple in (0.5, 1, 2, 4)],
        "landscape/loss": [scale, 2 * scale, 3 * scale, 4 * scale],
        "landscape/gradient_change": [scale, 2 * scale, 3 * scale, 4 * scale],
        "landscape/gradient_norm": 1.0,
        "covariate_shift/size": [0.0, 1.0],
    }
    for number in range(1, 5):
        line |= {
            f"gradients/norm/layer{number}": scale**number,
            f"activations/zeros/layer{number}": 0.5,
            f"activations/within/layer{number}": [0.3, 0.6],
            f"moments/mean/layer{number}": [0.0, 1.0],
            f"moments/next_mean/layer{number}": [0.1 * scale, 1.0],
            f"moments/variance/layer{number}": [1.0, 1.0],
            f"covariate_shift/running_accuracy/layer{number}": [0.5, 0.4],
            f"covariate_shift/batch_accuracy/layer{number}": [0.5, 0.48],
        }
    rng, layers = np.random.default_rng(0), [f"layer{number}" for number in range(1, 5)]
    line |= made_up.curvature("batch", lr / scale, layers, 1.0, rng) | made_up.spectrum("none", rng)
    line |= made_up.theory("batch", layers, 0.5, rng)
    records = {key: [value] * 10 for key, value in line.items()}
    moving = [[[0.0, 0.1 * step * scale, 1.0]] for step in range(10)]
    return records | {"activations/percentiles/layer3": moving}


def made_up_network(experiment: str) -> str:
    """The experiment that stands for all those with its network."""
    return "vgg" if experiment.startswith("vgg") else "deep_linear"


def plausible(network: str, lr: float, scale: float) -> list[made_up.Line]:
    """Lines of a run with all that claims need; `scale` makes it differ from others."""
    lines: list[made_up.Line] = []
    for step in range(0, 1200, 50):
        progress = min(1.0, step / 400 / scale)
        line: made_up.Line = {"step": step, "train/loss": 3.0 * scale - progress}
        line |= {"train/accuracy": 0.1 + 0.85 * progress, "test/accuracy": 0.1 + 0.8 * progress}
        changes = [scale * multiple for multiple in (1, 2, 3, 5 + progress)]
        line |= walks([changes])[0] | {
            "step": step,
            "landscape/step_size": [lr * multiple for multiple in (0.5, 1, 2, 4)],
        }
        for number in range(1, made_up.DEPTH[network] + 1):
            line |= {
                f"moments/mean/layer{number}": [0.0, 1.0],
                f"moments/next_mean/layer{number}": [0.1 * scale, 1.0],
                f"activations/mean/layer{number}": [progress * scale, 1.0],
                f"internal_covariate_shift/l2/layer{number}": scale,
                f"internal_covariate_shift/cosine/layer{number}": 0.5 / scale,
                f"internal_covariate_shift/share_below/layer{number}": 0.3,
            }
        layers = [f"layer{number}" for number in range(1, made_up.DEPTH[network] + 1)]
        line |= made_up.curvature("batch", lr, layers, progress, np.random.default_rng(0))
        lines.append(line)
    return lines


def test_every_claim_can_be_measured(complete: dict[str, list[Run]]) -> None:
    for result in claims.evaluate(complete):
        assert result.verdict in (claims.REPRODUCED, claims.PARTLY, claims.NOT_REPRODUCED), (
            result.claim.name,
            result.notes,
        )
        assert result.n == 2


# The paper's numbers, by the same reductions


def curve(panel: str, arm: str, key: str = "y") -> np.ndarray:
    """A curve of the paper."""
    return np.array(CURVES[panel][arm][key], dtype=float)


def until(panel: str, arm: str, level: float = 90) -> float:
    """The first step at which a curve of the paper is at a level."""
    return curve(panel, arm, "x")[np.argmax(curve(panel, arm) >= level)]


def early(panel: str, arm: str, key: str = "y") -> float:
    """The median of a curve of the paper over the first third."""
    steps = curve(panel, arm, "x")
    return float(np.median(curve(panel, arm, key)[3 * steps < steps[-1]]))


def last(panel: str, arm: str) -> float:
    """The last value of a curve of the paper."""
    return curve(panel, arm)[-1]


def width(arm: str) -> float:
    """The logarithmic width of the paper's loss range."""
    low, high = curve("fig4a_vgg_loss_band", arm, "lo"), curve("fig4a_vgg_loss_band", arm, "hi")
    return float(np.median(np.log(high / low)))


def highest(panel: str, *arms: str) -> float:
    """The decade of the largest upper edge of the paper's bands."""
    return math.log10(max(curve(panel, arm, "hi").max() for arm in arms))


def betas() -> tuple[np.ndarray, np.ndarray]:
    """The paper's effective beta of both arms where the standard curve has points."""
    panel, batch = "fig4c_vgg_beta", "batchnorm"
    steps = curve(panel, "standard", "x")
    return curve(panel, "standard"), np.interp(steps, curve(panel, batch, "x"), curve(panel, batch))


def middle(panel: str, *arms: str) -> float:
    """The largest median upper edge of the paper's bands."""
    return max(float(np.median(curve(panel, arm, "hi"))) for arm in arms)


def paper_numbers() -> dict[str, float]:
    """The paper's number of the claims that are about curves of its figures."""
    accuracy, change = "fig5a_vgg_lp_train_acc", "fig4b_vgg_gradpred_band"
    lp_change, linear_change = "fig12c_vgg_lp_gradpred_band", "fig13c_dln_lp_gradpred_band"
    slowest = max(until(accuracy, arm) for arm in ("l1", "l2", "linf"))
    standard, batch = "standard", "batchnorm"
    numbers = {
        "faster_training": until(accuracy, standard) / until(accuracy, batch),
        "test_accuracy": last("fig1b_test_acc", "batchnorm_lr0.1")
        - last("fig1b_test_acc", "standard_lr0.1"),
        "final_training_accuracy": curve("fig1a_train_acc", "batchnorm_lr0.1")[-50:].mean()
        - curve("fig1a_train_acc", "standard_lr0.1")[-50:].mean(),
        "high_lr_batch": last("fig1b_test_acc", "batchnorm_lr0.5") - 10,
        "high_lr_standard": last("fig1b_test_acc", "standard_lr0.5") - 10,
        "noisy_faster": until("fig2_train_acc", standard)
        / until("fig2_train_acc", "noisy_batchnorm"),
        "noisy_like_batch": until("fig2_train_acc", "noisy_batchnorm")
        / until("fig2_train_acc", batch),
        "loss_range": width(standard) / width(batch),
        "gradient_change": middle(change, standard) / middle(change, batch),
        "gradient_change_orders": early(change, standard, "hi") / early(change, batch, "hi"),
        "linear_loss_orders": highest("fig10a_dln_loss_band", standard)
        - highest("fig10a_dln_loss_band", batch),
        "linear_change_orders": highest("fig10b_dln_gradpred_band", standard)
        - highest("fig10b_dln_gradpred_band", batch),
        "lp_like_batch": slowest / until(accuracy, batch),
        "lp_faster": until(accuracy, standard) / slowest,
        "l1_linear": last("fig5b_dln_lp_loss", batch) / last("fig5b_dln_lp_loss", "l1"),
        "lp_linear_like_batch": last("fig5b_dln_lp_loss", "linf")
        / last("fig5b_dln_lp_loss", batch),
        "lp_smoother": middle(lp_change, standard) / middle(lp_change, "l1", "l2", "linf"),
        "lp_as_smooth": middle(lp_change, "l1", "l2", "linf") / middle(lp_change, batch),
        "lp_linear_orders": highest(linear_change, standard)
        - highest(linear_change, "l1", "l2", "linf"),
        "effective_beta": np.mean(np.greater(*betas())),
        "pinned_beta": min(
            np.mean(np.abs(curve("fig4c_vgg_beta", arm) / 20 - 1) <= 0.05)
            for arm in (standard, batch)
        ),
        "first_beta": curve("fig4c_vgg_beta", batch)[0] / curve("fig4c_vgg_beta", standard)[0],
        "first_shift": curve("fig3a_ics_l2_layer5_lr0.1", batch)[0]
        / curve("fig3a_ics_l2_layer5_lr0.1", standard)[0],
        "first_change": curve(change, batch, "hi")[0] / curve(change, standard, "hi")[0],
        "edge_1e-6": np.median(curve("fig10c_dln_beta", batch)) / 2e6,
        "linear_no_shift_1e-6": np.percentile(curve("fig3b_ics_cos_layer17_lr1e-6", standard), 5),
        "linear_no_shift_1e-7": np.percentile(curve("fig3b_ics_cos_layer17_lr1e-7", standard), 5),
        "linear_shift_1e-7": np.median(curve("fig3b_ics_cos_layer9_lr1e-7", batch)),
    }
    for lr in ("1e-6", "1e-7"):
        panel = f"fig3b_dln_loss_lr{lr}"
        numbers[f"linear_loss_{lr}"] = last(panel, standard) / last(panel, batch)
        shift = np.abs(curve(f"fig3b_ics_cos_layer9_lr{lr}", batch))
        numbers[f"linear_uncorrelated_{lr}"] = float(np.median(shift))
    for lr in ("0.1", "0.01"):
        panel = f"fig3a_ics_l2_layer5_lr{lr}"
        numbers[f"shift_l2_{lr}"] = early(panel, batch) / early(panel, standard)
        panels = [f"fig3a_ics_cos_layer{number}_lr{lr}" for number in (5, 10)]
        numbers[f"shift_cosine_{lr}"] = np.mean(
            [early(panel, batch) - early(panel, standard) for panel in panels]
        )
    return numbers


# Read off figure 8, of which there is no curve.
FROM_WORDS = {"marginal_stability", "noise_moves_more", "noise_third"}


def test_the_papers_numbers_are_those_of_its_curves() -> None:
    numbers = paper_numbers()
    told = {name for name, claim in BY_NAME.items() if claim.rule.paper is not None}
    assert told == set(numbers) | FROM_WORDS
    for name, number in numbers.items():
        assert BY_NAME[name].rule.paper == pytest.approx(number, rel=0.01, abs=0.02), name


# Measures


def accuracy(directory: Path, values: Sequence[float], seed: int = 0, **config: Any) -> Run:
    """A run with these training accuracies."""
    return write(directory, series("train/accuracy", values), seed=seed, **config)


def test_steps_to_a_level_are_counted_by_a_running_mean(tmp_path: Path) -> None:
    # A window of 7 steps: half of it is past the jump at step 100, all of it at step 103.
    run = accuracy(tmp_path, [0.0] * 100 + [1.0] * 800, steps=900)
    assert results.steps_to(run, 0.5) == 101
    assert results.steps_to(run, 0.9) == 104
    never = accuracy(tmp_path, [0.4] * 900, seed=1, steps=900)
    assert results.steps_to(never, 0.5) == math.inf
    short = accuracy(tmp_path, [0.0, 1.0], seed=2, steps=900)
    assert results.steps_to(short, 0.5) == 2


def test_arms_are_compared_at_the_highest_level_that_all_reach(tmp_path: Path) -> None:
    slow = accuracy(tmp_path, [0.1] * 10 + [0.6] * 10 + [0.8] * 40, steps=60)
    fast = accuracy(tmp_path, [0.1] * 4 + [0.95] * 56, seed=1, steps=60)
    faster = accuracy(tmp_path, [0.95] * 60, seed=2, steps=60)
    assert reductions.common_level(slow, fast) == 0.7
    assert reductions.level_in_words(slow, fast) == "Compared at 70 %."
    assert reductions.times_faster(slow, fast) == 21 / 5
    assert reductions.times_faster(slow, fast, faster) == 21 / 5
    assert reductions.times_slower(fast, slow) == 21 / 5
    assert reductions.times_slower(faster, fast, slow) == 21


def test_who_never_reaches_half_counts_with_the_whole_run(tmp_path: Path) -> None:
    never = accuracy(tmp_path, [0.1] * 60, steps=60)
    fast = accuracy(tmp_path, [0.1] * 4 + [0.95] * 56, seed=1, steps=60)
    assert reductions.times_faster(never, fast) == 60 / 5
    assert reductions.level_in_words(never, fast) == (
        "Compared at 50 %, which 1 of 2 runs never reached."
    )
    assert math.isnan(reductions.times_faster(never, never))


def test_accuracies_at_the_end(tmp_path: Path) -> None:
    lines = [
        {"step": step, "train/accuracy": 0.1 * step, "test/accuracy": 0.1 + 0.05 * step}
        for step in range(10)
    ]
    run = write(tmp_path, lines, steps=10)
    assert reductions.training_accuracy(run, share=0.1) == pytest.approx(90)
    assert reductions.training_accuracy(run, share=0.3) == pytest.approx(80)
    assert reductions.test_accuracy(run) == pytest.approx(55)
    assert training.test_gain(run) == pytest.approx(45)
    assert reductions.training_gain(run) == pytest.approx(80)
    diverged = write(tmp_path, lines, steps=10, seed=1, outcome="diverged")
    assert training.test_gain(diverged) == reductions.training_gain(diverged) == 0
    assert training.test_difference(diverged, run) == pytest.approx(45)
    assert training.training_difference(diverged, run) == pytest.approx(100 * 0.8 - 10)


def test_the_final_loss_is_a_median_over_the_last_hundredth(tmp_path: Path) -> None:
    values = [9.0] * 297 + [1.0, 5.0, 2.0]
    run = write(tmp_path, series("train/loss", values), steps=300)
    assert reductions.final_loss(run) == 2
    diverged = write(tmp_path, series("train/loss", values), seed=1, steps=300, outcome="diverged")
    assert reductions.final_loss(diverged) == math.inf
    assert reductions.loss_ratio(diverged, run) == math.inf
    assert math.isnan(reductions.loss_ratio(diverged, diverged))
    assert lp.worst_loss_ratio(run, run, diverged) == math.inf


def test_the_change_of_the_mean_is_averaged_over_layers_units_and_steps(tmp_path: Path) -> None:
    def moments(change: float) -> list[made_up.Line]:
        line: made_up.Line = {}
        for number, factor in ((2, 1), (3, 100), (9, 2), (13, 3)):
            line[f"moments/mean/layer{number}"] = [1.0, -1.0]
            line[f"moments/next_mean/layer{number}"] = [1 + factor * change, -1 - factor * change]
        return [{"step": step} | line for step in range(2)]

    run = write(tmp_path, moments(0.1))
    assert noise.mean_change(run) == pytest.approx(0.2)
    still = write(tmp_path, moments(0.05), "batch")
    assert noise.mean_change_ratio(run, still, run) == pytest.approx(1)
    assert noise.mean_change_ratio(run, still) == pytest.approx(2)


def shifts(l2: Sequence[float], cosine: Sequence[float], layers: Sequence[int]) -> list[dict]:
    """Lines with the same shift in some layers."""
    return [
        {"step": step}
        | {f"internal_covariate_shift/l2/layer{number}": a for number in layers}
        | {f"internal_covariate_shift/cosine/layer{number}": b for number in layers}
        for step, (a, b) in enumerate(zip(l2, cosine, strict=True))
    ]


def test_shift_is_compared_over_the_first_third(tmp_path: Path) -> None:
    standard = write(tmp_path, shifts([1, 1, 9, 9, 9, 9], [0.9] * 6, (5, 10)), steps=6)
    batch = write(tmp_path, shifts([3, 5, 0, 0, 0, 0], [0.5] * 6, (5, 10)), "batch", steps=6)
    assert shift.shift_ratio(standard, batch) == pytest.approx(4)
    assert shift.shift_cosine_difference(standard, batch) == pytest.approx(-0.4)
    assert added.first_shift_ratio(standard, batch) == 3


def test_the_ratio_of_shifts_is_a_geometric_mean_over_layers(tmp_path: Path) -> None:
    standard = write(tmp_path, shifts([1], [1], (5, 10)), steps=6)
    lines = [shifts([16], [1], (5,))[0] | shifts([1], [1], (10,))[0]]
    assert shift.shift_ratio(standard, write(tmp_path, lines, "batch", steps=6)) == 4


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
    assert shift.lowest_cosine(mostly) == 0
    assert shift.lowest_cosine(of(1, [1.0] * 9, seventeenth=-0.3)) == -0.3
    opposite = of(2, [0.2, 0.3, 0.4], seventeenth=-0.9)
    assert shift.higher_cosine(opposite) == 0.3
    assert shift.correlation(opposite) == 0.9


def test_the_loss_range_is_a_ratio_on_a_log_axis(tmp_path: Path) -> None:
    wide = write(tmp_path, walks([[1, 2, 4, 16], [1, 1, 1, 8], [1, 1, 1, 4]]))
    narrow = write(tmp_path, walks([[3, 3, 3, 6]]), "batch")
    narrower = write(tmp_path, walks([[3, 3, 3, 3 * math.sqrt(2)]]), "l1")
    assert reductions.log_width(wide) == pytest.approx(math.log(8))
    assert landscape.loss_range_ratio(wide, narrow) == pytest.approx(3)
    assert landscape.loss_range_ratio(wide, narrower, narrow) == pytest.approx(3)
    assert landscape.random_loss_range_ratio(wide, narrow) == pytest.approx(3)
    broken = write(tmp_path, walks([[1, 2, 4, math.inf]]), seed=1)
    assert landscape.loss_range_ratio(broken, narrow) == math.inf


def test_gradient_changes_are_compared_by_their_upper_edges(tmp_path: Path) -> None:
    changes = [[1, 2, 3, 8], [1, 2, 3, 6], [1, 2, 3, 1000]]
    standard = write(tmp_path, walks(changes), steps=6)
    batch = write(tmp_path, walks([[1, 2, 2, 2], [1, 2, 2, 2], [1, 2, 2, 4]]), "batch", steps=6)
    l1 = write(tmp_path, walks([[1, 1, 1, 1]]), "l1", steps=6)
    assert reductions.change_ratio(standard, batch) == 4
    assert reductions.change_ratio(standard, l1, batch) == 4
    assert lp.worst_change_ratio(l1, batch, l1) == 2
    assert landscape.early_change_ratio(standard, batch) == 3.5
    assert reductions.orders(standard, batch, l1) == pytest.approx(math.log10(1000 / 4))
    assert landscape.loss_orders(standard, l1) == pytest.approx(3)
    assert added.first_change_ratio(standard, batch) == 0.25
    late = write(tmp_path, walks(changes)[1:], seed=1)
    assert math.isnan(added.first_change_ratio(late, batch))


def test_effective_beta_is_compared_step_by_step(tmp_path: Path) -> None:
    # beta = largest change / (eta ||g||) over the step sizes.
    standard = write(tmp_path, walks([[1, 2, 4, 8], [1, 1, 1, 1], [2, 2, 2, 2]]))
    batch = write(tmp_path, walks([[2, 2, 2, 2], [0.5, 1, 1, 1], [1, 1, 1, 1]]), "batch")
    assert landscape.larger_beta_share(standard, batch) == pytest.approx(2 / 3)
    assert added.first_beta_ratio(standard, batch) == pytest.approx(2)
    # 1 / eta_min = 20 is reached where the first change is ||g|| = 1 and the others are no larger.
    assert added.pinned_share(standard) == pytest.approx(2 / 3)
    assert added.pinned_share(standard, batch) == pytest.approx(1 / 3)


def test_the_edge_of_stability_is_measured_late(tmp_path: Path) -> None:
    def of(norm: str, beta: float) -> Run:
        lines = walks([[9, 9, 9, 9], *[[eta * beta for eta in ETAS]] * 3])
        for line, step in zip(lines, (0, 1000, 1100, 1200), strict=True):
            line["step"] = step
        return write(tmp_path, lines, norm, lr=1e-6, experiment="deep_linear")

    assert added.edge_of_stability(of("batch", 2e6)) == pytest.approx(1)
    assert added.late_beta_ratio(of("none", 2e4), of("batch", 2e6)) == pytest.approx(100)
    early = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1)
    assert math.isnan(added.edge_of_stability(early))


def test_the_sign_of_the_cosine_follows_the_share_below(tmp_path: Path) -> None:
    cosines, shares = [0.9, -0.9, 0.9, -0.9], [0.2, 0.7, 0.7, 0.8]
    lines = [
        {"step": 1000 + step}
        | {f"internal_covariate_shift/cosine/layer{number}": a for number in (9, 17)}
        | {f"internal_covariate_shift/share_below/layer{number}": b for number in (9, 17)}
        for step, (a, b) in enumerate(zip(cosines, shares, strict=True))
    ]
    assert added.sign_share(write(tmp_path, lines, experiment="deep_linear")) == 0.75
    early = [line | {"step": line["step"] - 1000} for line in lines]
    assert math.isnan(added.sign_share(write(tmp_path, early, experiment="deep_linear")))


def test_the_spread_over_seeds_is_relative_to_the_difference_of_arms() -> None:
    # Standard deviations 1 and 3, root mean square sqrt(5); means 1 and 5.
    logs = np.array([[0.0, 2.0], [1.0, 5.0], [2.0, 8.0]])
    assert added.spread(logs, axis=0) == pytest.approx(math.sqrt(5) / 4)
    assert added.spread(logs[None], axis=1) == pytest.approx([math.sqrt(5) / 4])
    assert math.isnan(added.spread(logs[:1], axis=0))


def test_means_wander_from_where_they_began(tmp_path: Path) -> None:
    key = "activations/mean/layer11"
    far = write(tmp_path, series(key, [[1, 1], [2, 4], [3, 1]]))
    near = write(tmp_path, series(key, [[1, 1], [1.5, 1]]), "l1")
    assert lp.wandering(far) == pytest.approx((1 + 3 + 2 + 0) / 4)
    assert lp.wander_more(near, far, near, far) == 2


def test_layers_stand_for_those_at_the_same_depth(tmp_path: Path) -> None:
    lines: list[made_up.Line] = [{"step": 0} | {f"x/layer{i}": 1.0 for i in (1, 4, 6, 8, 9)}]
    run = write(tmp_path, lines)
    assert reductions.layer(run, 6, 13, "x") == "x/layer6"
    shallow = replace(run, header=run.header | {"layers": [f"layer{i}" for i in range(1, 10)]})
    assert reductions.layer(shallow, 13, 13, "x") == "x/layer8"  # the ninth is the linear one
    assert reductions.layer(shallow, 6, 13, "x") == "x/layer4"
    with pytest.raises(KeyError, match="vgg_none_0.1_0 has no y"):
        reductions.layer(run, 6, 13, "y")


def test_arms_are_told_apart_by_norm_and_learning_rate(tmp_path: Path) -> None:
    run = write(tmp_path, [{"step": 0}], "batch", lr=1e-6)
    assert judging.is_of(run, Arm("BatchNorm", "x", "batch", 0.000001))
    assert not judging.is_of(run, Arm("BatchNorm", "x", "batch", 1e-7))
    assert not judging.is_of(run, Arm("standard", "x", "none", 1e-6))


# Measures over grids


def test_options_of_runs_are_matched_over_blocks() -> None:
    ours = [cell(lr=lr) for lr in (0.01, 0.1, 1)]
    theirs = [cell("batch", lr) for lr in (1, 0.1)]
    matched = reductions.matched(ours, theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in matched] == [[0.1, 1], [0.1, 1]]
    matched = reductions.matched(ours, theirs[:1], theirs, by=("optimizer.lr",))
    assert [[run.lr for run in runs] for runs in matched] == [[1], [1], [1]]
    assert reductions.best(ours, lambda run: run.lr) == 1
    assert math.isnan(reductions.best([], lambda run: run.lr))


def test_the_relative_change_is_that_over_the_step_taken() -> None:
    landscape = {
        "landscape/step_size": [[0.05, 0.1, 0.2]] * 3,
        "landscape/gradient_change": [[9, 1, 9], [9, 6, 9], [9, math.nan, 9]],
        "landscape/gradient_norm": [2.0, 3.0, 1.0],
    }
    assert reductions.relative_change(cell(records=landscape)) == 2
    assert math.isnan(reductions.relative_change(cell(lr=0.3, records=landscape)))


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
    assert learning_rates.share_difference(standard, batch) == pytest.approx(100 / 6)
    assert learning_rates.largest_lr_ratio(standard, batch) == pytest.approx(math.sqrt(10))
    # The best mean is at lr 0.01 without a norm, 50 and 30, and at 0.1 with it, 70 and 70.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)
    deviation = np.std([50, 10, 10, 30, 60, 10]) - np.std([50, 70, 10, 40, 70, 10])
    assert learning_rates.deviation_difference(standard, batch) == pytest.approx(deviation)
    assert learning_rates.best_difference(standard, batch) == pytest.approx(10)


def test_a_cell_that_one_arm_lacks_is_compared_in_neither() -> None:
    standard = grid("none", {"a": [0.5, 0.9, 0.1], "b": [0.3]})
    batch = grid("batch", {"a": [0.5, 0.7, 0.6], "b": [0.5, 0.9, 0.9]})
    assert learning_rates.best_difference(standard, batch) == pytest.approx(-20)
    assert learning_rates.share_difference(standard, batch) == pytest.approx(25)
    # Both inits are there at lr 0.01 only.
    assert learning_rates.init_spread_difference(standard, batch) == pytest.approx(20)


def test_an_init_that_never_trains_counts_with_the_smallest_learning_rate() -> None:
    never = grid("none", {"a": [None, 0.1, 0.14]})
    batch = grid("batch", {"a": [0.1, 0.2, 0.15]})
    assert learning_rates.largest_lr_ratio(never, batch) == pytest.approx(100)
    assert learning_rates.largest_lr_ratio(batch, never) == pytest.approx(0.01)
    assert math.isnan(learning_rates.largest_lr_ratio(never, never))
    assert math.isnan(learning_rates.init_spread_difference(never, batch))
    apart = grid("batch", {"b": [0.1]})
    assert math.isnan(learning_rates.share_difference(never, apart))
    assert math.isnan(learning_rates.deviation_difference(never, apart))
    assert math.isnan(learning_rates.best_difference(never, apart))


def test_depths_are_compared_at_the_better_learning_rate() -> None:
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
    assert depth.deepest_difference(standard, diverged) == pytest.approx(12 - 30)


def test_speed_is_a_geometric_mean_over_depths() -> None:
    def of(norm: str, layers: int, lr: float, step: int, to: float = 0.95) -> Run:
        rising = {"train/accuracy": [0.1] * step + [to] * (10 - step)}
        return cell(norm, lr, depth=layers, records=rising)

    standard = [of("none", 8, 0.01, 9), of("none", 8, 0.1, 7), of("none", 20, 0.1, 5, to=0.4)]
    batch = [of("batch", 8, 0.01, 1), of("batch", 8, 0.1, 3), of("batch", 20, 0.1, 2)]
    # 8 steps to 90 % and 2; 6 steps to 35 % and 3.
    assert depth.times_faster_at_all_depths(standard, batch) == pytest.approx(math.sqrt(4 * 2))
    never = [of("none", 8, 0.1, 10), of("none", 20, 0.1, 10)]
    # All 10 steps, to 20 %.
    expected = math.sqrt(10 / 2 * 10 / 3)
    assert depth.times_faster_at_all_depths(never, batch) == pytest.approx(expected)
    assert math.isnan(depth.times_faster_at_all_depths(never, never))


def test_the_gradient_of_the_deepest_network_is_that_of_the_first_step() -> None:
    def of(layers: int, first: float, step: int = 0) -> Run:
        norm = {"gradients/norm/layer1": [first, 1.0], "gradients/norm/layer3": [2.0, 1.0]}
        return cell(records=norm | {"gradients/norm/layer4": [7.0]}, depth=layers)

    assert depth.first_to_last_gradient([of(8, 4.0), of(20, 30.0)]) == 15
    later = of(56, 4.0)
    later.records["gradients/norm/layer1"] = ([1], [4.0])
    assert math.isnan(depth.first_to_last_gradient([later]))


def test_placements_are_compared_over_the_learning_rates_that_all_have() -> None:
    standard = grid("none", {"a": [0.5, None, 0.1]})
    before = grid("batch", {"a": [0.6, 0.7, 0.1]})
    after = grid("batch", {"a": [0.55, 0.4, 0.3]})
    assert placement.accuracy_difference(before, after) == pytest.approx(15)
    assert placement.worse_difference(standard, before, after) == pytest.approx(5)
    assert placement.lr_difference(before, after) == -1
    assert placement.fewer_difference(standard, before, after) == 1
    assert placement.accuracy_difference(before, after[2:]) == pytest.approx(-20)
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
    assert scale_and_shift.linear_range(run) == pytest.approx(0.6)
    others = of("none", 0.1, 0.3), of("batch", 0.2, 0.3)
    assert scale_and_shift.more_linear(run, *others) == pytest.approx(0.35)
    with pytest.raises(KeyError, match="has no activations/zeros"):
        scale_and_shift.zeros(cell())
    early = {"activations/zeros/layer1": [0.5]}
    assert math.isnan(scale_and_shift.zeros(cell(records=early, outcome="diverged")))
    gained = scale_and_shift.restored(cell(accuracy=0.5), cell(accuracy=0.6))
    assert gained == pytest.approx(10)


def test_the_drift_of_a_median_is_in_units_of_its_spread() -> None:
    key = "activations/percentiles/layer3"
    # Widths 2 and 4 on average; moved by 3 and 2; a constant unit does not count.
    first = [[-1, 0, 1], [-2, 1, 2], [0, 0, 0]]
    second = [[2, 3, 4], [-1, 3, 3], [0, 0, 0]]
    standard = cell(records={key: [first, second, first]})
    assert scale_and_shift.median_drift(standard) == pytest.approx((3 / 2 + 2 / 4) / 2)
    batch = cell("batch", records={key: [[[0, 0, 1]], [[0, 0.25, 1]]]})
    assert scale_and_shift.drift_ratio(standard, batch) == pytest.approx(4)


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
    standard = shifted([0.6, 0.1, 0.1], [0.6, 0.1, 0.1])
    assert covariate_shift.lost_less(standard, batch) == pytest.approx(10)
    unhurt = shifted([0.8, 0.795, 0.1], [0.8, 0.8, 0.6])
    assert math.isnan(covariate_shift.recovered(unhurt))


def test_who_does_not_train_has_no_accuracy_to_lose() -> None:
    stuck = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], accuracy=0.1)
    assert math.isnan(covariate_shift.lost_to_data(stuck))
    diverged = shifted([0.8, 0.4, 0.1], [0.8, 0.7, 0.6], outcome="diverged")
    assert math.isnan(covariate_shift.lost_inside(diverged))
    assert math.isnan(covariate_shift.accuracy_at(stuck, "running", "layer1", 0.5))
    with pytest.raises(KeyError, match="of a layer inside"):
        covariate_shift.middle_layer(cell())


def test_drift_is_in_standard_deviations_and_of_the_median_layer() -> None:
    def of(norm: str, *changes: float) -> Run:
        records: dict[str, list[Any]] = {}
        for number, change in enumerate(changes, start=1):
            records[f"moments/mean/layer{number}"] = [[1.0, 0.0]] * 3
            records[f"moments/next_mean/layer{number}"] = [[1.0 + change, -change]] * 3
            records[f"moments/variance/layer{number}"] = [[4.0, 4.0]] * 3
        return cell(norm, records=records)

    standard = of("none", 1, 3, 8, 99)  # the last layer does not count
    assert covariate_shift.drift(standard) == pytest.approx(1.5)
    assert covariate_shift.drift_ratio(standard, of("batch", 1, 1, 1)) == pytest.approx(3)


def test_the_share_of_the_gain_that_another_norm_has() -> None:
    none, batch = cell(accuracy=0.2), cell("batch", accuracy=0.6)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.5)) == pytest.approx(0.75)
    assert norms.share_of_gain(none, batch, cell("l1", accuracy=0.7)) == pytest.approx(1.25)
    assert math.isnan(norms.share_of_gain(none, cell("batch", accuracy=0.205), none))
    diverged = cell("l1", accuracy=0.5, outcome="diverged")
    assert norms.share_of_gain(none, batch, diverged) == pytest.approx(-0.2)


def changing(norm: str, change: float, accuracy: float = 0.5) -> Run:
    """A run whose gradient changes by this, relative to itself, over the step taken."""
    landscape = {
        "landscape/step_size": [[0.05, 0.1]] * 3,
        "landscape/gradient_change": [[0.0, 2 * change]] * 3,
        "landscape/gradient_norm": [2.0] * 3,
    }
    return cell(norm, accuracy=accuracy, records=landscape)


def test_the_smoother_the_more_accurate() -> None:
    runs = [changing(norm, 5 - i, 0.5 + i / 10) for i, norm in enumerate(("a", "b", "c", "d"))]
    assert norms.smooth_and_accurate(runs) == pytest.approx(-1)
    assert math.isnan(norms.smooth_and_accurate(runs[:3]))
    unmeasured = changing("d", 2)
    unmeasured.records["landscape/step_size"] = ([0], [[0.05, 0.2]])
    assert math.isnan(norms.smooth_and_accurate([*runs[:3], unmeasured]))
    # An infinite change ranks last.
    assert norms.smooth_and_accurate([*runs[1:], changing("a", math.inf, 0.1)]) == -1


def test_gradients_are_more_predictable_with_a_norm() -> None:
    standard = changing("none", 3)
    assert smooth_landscape.relative_change_ratio(standard, changing("batch", 2)) == 1.5
    runs = [standard, changing("batch", 2), changing("l1", 2), changing("l2", 4)]
    assert smooth_landscape.share_more_predictable(standard, runs) == pytest.approx(2 / 3)
    broken = changing("linf", math.nan)  # as good as infinite
    assert smooth_landscape.share_more_predictable(standard, [*runs, broken]) == 0.5
    assert math.isnan(smooth_landscape.share_more_predictable(standard, [standard]))


def test_a_flat_region_is_at_chance_and_level() -> None:
    def of(norm: str, highs: Sequence[float], accuracies: Sequence[float]) -> Run:
        records = {
            "landscape/loss": [[2.0, high] for high in highs],
            "train/accuracy": list(accuracies),
        }
        return cell(norm, records=records)

    at_chance = [0.1, 0.14, 0.06, 0.2]
    flat = of("none", [2.01, 2.01, 2.03, 2.01], at_chance)
    assert smooth_landscape.flat_share(flat) == 0.5  # the third is not level, the fourth learned
    broken = of("none", [2.01, math.inf, math.nan, 2.01], [0.1] * 4)
    assert smooth_landscape.flat_share(broken) == 0.5
    steep = of("batch", [2.1, 2.1, 2.1, 2.01], [*at_chance[:3], 0.1])
    assert smooth_landscape.flat_difference(flat, steep) == pytest.approx(0.25)
