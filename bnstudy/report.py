"""The study on one page: claims, figures and runs in one HTML file that opens offline."""

import base64
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2

from bnstudy import claims, figures
from bnstudy.claims import Result, in_words, listed
from bnstudy.figures import style
from bnstudy.measures import train
from bnstudy.results import Run

SYMBOLS = {  # colour is never alone: a sign and the word go with it
    claims.SUPPORTED: "✓",
    claims.SUGGESTED: "◐",
    claims.NO_EFFECT: "=",
    claims.CONTRADICTED: "✗",
    claims.UNDECIDED: "?",
    claims.NOT_MEASURABLE: "–",
    claims.NO_RUNS: "○",
}
TALLIES = {  # of one claim, of several
    claims.SUPPORTED: ("is supported", "are supported"),
    claims.SUGGESTED: ("is suggested", "are suggested"),
    claims.NO_EFFECT: ("shows no effect", "show no effect"),
    claims.CONTRADICTED: ("is contradicted", "are contradicted"),
    claims.UNDECIDED: ("is undecided", "are undecided"),
    claims.NOT_MEASURABLE: ("is not measurable", "are not measurable"),
    claims.NO_RUNS: ("has no runs so far", "have no runs so far"),
}
WIDTH = 100.0  # of the small plot of an interval, in its own units


@dataclass(frozen=True)
class Picture:
    """One figure on the page; `source` is a data URI, "" where there are no runs to draw.

    `failure` says why a figure that has runs could not be drawn, "" if it could.
    """

    name: str
    title: str
    caption: list[str]
    source: str
    command: str
    failure: str = ""


@dataclass(frozen=True)
class Plot:
    """A value and its interval beside what is claimed, from 0 to WIDTH; None for what is absent."""

    claimed: tuple[float, float]
    zone: tuple[float, float] | None
    interval: tuple[float, float] | None
    value: float
    paper: float | None


def make(
    runs: Mapping[str, Sequence[Run]],
    draw_command: Callable[[str], str],
    run_command: Callable[[Iterable[str]], str],
    keep: Callable[[str, bytes], object] = lambda name, png: None,
) -> dict[str, str]:
    """The page and the verdicts behind it, by file name: report.html, claims.json, claims.md.

    `runs` are those of each experiment. `draw_command(name)` says how to draw a figure,
    `run_command(experiments)` how to make runs. Each figure is drawn once; `keep(name, png)` is
    called with its PNG. The same runs give the same files.
    """
    results = claims.evaluate(runs)
    pictures = [
        picture(name, figure, runs, draw_command, run_command, keep)
        for name, figure in figures.discover().items()
    ]
    return {
        "report.html": render(results, pictures, [run for own in runs.values() for run in own]),
        "claims.json": claims.to_json(results),
        "claims.md": claims.to_markdown(results),
    }


def write(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, all or, if one cannot be written, none; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as staging:
        for name, text in files.items():
            Path(staging, name).write_text(text, encoding="utf-8")
        for name in files:
            os.replace(Path(staging, name), folder / name)
    return [folder / name for name in files]


def render(results: Sequence[Result], pictures: Sequence[Picture], runs: Sequence[Run]) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole"] = whole
    # Primary claims first; with one topic of primary and exploratory claims it would be split.
    ordered = sorted(results, key=lambda result: not result.claim.primary)
    topics = dict.fromkeys(result.claim.topic for result in ordered)
    return environment.get_template("report.html").render(
        answer=answer(results),
        counts=counts(results),
        labels=list(dict.fromkeys(run.label for run in runs)),
        topics={topic: [r for r in ordered if r.claim.topic == topic] for topic in topics},
        by_seed=by_seed,
        plot=plot,
        width=WIDTH,
        symbols=SYMBOLS,
        method=paragraphs(claims)[2:],
        meanings=claims.VERDICTS,
        coverage=claims.COVERAGE,
        pictures=[p for p in pictures if p.source],
        undrawn=[p for p in pictures if not p.source and not p.failure],
        failed=[p for p in pictures if p.failure],
        runs=[facts(run) for run in runs],
        outcomes=Counter(run.outcome for run in runs),
        provenance=provenance(runs),
    )


def whole(text: object) -> str:
    """The text with numbers such as 1e-6 kept on one line."""
    return re.sub(r"(?<=\de)-(?=\d)", "-\u2060", str(text))


# What was found, in words


def counts(results: Sequence[Result]) -> dict[str, int]:
    """How many claims have which verdict, those that no claim has left out."""
    found = Counter(result.verdict for result in results)
    return {verdict: found[verdict] for verdict in claims.VERDICTS if found[verdict]}


def answer(results: Sequence[Result]) -> list[str]:
    """What came out: a sentence on the primary claims, and on the others by who makes them."""
    primary = [result for result in results if result.claim.primary]
    others = [result for result in results if not result.claim.primary]
    own = [result for result in others if result.claim.topic == claims.ADDED]
    elsewhere = [result for result in others if result.claim.topic in claims.OTHERS]
    papers = [result for result in others if result not in own + elsewhere]
    failed = [r for r in primary + papers if r.verdict == claims.CONTRADICTED]
    unmet = sum(result.claim.rule.paper_meets_it is False for result in failed)
    sentences = [
        tally(primary, "primary claim", ", named before the runs"),
        tally(papers, "exploratory claim", " of the paper"),
        tally(own, "exploratory claim", " of this study"),
        tally(elsewhere, "exploratory claim", " of others on BatchNorm"),
    ]
    if unmet:
        fail = "fails" if unmet == 1 else "fail"
        sentences.append(
            f"Of the contradicted claims {unmet} {fail} by the paper's own numbers too."
        )
    return [sentence for sentence in sentences if sentence]


def tally(results: Sequence[Result], what: str, whose: str) -> str:
    """How many of the claims have which verdict, in a sentence; "" for no claims."""
    found = counts(results)
    parts = [f"{count} {TALLIES[verdict][count != 1]}" for verdict, count in found.items()]
    plural = "" if len(results) == 1 else "s"
    return f"Of the {len(results)} {what}{plural}{whose}, {listed(parts)}." if parts else ""


def by_seed(result: Result) -> dict[int, str]:
    """The value of every seed in words."""
    values = {s: v if isinstance(v, tuple) else (v,) for s, v in result.by_seed.items()}
    return {s: " and ".join(in_words(one, fixed=True) for one in v) for s, v in values.items()}


def plot(result: Result) -> Plot | None:
    """Where value, interval, ranges and the paper's number lie; None if there is no value.

    Ratios are on a logarithmic axis. What is infinite lies at the end.
    """
    rule = result.claim.rule
    if math.isnan(result.value):
        return None
    bounds = (rule.claimed.low, rule.claimed.high)
    bounds += (rule.zone.low, rule.zone.high) if rule.zone else ()
    numbers = (*bounds, result.value, result.low, result.high, rule.paper)
    finite = [number for number in numbers if number is not None and math.isfinite(number)]
    log = rule.unit == "×" and min(finite) > 0

    def scaled(number: float) -> float:
        return math.log(number) if log and 0 < number < math.inf else number

    low, high = scaled(min(finite)), scaled(max(finite))
    margin = 0.12 * (high - low) or 1.0

    def place(number: float) -> float:
        share = (scaled(number) - low + margin) / (high - low + 2 * margin)
        return round(WIDTH * min(max(share, 0.0), 1.0), 2)

    return Plot(
        claimed=(place(rule.claimed.low), place(rule.claimed.high)),
        zone=(place(rule.zone.low), place(rule.zone.high)) if rule.zone else None,
        interval=(place(result.low), place(result.high)) if result.n > 1 else None,
        value=place(result.value),
        paper=None if rule.paper is None else place(rule.paper),
    )


# Figures


def picture(
    name: str,
    figure: ModuleType,
    runs: Mapping[str, Sequence[Run]],
    draw_command: Callable[[str], str],
    run_command: Callable[[Iterable[str]], str],
    keep: Callable[[str, bytes], object] = lambda name, png: None,
) -> Picture:
    """A figure, drawn if any of its experiments has runs, and the command for it."""
    found = [run for experiment in figure.EXPERIMENTS for run in runs.get(experiment, ())]
    command = draw_command(name) if found else run_command(figure.EXPERIMENTS)
    told = (name, figures.title(figure), paragraphs(figure)[1:])
    if not found:
        return Picture(*told, "", command)
    drawn = figures.draw_or_say(name, figure, found)
    if isinstance(drawn, str):
        return Picture(*told, "", command, drawn)
    png, svg = (style.encode(drawn, kind) for kind in ("png", "svg"))
    keep(name, png)
    return Picture(*told, data_uri(png, svg), command)


def paragraphs(module: ModuleType) -> list[str]:
    """The paragraphs of a module's docstring, each on one line."""
    return [" ".join(text.split()) for text in (module.__doc__ or "").strip().split("\n\n")]


def data_uri(png: bytes, svg: bytes) -> str:
    """A drawn figure as a data URI: SVG, or PNG where that is smaller."""
    kind, content = ("png", png) if len(png) <= len(svg) else ("svg+xml", svg)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# Runs


def facts(run: Run) -> dict[str, str]:
    """What the table of runs says of one."""
    return {
        "experiment": run.experiment,
        "norm": style.arm(run.norm).name,
        "lr": in_words(run.lr),
        "seed": str(run.seed),
        "outcome": run.outcome,
        "steps": f"{last(run, train.LOSS)[0] + 1} of {run.config['steps']}",
        "seconds": in_words(last(run, "time")[1]),
        "loss": in_words(last(run, train.LOSS)[1]),
        "accuracy": in_words(100 * last(run, train.TEST_ACCURACY)[1]),
        "name": run.directory.name,
    }


def last(run: Run, key: str) -> tuple[int, float]:
    """The last step of a metric and its value there; -1 and NaN if it was not recorded."""
    if key not in run:
        return -1, math.nan
    steps, values = run[key]
    return int(steps[-1]), float(values[-1])


def provenance(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Where the runs are from: of every fact its values, and how many runs have each."""
    told: dict[str, Counter[str]] = {}
    for run in runs:
        for key, value in origin(run).items():
            told.setdefault(key, Counter())[value] += 1
    return {key: dict(values) for key, values in told.items()}


def origin(run: Run) -> dict[str, str]:
    """Code, versions, device and data of one run."""
    header: dict[str, Any] = run.header
    data = header["data"]
    digest = f" (digest {data['digest']})" if "digest" in data else ""
    return {
        "scale": run.scale,
        "data": f"{data['name']}{digest}",
        "device": header.get("device", "not recorded"),
        "git revision": header.get("git", "not recorded"),
        "started": header.get("started", "not recorded").split("T")[0],
        **header.get("versions", {}),
    }
