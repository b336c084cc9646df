"""Make the study's views of a W&B project: one per experiment, a section per figure.

A view shows the runs of its experiment, grouped by norm, learning rate and whatever else its sweep
varies, in the colours of the figures, with panels for what the runs have recorded.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_hex
from omegaconf import OmegaConf

from bnstudy.app import CONFIGS
from bnstudy.figures import style
from bnstudy.measures import (
    activations,
    batch_sharpness,
    landscape,
    moments,
    sharpness,
    weights,
)
from bnstudy.measures.train import TEST_ACCURACY
from bnstudy.record import ACCURACY, LOSS
from bnstudy.results import Run, load_runs
from bnstudy.wandb_mirror import from_environment, let_go

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

RUNS = Path("results/runs")
NORM, LR = "header.choices.norm", "optimizer.lr"
NAME = "How batch normalization helps"
LAYERS = ("layer3", "layer5")  # where it is not known which were recorded
SHIFT = "internal_covariate_shift"
SINGLE = "custom"  # the experiment of a run that belongs to none
PINNED = ("final/accuracy", "diverged", "final/loss", "median/effective_beta")
EPILOG = """\
examples:
  python scripts/dashboard.py --entity ME                in project bnstudy, every experiment there
  python scripts/dashboard.py vgg deep_linear            these experiments
  python scripts/dashboard.py vgg --layers layer5 layer10     panels for these layers only
  python scripts/dashboard.py vgg --dry-run > vgg.json   what would be saved; needs no login

With --dry-run it looks for what was recorded in results/runs, otherwise in the project.
"""


@dataclass(frozen=True)
class Recorded:
    """What runs of an experiment have recorded: `keys` as W&B has them, and `arms`, (norm, lr)."""

    keys: frozenset[str] = frozenset()
    arms: frozenset[tuple[str, float]] = frozenset()

    def layers(self, kind: str) -> list[str]:
        """The layers that have `kind`, from the input on."""
        found = {key.removeprefix(f"{kind}/").partition("/")[0] for key in self.keys_of(kind)}
        return sorted(found, key=lambda name: (len(name), name))

    def keys_of(self, kind: str) -> list[str]:
        """The keys that begin with `kind`."""
        return [key for key in self.keys if key.startswith(f"{kind}/")]


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    if reason := refusal(options):
        print(reason, file=sys.stderr)
        return 2
    try:
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError:
        print(
            "The dashboard needs wandb-workspaces: pip install 'bnstudy[dashboard]'.",
            file=sys.stderr,
        )
        return 1
    if options.dry_run:
        found = {name: recorded_here(name) for name in options.experiments or local_experiments()}
        views = [view(name, recorded, options) for name, recorded in found.items()]
        shown = [as_json(view) for view in views]
        print(json.dumps(shown[0] if len(shown) == 1 else shown))
        return 0
    try:
        options.entity = entity(options.entity)
        found = recorded_there(options)
        for name in options.experiments or found or [SINGLE]:
            print(view(name, found.get(name, Recorded()), options).save().url)
    except Exception as error:  # of wandb, requests and wandb-workspaces
        let_go()
        said = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        print(
            f"The view could not be saved in {options.entity or 'your entity'}/{options.project} "
            f"({said.rstrip('.')}); log in with `wandb login`, name both with --entity and "
            "--project, or only look with --dry-run.",
            file=sys.stderr,
        )
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "experiments", metavar="EXPERIMENT", nargs="*", help="a view for each (all that have runs)"
    )
    project, entity = from_environment("PROJECT", "bnstudy"), from_environment("ENTITY")
    parser.add_argument("--entity", default=entity, help="user or team (of your login)")
    parser.add_argument("--project", default=project, help=f"({project})")
    parser.add_argument("--scale", help="only runs at this scale: demo, small, paper (all)")
    parser.add_argument("--layers", nargs="+", metavar="LAYER", help="(those that were recorded)")
    parser.add_argument("--dry-run", action="store_true", help="print its JSON and save nothing")
    return parser


def refusal(options: argparse.Namespace) -> str | None:
    """What is wrong with the command line, in a sentence."""
    known = [*sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml")), SINGLE]
    for name in options.experiments:
        if name not in known:
            return f"There is no experiment {name}; it must be one of {', '.join(known)}."
    if "/" in options.project or not options.project:
        return f"--project {options.project} must be a project; --entity is its user or team."
    return None


def entity(given: str | None) -> str:
    """The entity that was given, or that of the login."""
    if given:
        return given
    import wandb

    found = wandb.Api(timeout=20).default_entity
    if not found:
        raise ValueError("no entity is known")
    return found


# What was recorded


def local_experiments() -> list[str]:
    """The experiments that have runs here; that of single runs if none has."""
    return sorted({path.parts[-3] for path in RUNS.glob("*/*/*/run.jsonl")}) or [SINGLE]


def recorded_here(experiment: str) -> Recorded:
    """What the runs in results/runs have recorded."""
    return recorded_by([run for root in RUNS.glob("*") for run in load_runs(experiment, root)])


def recorded_by(runs: Sequence[Run]) -> Recorded:
    """What runs have recorded, under the keys that their mirror in W&B has."""
    keys = {key for run in runs for key in run.records}
    bands = {f"{key}/{edge}" for key in keys for edge in ("min", "max")}
    beta = {landscape.EFFECTIVE_BETA} if landscape.CHANGE in keys else set()
    return Recorded(frozenset(keys | bands | beta), frozenset((run.norm, run.lr) for run in runs))


def recorded_there(options: argparse.Namespace) -> dict[str, Recorded]:
    """What the runs in the project have recorded, by experiment."""
    import wandb

    api, found = wandb.Api(timeout=20), dict[str, Recorded]()
    path = f"{options.entity}/{options.project}"
    for run in api.runs(path, filters={"jobType": "train"}, per_page=100):
        before = found.get(run.group, Recorded())
        arm = (run.config["header"]["choices"]["norm"], float(run.config["optimizer"]["lr"]))
        keys = before.keys | set(run.summary.keys())
        found[run.group] = Recorded(keys, before.arms | {arm})
    return found


# The view


def view(experiment: str, recorded: Recorded, options: argparse.Namespace) -> "Workspace":
    """The view of an experiment, which `save` writes to the server."""
    from wandb_workspaces import workspaces as ws

    filters = [ws.Metric("Group") == experiment, ws.Metric("JobType") == "train"]
    if options.scale:
        filters.append(ws.Config("header.value.scale") == options.scale)
    return ws.Workspace(
        entity=options.entity or "",
        project=options.project,
        name=f"{NAME}: {experiment}",
        sections=sections(experiment, recorded, options.layers),
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(*filters),
            groupby=[ws.Config(key) for key in (NORM, LR, *varied(experiment))],
            group_colors=colours(recorded.arms),
            pinned_columns=[
                "run:displayName",
                *(column(key) for key in (NORM, LR, "seed", *varied(experiment))),
                *(f"summary:{key}" for key in PINNED),
            ],
        ),
    )


def varied(experiment: str) -> list[str]:
    """What the sweep of an experiment varies besides norm, lr and seed: runs that are not alike."""
    path = CONFIGS / "experiment" / f"{experiment}.yaml"
    if not path.exists():
        return []
    defaults = OmegaConf.load(path).defaults
    choices = [entry for entry in defaults if not isinstance(entry, str)]  # others are protocols
    sweeps = [name for entry in choices for name in entry.get("override /sweep", ())]
    keys = [key for name in sweeps for key in OmegaConf.load(CONFIGS / "sweep" / f"{name}.yaml")]
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    return [
        f"header.choices.{key}" if key in groups else key
        for key in keys
        if key not in ("norm", LR, "seed")
    ]


def column(key: str) -> str:
    """A key of the config as W&B's tables name it."""
    first, _, rest = key.partition(".")
    return f"config:{first}.value" + (f".{rest}" if rest else "")


def colours(arms: Iterable[tuple[str, float]]) -> dict[Any, str]:
    """The colour of every norm, as in the figures, and tints of it for its smaller lrs."""
    from wandb_workspaces import workspaces as ws

    chosen: dict[Any, str] = {norm: arm.colour for norm, arm in style.LOOKS.items()}
    for norm in {norm for norm, _ in arms if norm in style.LOOKS}:
        lrs = sorted({lr for of, lr in arms if of == norm}, reverse=True)
        for place, lr in enumerate(lrs):
            tint = to_hex(style.LOOKS[norm].tint(0.6 * place / len(lrs)))
            chosen[ws.GroupPath(norm, as_javascript(lr))] = tint
    return chosen


def as_javascript(number: float) -> str:
    """A number as JavaScript writes it, which is how W&B names a group."""
    if number and not 1e-6 <= abs(number) < 1e21:
        return np.format_float_scientific(number, trim="-", exp_digits=1)
    return np.format_float_positional(number, trim="-")


def sections(
    experiment: str, recorded: Recorded, layers: Sequence[str] | None = None
) -> list["Section"]:
    """A section per figure, in the order of the figures, of what was recorded.

    Everything where it is not known what was. `layers` are those to show, all if there are none.
    """
    from wandb_workspaces import workspaces as ws

    found = {
        name: shown
        for name, own in panels(experiment, recorded, layers).items()
        if (shown := [panel for panel in own if is_recorded(panel, recorded)])
    }
    return [ws.Section(name=name, panels=own, is_open=True) for name, own in found.items()]


def is_recorded(panel: Any, recorded: Recorded) -> bool:
    """Whether any run has what a line plot shows; other panels say themselves what they lack."""
    keys = getattr(panel, "y", None)
    return not recorded.keys or not isinstance(keys, list) or any(k in recorded.keys for k in keys)


def panels(
    experiment: str, recorded: Recorded, layers: Sequence[str] | None
) -> dict[str, list[Any]]:
    """All panels, by the figures that they stand for."""

    def of(kind: str) -> Sequence[str]:
        return layers or recorded.layers(kind) or (() if recorded.keys else LAYERS)

    shift = [
        line(f"{layer}: {what}", [f"{SHIFT}/{kind}/{layer}"], log)
        for layer in of(f"{SHIFT}/l2")
        for kind, what, log in (("l2", "‖G − G′‖", True), ("cosine", "cos(G, G′)", False))
    ]
    seen = [
        line(f"{layer}: {what}", band(f"{kind}/{layer}"), log=False)
        for layer in of(activations.PERCENTILES)
        for kind, what in (
            (activations.PERCENTILES, "15th to 85th percentile"),
            (activations.VARIANCE, "variance of the units"),
        )
    ]
    unit_moments = [
        line(f"{layer}: {kind} of the units", band(f"{moments.PREFIX}{kind}/{layer}"), log=False)
        for layer in of(moments.MEAN)
        for kind in ("mean", "variance")
    ]
    linear = "deep_linear" in experiment
    landscapes = {
        "Figures 4, 12: landscape along the gradient, VGG": along_gradient(log=False),
        "Figures 10, 13: landscape along the gradient, linear network": along_gradient(log=True),
    }
    if experiment != SINGLE:  # which may be any network
        landscapes.pop(list(landscapes)[not linear])
    return {
        "Figures 1, 5: accuracy and loss": training(),
        "Figure 3: internal covariate shift": shift,
        **landscapes,
        "Figures 1c, 2, 6, 9: activations": seen,
        "Figure 8: moments": unit_moments,
        "Curvature": curvature(),
        "Runs compared": compared(),
    }


def training() -> list[Any]:
    """Accuracy and loss over training."""
    return [
        line("training accuracy", [ACCURACY], log=False),
        line("test accuracy", [TEST_ACCURACY], log=False),
        line("training loss", [LOSS], log=True),
    ]


def curvature() -> list[Any]:
    """Sharpness, curvature along the gradient, and length of the weights."""
    return [
        line("sharpness, batch statistics", [f"{sharpness.EIGENVALUES['batch']}/max"], log=True),
        line("g′Hg / ‖g‖², batch statistics", band(batch_sharpness.CURVATURE["batch"]), log=False),
        line("‖w‖", [weights.NORM], log=False),
    ]


def compared() -> list[Any]:
    """Runs as points and as lines over what they were told and what came out."""
    from wandb_workspaces.reports import v2 as wr

    lr, norm = wr.Config(LR), wr.Config(NORM)
    accuracy, beta = wr.SummaryMetric("final/accuracy"), wr.SummaryMetric("median/effective_beta")
    shift = wr.SummaryMetric("median/shift_cosine")
    columns = [norm, lr, beta, shift, accuracy]
    return [
        wr.ScatterPlot(title="accuracy against lr", x=lr, y=accuracy, log_x=True),
        wr.ScatterPlot(
            title="accuracy against effective smoothness", x=beta, y=accuracy, log_x=True
        ),
        wr.ParallelCoordinatesPlot(
            title="norm, lr, smoothness, covariate shift, accuracy",
            columns=[wr.ParallelCoordinatesPlotColumn(metric=metric) for metric in columns],
        ),
    ]


def along_gradient(log: bool) -> list[Any]:
    """Loss, always on a logarithmic axis, gradient change and effective smoothness."""
    return [
        line("L(θ − ηg)", band(landscape.LOSS), log=True),
        line("‖∇L(θ − ηg) − ∇L(θ)‖", band(landscape.CHANGE), log),
        line("effective smoothness", [landscape.EFFECTIVE_BETA], log),
    ]


def band(key: str) -> list[str]:
    """The two edges that W&B has of a vector."""
    return [f"{key}/min", f"{key}/max"]


def line(title: str, keys: list[str], log: bool) -> Any:
    """A panel of metrics over the run's own step."""
    from wandb_workspaces.reports.v2 import LinePlot

    return LinePlot(title=title, x="step", y=list(keys), log_y=log, title_x="step")


def as_json(view: "Workspace") -> Any:
    """What `save` would send."""
    return json.loads(view._to_model().model_dump_json(by_alias=True, exclude_none=True))
