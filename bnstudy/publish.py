"""A folder of results that anyone can judge again: records, table, verdicts, figures, README.

Everything in the folder follows from the records in it and from README.jinja, its text with places
for numbers. So no number in prose is typed in, and making the folder again changes nothing.

Pages about several folders, such as docs/results.md, follow from the same records: `render_pages`.
"""

import gzip
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import jinja2
import numpy as np

from bnstudy import claims, figures
from bnstudy.claims import Result, in_words
from bnstudy.figures import style
from bnstudy.measures import internal_covariate_shift, landscape, series, train
from bnstudy.results import Run, Series, load_runs, table, to_csv

RECORDS = "records"
TEMPLATE = "README.jinja"
# What a text with places for numbers may call: every measure that it needs is one of these.
MEASURES = {
    "train": train,
    "landscape": landscape,
    "internal_covariate_shift": internal_covariate_shift,
    "series": series,
}
# Where things lay on the machine that ran it is nobody's business, and no part of a result.
PLACES = ("root", "cache")


def add_records(folder: Path, runs: Path, experiments: Sequence[str]) -> int:
    """Copy the records of ended runs below `runs` into a folder, compressed; how many.

    Paths of the machine are left out. The same records give the same bytes. A record that is there
    already is replaced.
    """
    count = 0
    for experiment in experiments:
        for run in load_runs(experiment, runs):
            if run.outcome == "interrupted":
                continue
            source = run.directory / "run.jsonl"
            first, rest = source.read_bytes().split(b"\n", 1)
            target = folder / RECORDS / experiment / run.directory.name / "run.jsonl.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.compress(_without_places(first) + b"\n" + rest, mtime=0))
            count += 1
    return count


def _without_places(line: bytes) -> bytes:
    parsed = json.loads(line)
    config = parsed["header"]["config"]
    config["results"] = "results"
    for key in PLACES:
        if config.get("data", {}).get(key) is not None:
            config["data"][key] = "DIR"
    return json.dumps(parsed, allow_nan=False).encode()


class Folder:
    """A folder of results, read when it is asked for: `runs` by experiment, `claims` by name."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def runs(self) -> dict[str, list[Run]]:
        """The runs of every experiment."""
        root = self.path / RECORDS
        experiments = sorted(path.name for path in root.iterdir() if path.is_dir())
        return {experiment: load_runs(experiment, root) for experiment in experiments}

    @cached_property
    def results(self) -> list[Result]:
        """The claims that have runs here, judged."""
        return [r for r in claims.evaluate(self.runs) if r.verdict != claims.NO_RUNS]

    @property
    def title(self) -> str:
        """The heading of the folder's README."""
        return (self.path / TEMPLATE).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")

    @property
    def verdicts(self) -> str:
        """The primary claims as a Markdown table."""
        return verdicts(self.results)

    @property
    def claims(self) -> dict[str, Result]:
        """The same, by name."""
        return {result.claim.name: result for result in self.results}


def make(folder: Path) -> list[Path]:
    """Write everything that follows from the records of a folder; the files written.

    Raises FileNotFoundError where there are no records or no README.jinja.
    """
    if not (folder / RECORDS).is_dir():
        raise FileNotFoundError(f"{folder} holds no {RECORDS}/; add some with --runs DIR.")
    template = folder / TEMPLATE
    if not template.is_file():
        raise FileNotFoundError(f"{template} is missing; it is the text of the folder's README.")
    own = Folder(folder)
    known = {"runs": own.runs, "claims": own.claims, "verdicts": own.verdicts}
    files = {
        "runs.csv": to_csv(table([run for runs in own.runs.values() for run in runs])),
        "claims.json": claims.to_json(own.results),
        "claims.md": claims.to_markdown(own.results),
        "README.md": filled(template, known),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files] + draw(folder, own.runs)


def draw(folder: Path, runs: Mapping[str, Sequence[Run]]) -> list[Path]:
    """Draw every figure whose experiments have runs here, as PNG."""
    written: list[Path] = []
    for name, figure in figures.discover().items():
        own = [run for experiment in figure.EXPERIMENTS for run in runs.get(experiment, ())]
        if own:
            style.save(figure.draw(own), folder / f"{name}.png")
            written.append(folder / f"{name}.png")
    return written


def filled(template: Path, known: Mapping[str, object]) -> str:
    """A text with its places for numbers filled in from `known` and from the measures."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    text = environment.from_string(template.read_text(encoding="utf-8"))
    functions = (first, median, over_seeds, after, at_step, of_arm, hours, found)
    return text.render(**known, **MEASURES, **{f.__name__: f for f in functions})


def first(measure: Callable[[Run], Series]) -> Callable[[Run], float]:
    """The measure at step 0 of a run."""
    return lambda run: series.at_first_step(measure(run))


def after(step: int, measure: Callable[[Run], Series]) -> Callable[[Run], float]:
    """The median of a measure over the steps of a run that come after a step."""
    return lambda run: series.median(series.late(measure(run), step + 1))


def at_step(step: int, key: str) -> Callable[[Run], float]:
    """What a run recorded under a key at a step, or last before it."""
    return lambda run: float(run[key][1][run.steps(key) <= step][-1])


def median(runs: Sequence[Run], measure: Callable[[Run], float]) -> str:
    """The median of a measure over runs, in words."""
    return in_words(float(np.median([measure(run) for run in runs])))


def over_seeds(runs: Sequence[Run], measure: Callable[[Run], float], factor: float = 1.0) -> str:
    """The median of a measure over runs, and from the lowest to the highest, in words."""
    values = [factor * measure(run) for run in runs]
    middle, low, high = map(in_words, (float(np.median(values)), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def of_arm(runs: Sequence[Run], norm: str, lr: float | None = None) -> list[Run]:
    """The runs of one norm, at one learning rate if it is given."""
    return [run for run in runs if run.norm == norm and lr in (None, run.lr)]


def found(result: Result) -> str:
    """The value of a claim, its interval and its number of seeds, as in a sentence."""
    low, high = in_words(result.low, fixed=True), in_words(result.high, fixed=True)
    return f"{in_words(result.value, fixed=True)} ({low} to {high}; n = {result.n})"


def hours(runs: Sequence[Run]) -> str:
    """The hours that runs took by their own clocks, in words."""
    return f"{sum(run.seconds for run in runs) / 3600:.1f}"


def render_pages(pages: Mapping[Path, Path], reference: Path) -> list[Path]:
    """Write pages about several folders of results from their templates; the pages written.

    `pages` maps each template to its page. A template reads `folders`, by name, and the measures. A
    page with the lines `<!-- NAME -->` and `<!-- end of NAME -->`, NAME being the template's name,
    has what is between them replaced; any other page is replaced as a whole.
    """
    folders = {
        path.parent.name: Folder(path.parent) for path in sorted(reference.glob(f"*/{TEMPLATE}"))
    }
    for template, page in pages.items():
        text = filled(template, {"folders": folders})
        start, end = f"<!-- {template.stem} -->\n", f"<!-- end of {template.stem} -->\n"
        old = page.read_text(encoding="utf-8") if page.is_file() else ""
        if start in old:
            between = re.compile(f"(?<={re.escape(start)}).*(?={re.escape(end)})", re.DOTALL)
            text = between.sub(lambda _, text=text: text, old)
        page.write_text(text, encoding="utf-8")
    return list(pages.values())


def verdicts(results: Sequence[Result]) -> str:
    """The primary claims as a Markdown table."""
    lines = ["| claim | measured | paper | verdict |", "|---|---|---|---|"]
    lines += [
        f"| {r.claim.title} | {r.measured or '–'} | {r.paper or '–'} | **{r.verdict}** |"
        for r in results
        if r.claim.primary
    ]
    return "\n".join(lines)


def copy(folder: Path, target: Path) -> None:
    """Copy what a folder is made from: its records and the template of its README."""
    shutil.copytree(folder / RECORDS, target / RECORDS)
    shutil.copy(folder / TEMPLATE, target / TEMPLATE)
