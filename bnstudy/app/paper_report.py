"""The paper as a report of W&B: a section per figure, with its runs and the verdicts on it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bnstudy import claims
from bnstudy.app import dashboard
from bnstudy.claims import Claim, Result
from bnstudy.figures import discover, title
from bnstudy.report import paragraphs
from bnstudy.results import Run

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import PanelGrid, Report

NAME = "How does batch normalization help optimization?"
# What a figure shows, by the titles of the sections of the dashboard; of the others all.
LOSS = "Figures 1, 5: accuracy and loss"
SHIFT = "Figure 3: internal covariate shift"
SEEN = "Figures 1c, 2, 6, 9: activations"
MOMENTS = "Figure 8: moments"
LANDSCAPES = (
    "Figures 4, 12: landscape along the gradient, VGG",
    "Figures 10, 13: landscape along the gradient, linear network",
)
SHOWN = {
    "figure1": (LOSS, SEEN),
    "figure2": (LOSS, SEEN),
    "figure3a": (SHIFT,),
    "figure3b": (LOSS, SHIFT),
    "figure4": LANDSCAPES,
    "figure5a": (LOSS,),
    "figure5b": (LOSS,),
    "figure6": (SEEN,),
    "figure8a": (MOMENTS,),
    "figure8b": (MOMENTS,),
    "figure9": (SEEN,),
    "figure10": LANDSCAPES,
    "figure11": LANDSCAPES,
    "figure12": LANDSCAPES,
    "figure13": LANDSCAPES,
}


def make(
    runs: Mapping[str, Sequence[Run]], scale: str, entity: str | None, project: str
) -> "Report":
    """The report on the runs of each experiment, which `save` writes to the server.

    Without an entity it names no project in its run sets: W&B would ask the server for it.
    """
    from wandb_workspaces.reports import v2 as wr

    results = claims.evaluate(runs)
    figures = discover()
    of_claims = {result.claim.name: figures_of(result.claim, figures) for result in results}
    blocks: list[Any] = [wr.TableOfContents()]
    for name, figure in figures.items():
        blocks += [wr.H2(text=f"{heading(name)}{title(figure)}")]
        blocks += [wr.P(text=text) for text in paragraphs(figure)[1:]]
        blocks += [verdict(result) for result in results if name in of_claims[result.claim.name]]
        blocks.append(grid(name, figure, runs, scale, entity, project))
    rest = [result for result in results if not of_claims[result.claim.name]]
    blocks += [wr.H2(text="Other claims"), *map(verdict, rest)] if rest else []
    return wr.Report(
        project=project,
        entity=entity or "",
        title=f"{NAME} Scale {scale}",
        description="Santurkar et al. 2018, and what this study adds: figures, runs, verdicts.",
        blocks=blocks,
        width="fluid",
    )


def heading(name: str) -> str:
    """ "Figure 4: " for a figure of the paper, "" for others."""
    return f"Figure {name.removeprefix('figure')}: " if name.startswith("figure") else ""


def figures_of(claim: Claim, figures: Mapping[str, ModuleType]) -> list[str]:
    """The figures that a claim is about.

    The paper's claims name their figures in their source. Another is about the first of this
    study's own figures that is drawn from all of its experiments.
    """
    if places := figures_in(claim.source):
        named = {f"figure{place}" for place in places}
        return [name for name in figures if name in named | {n.rstrip("abcd") for n in named}]
    own = [name for name in figures if not name.startswith("figure")]
    needed = set(claim.experiments)
    return [name for name in own if needed <= set(figures[name].EXPERIMENTS)][:1]


def figures_in(source: str) -> list[str]:
    """The paper's figures that a source names: "section 3.3, figures 5a, 12a" gives 5a and 12a."""
    if re.search(r"(?<!Santurkar) et al\.|, not |not in Santurkar", source):
        return []
    lists = re.findall(r"figures? (\d+[a-d]?(?:(?:, | and )\d+[a-d]?)*)", source)
    return re.findall(r"\d+[a-d]?", " ".join(lists))


def verdict(result: Result) -> Any:
    """The verdict on a claim as a callout."""
    from wandb_workspaces.reports import v2 as wr

    claim = result.claim
    measured = f" Measured: {result.measured} ({claim.quantity})." if result.measured else ""
    paper = f" The paper: {result.paper}." if result.paper else ""
    return wr.CalloutBlock(
        text=f"{claim.title}: {result.verdict}. {claim.says} ({claim.source})."
        f"{measured}{paper} {' '.join(result.notes)}".rstrip()
    )


def grid(
    name: str,
    figure: ModuleType,
    runs: Mapping[str, Sequence[Run]],
    scale: str,
    entity: str | None,
    project: str,
) -> "PanelGrid":
    """The panels of a figure with a run set of its own for each of its experiments."""
    from wandb_workspaces import expr
    from wandb_workspaces.reports import v2 as wr

    sets, colours, panels = [], {}, {}
    for experiment in figure.EXPERIMENTS:
        recorded = dashboard.recorded_by(runs.get(experiment, ()))
        grouping = (dashboard.NORM, dashboard.LR, *dashboard.varied(experiment))
        sets.append(
            wr.Runset(
                entity=entity or "",
                project=project,
                name=experiment,
                filters=expr.And(
                    expr.Metric("Group") == experiment,
                    expr.Metric("JobType") == "train",
                    expr.Config("header.value.scale") == scale,
                ),
                groupby=[f"config.{key}" for key in grouping],
                pinned_columns=[dashboard.column(key) for key in grouping],
            )
        )
        colours |= {
            group: colour
            for path, colour in dashboard.colours(recorded.arms).items()
            if (group := run_group(experiment, path))
        }
        for section in dashboard.sections(experiment, recorded):
            if section.name in SHOWN.get(name, (section.name,)):
                panels |= {str(vars(panel)["title"]): panel for panel in section.panels}
    return wr.PanelGrid(runsets=sets, panels=list(panels.values()), custom_run_colors=colours)


def run_group(runset: str, path: Iterable[str] | str) -> Any:
    """The runs of one norm, or of one norm and lr, as a report names them."""
    from wandb_workspaces.reports import v2 as wr

    values = (path,) if isinstance(path, str) else tuple(path)
    keys = zip((dashboard.NORM, dashboard.LR), values, strict=False)
    return wr.RunsetGroup(
        runset_name=runset,
        keys=tuple(wr.RunsetGroupKey(key=wr.Config(key), value=value) for key, value in keys),
    )


def as_json(report: "Report") -> str:
    """What `save` would send."""
    sent = json.loads(report._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return json.dumps(sent, indent=1, ensure_ascii=False) + "\n"
