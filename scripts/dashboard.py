"""Make the study's view of a W&B project: a section per figure, axes as in the paper.

Runs are grouped by norm and, within it, by learning rate: each pair is one colour.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streams

from bnstudy.figures import discover
from bnstudy.wandb_mirror import let_go

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

NORM, LR = "header.choices.norm", "optimizer.lr"
NAME = "How batch normalization helps"
LAYERS = ("layer3", "layer5")
SHIFT = "internal_covariate_shift"
EPILOG = """\
examples:
  python scripts/dashboard.py --entity ME                     in project bnstudy
  python scripts/dashboard.py --layers layer5 layer10         other layers (VGG-16: these)
  python scripts/dashboard.py --dry-run > dashboard.json      what would be saved; needs no login
"""


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_args(arguments)
    try:
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError:
        print(
            "The dashboard needs wandb-workspaces: pip install 'bnstudy[dashboard]'.",
            file=sys.stderr,
        )
        return 1
    if options.dry_run:
        print(json.dumps(as_json(make(options.entity or "", options.project, options.layers))))
        return 0
    try:
        print(make(entity(options.entity), options.project, options.layers).save().url)
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
    parser.add_argument("--entity", help="user or team (the one you are logged in as)")
    parser.add_argument("--project", default="bnstudy", help="(bnstudy)")
    parser.add_argument(
        "--layers", nargs="+", default=LAYERS, metavar="LAYER", help=f"({' '.join(LAYERS)})"
    )
    parser.add_argument("--dry-run", action="store_true", help="print its JSON and save nothing")
    return parser


def entity(given: str | None) -> str:
    """The entity that was given, or that of the login."""
    if given:
        return given
    import wandb

    found = wandb.Api(timeout=20).default_entity
    if not found:
        raise ValueError("no entity is known")
    return found


def make(entity: str, project: str, layers: Sequence[str]) -> "Workspace":
    """The view, which `save` writes to the server."""
    from wandb_workspaces import workspaces as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=sections(layers),
        settings=ws.WorkspaceSettings(x_axis="step", max_runs=100),
        runset_settings=ws.RunsetSettings(groupby=[ws.Config(NORM), ws.Config(LR)]),
    )


def sections(layers: Sequence[str]) -> list["Section"]:
    """A section per figure; `layers` for those that are of single layers."""
    from wandb_workspaces import workspaces as ws
    from wandb_workspaces.reports.v2 import MediaBrowser, WeavePanelSummaryTable

    shift = [
        line(f"{layer}: {what}", [f"{SHIFT}/{kind}/{layer}"], log)
        for layer in layers
        for kind, what, log in (("l2", "‖G − G′‖", True), ("cosine", "cos(G, G′)", False))
    ]
    seen = [
        line(f"{layer}: {what}", band(f"activations/{kind}/{layer}"), log=False)
        for layer in layers
        for kind, what in (
            ("percentiles", "15th to 85th percentile"),
            ("variance", "variance of the units"),
        )
    ]
    moments = [
        line(f"{layer}: {kind} of the units", band(f"moments/{kind}/{layer}"), log=False)
        for layer in layers
        for kind in ("mean", "variance")
    ]
    panels: dict[str, list[Any]] = {
        "Figures 1, 5: accuracy and loss": [
            line("training accuracy", ["train/accuracy"], log=False),
            line("test accuracy", ["test/accuracy"], log=False),
            line("training loss", ["train/loss"], log=True),
        ],
        "Figure 3: internal covariate shift": shift,
        "Figures 4, 12: landscape along the gradient, VGG": landscape(log=False),
        "Figures 10, 13: landscape along the gradient, linear network": landscape(log=True),
        "Figures 1c, 2, 6, 9: activations": seen,
        "Figure 8: moments": moments,
        "Curvature": [
            line("sharpness, batch statistics", ["sharpness/batch_eigenvalues/max"], log=True),
            line(
                "g′Hg / ‖g‖², batch statistics", band("batch_sharpness/batch_curvature"), log=False
            ),
            line("‖w‖", ["weights/norm"], log=False),
        ],
        "The study's own figures and claims": [
            MediaBrowser(title="figures", media_keys=[f"figures/{name}" for name in discover()]),
            WeavePanelSummaryTable(table_name="claims"),
        ],
    }
    return [ws.Section(name=name, panels=own, is_open=True) for name, own in panels.items()]


def landscape(log: bool) -> list[Any]:
    """Loss, always on a logarithmic axis, gradient change and effective smoothness."""
    return [
        line("L(θ − ηg)", band("landscape/loss"), log=True),
        line("‖∇L(θ − ηg) − ∇L(θ)‖", band("landscape/gradient_change"), log),
        line("effective smoothness", ["landscape/effective_beta"], log),
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


if __name__ == "__main__":
    streams.leave_with(main)
