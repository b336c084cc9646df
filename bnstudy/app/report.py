"""Write the study on one page, from runs: needs neither a GPU nor torch."""

import argparse
import json
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bnstudy import claims, report
from bnstudy.app.figures import RUNS, how_to_make, load, refuse, the_only_scale
from bnstudy.figures import discover
from bnstudy.results import Run
from bnstudy.wandb_mirror import from_environment

REPORTS = Path("results/reports")
EPILOG = """\
examples:
  python scripts/report.py                       the only scale that has runs
  python scripts/report.py --scale small
  python scripts/report.py --runs DIR --out DIR  runs from elsewhere
  python scripts/report.py --wandb offline       figures and verdicts in W&B too
  python scripts/report.py --wandb online        the same, and the paper as a report of W&B
  python scripts/report.py --dry-run             only write that report, as wandb_report.json

Writes report.html, which opens offline, and the verdicts in it as claims.json and claims.md.
Folders are relative to where the command is run, as those of scripts/train.py are.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    root = options.runs or RUNS / (options.scale or the_only_scale())
    out = options.out or REPORTS / (options.scale or root.resolve().name)
    # The module of claims has EXPERIMENTS, as those of figures have.
    runs = load(root, {**discover(), "claims": claims})
    where = f"--scale {root.name}" if root.parent == RUNS else f"--runs {shlex.quote(str(root))}"

    def draw_command(name: str) -> str:
        return f"python scripts/figures.py {name} {where}"

    def run_command(experiments: Iterable[str]) -> str:
        return how_to_make(experiments, root)

    pictures: dict[str, bytes] = {}
    keep = pictures.__setitem__

    try:
        out.mkdir(parents=True, exist_ok=True)
        if options.dry_run:
            sent = out / "wandb_report.json"
            sent.write_text(paper(runs, root, options, entity=None), encoding="utf-8")
            print(sent)
            return 0
        written = report.write(report.make(runs, draw_command, run_command, keep), out)
        if options.figures:
            written = [*write_pictures(pictures, options.figures), *written]
    except OSError as error:
        refuse(f"{out} cannot be written to ({error.strerror}); choose another with --out.", 1)
    for path in written:
        print(path)
    if options.wandb:
        show_in_wandb(pictures, out, options)
        if options.wandb == "online":
            print(paper(runs, root, options, options.entity or "", save=True))
    return 0


def write_pictures(pictures: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write figures, each of which is a PNG, into a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png" for name in pictures]
    for path, content in zip(paths, pictures.values(), strict=True):
        path.write_bytes(content)
    return paths


def show_in_wandb(pictures: Mapping[str, bytes], out: Path, options: argparse.Namespace) -> None:
    """The figures and the verdicts in `out`, as one run of W&B."""
    from bnstudy.wandb_mirror import wandb_report

    with tempfile.TemporaryDirectory() as folder:
        files = {path.stem: path for path in write_pictures(pictures, Path(folder))}
        verdicts = json.loads((out / "claims.json").read_text(encoding="utf-8"))
        where = options.wandb, options.project, options.entity
        try:
            wandb_report(out, out.resolve().name, files, verdicts, *where)
        except ConnectionError as error:
            refuse(str(error), 1)


def paper(
    runs: Mapping[str, Sequence[Run]],
    root: Path,
    options: argparse.Namespace,
    entity: str | None,
    save: bool = False,
) -> str:
    """The paper as a report of W&B: its JSON, or its address once it is saved there."""
    try:
        import wandb_workspaces  # noqa: F401

        from bnstudy.app import dashboard, paper_report
    except ImportError:
        refuse("The report needs wandb-workspaces: pip install 'bnstudy[dashboard]'.", 1)
    if not save:
        return paper_report.as_json(paper_report.make(runs, root.name, entity, options.project))
    try:
        entity = dashboard.entity(entity)
        return paper_report.make(runs, root.name, entity, options.project).save().url
    except Exception as error:  # of wandb, requests and wandb-workspaces
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        refuse(f"The report could not be saved in W&B ({said}); look at it with --dry-run.", 1)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", help="demo, small, paper (the only one that has runs)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help=f"runs ({RUNS}/<scale>)")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"the page ({REPORTS}/<scale>)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="put the figures here too")
    parser.add_argument("--wandb", choices=("offline", "online"), help="show it in W&B too")
    parser.add_argument("--dry-run", action="store_true", help="only write what W&B would be sent")
    project, entity = from_environment("PROJECT", "bnstudy"), from_environment("ENTITY")
    parser.add_argument("--project", default=project, help=f"of W&B ({project})")
    parser.add_argument("--entity", default=entity, help="of W&B: user or team (of your login)")
    return parser
