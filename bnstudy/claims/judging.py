"""Claims, and the verdict on each from the runs of its arms, seed by seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bnstudy.claims.rules import NO_RUNS, Rule, in_words, listed
from bnstudy.results import Run, comparable

RESAMPLES = 10_000
COVERAGE = 0.95


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
class Claim:
    """One claim: what the paper says, what is measured, and the rule for the verdict.

    `measure` takes the runs of one seed, of each of the `arms` in their order one run, or a list of
    runs if it is a block, and gives one number, or several that `over_seeds` reduces; NaN where the
    runs have no value. `detail` takes the same and gives a word about how it was measured. `also`
    is what besides norm, lr and seed the runs may differ in, as `comparable` takes it.
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


def judge(claim: Claim, runs: Mapping[str, Sequence[Run]]) -> Result:
    """The verdict on one claim."""
    given = [run for name in claim.experiments for run in runs.get(name, ())]
    chosen = comparable(given, claim.also)
    by_arm = [[run for run in chosen if is_of(run, arm)] for arm in claim.arms]
    ended, lacking = zip(*map(of_seeds, claim.arms, by_arm), strict=True)
    others = sum(any(is_of(run, arm) for arm in claim.arms) for run in given if run not in chosen)
    notes = [
        counted(sum(r.outcome == "interrupted" for own in by_arm for r in own), "interrupted"),
        counted(others, "with other settings"),
        for_seeds("Runs are lacking", sorted(set.union(*lacking))),
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
        of_seed = [
            own[seed] if arm.is_block else own[seed][-1]
            for arm, own in zip(claim.arms, ended, strict=True)
        ]
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
    notes.append(for_seeds("No value", [seed for seed in seeds if seed not in by_seed]))
    diverged = sum(r.outcome == "diverged" for own in ended for seed in by_seed for r in own[seed])
    notes = [*details, f"Runs that diverged: {diverged}." if diverged else "", *notes]
    value, low, high = summary(list(by_seed.values()), claim.over_seeds)
    scale = chosen[0].scale
    verdict = claim.rule.verdict(value, low, high, scale)
    kept = tuple(note for note in notes if note)
    return Result(claim, verdict, value, low, high, by_seed, scale, kept)


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
