"""The header of a record: what a run is, and what makes two runs the same run."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

# Keys of the config that say how and where a run is executed, and labels. Runs that differ only in
# these are the same run.
NOT_SCIENCE = (
    "results",
    "device",
    "threads",
    "memory_format",
    "progress",
    "wandb",
    "save_every",
    "keep_every",
    "save_seconds",
    "force",
    "scale",
)
NOT_SCIENCE_OF_DATA = ("root", "cache", "download", "url", "name")
# Data sets whose content follows from their options: they are made from them, or every file is
# compared with a published checksum. The content of all others is told by a digest.
KNOWN_BY_OPTIONS = tuple(
    f"bnstudy.data.{name}" for name in ("digits", "deep_linear", "cifar10", "cifar100")
)


@dataclass(frozen=True)
class DataFacts:
    """The facts of a data set that readers use; None where a loop of one's own does not say it."""

    name: str  # for captions, such as CIFAR-10
    task: str | None = None  # classification or regression
    classes: int | None = None  # 0 for a regression
    train_samples: int | None = None
    test_samples: int | None = None
    digest: str | None = None  # of all inputs and targets


@dataclass(frozen=True)
class Header:
    """The first line of a record, complete: whoever writes one builds it here.

    `config` is the resolved config and `choices` the option of every config group. `steps` and
    `batch_size` (samples per step) are those of the whole run. `layers` are in forward order.
    """

    experiment: str
    scale: str
    choices: dict[str, Any]
    config: dict[str, Any]
    fingerprint: str
    layers: list[str]
    data: DataFacts
    steps: int
    batch_size: int
    device: str
    memory_format: str
    versions: dict[str, str]
    started: str  # ISO 8601
    git: str = "unknown"

    def line(self) -> dict[str, Any]:
        """The header as `run.jsonl` has it."""
        return asdict(self)


def fingerprint(config: Mapping[str, Any], digest: str | None = None) -> str:
    """What makes two runs the same run: a hash of the scientific config and the data's digest.

    The digest is None for data whose content follows from the config.
    """
    science = {key: value for key, value in config.items() if key not in NOT_SCIENCE}
    data = config.get("data", {})
    science["data"] = {k: v for k, v in data.items() if k not in NOT_SCIENCE_OF_DATA}
    text = json.dumps([science, digest], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
