"""A folder of results that anyone can judge again: records, table, verdicts, figures, README.

Everything in the folder follows from the records in it and from README.jinja, its text with places
for numbers. So no number in prose is typed in, and making the folder again changes nothing.
"""

import gzip
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np

from bnstudy import claims, figures
from bnstudy.claims import Result, in_words
from bnstudy.figures import style
from bnstudy.measures.landscape import effective_beta, smaller_steps_beta
from bnstudy.results import Run, load_runs, table, to_csv

RECORDS = "records"
TEMPLATE = "README.jinja"
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


def make(folder: Path) -> list[Path]:
    """Write everything that follows from the records of a folder; the files written.

    Raises FileNotFoundError where there are no records or no README.jinja.
    """
    root = folder / RECORDS
    if not root.is_dir():
        raise FileNotFoundError(f"{folder} holds no {RECORDS}/; add some with --runs DIR.")
    template = folder / TEMPLATE
    if not template.is_file():
        raise FileNotFoundError(f"{template} is missing; it is the text of the folder's README.")
    experiments = sorted(path.name for path in root.iterdir() if path.is_dir())
    runs = {experiment: load_runs(experiment, root) for experiment in experiments}
    results = [r for r in claims.evaluate(runs) if r.verdict != claims.NO_RUNS]
    every = [run for own in runs.values() for run in own]
    files = {
        "runs.csv": to_csv(table(every)),
        "claims.json": claims.to_json(results),
        "claims.md": claims.to_markdown(results),
        "README.md": readme(template, runs, results),
    }
    written: list[Path] = []
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written + draw(folder, runs)


def draw(folder: Path, runs: Mapping[str, Sequence[Run]]) -> list[Path]:
    """Draw every figure whose experiments have runs here, as PNG."""
    written: list[Path] = []
    for name, figure in figures.discover().items():
        own = [run for experiment in figure.EXPERIMENTS for run in runs.get(experiment, ())]
        if own:
            style.save(figure.draw(own), folder / f"{name}.png")
            written.append(folder / f"{name}.png")
    return written


def readme(template: Path, runs: Mapping[str, Sequence[Run]], results: Sequence[Result]) -> str:
    """The README from its template, which reads `runs`, `claims` by name, and a few functions."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    text = environment.from_string(template.read_text(encoding="utf-8"))
    return text.render(
        runs=runs,
        claims={result.claim.name: result for result in results},
        effective_beta=effective_beta,
        smaller_steps_beta=smaller_steps_beta,
        median=lambda values: in_words(float(np.median(list(values)))),
        hours=lambda own: f"{sum(run.seconds for run in own) / 3600:.1f}",
        verdicts=verdicts(results),
    )


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
