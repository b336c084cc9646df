"""A run in Weights & Biases: a view of the record, which is complete without it."""

import contextlib
import hashlib
import json
import math
import os
import queue
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bnstudy.recorder import Line

if TYPE_CHECKING:  # it takes a second to import: a run without it does not wait for it
    import wandb

Mode = Literal["offline", "online", "disabled"]

LINES_WAITING = 1000  # for W&B, before it holds the run up


def wandb_run(
    directory: Path,
    header: Line,
    mode: Mode,
    project: str,
    entity: str | None,
    fallback: Mode | None = None,
    patience: float = 60.0,
) -> "View":
    """Show a run in W&B, under the keys of its record; `summarize` says what becomes of vectors.

    `header` is that of its record, also of one that is continued.

    A run has one id, in all its attempts: what interrupted attempts left is replaced by the lines
    of the record, which the mirror is given again. W&B holds a run up for `patience` seconds at the
    start, and in all of the rest for as many; what fails after the start is one warning, and the
    last one. Raises ConnectionError in one sentence if no run can be started (no key, no network)
    and no `fallback` mode is left to try.
    """
    # Also what it reports about itself: a run that is offline is to need no network.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    _forget(directory, header)
    try:
        run = _start(directory, header, mode, project, entity, patience)
    except Exception as error:  # W&B raises more kinds than its own
        let_go()  # or the id stays in use
        _forget(directory, header)
        what = f"wandb.mode={mode}: no run could be started ({_in_words(error)})"
        if fallback is None:
            raise ConnectionError(
                f"{what}; log in with `wandb login`, or use wandb.mode=offline or disabled, "
                "or wandb.fallback=offline."
            ) from error
        print(f"{what}; going on with wandb.mode={fallback}.", file=sys.stderr, flush=True)
        return wandb_run(directory, header, fallback, project, entity, None, patience)
    run.define_metric("*", step_metric="step")
    return View(run, directory, patience)


def _start(
    directory: Path, header: Line, mode: Mode, project: str, entity: str | None, patience: float
) -> "wandb.Run":
    import wandb

    choices, config = header["choices"], header["config"]
    directory.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        mode=mode,
        id=run_id(header),
        # What is synced later replaces the run; what is uploaded at once goes on.
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        project=project,
        entity=entity,
        dir=directory,
        group=header["experiment"],
        name=directory.name,
        job_type="train",
        tags=[
            choices["model"],
            choices["norm"],
            choices["init"],
            f"lr {config['optimizer']['lr']}",
        ],
        config=config | {"header": {k: v for k, v in header.items() if k != "config"}},
        settings=_settings(patience),
    )


def _forget(directory: Path, header: Line) -> None:
    """Remove what earlier attempts left here: the record has it, and torn files stop a sync."""
    for attempt in directory.glob(f"wandb/*run-*-{run_id(header)}"):
        shutil.rmtree(attempt, ignore_errors=True)


def wandb_report(
    folder: Path,
    scale: str,
    pictures: Mapping[str, Path],
    verdicts: Sequence[Mapping[str, Any]],
    mode: Mode,
    project: str = "bnstudy",
    entity: str | None = None,
    patience: float = 60.0,
) -> None:
    """Show figures, as `figures/<name>`, and verdicts on claims, as a table, in a run of their own.

    It is of job type "report" in the group of the scale. Raises ConnectionError in one sentence if
    W&B does not take it.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    columns = ("topic", "title", "quantity", "value", "n", "verdict", "rule")
    rows = [[_cell(verdict[column]) for column in columns] for verdict in verdicts]
    wandb.setup(wandb.Settings(silent=True))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run = wandb.init(
            mode=mode,
            project=project,
            entity=entity,
            dir=folder,
            group=scale,
            name=f"report {scale}",
            job_type="report",
            config={"scale": scale},
            settings=_settings(patience),
        )
        images = {f"figures/{name}": wandb.Image(str(path)) for name, path in pictures.items()}
        run.log({**images, "claims": wandb.Table(columns=list(columns), data=rows)})
        run.summary.update(Counter(verdict["verdict"] for verdict in verdicts))
        run.finish()
    except Exception as error:  # W&B raises more kinds than its own
        let_go()
        raise ConnectionError(
            f"The report is not in W&B ({_in_words(error)}); log in with `wandb login`, "
            "or use --wandb offline."
        ) from error


def _settings(patience: float) -> "wandb.Settings":
    import wandb

    return wandb.Settings(
        console="off",
        silent=True,
        init_timeout=patience / 2,  # it waits twice
        finish_timeout=patience,
        finish_timeout_raises=True,
    )


def _cell(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def run_id(header: Line) -> str:
    """The id of the run whose record has this header, which is written once, at its first start.

    The start's time is in it, so the same config run elsewhere or anew is another run.
    """
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    return f"{header['fingerprint']}-{digest[:8]}"


def summarize(line: Line) -> dict[str, Any]:
    """What W&B is given of a line: scalars as they are, of vectors `<key>/min` and `<key>/max`.

    Counts in bins become histograms, several units' on one grid. Of a vector that is not finite the
    maximum is infinite. `landscape/effective_beta` is added: a panel cannot compute it.
    """
    import wandb

    shown: dict[str, Any] = {}
    for key, value in line.items():
        edges = line.get(key.replace("/histogram/", "/range/"))
        if not isinstance(value, list):
            shown[key] = float(value) if isinstance(value, str) else value
        elif "/histogram/" in key and edges is not None:
            pooled = pool(value, edges)
            if pooled:
                shown[key] = wandb.Histogram(np_histogram=pooled)
        elif value:
            shown[f"{key}/min"], shown[f"{key}/max"] = _extremes(value)
    if "landscape/gradient_change" in line:
        shown["landscape/effective_beta"] = _effective_beta(line)
    return shown


def pool(counts: list[list[int]], edges: list[list[float]]) -> tuple[Any, Any] | None:
    """Histograms [U, bins] of U units as one: counts [bins] and edges [bins + 1].

    `edges` [U, 2] are each unit's smallest and largest value. A count goes where the middle of its
    bin lies. None if an edge is not finite.
    """
    numbers, ends = np.array(counts), np.array(edges, dtype=np.float64)
    if not np.isfinite(ends).all():
        return None
    bins = numbers.shape[1]
    middles = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * (np.arange(bins) + 0.5) / bins
    span = (ends.min(), ends.max())
    return np.histogram(middles, bins=bins, range=span, weights=numbers)


def _extremes(values: list[Any]) -> tuple[float, float]:
    numbers = np.array(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    low = float(finite.min()) if finite.size else math.nan
    return low, float(finite.max()) if finite.size == numbers.size else math.inf


def _effective_beta(line: Line) -> float:
    changes = np.array(line["landscape/gradient_change"], dtype=np.float64)
    distances = np.array(line["landscape/step_size"]) * float(line["landscape/gradient_norm"])
    with np.errstate(divide="ignore", invalid="ignore"):
        return float((np.where(np.isfinite(changes), changes, np.inf) / distances).max())


class View:
    """The mirror: hands lines to a thread that waits for W&B, so that the run need not."""

    def __init__(self, run: "wandb.Run", directory: Path, patience: float) -> None:
        self._run = run
        self._directory = directory
        self._patience = patience  # what is left of it, in seconds
        self._waiting: queue.Queue[Line] = queue.Queue(LINES_WAITING)
        self._over = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __call__(self, line: Line) -> None:
        if self._over:
            return
        started = time.monotonic()
        try:
            self._waiting.put(line, timeout=max(self._patience, 0.0))
        except queue.Full:
            self._give_up("it is too slow")
        if "end" in line and not self._over:
            self._thread.join(max(self._patience, 0.0))
            if self._thread.is_alive():
                self._give_up("it does not end")
        self._patience -= time.monotonic() - started

    def settle(self) -> None:
        """Wait until W&B has taken all lines given so far."""
        self._waiting.join()

    def _work(self) -> None:
        try:
            while "end" not in (line := self._waiting.get()):
                # W&B drops what an attempt before this one uploaded.
                if "step" in line:
                    self._run.log(summarize(line), step=line["step"], commit=True)
                self._waiting.task_done()
            self._run.summary.update(line["end"])
            self._run.finish(exit_code=int(line["end"]["outcome"] == "interrupted"))
        except Exception as error:
            self._give_up(_in_words(error))

    def _give_up(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        print(
            f"W&B shows no more of {self._directory.name} ({why}); its record goes on without.",
            file=sys.stderr,
            flush=True,
        )
        let_go()


def let_go() -> None:
    """Give W&B a second to end: the interpreter would wait for it at its exit, without bound."""
    import wandb

    def end() -> None:
        with contextlib.suppress(Exception, SystemExit):
            wandb.teardown()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(1.0)


def _in_words(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    if "returned error 401" in said or "returned error 403" in said:
        return "the server refuses the API key"
    if isinstance(error, TimeoutError) or "deadline exceeded" in said or "timed out" in said:
        return "the server does not answer in time"
    return said.splitlines()[0].partition(". ")[0].rstrip(".")
