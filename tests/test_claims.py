"""The verdicts: rules at their boundaries, intervals, and every measure on records made by hand."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest

from bnstudy import claims, figures, results
from bnstudy.claims import Arm, Claim, Range, Rule, at_least, at_most
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
    return claims.final_loss(standard) / claims.final_loss(batch)


CLAIM = Claim(
    topic="Topic",
    name="claim",
    title="A claim",
    says="They say | so.",
    source="section 1",
    arms=(claims.STANDARD, claims.BATCH),
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
    arms = {(arm.experiment, arm.norm, arm.lr) for claim in claims.CLAIMS for arm in claim.arms}
    runs: dict[str, list[Run]] = {"vgg": [], "deep_linear": []}
    for experiment, norm, lr in sorted(arms):
        network = made_up_network(experiment)
        for seed in (0, 1):
            lines = plausible(network, lr, 1.0 + 0.1 * len(norm) + seed)
            run = write(root, lines, norm, lr, seed, network, scale="paper", steps=1151)
            runs[network].append(run)
    # A claim finds its arms by norm and lr, whichever of its experiments they were run for.
    return {name: runs[made_up_network(name)] for name in claims.EXPERIMENTS}


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
        line |= walks([changes])[0] | {"step": step, "landscape/step_size": [lr / 2] * 4}
        for number in range(1, made_up.DEPTH[network] + 1):
            line |= {
                f"moments/mean/layer{number}": [0.0, 1.0],
                f"moments/next_mean/layer{number}": [0.1 * scale, 1.0],
                f"activations/mean/layer{number}": [progress * scale, 1.0],
                f"internal_covariate_shift/l2/layer{number}": scale,
                f"internal_covariate_shift/cosine/layer{number}": 0.5 / scale,
                f"internal_covariate_shift/share_below/layer{number}": 0.3,
            }
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
    assert claims.steps_to(run, 0.5) == 101
    assert claims.steps_to(run, 0.9) == 104
    never = accuracy(tmp_path, [0.4] * 900, seed=1, steps=900)
    assert claims.steps_to(never, 0.5) == math.inf
    short = accuracy(tmp_path, [0.0, 1.0], seed=2, steps=900)
    assert claims.steps_to(short, 0.5) == 2


def test_arms_are_compared_at_the_highest_level_that_all_reach(tmp_path: Path) -> None:
    slow = accuracy(tmp_path, [0.1] * 10 + [0.6] * 10 + [0.8] * 40, steps=60)
    fast = accuracy(tmp_path, [0.1] * 4 + [0.95] * 56, seed=1, steps=60)
    faster = accuracy(tmp_path, [0.95] * 60, seed=2, steps=60)
    assert claims.common_level(slow, fast) == 0.7
    assert claims.level_in_words(slow, fast) == "Compared at 70 %."
    assert claims.times_faster(slow, fast) == 21 / 5
    assert claims.times_faster(slow, fast, faster) == 21 / 5
    assert claims.times_slower(fast, slow) == 21 / 5
    assert claims.times_slower(faster, fast, slow) == 21


def test_who_never_reaches_half_counts_with_the_whole_run(tmp_path: Path) -> None:
    never = accuracy(tmp_path, [0.1] * 60, steps=60)
    fast = accuracy(tmp_path, [0.1] * 4 + [0.95] * 56, seed=1, steps=60)
    assert claims.times_faster(never, fast) == 60 / 5
    assert claims.level_in_words(never, fast) == (
        "Compared at 50 %, which 1 of 2 runs never reached."
    )
    assert math.isnan(claims.times_faster(never, never))


def test_accuracies_at_the_end(tmp_path: Path) -> None:
    lines = [
        {"step": step, "train/accuracy": 0.1 * step, "test/accuracy": 0.1 + 0.05 * step}
        for step in range(10)
    ]
    run = write(tmp_path, lines, steps=10)
    assert claims.training_accuracy(run, share=0.1) == pytest.approx(90)
    assert claims.training_accuracy(run, share=0.3) == pytest.approx(80)
    assert claims.test_accuracy(run) == pytest.approx(55)
    assert claims.test_gain(run) == pytest.approx(45)
    assert claims.training_gain(run) == pytest.approx(80)
    diverged = write(tmp_path, lines, steps=10, seed=1, outcome="diverged")
    assert claims.test_gain(diverged) == claims.training_gain(diverged) == 0
    assert claims.test_difference(diverged, run) == pytest.approx(45)
    assert claims.training_difference(diverged, run) == pytest.approx(100 * 0.8 - 10)


def test_the_final_loss_is_a_median_over_the_last_hundredth(tmp_path: Path) -> None:
    values = [9.0] * 297 + [1.0, 5.0, 2.0]
    run = write(tmp_path, series("train/loss", values), steps=300)
    assert claims.final_loss(run) == 2
    diverged = write(tmp_path, series("train/loss", values), seed=1, steps=300, outcome="diverged")
    assert claims.final_loss(diverged) == math.inf
    assert claims.loss_ratio(diverged, run) == math.inf
    assert math.isnan(claims.loss_ratio(diverged, diverged))
    assert claims.worst_loss_ratio(run, run, diverged) == math.inf


def test_the_change_of_the_mean_is_averaged_over_layers_units_and_steps(tmp_path: Path) -> None:
    def moments(change: float) -> list[made_up.Line]:
        line: made_up.Line = {}
        for number, factor in ((2, 1), (3, 100), (9, 2), (13, 3)):
            line[f"moments/mean/layer{number}"] = [1.0, -1.0]
            line[f"moments/next_mean/layer{number}"] = [1 + factor * change, -1 - factor * change]
        return [{"step": step} | line for step in range(2)]

    run = write(tmp_path, moments(0.1))
    assert claims.mean_change(run) == pytest.approx(0.2)
    still = write(tmp_path, moments(0.05), "batch")
    assert claims.mean_change_ratio(run, still, run) == pytest.approx(1)
    assert claims.mean_change_ratio(run, still) == pytest.approx(2)


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
    assert claims.shift_ratio(standard, batch) == pytest.approx(4)
    assert claims.shift_cosine_difference(standard, batch) == pytest.approx(-0.4)
    assert claims.first_shift_ratio(standard, batch) == 3


def test_the_ratio_of_shifts_is_a_geometric_mean_over_layers(tmp_path: Path) -> None:
    standard = write(tmp_path, shifts([1], [1], (5, 10)), steps=6)
    lines = [shifts([16], [1], (5,))[0] | shifts([1], [1], (10,))[0]]
    assert claims.shift_ratio(standard, write(tmp_path, lines, "batch", steps=6)) == 4


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
    assert claims.lowest_cosine(mostly) == 0
    assert claims.lowest_cosine(of(1, [1.0] * 9, seventeenth=-0.3)) == -0.3
    opposite = of(2, [0.2, 0.3, 0.4], seventeenth=-0.9)
    assert claims.higher_cosine(opposite) == 0.3
    assert claims.correlation(opposite) == 0.9


def test_the_loss_range_is_a_ratio_on_a_log_axis(tmp_path: Path) -> None:
    wide = write(tmp_path, walks([[1, 2, 4, 16], [1, 1, 1, 8], [1, 1, 1, 4]]))
    narrow = write(tmp_path, walks([[3, 3, 3, 6]]), "batch")
    narrower = write(tmp_path, walks([[3, 3, 3, 3 * math.sqrt(2)]]), "l1")
    assert claims.log_width(wide) == pytest.approx(math.log(8))
    assert claims.loss_range_ratio(wide, narrow) == pytest.approx(3)
    assert claims.loss_range_ratio(wide, narrower, narrow) == pytest.approx(3)
    assert claims.random_loss_range_ratio(wide, narrow) == pytest.approx(3)
    broken = write(tmp_path, walks([[1, 2, 4, math.inf]]), seed=1)
    assert claims.loss_range_ratio(broken, narrow) == math.inf


def test_gradient_changes_are_compared_by_their_upper_edges(tmp_path: Path) -> None:
    changes = [[1, 2, 3, 8], [1, 2, 3, 6], [1, 2, 3, 1000]]
    standard = write(tmp_path, walks(changes), steps=6)
    batch = write(tmp_path, walks([[1, 2, 2, 2], [1, 2, 2, 2], [1, 2, 2, 4]]), "batch", steps=6)
    l1 = write(tmp_path, walks([[1, 1, 1, 1]]), "l1", steps=6)
    assert claims.change_ratio(standard, batch) == 4
    assert claims.change_ratio(standard, l1, batch) == 4
    assert claims.worst_change_ratio(l1, batch, l1) == 2
    assert claims.early_change_ratio(standard, batch) == 3.5
    assert claims.orders(standard, batch, l1) == pytest.approx(math.log10(1000 / 4))
    assert claims.loss_orders(standard, l1) == pytest.approx(3)
    assert claims.first_change_ratio(standard, batch) == 0.25
    late = write(tmp_path, walks(changes)[1:], seed=1)
    assert math.isnan(claims.first_change_ratio(late, batch))


def test_effective_beta_is_compared_step_by_step(tmp_path: Path) -> None:
    # beta = largest change / (eta ||g||) over the step sizes.
    standard = write(tmp_path, walks([[1, 2, 4, 8], [1, 1, 1, 1], [2, 2, 2, 2]]))
    batch = write(tmp_path, walks([[2, 2, 2, 2], [0.5, 1, 1, 1], [1, 1, 1, 1]]), "batch")
    assert claims.larger_beta_share(standard, batch) == pytest.approx(2 / 3)
    assert claims.first_beta_ratio(standard, batch) == pytest.approx(2)
    # 1 / eta_min = 20 is reached where the first change is ||g|| = 1 and the others are no larger.
    assert claims.pinned_share(standard) == pytest.approx(2 / 3)
    assert claims.pinned_share(standard, batch) == pytest.approx(1 / 3)


def test_the_edge_of_stability_is_measured_late(tmp_path: Path) -> None:
    def of(norm: str, beta: float) -> Run:
        lines = walks([[9, 9, 9, 9], *[[eta * beta for eta in ETAS]] * 3])
        for line, step in zip(lines, (0, 1000, 1100, 1200), strict=True):
            line["step"] = step
        return write(tmp_path, lines, norm, lr=1e-6, experiment="deep_linear")

    assert claims.edge_of_stability(of("batch", 2e6)) == pytest.approx(1)
    assert claims.late_beta_ratio(of("none", 2e4), of("batch", 2e6)) == pytest.approx(100)
    early = write(tmp_path, walks([[1, 1, 1, 1]]), seed=1)
    assert math.isnan(claims.edge_of_stability(early))


def test_the_sign_of_the_cosine_follows_the_share_below(tmp_path: Path) -> None:
    cosines, shares = [0.9, -0.9, 0.9, -0.9], [0.2, 0.7, 0.7, 0.8]
    lines = [
        {"step": 1000 + step}
        | {f"internal_covariate_shift/cosine/layer{number}": a for number in (9, 17)}
        | {f"internal_covariate_shift/share_below/layer{number}": b for number in (9, 17)}
        for step, (a, b) in enumerate(zip(cosines, shares, strict=True))
    ]
    assert claims.sign_share(write(tmp_path, lines, experiment="deep_linear")) == 0.75
    early = [line | {"step": line["step"] - 1000} for line in lines]
    assert math.isnan(claims.sign_share(write(tmp_path, early, experiment="deep_linear")))


def test_the_spread_over_seeds_is_relative_to_the_difference_of_arms() -> None:
    # Standard deviations 1 and 3, root mean square sqrt(5); means 1 and 5.
    logs = np.array([[0.0, 2.0], [1.0, 5.0], [2.0, 8.0]])
    assert claims.spread(logs, axis=0) == pytest.approx(math.sqrt(5) / 4)
    assert claims.spread(logs[None], axis=1) == pytest.approx([math.sqrt(5) / 4])
    assert math.isnan(claims.spread(logs[:1], axis=0))


def test_means_wander_from_where_they_began(tmp_path: Path) -> None:
    key = "activations/mean/layer11"
    far = write(tmp_path, series(key, [[1, 1], [2, 4], [3, 1]]))
    near = write(tmp_path, series(key, [[1, 1], [1.5, 1]]), "l1")
    assert claims.wandering(far) == pytest.approx((1 + 3 + 2 + 0) / 4)
    assert claims.wander_more(near, far, near, far) == 2


def test_layers_stand_for_those_at_the_same_depth(tmp_path: Path) -> None:
    lines: list[made_up.Line] = [{"step": 0} | {f"x/layer{i}": 1.0 for i in (1, 4, 6, 8, 9)}]
    run = write(tmp_path, lines)
    assert claims.layer(run, 6, 13, "x") == "x/layer6"
    shallow = replace(run, header=run.header | {"layers": [f"layer{i}" for i in range(1, 10)]})
    assert claims.layer(shallow, 13, 13, "x") == "x/layer8"  # the ninth is the linear one
    assert claims.layer(shallow, 6, 13, "x") == "x/layer4"
    with pytest.raises(KeyError, match="vgg_none_0.1_0 has no y"):
        claims.layer(run, 6, 13, "y")


def test_arms_are_told_apart_by_norm_and_learning_rate(tmp_path: Path) -> None:
    run = write(tmp_path, [{"step": 0}], "batch", lr=1e-6)
    assert claims.is_of(run, Arm("BatchNorm", "x", "batch", 0.000001))
    assert not claims.is_of(run, Arm("BatchNorm", "x", "batch", 1e-7))
    assert not claims.is_of(run, Arm("standard", "x", "none", 1e-6))
