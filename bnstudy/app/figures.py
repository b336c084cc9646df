"""Draw figures from runs: needs neither a GPU nor torch."""

import argparse
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from matplotlib.figure import Figure

from bnstudy import figures
from bnstudy.figures import style
from bnstudy.results import Run, load_runs

RUNS, FIGURES = Path("results/runs"), Path("results/figures")
KINDS = ("png", "pdf", "svg")
RECORDS = Path("results/wandb")  # downloaded from W&B
EPILOG = """\
examples:
  python scripts/figures.py                       every figure that has runs
  python scripts/figures.py figure4 --scale small
  python scripts/figures.py figure4 --format pdf,svg
  python scripts/figures.py --runs DIR --out DIR  runs from elsewhere
  python scripts/figures.py --wandb ME/bnstudy    runs with wandb.artifact=true, from W&B

Folders are relative to where the command is run, as those of scripts/train.py are.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    available = figures.discover()
    if options.list:
        width = max(map(len, available))
        for name, figure in available.items():
            runs_of = ", ".join(figure.EXPERIMENTS)
            print(f"{name:{width}} {figures.title(figure)} (runs of {runs_of})")
        return 0
    wanted = choose(options.names, available)
    if options.wandb:
        options.runs = from_wandb(options.wandb, options.scale)
    root = options.runs or RUNS / (options.scale or the_only_scale())
    out = options.out or FIGURES / (options.scale or root.resolve().name)
    check_writable(out)
    runs = load(root, wanted)
    missing: dict[tuple[str, ...], list[str]] = {}
    failed = 0
    for name, figure in wanted.items():
        found = [run for experiment in figure.EXPERIMENTS for run in runs[experiment]]
        if found:
            failed += not draw(name, figure, found, out, options.format)
        else:
            missing.setdefault(figure.EXPERIMENTS, []).append(name)
    for experiments, names in missing.items():
        print(f"No runs for {', '.join(names)}; {how_to_make(experiments, root)}", file=sys.stderr)
    return 1 if failed or (missing and options.names) else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="figures to draw (all with runs)")
    parser.add_argument("--scale", help="demo, small, paper (the only one that has runs)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"runs ({RUNS}/<scale>)")
    parser.add_argument("--wandb", metavar="PROJECT", help="runs that W&B has: [ENTITY/]PROJECT")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"pictures ({FIGURES}/<scale>)")
    parser.add_argument(
        "--format",
        type=formats,
        default=["png"],
        metavar="KIND",
        help=f"{', '.join(KINDS)}, or several with commas (png)",
    )
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    return parser


def choose(names: list[str], available: dict[str, ModuleType]) -> dict[str, ModuleType]:
    """The figures of these names, all if there are no names."""
    unknown = [name for name in names if name not in available]
    if unknown:
        refuse(f"There is no {unknown[0]}; the figures are {', '.join(available)}.", 2)
    return {name: figure for name, figure in available.items() if not names or name in names}


def the_only_scale() -> str:
    """The scale to read where none is named."""
    scales = sorted({path.parts[-4] for path in RUNS.glob("*/*/*/run.jsonl")})
    if not scales:
        refuse(f"There are no runs in {RUNS}; {how_to_make(['vgg'], RUNS)}", 1)
    if len(scales) > 1:
        refuse(f"There are runs at scale {' and '.join(scales)}; choose one with --scale.", 2)
    return scales[0]


def from_wandb(project: str, scale: str | None) -> Path:
    """The folder of runs whose records W&B has, which are downloaded."""
    from bnstudy.wandb_records import download

    try:
        return download(project, RECORDS, scale)
    except (ValueError, ConnectionError) as error:
        refuse(str(error), 1)


def load(root: Path, wanted: dict[str, ModuleType]) -> dict[str, list[Run]]:
    """The runs of every experiment that the figures read, each read once."""
    experiments = dict.fromkeys(name for figure in wanted.values() for name in figure.EXPERIMENTS)
    unreadable: list[str] = []
    runs = {experiment: load_runs(experiment, root, unreadable) for experiment in experiments}
    for sentence in unreadable:
        print(f"left out: {sentence}", file=sys.stderr)
    if not any(runs.values()):
        refuse(f"There are no runs to draw in {root}; {how_to_make(experiments, root)}", 1)
    return runs


def how_to_make(experiments: Iterable[str], root: Path) -> str:
    """The commands that make the runs of these experiments."""
    scale = f" scale={root.name}" if root.parent == RUNS else ""
    commands = [f"python scripts/train.py -m experiment={name}{scale}" for name in experiments]
    return "make some: " + " or ".join(commands)


def refuse(sentence: str, status: int) -> NoReturn:
    """End the command with a sentence."""
    print(sentence, file=sys.stderr)
    raise SystemExit(status)


def check_writable(out: Path) -> None:
    """End the command unless files can be made in the folder of pictures."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        refuse(f"{out} cannot be written to ({error.strerror}); choose another with --out.", 1)


def draw(name: str, figure: ModuleType, runs: list[Run], out: Path, kinds: list[str]) -> bool:
    """Write a figure as files of these kinds and say where; whether it could be drawn."""
    drawn = figures.draw_or_say(name, figure, runs)
    if isinstance(drawn, str):
        print(drawn, file=sys.stderr)
        return False
    write(name, drawn, out, kinds)
    return True


def write(name: str, drawn: Figure, out: Path, kinds: Iterable[str]) -> None:
    """Write a drawn figure as files of these kinds and say where."""
    for kind in kinds:
        picture = out / f"{name}.{kind}"
        try:
            style.save(drawn, picture)
        except OSError as error:
            refuse(f"{picture} cannot be written ({error.strerror}); choose another --out.", 1)
        print(picture)


def formats(text: str) -> list[str]:
    """The kinds of files that are named with commas."""
    kinds = list(dict.fromkeys(text.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(KINDS)}")
    return kinds
