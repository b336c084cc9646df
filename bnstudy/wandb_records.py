"""The records of runs read back from W&B, which has those that ran with wandb.artifact=true."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

TYPE = "record"  # of the artifacts


def download(path: str, folder: Path, scale: str | None = None, api: Any = None) -> Path:
    """Download the records of a project; the folder below `folder` with those of one scale.

    `path` is the project or ENTITY/PROJECT, `api` a wandb.Api. What W&B's cache has is not fetched
    again. A record lies as scripts/train.py would have written it:
    <folder>/<entity>/<project>/<scale>/<experiment>/<name>/run.jsonl. Raises ValueError if there
    are none, or several scales and none is named; ConnectionError if W&B does not give them. Both
    are one sentence.
    """
    try:
        api = api or _api()
        entity, _, project = path.rpartition("/")
        path = f"{entity or api.default_entity}/{project}"
        artifacts = [
            api.artifact(f"{path}/{collection.name}:latest", type=TYPE)
            for collection in api.artifact_collections(path, TYPE)
        ]
        scales = {_fetch(artifact, folder / path) for artifact in artifacts}
    except Exception as error:  # W&B raises more kinds than its own
        said = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConnectionError(
            f"W&B does not give the records of {path} ({said}); log in with `wandb login` and name "
            "the project as ENTITY/PROJECT."
        ) from error
    return folder / path / _the_one(scales, scale, path)


def _api() -> Any:
    import wandb

    return wandb.Api(timeout=20)


def _fetch(artifact: Any, folder: Path) -> str:
    """Download a record; its scale."""
    place = [Path(str(artifact.metadata[key])).name for key in ("scale", "experiment", "name")]
    artifact.download(root=str(folder.joinpath(*place)), path_prefix="run.jsonl")
    return place[0]


def _the_one(scales: Iterable[str], wanted: str | None, path: str) -> str:
    found = sorted(scales)
    if wanted in found or (wanted is None and len(found) == 1):
        return wanted or found[0]
    if not found:
        raise ValueError(f"{path} has no records; runs with wandb.artifact=true upload them.")
    raise ValueError(f"{path} has records at scale {' and '.join(found)}; choose one with --scale.")
