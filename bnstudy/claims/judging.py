"""Claims, and the verdict on each from the runs of its arms, seed by seed."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bnstudy.claims.rules import ENOUGH, NO_RUNS, NOT_MEASURABLE, Rule, in_words, listed
from bnstudy.measures.train import plateaued, trained_steps
from bnstudy.results import Run, comparable

RESAMPLES = 10_000
COVERAGE = 0.95
ILLUSTRATION = "demo"  # the scale whose runs show that everything works
NAMED = 6  # runs that a note names one by one


class Arm(NamedTuple):
    """One side of a comparison: what to call it, and where its runs are.

    `options` are paths and what `run.option` has to give there, such as ("model.depth", 56). An arm
    without a norm or a learning rate is a block: its runs with all of them.
    """

    name: str
    experiment: str
    norm: str | None
    lr: float | None
    options: tuple[tuple[str, object], ...] = ()

    def __str__(self) -> str:
        return self.name if self.lr is None else f"{self.name} at lr {in_words(self.lr)}"

    @property
    def is_block(self) -> bool:
        """Whether it is a list of runs of one seed."""
        return self.norm is None or self.lr is None


@dataclass(frozen=True)
class Needs:
    """How long a run has to be for a claim, whatever the scale is called.

    `steps` and `samples` (steps times batch size) are those of the whole run as planned: a run that
    diverged was long enough. `plateau` asks that training has come to rest, as `plateaued` tells.
    """

    steps: int = 0
    samples: int = 0
    plateau: bool = False

    def __str__(self) -> str:
        words = [f"{self.steps} steps or more"] if self.steps else []
        words += [f"{self.samples} training samples or more"] if self.samples else []
        words += ["a training accuracy that has come to rest"] if self.plateau else []
        return f"Needs runs with {listed(words)}." if words else ""

    def met_by(self, run: Run) -> bool:
        """Whether a run is long enough."""
        steps = run.config["steps"]
        long_enough = steps >= self.steps and steps * run.batch_size >= self.samples
        return long_enough and (not self.plateau or plateaued(run))


class Control(NamedTuple):
    """What has to hold for a claim to mean something: in words, and of the runs of one seed."""

    says: str
    met: Callable[..., bool]


@dataclass(frozen=True)
class Claim:
    """One claim: what the paper says, what is measured, and the rule for the verdict.

    `measure` takes the runs of one seed, of each of the `arms` in their order one run, or a list of
    runs if it is a block, and gives one number, or several that `over_seeds` reduces; NaN where the
    runs have no value. `detail` takes the same and gives a word about how it was measured. `also`
    is what besides norm, lr and seed the runs may differ in, as `comparable` takes it.

    A `primary` claim was named before its runs were made; all others are exploratory. `needs` is
    the length of the runs. Seeds below `seeds_from` were looked at before the rules were written;
    they are left out. A seed counts only if the `control` is met.

    With `pick` a block stands for one of its runs: the learning rate and options that have the
    largest mean of `pick` over the other seeds. So no seed picks the number that it reports.
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
    also: tuple[str, ...] = ()
    primary: bool = False
    needs: Needs = Needs()
    seeds_from: int = 0
    control: Control | None = None
    pick: Callable[[Run], float] | None = None

    @property
    def experiments(self) -> tuple[str, ...]:
        """The experiments whose runs it needs."""
        return tuple(dict.fromkeys(arm.experiment for arm in self.arms))

    @property
    def rule_in_words(self) -> str:
        """The rule, with the length, the seeds and the control that the claim asks for."""
        words = str(self.rule)
        words += f" {self.needs}" if str(self.needs) else ""
        words += f" Judged on seeds from {self.seeds_from} on." if self.seeds_from else ""
        words += f" Control: {self.control.says}." if self.control else ""
        return words


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


def judge(claim: Claim, runs: Mapping[str, Sequence[Run]]) -> Result:
    """The verdict on one claim."""
    given = [run for name in claim.experiments for run in runs.get(name, ())]
    fresh = [run for run in given if run.seed >= claim.seeds_from or run.scale == ILLUSTRATION]
    chosen = comparable(fresh, claim.also)
    by_arm = [[run for run in chosen if is_of(run, arm)] for arm in claim.arms]
    ended, lacking = zip(*map(of_seeds, claim.arms, by_arm), strict=True)
    others = sum(any(is_of(run, arm) for arm in claim.arms) for run in fresh if run not in chosen)
    older = {run.seed for run in given if run not in fresh}
    notes = [
        counted(sum(r.outcome == "interrupted" for own in by_arm for r in own), "interrupted"),
        counted(others, "with other settings"),
        for_seeds("Runs are lacking", sorted(set.union(*lacking))),
        looked_at(sorted(older)),
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
    unrecorded: dict[str, None] = {}
    uncontrolled = []
    for seed in seeds:
        try:
            of_seed = runs_of(claim, ended, seed)
            if claim.control and not claim.control.met(*of_seed):
                uncontrolled.append(seed)
                continue
            value = claim.measure(*of_seed)
            detail = claim.detail(*of_seed) if claim.detail else ""
        except KeyError as error:
            unrecorded[f"{str(error.args[0]).split(';')[0]}."] = None
            continue
        if not np.isnan(value).any():
            by_seed[seed] = value
            details[detail] = None
    if unrecorded and not by_seed:
        return no_runs(claim, runs, claim.arms, next(iter(unrecorded)), *notes)
    unknown = [seed for seed in seeds if seed not in (*by_seed, *uncontrolled)]
    notes = [*details, *cut_short(claim, ended, by_seed), *unrecorded, *notes]
    notes.append(for_seeds("No value", unknown))
    if claim.control:
        notes.append(for_seeds(f"The control ({claim.control.says}) is not met", uncontrolled))
    value, low, high = summary(list(by_seed.values()), claim.over_seeds)
    verdict = claim.rule.verdict(value, low, high, len(by_seed))
    used = [run for own in ended for seed in seeds for run in own[seed]]
    reason = unfit(claim, used)
    kept = tuple(note for note in (reason, *notes) if note)
    scale = chosen[0].scale
    return Result(
        claim, NOT_MEASURABLE if reason else verdict, value, low, high, by_seed, scale, kept
    )


def runs_of(claim: Claim, ended: Sequence[Mapping[int, list[Run]]], seed: int) -> list[Any]:
    """What a claim measures of one seed: of every arm its run, or its block of runs."""
    found: list[Any] = []
    for arm, own in zip(claim.arms, ended, strict=True):
        if not arm.is_block:
            found.append(own[seed][-1])
        elif claim.pick is None:
            found.append(own[seed])
        else:
            found.append(picked(own, seed, claim.pick, ("optimizer.lr", *claim.also)))
    return found


def picked(
    own: Mapping[int, list[Run]], seed: int, score: Callable[[Run], float], paths: Sequence[str]
) -> Run:
    """The run of a seed whose options have the largest mean score over the other seeds.

    KeyError if there is no other seed, or this one lacks that run.
    """
    scores: dict[tuple[Any, ...], list[float]] = {}
    for other in (run for key, runs in own.items() if key != seed for run in runs):
        scores.setdefault(tuple(other.option(path) for path in paths), []).append(score(other))
    if not scores:
        raise KeyError(f"{own[seed][0].directory.name} has no other seed to pick its settings")
    best = max(scores, key=lambda cell: np.mean(scores[cell]))
    found = [run for run in own[seed] if tuple(run.option(path) for path in paths) == best]
    if not found:
        raise KeyError(f"{own[seed][0].directory.name} has no run with the settings picked")
    return found[0]


def unfit(claim: Claim, runs: Sequence[Run]) -> str:
    """Why a claim cannot be judged by these runs, "" if it can."""
    if any(run.scale == ILLUSTRATION for run in runs):
        return f"Runs of scale {ILLUSTRATION} illustrate the study; they are not judged."
    return "" if all(map(claim.needs.met_by, runs)) else f"Too short. {claim.needs}"


def cut_short(
    claim: Claim, ended: Sequence[Mapping[int, list[Run]]], seeds: Iterable[int]
) -> list[str]:
    """A note on the runs that diverged, and after how many steps."""
    cut = [
        f"{arm}, seed {seed}, after {trained_steps(run)} of {run.config['steps']} steps"
        for arm, own in zip(claim.arms, ended, strict=True)
        for seed in seeds
        for run in own[seed]
        if run.outcome == "diverged"
    ]
    named = f" ({'; '.join(cut)})" if len(cut) <= NAMED else ""
    return [f"Runs that diverged: {len(cut)}{named}."] if cut else []


def is_of(run: Run, arm: Arm) -> bool:
    """Whether a run is one of an arm."""
    return (
        arm.norm in (None, run.norm)
        and (arm.lr is None or math.isclose(run.lr, arm.lr))
        and all(run.option(path) == value for path, value in arm.options)
    )


def of_seeds(arm: Arm, runs: Sequence[Run]) -> tuple[dict[int, list[Run]], set[int]]:
    """The runs of an arm that have ended, by seed, and the seeds that are left out.

    These are of a block the seeds with fewer such runs than another, whose numbers would be about
    a smaller grid.
    """
    ended: dict[int, list[Run]] = {}
    for run in runs:
        if run.outcome != "interrupted":
            ended.setdefault(run.seed, []).append(run)
    most = max(map(len, ended.values()), default=0)
    lacking = {run.seed for run in runs if arm.is_block and len(ended.get(run.seed, ())) < most}
    return {seed: own for seed, own in ended.items() if seed not in lacking}, lacking


def counted(runs: int, which: str) -> str:
    """A note on runs that were left out, "" if there are none."""
    return f"Left out: {runs} run{'' if runs == 1 else 's'} {which}." if runs else ""


def for_seeds(what: str, seeds: Sequence[int]) -> str:
    """A note on some seeds, "" if there are none."""
    plural = "s" if len(seeds) > 1 else ""
    return f"{what} for seed{plural} {listed([str(seed) for seed in seeds])}." if seeds else ""


def looked_at(seeds: Sequence[int]) -> str:
    """A note on seeds that cannot confirm a claim, "" if there are none."""
    plural = "s" if len(seeds) > 1 else ""
    which = listed([str(seed) for seed in seeds]) if seeds else ""
    return f"Left out: seed{plural} {which}, looked at before the rules." if seeds else ""


def no_runs(
    claim: Claim, runs: Mapping[str, Sequence[Run]], arms: Sequence[Arm], *notes: str
) -> Result:
    """The result of a claim without runs: why, and the commands that make some."""
    scales = {run.scale for group in runs.values() for run in group}
    scale = f" scale={scales.pop()}" if len(scales) == 1 else ""
    experiments = dict.fromkeys(arm.experiment for arm in arms)
    commands = [f"python scripts/train.py -m experiment={name}{scale}" for name in experiments]
    if claim.seeds_from:
        fresh = ",".join(str(claim.seeds_from + i) for i in range(ENOUGH))
        commands = [f"{command} seed={fresh}" for command in commands]
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
