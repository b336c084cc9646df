"""What the paper claims, each claim as a reduction over runs with an interval and a verdict.

A new claim is one more `Claim` in CLAIMS and, right above its topic, the function that measures it;
nothing else has to know of it. Such a function reduces the runs of one seed, one run of every arm
that is compared, to one number, so arms are compared seed by seed.

The value of a claim is the median over seeds. Its interval is a 95 % bootstrap interval over seeds:
percentiles of the value over resamples of the seeds, all arms of a seed drawn together. With up to
five seeds that is the range from the smallest to the largest. It contains the true median with a
probability of only 50 % for two seeds, 75 % for three and 94 % for five.

Every claim has its rule beside it, in two ranges that were fixed before these runs were looked at:
what is claimed, and the weaker statement that its direction is right. Ours are not quite the
networks, data and lengths of the paper, so where the paper gives the size of an effect half of it
is enough (of a ratio its square root). "Comparable", "similar" and "marginal" mean within a
quarter, and, weaker, within a factor of two. A number of the paper that does not meet the rule is
marked.

Diverged runs count. From the first loss that is not finite on there is nothing to measure, but the
end of such a run is known: its loss is infinite, its accuracy that of the untrained network.
Interrupted runs are left out, because their end is not known.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bnstudy.results import (
    Run,
    Series,
    Values,
    comparable,
    edges,
    effective_beta,
    find_layer,
    window,
)

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_MEASURABLE = "not measurable at this scale"
NO_RUNS = "no runs"
VERDICTS = {
    REPRODUCED: "There are two seeds or more, and the whole interval lies in the claimed range.",
    PARTLY: "Not that, but the value lies in the weaker range: the effect is too small, or not sure"
    " to hold over seeds, or there is one seed only. One run shows that something can happen, not "
    "that it does (the curves of the paper are single runs).",
    NOT_REPRODUCED: "The value does not even lie in the weaker range. One seed is enough for that, "
    "because it says no more than that these runs do not show the claim.",
    NOT_MEASURABLE: "The claim is about the end of a training that is as long as the paper's, or "
    "these runs have no value for it, say no step late enough.",
    NO_RUNS: "An arm has no run that has ended, or none that recorded what is needed.",
}

RESAMPLES = 10_000
COVERAGE = 0.95


# Claims and their results


class Arm(NamedTuple):
    """One side of a comparison: what to call it, and where its runs are."""

    name: str
    experiment: str
    norm: str
    lr: float

    def __str__(self) -> str:
        return f"{self.name} at lr {in_words(self.lr)}"


@dataclass(frozen=True)
class Range:
    """Values from `low` to `high`, both included."""

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {in_words(self.low)}"
        if self.low == -math.inf:
            return f"at most {in_words(self.high)}"
        return f"from {in_words(self.low)} to {in_words(self.high)}"


def at_least(low: float) -> Range:
    """The range without an upper end."""
    return Range(low=low)


def at_most(high: float) -> Range:
    """The range without a lower end."""
    return Range(high=high)


@dataclass(frozen=True)
class Rule:
    """How the verdict follows from the value and its interval.

    `weaker` is the `claimed` range if it is not given. `why` says where the claimed range is from,
    `paper` is the same number of the paper, None where it has none. `scales` are those at which the
    claim can be judged, () for all.
    """

    claimed: Range
    weaker: Range | None = None
    why: str = ""
    paper: float | None = None
    unit: str = ""
    scales: tuple[str, ...] = ()

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        words = f"Reproduced: the whole interval is {self.claimed}{why}. "
        if self.weaker:
            words += f"Partly: the value is {self.weaker}. "
        else:
            words += "Partly: the value is, but not the whole interval. "
        if self.scales:
            words += f"Judged at scale {' or '.join(self.scales)} only. "
        return words + "With one seed at most partly."

    def verdict(self, value: float, low: float, high: float, scale: str) -> str:
        """The verdict on a value and its interval, whose ends are NaN for fewer than two seeds."""
        if math.isnan(value) or (self.scales and scale not in self.scales):
            return NOT_MEASURABLE
        if low in self.claimed and high in self.claimed:
            return REPRODUCED
        return PARTLY if value in (self.weaker or self.claimed) else NOT_REPRODUCED

    @property
    def paper_meets_it(self) -> bool | None:
        """Whether the paper's number lies in the claimed range; None if there is none."""
        return None if self.paper is None else self.paper in self.claimed


HALF = "half of the paper's effect"
SIMILAR = "within a quarter"


def as_large(ratio: float) -> Rule:
    """A ratio that is at least half as large as the paper's on a log axis; weaker: at least 1."""
    return Rule(at_least(math.sqrt(ratio)), at_least(1), HALF, ratio, "×")


def comparable_to(paper: float) -> Rule:
    """A ratio that is smaller, or no more than a quarter larger; weaker: a factor of two."""
    return Rule(at_most(1.25), at_most(2), SIMILAR, paper, "×")


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says, what is measured, and the rule for the verdict.

    `measure` takes the runs of one seed, one of each of the `arms` in their order, and gives one
    number, or several that `over_seeds` reduces; NaN where the runs have no value. `detail` takes
    the same and gives a word about how it was measured.
    """

    topic: str
    name: str
    title: str
    says: str
    source: str
    arms: tuple[Arm, ...]
    quantity: str
    measure: Callable[..., float | tuple[float, ...]]
    rule: Rule
    over_seeds: Callable[..., Any] = np.median
    detail: Callable[..., str] | None = None

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments whose runs it needs."""
        return tuple(dict.fromkeys(arm.experiment for arm in self.arms))


@dataclass(frozen=True)
class Result:
    """A claim and what came out; `by_seed` is empty and all numbers are NaN where nothing did."""

    claim: Claim
    verdict: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    by_seed: dict[int, float | tuple[float, ...]] = field(default_factory=dict)
    scale: str = ""
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.by_seed)

    @property
    def measured(self) -> str:
        """Value, interval and n in words, "" if there is no value."""
        if math.isnan(self.value):
            return ""
        text = f"{in_words(self.value, fixed=True)}{self.claim.rule.unit}"
        if self.n > 1:
            text += f" [{in_words(self.low, fixed=True)}, {in_words(self.high, fixed=True)}]"
        return f"{text}, n\u00a0=\u00a0{self.n}"

    @property
    def paper(self) -> str:
        """The paper's number in words, "" if there is none."""
        rule = self.claim.rule
        return "" if rule.paper is None else f"{in_words(rule.paper)}{rule.unit}"


def evaluate(runs: Mapping[str, Sequence[Run]]) -> list[Result]:
    """The verdict on every claim from the runs of each experiment, in the order of CLAIMS."""
    return [judge(claim, runs) for claim in CLAIMS]


def judge(claim: Claim, runs: Mapping[str, Sequence[Run]]) -> Result:
    """The verdict on one claim."""
    given = [run for name in claim.experiments for run in runs.get(name, ())]
    chosen = comparable(given)
    by_arm = [[run for run in chosen if is_of(run, arm)] for arm in claim.arms]
    ended = [{r.seed: r for r in own if r.outcome != "interrupted"} for own in by_arm]
    others = sum(any(is_of(run, arm) for arm in claim.arms) for run in given if run not in chosen)
    notes = [
        counted(sum(r.outcome == "interrupted" for own in by_arm for r in own), "interrupted"),
        counted(others, "with other settings"),
    ]
    missing = [arm for arm, own in zip(claim.arms, ended, strict=True) if not own]
    if missing:
        absent = f"No run that has ended of {listed([str(arm) for arm in missing])}."
        return no_runs(claim, runs, missing, absent, *notes)
    seeds = sorted(set.intersection(*(set(own) for own in ended)))
    if not seeds:
        return no_runs(claim, runs, claim.arms, "No seed has a run of every arm.", *notes)
    by_seed: dict[int, float | tuple[float, ...]] = {}
    details: dict[str, None] = {}
    for seed in seeds:
        of_seed = [own[seed] for own in ended]
        try:
            value = claim.measure(*of_seed)
        except KeyError as error:
            absent = f"{error.args[0].split(';')[0]}: it was recorded without that probe."
            return no_runs(claim, runs, claim.arms, absent, *notes)
        if np.isnan(value).any():
            continue
        by_seed[seed] = value
        if claim.detail:
            details[claim.detail(*of_seed)] = None
    without = [str(seed) for seed in seeds if seed not in by_seed]
    if without:
        notes.append(f"No value for seed{'s' if len(without) > 1 else ''} {listed(without)}.")
    diverged = sum(own[seed].outcome == "diverged" for own in ended for seed in by_seed)
    notes = [*details, f"Runs that diverged: {diverged}." if diverged else "", *notes]
    value, low, high = summary(list(by_seed.values()), claim.over_seeds)
    scale = chosen[0].scale
    verdict = claim.rule.verdict(value, low, high, scale)
    kept = tuple(note for note in notes if note)
    return Result(claim, verdict, value, low, high, by_seed, scale, kept)


def is_of(run: Run, arm: Arm) -> bool:
    """Whether a run is one of an arm."""
    return run.norm == arm.norm and math.isclose(run.lr, arm.lr)


def counted(runs: int, which: str) -> str:
    """A note on runs that were left out, "" if there are none."""
    return f"Left out: {runs} run{'' if runs == 1 else 's'} {which}." if runs else ""


def no_runs(
    claim: Claim, runs: Mapping[str, Sequence[Run]], arms: Sequence[Arm], *notes: str
) -> Result:
    """The result of a claim without runs: why, and the commands that make some."""
    scales = {run.scale for group in runs.values() for run in group}
    scale = f" scale={scales.pop()}" if len(scales) == 1 else ""
    experiments = dict.fromkeys(arm.experiment for arm in arms)
    commands = [f"python scripts/train.py -m experiment={name}{scale}" for name in experiments]
    make = f"Make some: {' and '.join(commands)}"
    return Result(claim, NO_RUNS, notes=(*(note for note in notes if note), make))


def summary(
    values: Sequence[float | tuple[float, ...]], over_seeds: Callable[..., Any] = np.median
) -> tuple[float, float, float]:
    """The value over seeds and the ends of its interval: a percentile bootstrap of the seeds.

    `values` are one entry per seed; `over_seeds(values, axis)` reduces the axis of the seeds. The
    ends are NaN for fewer than two seeds.
    """
    if not values:
        return math.nan, math.nan, math.nan
    rows = np.array(values, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(over_seeds(rows, axis=0))
        if len(rows) < 2:
            return value, math.nan, math.nan
        drawn = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
        resampled = np.sort(over_seeds(rows[drawn], axis=1))
    # Ranks and no interpolation: a value may be infinite.
    outside = round(RESAMPLES * (1 - COVERAGE) / 2)
    return value, float(resampled[outside]), float(resampled[-1 - outside])


def to_json(results: Sequence[Result]) -> str:
    """The results as strict JSON; numbers that are not finite as strings, absent ones null."""
    entries = [
        {
            "name": result.claim.name,
            "topic": result.claim.topic,
            "title": result.claim.title,
            "says": result.claim.says,
            "source": result.claim.source,
            "quantity": result.claim.quantity,
            "unit": result.claim.rule.unit.strip(),
            "paper": result.claim.rule.paper,
            "paper_meets_rule": result.claim.rule.paper_meets_it,
            "value": _plain(result.value),
            "interval": [_plain(result.low), _plain(result.high)] if result.n > 1 else None,
            "n": result.n,
            "by_seed": {str(seed): _plain(value) for seed, value in result.by_seed.items()},
            "verdict": result.verdict,
            "rule": str(result.claim.rule),
            "scale": result.scale or None,
            "experiments": list(result.claim.experiments),
            "arms": [{"norm": arm.norm, "lr": arm.lr} for arm in result.claim.arms],
            "notes": list(result.notes),
        }
        for result in results
    ]
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: float | tuple[float, ...]) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if math.isnan(value):
        return None
    return float(value) if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def to_markdown(results: Sequence[Result]) -> str:
    """The results as Markdown, a table per topic."""
    lines: list[str] = []
    topics = dict.fromkeys(result.claim.topic for result in results)
    for topic in topics:
        lines += [f"## {topic}", "", "| claim | paper | measured | verdict |", "|---|---|---|---|"]
        for result in (result for result in results if result.claim.topic == topic):
            claim = result.claim
            what = f"**{claim.title}.** {claim.says} ({claim.source})"
            measured = f"{result.measured} ({claim.quantity})" if result.measured else "–"
            unmet = " (not by this rule)" if claim.rule.paper_meets_it is False else ""
            cells = (what, f"{result.paper or '–'}{unmet}", measured, f"**{result.verdict}**")
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += ["Rules, and what else there is to say:", ""]
    for result in results:
        lines.append(f"- {result.claim.title}. {' '.join((str(result.claim.rule), *result.notes))}")
    return "\n".join(lines) + "\n"


def in_words(value: float, fixed: bool = False) -> str:
    """A number in words, 1e-6 and not 1e-06, in three digits; if `fixed` zeros at its end too."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "")
    if 100 <= abs(value) < 10_000 or value == 0:
        text = f"{value:.0f}"
    else:
        text = f"{value:#.3g}" if fixed and 1e-3 <= abs(value) < 100 else f"{value:.3g}"
    text = text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return text.replace("-", "−", 1) if value < 0 else text


def listed(words: Sequence[str]) -> str:
    """Words with commas and an "and"."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


# Reductions of one run that several claims share

LOSS, CHANGE = "landscape/loss", "landscape/gradient_change"
CONVOLUTIONS, DEPTH = 13, 25  # the layers that the paper counts


def layer(run: Run, number: int, of: int, kind: str) -> str:
    """The key <kind>/<layer> of the layer that stands for layer `number` of the paper's `of`.

    KeyError if no layer has it.
    """
    found = find_layer(run, number, of, kind)
    if found is None:
        raise KeyError(f"{run.directory.name} has no {kind}")
    return f"{kind}/{run.layers[found - 1]}"


def first_third(run: Run, series: Series) -> Values:
    """The values of a series in the first third of the run."""
    steps, values = series
    return values[3 * steps < run.config["steps"]]


def late(series: Series, step: int = 1000) -> Values:
    """The values of a series from a step on."""
    steps, values = series
    return values[steps >= step]


def median(values: Values) -> float:
    """The median of what is not NaN; NaN if nothing is left."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def mean(values: Values) -> float:
    """The mean of what is finite; NaN if nothing is left."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def upper(run: Run) -> Series:
    """The largest gradient change over the step sizes: the upper edge of figure 4b."""
    steps, _, high = edges(run, CHANGE)
    return steps, high


def log_width(run: Run, key: str = LOSS) -> float:
    """The width of the loss range along the line on a log axis, median over the steps."""
    _, low, high = edges(run, key)
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.log(high / low)
    return median(np.where(np.isfinite(width), width, np.inf))


def ratio(over: float, under: float) -> float:
    """over / under; NaN where neither is finite, or both are zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(over) / np.float64(under))


# Training

STANDARD = Arm("the standard network", "vgg", "none", 0.1)
BATCH = Arm("BatchNorm", "vgg", "batch", 0.1)
STANDARD_HIGH = STANDARD._replace(lr=0.5)
BATCH_HIGH = BATCH._replace(lr=0.5)
LINEAR = Arm("the standard network", "deep_linear", "none", 1e-6)
LINEAR_BATCH = Arm("BatchNorm", "deep_linear", "batch", 1e-6)
LINEAR_LOW = LINEAR._replace(lr=1e-7)
LINEAR_BATCH_LOW = LINEAR_BATCH._replace(lr=1e-7)
LEVELS = (0.9, 0.7, 0.5)
TO_LEVEL = (
    "steps to the highest of 90, 70 and 50 % training accuracy that all reach (running mean over "
    "1/150 of the run; who never reaches 50 % counts with the whole run)"
)


def steps_to(run: Run, level: float) -> float:
    """Steps until the running mean of the training accuracy reaches a level, infinite if never."""
    steps, accuracies = run["train/accuracy"]
    width = min(window(run), len(steps))
    means = np.convolve(accuracies, np.full(width, 1 / width), mode="valid")
    reached = np.flatnonzero(means >= level - 1e-9)
    return float(steps[reached[0] + width // 2] + 1) if len(reached) else math.inf


def common_level(*runs: Run) -> float:
    """The highest level that all runs reach, the lowest if there is none."""
    reached = (level for level in LEVELS if all(steps_to(r, level) < math.inf for r in runs))
    return next(reached, LEVELS[-1])


def level_in_words(*runs: Run) -> str:
    """The level at which runs are compared, as a note."""
    level = common_level(*runs)
    never = sum(steps_to(run, level) == math.inf for run in runs)
    reached = f", which {never} of {len(runs)} runs never reached" if never else ""
    return f"Compared at {100 * level:.0f} %{reached}."


def steps_needed(*runs: Run) -> Values:
    """The steps of every run to their common level, all of its own if it never gets there.

    So a ratio that involves such a run errs towards 1. NaN if none gets there.
    """
    needed = [steps_to(run, common_level(*runs)) for run in runs]
    if min(needed) == math.inf:
        return np.full(len(runs), math.nan)
    return np.minimum(needed, [run.config["steps"] for run in runs])


def times_faster(slow: Run, *fast: Run) -> float:
    """The steps that `slow` needs over those of the slowest of `fast`."""
    steps = steps_needed(slow, *fast)
    return float(steps[0] / steps[1:].max())


def times_slower(fast: Run, *slow: Run) -> float:
    """The steps that the slowest of `slow` needs over those of `fast`."""
    steps = steps_needed(fast, *slow)
    return float(steps[1:].max() / steps[0])


def untrained_accuracy(run: Run) -> float:
    """Percent of the test set before the first step: chance, whatever the number of classes."""
    return 100 * float(run["test/accuracy"][1][0])


def at_the_end(run: Run, key: str, share: float) -> Values:
    """The values of a metric over the last `share` of the run, one step at least."""
    steps, values = run[key]
    planned = run.config["steps"]
    return values[steps >= planned - max(1, round(share * planned))]


def training_accuracy(run: Run, share: float) -> float:
    """Percent, over the last `share` of the run; the untrained network's if it diverged."""
    last = 100 * mean(at_the_end(run, "train/accuracy", share))
    return untrained_accuracy(run) if run.outcome == "diverged" else last


def test_accuracy(run: Run) -> float:
    """Percent, at the end of the run; the untrained network's if it diverged."""
    last = 100 * float(run["test/accuracy"][1][-1])
    return untrained_accuracy(run) if run.outcome == "diverged" else last


def test_gain(run: Run) -> float:
    """Points of test accuracy gained by training."""
    return test_accuracy(run) - untrained_accuracy(run)


def training_gain(run: Run) -> float:
    """Points by which training accuracy, over the last tenth, exceeds the untrained network's."""
    return training_accuracy(run, share=0.1) - untrained_accuracy(run)


def test_difference(standard: Run, batch: Run) -> float:
    """Points of test accuracy that BatchNorm is ahead at the end."""
    return test_accuracy(batch) - test_accuracy(standard)


def training_difference(standard: Run, batch: Run) -> float:
    """Points of training accuracy that BatchNorm is ahead over the last third."""
    return training_accuracy(batch, share=1 / 3) - training_accuracy(standard, share=1 / 3)


def final_loss(run: Run) -> float:
    """The median training loss over the last hundredth of the run; infinite if it diverged."""
    return math.inf if run.outcome == "diverged" else median(at_the_end(run, "train/loss", 0.01))


def loss_ratio(over: Run, under: Run) -> float:
    """The ratio of two final losses."""
    return ratio(final_loss(over), final_loss(under))


TRAINING = "Training"
TRAINING_CLAIMS = (
    Claim(
        topic=TRAINING,
        name="faster_training",
        title="BatchNorm trains faster",
        says="VGG at lr 0.1 reaches 90 % training accuracy after 1600 steps, 3300 without it.",
        source="section 2, figure 1a",
        arms=(STANDARD, BATCH),
        quantity=f"{TO_LEVEL}: standard / BatchNorm",
        measure=times_faster,
        rule=as_large(3300 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=TRAINING,
        name="test_accuracy",
        title="BatchNorm ends at a higher test accuracy",
        says="VGG at lr 0.1 ends at 83 % test accuracy, at 80 % without BatchNorm.",
        source="appendix A.1, figure 1b",
        arms=(STANDARD, BATCH),
        quantity="final test accuracy, BatchNorm − standard",
        measure=test_difference,
        rule=Rule(
            at_least(2.86 / 2), at_least(0), why=HALF, paper=2.86, unit=" points", scales=("paper",)
        ),
    ),
    Claim(
        topic=TRAINING,
        name="final_training_accuracy",
        title="BatchNorm does not end at a higher training accuracy",
        says="VGG at lr 0.1 ends at 98.8 % training accuracy, at 99.3 % without BatchNorm.",
        source="figure 1a",
        arms=(STANDARD, BATCH),
        quantity="training accuracy over the last third of the run, BatchNorm − standard",
        measure=training_difference,
        rule=Rule(at_most(0), at_most(0.5), paper=98.75 - 99.31, unit=" points", scales=("paper",)),
    ),
    Claim(
        topic=TRAINING,
        name="high_lr_batch",
        title="BatchNorm trains at lr 0.5",
        says="VGG with BatchNorm at lr 0.5 reaches 80.2 % test accuracy, from 10 %.",
        source="figure 1b",
        arms=(BATCH_HIGH,),
        quantity="test accuracy gained by training at lr 0.5",
        measure=test_gain,
        rule=Rule(at_least(35), at_least(5), why=HALF, paper=70.2, unit=" points"),
    ),
    Claim(
        topic=TRAINING,
        name="high_lr_standard",
        title="The standard network does not train at lr 0.5",
        says="VGG without BatchNorm at lr 0.5 stays at 10 % test accuracy.",
        source="figure 1b",
        arms=(STANDARD_HIGH,),
        quantity="test accuracy gained by training at lr 0.5 (none if it diverges)",
        measure=test_gain,
        rule=Rule(at_most(5), at_most(35), paper=0.0, unit=" points"),
    ),
    Claim(
        topic=TRAINING,
        name="linear_loss_1e-6",
        title="BatchNorm trains the deep linear network further at lr 1e-6",
        says="The loss after 10 000 steps is 479 with BatchNorm, 1661 without.",
        source="section 2.2, figure 3b",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="final training loss, standard / BatchNorm",
        measure=loss_ratio,
        rule=as_large(1661 / 479.2),
    ),
    Claim(
        topic=TRAINING,
        name="linear_loss_1e-7",
        title="BatchNorm trains the deep linear network further at lr 1e-7",
        says="The loss after 10 000 steps is 710 with BatchNorm, 3969 without.",
        source="section 2.2, figure 3b",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="final training loss, standard / BatchNorm",
        measure=loss_ratio,
        rule=as_large(3969 / 709.8),
    ),
)


# Distributions of activations, and noise

NOISY = Arm("noisy BatchNorm", "vgg_noise", "noisy_batch", 0.1)
NOISE = Arm("noise without norm", "vgg_noise", "noise", 0.1)
MOMENT_LAYERS = (2, 9, 13)


def mean_change(run: Run) -> float:
    """|mean(t + 1) - mean(t)| of a unit, averaged over steps, units and layers #2, #9, #13."""
    changes = []
    for number in MOMENT_LAYERS:
        key = layer(run, number, CONVOLUTIONS, "moments/mean")
        now, then = run[key][1], run[key.replace("moments/", "moments/next_", 1)][1]
        changes.append(mean(np.abs(then - now)))
    return float(np.mean(changes))


def mean_change_ratio(over: Run, *under: Run) -> float:
    """How much more the means move than in the one of `under` in which they move most."""
    return ratio(mean_change(over), max(mean_change(run) for run in under))


NOISE_TOPIC = "Stable distributions and noise"
NOISE_CLAIMS = (
    Claim(
        topic=NOISE_TOPIC,
        name="marginal_stability",
        title="BatchNorm hardly stabilizes the distributions of activations",
        says="The difference in distributional stability with and without it is “marginal”.",
        source="section 2, figure 1c; numbers of figure 8a",
        arms=(STANDARD, BATCH),
        quantity="change of a unit's mean in a step (layers 2, 9, 13), standard / BatchNorm",
        measure=mean_change_ratio,
        rule=Rule(
            Range(1 / 1.25, 1.25),
            Range(1 / 2, 2),
            why=SIMILAR,
            paper=(0.039 + 0.079 + 0.018) / (0.002 + 0.001),
            unit="×",
        ),
    ),
    Claim(
        topic=NOISE_TOPIC,
        name="noisy_faster",
        title="Noisy BatchNorm still trains faster than the standard network",
        says="90 % training accuracy after 2400 steps, 3300 for the standard network.",
        source="section 2.1, figure 2",
        arms=(STANDARD, NOISY),
        quantity=f"{TO_LEVEL}: standard / noisy BatchNorm",
        measure=times_faster,
        rule=as_large(3300 / 2400),
        detail=level_in_words,
    ),
    Claim(
        topic=NOISE_TOPIC,
        name="noisy_like_batch",
        title="Noisy BatchNorm trains about as fast as BatchNorm",
        says="Nearly no difference in training (90 % accuracy after 2400 and 1600 steps).",
        source="section 2.1, figure 2",
        arms=(BATCH, NOISY),
        quantity=f"{TO_LEVEL}: noisy BatchNorm / BatchNorm",
        measure=times_slower,
        rule=comparable_to(2400 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=NOISE_TOPIC,
        name="noise_alone",
        title="The same noise keeps the standard network from training",
        says="It “prevents it from training entirely”.",
        source="section 2.1",
        arms=(NOISE,),
        quantity="training accuracy of the last tenth above that of the untrained network",
        measure=training_gain,
        rule=Rule(at_most(5), at_most(35), unit=" points"),
    ),
    Claim(
        topic=NOISE_TOPIC,
        name="noise_third",
        title="The noise moves a unit's mean by 1/3 in a step",
        says="0.33, 0.30 and 0.37 in layers 2, 9 and 13: two draws of U(−½, ½) differ by 1/3.",
        source="appendix B, figure 8a",
        arms=(NOISY,),
        quantity="change of a unit's mean in a step, noisy BatchNorm",
        measure=mean_change,
        rule=Rule(
            Range(0.9 / 3, 1.1 / 3),
            Range(0.75 / 3, 1.25 / 3),
            why="1/3, within a tenth",
            paper=(0.33 + 0.30 + 0.37) / 3,
        ),
    ),
    Claim(
        topic=NOISE_TOPIC,
        name="noise_moves_more",
        title="With the noise the activations are less stable than without any norm",
        says="The means move by 0.33 in a step, by 0.05 in the standard network.",
        source="section 2.1, appendix B, figure 8a",
        arms=(NOISY, STANDARD, BATCH),
        quantity="change of a unit's mean in a step, noisy BatchNorm / the larger of the others",
        measure=mean_change_ratio,
        rule=as_large((0.33 + 0.30 + 0.37) / (0.039 + 0.079 + 0.018)),
    ),
)


# Internal covariate shift

STANDARD_LOW = STANDARD._replace(lr=0.01)
BATCH_LOW = BATCH._replace(lr=0.01)
SHIFT = "internal_covariate_shift"


def shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| of BatchNorm over that of the standard network, geometric mean of layers 5, 10."""
    ratios = []
    for number in (5, 10):
        key = layer(standard, number, CONVOLUTIONS, f"{SHIFT}/l2")
        ratios.append(ratio(*(median(first_third(run, run[key])) for run in (batch, standard))))
    return math.sqrt(math.prod(ratios))


def shift_cosine_difference(standard: Run, batch: Run) -> float:
    """The cosine of BatchNorm minus that of the standard network, mean of layers 5 and 10."""
    differences = []
    for number in (5, 10):
        key = layer(standard, number, CONVOLUTIONS, f"{SHIFT}/cosine")
        of_batch, of_standard = (median(first_third(run, run[key])) for run in (batch, standard))
        differences.append(of_batch - of_standard)
    return float(np.mean(differences))


def linear_cosines(run: Run) -> list[Values]:
    """The cosines of layers 9 and 17 of the deep linear network at every probed step."""
    return [run[layer(run, number, DEPTH, f"{SHIFT}/cosine")][1] for number in (9, 17)]


def lowest_cosine(run: Run) -> float:
    """What the cosine exceeds at 95 % of the steps, in the lower of the two layers."""
    known = [cosines[~np.isnan(cosines)] for cosines in linear_cosines(run)]
    return min(float(np.percentile(cosines, 5)) if len(cosines) else math.nan for cosines in known)


def higher_cosine(run: Run) -> float:
    """The median cosine over steps, in the higher of the two layers."""
    return max(median(cosines) for cosines in linear_cosines(run))


def correlation(run: Run) -> float:
    """The median absolute cosine over steps, in the higher of the two layers."""
    return max(median(np.abs(cosines)) for cosines in linear_cosines(run))


FIRST_THIRD = "over the first third of training, because of the shift vanishing with convergence"
SIMILAR_OR_WORSE = "“Similar, or even worse, internal covariate shift” with BatchNorm"
NO_SHIFT = "“The standard network experiences almost no ICS for the entirety of training.”"
UNCORRELATED = "With BatchNorm G and G′ “are almost uncorrelated”."
SHIFT_TOPIC = "Internal covariate shift"
SHIFT_CLAIMS = (
    *(
        Claim(
            topic=SHIFT_TOPIC,
            name=f"shift_l2_{standard.lr}",
            title=f"BatchNorm does not reduce ‖G − G′‖ in VGG at lr {standard.lr}",
            says=f"{SIMILAR_OR_WORSE}, lr {standard.lr}, layers 5 and 10.",
            source="section 2.2, figure 3a (layer 5 only)",
            arms=(standard, batch),
            quantity=f"median ‖G − G′‖ {FIRST_THIRD}, BatchNorm / standard",
            measure=shift_ratio,
            rule=Rule(
                at_least(1 / 1.25),
                at_least(1 / 2),
                why=f"{SIMILAR}, or larger",
                paper=paper,
                unit="×",
            ),
        )
        for standard, batch, paper in (
            (STANDARD, BATCH, 0.964 / 0.860),
            (STANDARD_LOW, BATCH_LOW, 2.619 / 0.889),
        )
    ),
    *(
        Claim(
            topic=SHIFT_TOPIC,
            name=f"shift_cosine_{standard.lr}",
            title=f"BatchNorm does not align G and G′ in VGG at lr {standard.lr}",
            says=f"{SIMILAR_OR_WORSE}, lr {standard.lr}, layers 5 and 10.",
            source="section 2.2, figure 3a",
            arms=(standard, batch),
            quantity=f"median cosine of G and G′ {FIRST_THIRD}, BatchNorm − standard",
            measure=shift_cosine_difference,
            rule=Rule(at_most(0.1), at_most(0.25), why="no more than a tenth above", paper=paper),
        )
        for standard, batch, paper in (
            (STANDARD, BATCH, (0.660 - 0.650 + 0.096 - 0.188) / 2),
            (STANDARD_LOW, BATCH_LOW, (0.708 - 0.866 + 0.515 - 0.544) / 2),
        )
    ),
    Claim(
        topic=SHIFT_TOPIC,
        name="linear_no_shift_1e-7",
        title="The standard deep linear network has almost no shift at lr 1e-7",
        says=NO_SHIFT,
        source="section 2.2, figure 3b",
        arms=(LINEAR_LOW,),
        quantity="cosine of G and G′ at 95 % of the steps, the lower of layers 9 and 17",
        measure=lowest_cosine,
        rule=Rule(at_least(0.99), at_least(0.9), paper=0.997),
    ),
    Claim(
        topic=SHIFT_TOPIC,
        name="linear_no_shift_1e-6",
        title="The standard deep linear network has almost no shift at lr 1e-6",
        says=NO_SHIFT,
        source="section 2.2 (text)",
        arms=(LINEAR,),
        quantity="cosine of G and G′ at 95 % of the steps, the lower of layers 9 and 17",
        measure=lowest_cosine,
        rule=Rule(at_least(0.99), at_least(0.9), paper=-0.995),
    ),
    Claim(
        topic=SHIFT_TOPIC,
        name="linear_shift_1e-7",
        title="With BatchNorm the deep linear network has shift at lr 1e-7",
        says="The cosine is 0.55 in layer 9 and 0.04 in layer 17 (1.00 without BatchNorm).",
        source="figure 3b",
        arms=(LINEAR_BATCH_LOW,),
        quantity="median cosine of G and G′, the higher of layers 9 and 17",
        measure=higher_cosine,
        rule=Rule(at_most(1 - 0.45 / 2), at_most(0.95), why=HALF, paper=0.55),
    ),
    *(
        Claim(
            topic=SHIFT_TOPIC,
            name=f"linear_uncorrelated_{in_words(arm.lr)}",
            title=f"With BatchNorm G and G′ are uncorrelated at lr {in_words(arm.lr)}",
            says=UNCORRELATED,
            source="section 2.2 (text)",
            arms=(arm,),
            quantity="median absolute cosine of G and G′, the higher of layers 9 and 17",
            measure=correlation,
            rule=Rule(at_most(0.2), at_most(0.5), paper=paper),
        )
        for arm, paper in ((LINEAR_BATCH_LOW, 0.774), (LINEAR_BATCH, 0.901))
    ),
)


# Landscape


def loss_range_ratio(standard: Run, *others: Run) -> float:
    """How much wider the loss range is without a norm than the widest with one, on a log axis."""
    return ratio(log_width(standard), max(log_width(run) for run in others))


def random_loss_range_ratio(standard: Run, batch: Run) -> float:
    """The same along a random direction."""
    key = "landscape/random_loss"
    return ratio(log_width(standard, key), log_width(batch, key))


def change_ratio(standard: Run, *others: Run) -> float:
    """The gradient change without a norm over the largest with one, medians over steps."""
    return ratio(median(upper(standard)[1]), max(median(upper(run)[1]) for run in others))


def early_change_ratio(standard: Run, batch: Run) -> float:
    """The gradient change without BatchNorm over that with it, in the first third of training."""
    return ratio(*(median(first_third(run, upper(run))) for run in (standard, batch)))


def orders(standard: Run, *others: Run, key: str = CHANGE) -> float:
    """Decades between the largest values along the gradient, over all steps and step sizes."""
    highest = [edges(run, key)[2].max() for run in (standard, *others)]
    return float(np.log10(ratio(highest[0], max(highest[1:]))))


def loss_orders(standard: Run, *others: Run) -> float:
    """The same for the loss."""
    return orders(standard, *others, key=LOSS)


def larger_beta_share(standard: Run, batch: Run) -> float:
    """The share of the probed steps at which effective beta is larger without BatchNorm."""
    (steps, ours), (others, theirs) = effective_beta(standard), effective_beta(batch)
    _, i, j = np.intersect1d(steps, others, return_indices=True)
    known = ~np.isnan(ours[i]) & ~np.isnan(theirs[j])
    return float((ours[i] > theirs[j])[known].mean()) if known.any() else math.nan


LANDSCAPE = "Loss landscape"
LANDSCAPE_CLAIMS = (
    Claim(
        topic=LANDSCAPE,
        name="loss_range",
        title="The loss along the gradient varies less with BatchNorm",
        says="The highest loss is 1.67 times the lowest without BatchNorm, 1.17 times with it.",
        source="section 3.2, figure 4a",
        arms=(STANDARD, BATCH),
        quantity="logarithm of highest / lowest loss, median over steps, standard / BatchNorm",
        measure=loss_range_ratio,
        rule=as_large(0.511 / 0.159),
    ),
    Claim(
        topic=LANDSCAPE,
        name="larger_distances",
        title="BatchNorm keeps the loss smooth over larger distances",
        says="It “continues to provide smoothing for even larger distances” than η = 0.4.",
        source="figure 4, caption",
        arms=(STANDARD, BATCH_HIGH),
        quantity="as above, standard up to η = 0.4 / BatchNorm up to η = 2 (trained at lr 0.5)",
        measure=loss_range_ratio,
        rule=Rule(at_least(1), at_least(1 / 2), unit="×"),
    ),
    Claim(
        topic=LANDSCAPE,
        name="random_directions",
        title="The loss varies less with BatchNorm along random directions too",
        says="The loss “behaves in a similar way” along other (random) directions.",
        source="section 3.2",
        arms=(STANDARD, BATCH),
        quantity="logarithm of highest / lowest loss, median over steps, standard / BatchNorm",
        measure=random_loss_range_ratio,
        rule=Rule(at_least(1), unit="×"),
    ),
    Claim(
        topic=LANDSCAPE,
        name="gradient_change",
        title="The gradient changes less along the gradient with BatchNorm",
        says="The largest change is 47 without BatchNorm, 22 with it (median over steps).",
        source="section 3.2, figure 4b",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change, median over steps, standard / BatchNorm",
        measure=change_ratio,
        rule=as_large(2.17),
    ),
    Claim(
        topic=LANDSCAPE,
        name="gradient_change_orders",
        title="The gradient changes less by close to two orders of magnitude",
        says="“Close to two orders of magnitude”, especially early in training.",
        source="section 3.2 (text); number of figure 4b",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change, median over the first third, standard / BatchNorm",
        measure=early_change_ratio,
        rule=Rule(
            at_least(10**1.5), at_least(10), why="one and a half orders", paper=2.38, unit="×"
        ),
    ),
    Claim(
        topic=LANDSCAPE,
        name="effective_beta",
        title="Effective β-smoothness is better with BatchNorm throughout",
        says="“Consistent differences” in effective β.",
        source="section 3.2, figure 4c",
        arms=(STANDARD, BATCH),
        quantity="share of the steps at which effective β is larger without BatchNorm",
        measure=larger_beta_share,
        rule=Rule(at_least(0.75), at_least(0.5), why="three steps in four", paper=0.57),
    ),
    Claim(
        topic=LANDSCAPE,
        name="linear_loss_orders",
        title="The deep linear network's loss rises orders of magnitude less with BatchNorm",
        says="Up to 6e14 along the gradient without BatchNorm, 1e5 with it (lr 1e-6).",
        source="figure 10a",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="orders of magnitude between the highest losses, standard and BatchNorm",
        measure=loss_orders,
        rule=Rule(at_least(2), at_least(1), paper=14.79 - 5.04, unit=" orders"),
    ),
    Claim(
        topic=LANDSCAPE,
        name="linear_change_orders",
        title="The deep linear network's gradient changes orders of magnitude less with BatchNorm",
        says="Up to 2e16 along the gradient without BatchNorm, 3e6 with it (lr 1e-6).",
        source="figure 10b",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="orders of magnitude between the largest gradient changes",
        measure=orders,
        rule=Rule(at_least(2), at_least(1), paper=16.29 - 6.48, unit=" orders"),
    ),
)


# l_p normalization

LP = (
    Arm("L1 norm", "vgg_lp", "l1", 0.1),
    Arm("L2 norm", "vgg_lp", "l2", 0.1),
    Arm("L∞ norm", "vgg_lp", "linf", 0.1),
)
LINEAR_LP = tuple(arm._replace(experiment="deep_linear_lp", lr=1e-6) for arm in LP)


def worst_loss_ratio(batch: Run, *others: Run) -> float:
    """The largest of the others' final losses over BatchNorm's."""
    return max(loss_ratio(run, batch) for run in others)


def wandering(run: Run) -> float:
    """How far a unit's mean in layer 11 is from where it began, averaged over steps and units."""
    means = run[layer(run, 11, CONVOLUTIONS, "activations/mean")][1]
    return mean(np.abs(means[1:] - means[0]))


def wander_more(standard: Run, *others: Run) -> float:
    """In how many of the others the means wander further than in the standard network."""
    return float(sum(wandering(run) > wandering(standard) for run in others))


def worst_change_ratio(batch: Run, *others: Run) -> float:
    """The largest of the others' gradient changes over BatchNorm's, medians over steps."""
    return max(ratio(median(upper(run)[1]), median(upper(batch)[1])) for run in others)


LP_TOPIC = "l_p normalization"
LP_CLAIMS = (
    Claim(
        topic=LP_TOPIC,
        name="lp_like_batch",
        title="VGG trains as fast with any l_p norm as with BatchNorm",
        says="All l_p norms “perform comparably or even better than BatchNorm”.",
        source="section 3.3, figure 5a",
        arms=(BATCH, *LP),
        quantity=f"{TO_LEVEL}: the slowest of L1, L2, L∞ / BatchNorm",
        measure=times_slower,
        rule=comparable_to(1800 / 1600),
        detail=level_in_words,
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_faster",
        title="VGG trains faster with any l_p norm than without a norm",
        says="90 % training accuracy after at most 1800 steps, 3300 for the standard network.",
        source="section 3.3, figures 5a, 12a",
        arms=(STANDARD, *LP),
        quantity=f"{TO_LEVEL}: standard / the slowest of L1, L2, L∞",
        measure=times_faster,
        rule=as_large(3300 / 1800),
        detail=level_in_words,
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_linear_like_batch",
        title="The deep linear network trains as far with any l_p norm as with BatchNorm",
        says="All l_p norms “perform comparably or even better than BatchNorm”.",
        source="section 3.3, figure 5b",
        arms=(LINEAR_BATCH, *LINEAR_LP),
        quantity="final training loss, the largest of L1, L2, L∞ / BatchNorm",
        measure=worst_loss_ratio,
        rule=comparable_to(986.1 / 479.5),
    ),
    Claim(
        topic=LP_TOPIC,
        name="l1_linear",
        title="The deep linear network trains further with the L1 norm than with BatchNorm",
        says="“For deep linear networks, ℓ1-normalization performs even better than BatchNorm.”",
        source="section 3.3, figure 5b",
        arms=(LINEAR_BATCH, LINEAR_LP[0]),
        quantity="final training loss, BatchNorm / L1",
        measure=loss_ratio,
        rule=as_large(479.5 / 97.49),
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_shift_more",
        title="Activations shift more under any l_p norm than without a norm",
        says="They lead “to larger distributional covariate shift compared to normal networks”.",
        source="section 3.3, figure 6",
        arms=(STANDARD, *LP),
        quantity="of L1, L2, L∞ those in which the units' means in layer 11 wander further",
        measure=wander_more,
        rule=Rule(at_least(3), at_least(2), unit=" of 3"),
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_smoother",
        title="VGG's landscape is smoother with any l_p norm than without a norm",
        says="“Networks with any normalization strategy have improved performance and smoothness.”",
        source="section 3.3, figure 12",
        arms=(STANDARD, *LP),
        quantity="largest gradient change, median over steps, standard / the worst of L1, L2, L∞",
        measure=change_ratio,
        rule=as_large(47.01 / 22.08),
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_as_smooth",
        title="VGG's landscape is as smooth with any l_p norm as with BatchNorm",
        says="The largest gradient change is 22, 20 and 19 with L1, L2, L∞, 22 with BatchNorm.",
        source="figure 12",
        arms=(BATCH, *LP),
        quantity="largest gradient change, median over steps, the worst of L1, L2, L∞ / BatchNorm",
        measure=worst_change_ratio,
        rule=comparable_to(22.08 / 21.7),
    ),
    Claim(
        topic=LP_TOPIC,
        name="lp_linear_orders",
        title="The deep linear network's gradient changes orders less with any l_p norm",
        says="Up to 2e16 along the gradient without a norm, 5e6 with any (lr 1e-6).",
        source="figure 13",
        arms=(LINEAR, *LINEAR_LP),
        quantity="orders of magnitude between the largest gradient changes, standard and any l_p",
        measure=orders,
        rule=Rule(at_least(2), at_least(1), paper=16.29 - 6.70, unit=" orders"),
    ),
)


# What this study adds


def at_first_step(series: Series) -> float:
    """The value of a series at step 0, NaN if there is none."""
    steps, values = series
    return float(values[0]) if len(steps) and steps[0] == 0 else math.nan


def first_shift_ratio(standard: Run, batch: Run) -> float:
    """||G - G'|| of layer 5 at step 0, BatchNorm over standard."""
    key = layer(standard, 5, CONVOLUTIONS, f"{SHIFT}/l2")
    return ratio(at_first_step(batch[key]), at_first_step(standard[key]))


def first_change_ratio(standard: Run, batch: Run) -> float:
    """The largest gradient change at step 0, BatchNorm over standard."""
    return ratio(at_first_step(upper(batch)), at_first_step(upper(standard)))


def first_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta at step 0, BatchNorm over standard."""
    return ratio(at_first_step(effective_beta(batch)), at_first_step(effective_beta(standard)))


def pinned_share(*runs: Run) -> float:
    """The share of the steps at which effective beta is 1 / eta_min within 5 %, the smaller."""
    shares = []
    for run in runs:
        smallest = run["landscape/step_size"][1].min()
        shares.append(float((np.abs(effective_beta(run)[1] * smallest - 1) <= 0.05).mean()))
    return min(shares)


def edge_of_stability(run: Run) -> float:
    """Effective beta over 2 / lr, the median from step 1000 on."""
    return median(late(effective_beta(run))) * run.lr / 2


def late_beta_ratio(standard: Run, batch: Run) -> float:
    """Effective beta of BatchNorm over the standard network's, medians from step 1000 on."""
    return ratio(*(median(late(effective_beta(run))) for run in (batch, standard)))


def sign_share(run: Run) -> float:
    """The share of late steps of layers 9, 17 at which the cosine has the sign of 1 - 2 share."""
    agree = []
    for number in (9, 17):
        key = layer(run, number, DEPTH, f"{SHIFT}/cosine")
        share_below = late(run[key.replace("/cosine/", "/share_below/")])
        agree.append(np.sign(late(run[key])) == np.sign(1 - 2 * share_below))
    together = np.concatenate(agree)
    return float(together.mean()) if len(together) else math.nan


def log_losses(standard: Run, batch: Run) -> tuple[float, float]:
    """The logarithms of the two final losses."""
    return float(np.log10(final_loss(standard))), float(np.log10(final_loss(batch)))


def spread(logs: Values, axis: int) -> Values:
    """Standard deviation over seeds, root mean square of the arms, over their mean difference."""
    seeds = logs.shape[axis]
    if seeds < 2:
        return np.array(math.nan)
    deviation = np.sqrt(logs.var(axis=axis, ddof=1).mean(axis=-1))
    return deviation / np.abs(np.diff(logs.mean(axis=axis), axis=-1)[..., 0])


ADDED = "Added by this study"
EDGE = Range(0.95, 1.05)
NEAR_EDGE = Range(0.8, 1.25)
ADDED_CLAIMS = (
    Claim(
        topic=ADDED,
        name="first_shift",
        title="At step 0 BatchNorm has far more internal covariate shift",
        says="Not in the text; ‖G − G′‖ of layer 5 begins at 14.7, at 0.04 without BatchNorm.",
        source="figure 3a, read closely",
        arms=(STANDARD, BATCH),
        quantity="‖G − G′‖ of layer 5 at step 0, BatchNorm / standard",
        measure=first_shift_ratio,
        rule=as_large(14.7 / 0.0405),
    ),
    Claim(
        topic=ADDED,
        name="first_change",
        title="At step 0 the gradient changes far more with BatchNorm",
        says="Not in the text; the gradient change begins at 145, at 2.4 without BatchNorm.",
        source="figure 4b, read closely",
        arms=(STANDARD, BATCH),
        quantity="largest gradient change at step 0, BatchNorm / standard",
        measure=first_change_ratio,
        rule=as_large(145 / 2.4),
    ),
    Claim(
        topic=ADDED,
        name="first_beta",
        title="At step 0 effective β is larger with BatchNorm",
        says="Not in the text; effective β begins at 25.3, at 11.5 without BatchNorm.",
        source="figure 4c, read closely",
        arms=(STANDARD, BATCH),
        quantity="effective β at step 0, BatchNorm / standard",
        measure=first_beta_ratio,
        rule=as_large(25.32 / 11.52),
    ),
    Claim(
        topic=ADDED,
        name="pinned_beta",
        title="Effective β of VGG is pinned by the smallest step size of the probe",
        says="Not in the text; both curves lie at 20 = 1/η_min (= 2/lr) most of the time.",
        source="figure 4c, read closely",
        arms=(STANDARD, BATCH),
        quantity="share of the steps with effective β within 5 % of 1/η_min, the smaller of both",
        measure=pinned_share,
        rule=Rule(at_least(0.5), at_least(0.25), why="most of the time", paper=0.67),
    ),
    *(
        Claim(
            topic=ADDED,
            name=f"edge_{in_words(arm.lr)}",
            title=f"BatchNorm sits at its edge of stability 2/lr at lr {in_words(arm.lr)}",
            says=said,
            source=source,
            arms=(arm,),
            quantity="effective β / (2/lr), deep linear network, median from step 1000 on",
            measure=edge_of_stability,
            rule=Rule(
                EDGE, NEAR_EDGE, why="2/lr, within 5 %", paper=paper, scales=("small", "paper")
            ),
        )
        for arm, said, source, paper in (
            (LINEAR_BATCH, "Not in the text; 2.01e6 all along.", "figure 10c, read closely", 1.006),
            (LINEAR_BATCH_LOW, "The paper shows no landscape at lr 1e-7.", "not shown", None),
        )
    ),
    Claim(
        topic=ADDED,
        name="less_smooth_1e-7",
        title="At lr 1e-7 the deep linear network is less smooth with BatchNorm",
        says="The paper shows no landscape at lr 1e-7. A pilot study found a factor of about 1000.",
        source="not shown",
        arms=(LINEAR_LOW, LINEAR_BATCH_LOW),
        quantity="effective β, median from step 1000 on, BatchNorm / standard",
        measure=late_beta_ratio,
        rule=Rule(
            at_least(math.sqrt(1000)),
            at_least(1),
            why="half of the pilot's effect",
            unit="×",
            scales=("small", "paper"),
        ),
    ),
    Claim(
        topic=ADDED,
        name="sign_of_cosine",
        title="At the edge of stability the shift follows from the share of the gradient below",
        says="Not in the paper: there G′ = (1 − 2f) G, f the preceding layers' share of ‖g‖².",
        source="figure 3b, explained",
        arms=(LINEAR_BATCH,),
        quantity="share of late steps (layers 9, 17) at which cos(G, G′) has the sign of 1 − 2f",
        measure=sign_share,
        rule=Rule(at_least(0.9), at_least(0.75), why="nine in ten", scales=("small", "paper")),
    ),
    Claim(
        topic=ADDED,
        name="loss_is_seed",
        title="How far the deep linear network trains is as much a matter of seed as of norm",
        says="The paper shows one run of each; the plateaus are saddles of low rank.",
        source="figures 3b, 5b, read closely",
        arms=(LINEAR, LINEAR_BATCH),
        quantity="standard deviation of log final loss over seeds / difference of the arms",
        measure=log_losses,
        rule=Rule(at_least(1), at_least(1 / 2), why="as large as the difference", unit="×"),
        over_seeds=spread,
    ),
)


CLAIMS: tuple[Claim, ...] = (
    *TRAINING_CLAIMS,
    *NOISE_CLAIMS,
    *SHIFT_CLAIMS,
    *LANDSCAPE_CLAIMS,
    *LP_CLAIMS,
    *ADDED_CLAIMS,
)
EXPERIMENTS = tuple(dict.fromkeys(name for claim in CLAIMS for name in claim.experiments))
