"""A run in Weights & Biases: a view of the record, which is complete without it."""

import contextlib
import hashlib
import json
import math
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bnstudy.measures.summary import derived, single_numbers
from bnstudy.record import Line, dumps
from bnstudy.results import Run, load_run

if TYPE_CHECKING:  # it takes a second to import: a run without it does not wait for it
    import wandb

Mode = Literal["offline", "online", "disabled"]

LINES_WAITING = 1000  # for W&B, before it holds the run up
# The config has read them: an override on the command line comes before them.
READ_BY_CONFIG = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR")
# They would take away what tells a run from another one.
NOT_USED = ("WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_RUN_ID", "WANDB_RESUME")
SECRET = ("KEY", "TOKEN", "PASSWORD")  # a variable with such a name is not printed


def check_settings(
    mode: Mode,
    project: str,
    entity: str | None = None,
    fallback: Mode | None = None,
    artifact: bool = False,
    dir: str | None = None,
    **_: Any,
) -> None:
    """Refuse, before any work, what W&B could not read: the options here and WANDB_* variables.

    An empty variable counts as not set. Says which variables have no effect here. Does nothing
    where W&B is disabled, and where `fallback` is "disabled": `wandb_run` then goes on without it.
    Raises ValueError in one sentence, OSError if `dir` cannot be written to.
    """
    if not isinstance(artifact, bool):
        raise ValueError(f"wandb.artifact={artifact} must be true or false.")
    if "disabled" in (mode, fallback):
        return
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        raise ValueError(
            "WANDB_DISABLED has no effect here; use WANDB_MODE=disabled or wandb.mode=disabled."
        )
    if not project or not isinstance(project, str):
        raise ValueError(f"wandb.project={project or ''} must be the name of a project.")
    if "/" in (entity or ""):
        raise ValueError(f"wandb.entity={entity} must be one user or team, without a slash.")
    _check_variables(project)
    if dir:
        _check_writable(dir)
    if unused := [name for name in NOT_USED if os.environ.get(name) and not _sweep()]:
        print(
            f"W&B: {', '.join(unused)} without effect; name, group and id of a run come from its "
            "record.",
            file=sys.stderr,
            flush=True,
        )


def _check_variables(project: str) -> None:
    import wandb

    given = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    by_config = () if _sweep() else READ_BY_CONFIG
    read = {name: given[name] for name in given if given[name] and name not in by_config}
    for name, value in [*read.items(), ("WANDB_PROJECT", project)]:
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except Exception as error:  # W&B raises more kinds than its own
            own = os.environ.get(name) != value
            key = "wandb.project" if own else name
            shown = "" if any(word in name for word in SECRET) else f"={value}"
            raise ValueError(
                f"{key}{shown} cannot be used by W&B ({_in_words(error)}); correct it, or do "
                "without W&B with wandb.mode=disabled."
            ) from error


def _check_writable(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"wandb.dir={folder} cannot be written to ({error.strerror}); "
            "choose another folder with wandb.dir=DIR or WANDB_DIR."
        ) from error


def from_environment(name: str, default: str | None = None) -> str | None:
    """The value of W&B's variable of that name, `default` if it is empty or not set."""
    return os.environ.get(f"WANDB_{name}") or default


def _sweep() -> str:
    """The sweep of W&B whose agent has started this process, "" if none has."""
    return os.environ.get("WANDB_SWEEP_ID", "")


def _hidden() -> list[str]:
    """The variables that W&B is not to see; a sweep's agent says there which run it has opened."""
    empty = [name for name in os.environ if name.startswith("WANDB_") and not os.environ[name]]
    own = () if _sweep() else (*READ_BY_CONFIG, *NOT_USED, "WANDB_TAGS")
    return [*empty, *(name for name in own if os.environ.get(name))]


def _set_up() -> None:
    """Start W&B without what the config has read from its variables."""
    import wandb

    kept = {name: os.environ.pop(name) for name in _hidden()}
    # Also what it reports about itself: a run that is offline is to need no network.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        wandb.setup(wandb.Settings(silent=True))
    finally:
        os.environ.update(kept)


def wandb_run(
    directory: Path,
    header: Line,
    mode: Mode,
    project: str,
    entity: str | None,
    fallback: Mode | None = None,
    patience: float = 60.0,
    artifact: bool = False,
    dir: str | None = None,
) -> "View":
    """Show a run in W&B, under the keys of its record; `summarize` says what becomes of vectors.

    `header` is that of its record, also of one that is continued. W&B's own files are in `dir`, by
    default in the folder of the run.

    A run has one id, in all its attempts: what interrupted attempts left is replaced by the lines
    of the record, which the mirror is given again. Under `wandb agent` the id is that of the run
    which the agent has opened. At the end the summary has the `single_numbers` of the run, and with
    `artifact` W&B gets the record and the last checkpoint.

    W&B holds a run up for `patience` seconds at the start, and in all of the rest for as many; what
    fails after the start is one warning, and the last one. Raises ConnectionError in one sentence
    if no run can be started (no key, no network) and no `fallback` mode is left to try.
    """
    if mode == "disabled":  # W&B would read its variables, and fail of them, all the same
        return View(None, directory, patience)
    options = {"project": project, "entity": entity or None, "dir": Path(dir or directory)}
    try:
        _set_up()
        _forget(options["dir"], header)
        run = _start(directory, header, mode, patience, **options)
    except Exception as error:  # W&B raises more kinds than its own
        let_go()  # or the id stays in use
        _forget(options["dir"], header)
        what = f"wandb.mode={mode}: no run could be started ({_in_words(error)})"
        if fallback is None:
            raise ConnectionError(
                f"{what}; log in with `wandb login`, or use wandb.mode=offline or disabled, "
                "or wandb.fallback=offline."
            ) from error
        print(f"{what}; going on with wandb.mode={fallback}.", file=sys.stderr, flush=True)
        return wandb_run(
            directory, header, fallback, project, entity, None, patience, artifact, dir
        )
    run.define_metric("*", step_metric="step")
    return View(run, directory, patience, artifact)


def show_again(directory: Path, mode: Mode, **options: Any) -> None:
    """Under `wandb agent`, show a run that ended before as the one that the agent has opened.

    Without it the sweep would never learn the metric of this config. Takes the options of
    `wandb_run` and raises the same.
    """
    if not _sweep() or mode == "disabled":
        return
    with (directory / "run.jsonl").open(encoding="utf-8") as file:
        header = json.loads(next(file))["header"]
        view = wandb_run(directory, header, mode, **options)
        for text in file:
            view(json.loads(text))


def _start(
    directory: Path,
    header: Line,
    mode: Mode,
    patience: float,
    project: str,
    entity: str | None,
    dir: Path,
) -> "wandb.Run":
    import wandb

    choices, config = header["choices"], header["config"]
    dir.mkdir(parents=True, exist_ok=True)
    tags = [choices["model"], choices["norm"], choices["init"], f"lr {config['optimizer']['lr']}"]
    tags += [tag for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    # An agent gives them all of this again after a preemption, and no more the words of the sweep.
    words = {"sweep_words": sys.argv[1:]} if _sweep() else {}
    return wandb.init(
        mode=mode,
        id=run_id(header),
        # What is synced later replaces the run; what is uploaded at once goes on.
        resume="allow" if mode == "online" else None,
        reinit="create_new",
        project=project,
        entity=entity,
        dir=dir,
        group=header["experiment"],
        name=run_name(directory, header),
        job_type="train",
        tags=list(dict.fromkeys(tags)),
        config=config | {"header": {k: v for k, v in header.items() if k != "config"}} | words,
        settings=_settings(patience),
    )


def _forget(directory: Path, header: Line) -> None:
    """Remove what earlier attempts left here: the record has it, and torn files stop a sync."""
    own = (_sweep() and os.environ.get("WANDB_RUN_ID")) or run_id(header)
    for attempt in directory.glob(f"wandb/*run-*-{own}"):
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
    import wandb

    columns = ("topic", "title", "quantity", "value", "n", "verdict", "rule")
    rows = [[_cell(verdict[column]) for column in columns] for verdict in verdicts]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _set_up()
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

    The start's time is in it, so the same config run elsewhere or anew is another run. It is made
    from what the record holds, where an infinite number is a word: a header that is still to be
    written and one that was read back give the same id.
    """
    written = json.dumps(json.loads(dumps(header)), sort_keys=True)
    return f"{header['fingerprint']}-{hashlib.sha256(written.encode()).hexdigest()[:8]}"


def run_name(directory: Path, header: Line) -> str:
    """The name of a run in W&B: that of its folder with norm, lr and seed first.

    Lists of runs show the first words of a name only.
    """
    model, norm, init = (header["choices"][group] for group in ("model", "norm", "init"))
    rest = directory.name.removeprefix(f"{model}_{norm}_{init}_")
    if rest == directory.name:
        return directory.name
    lr_and_seed, _, others = rest.replace("_seed", " seed", 1).partition("_")
    return " ".join(filter(None, (norm, lr_and_seed, model, init, others)))


def summarize(line: Line) -> dict[str, Any]:
    """What W&B is given of a line: scalars as they are, of vectors `<key>/min` and `<key>/max`.

    Counts in bins become histograms, several units' on one grid. Of a vector that is not finite the
    maximum is infinite. `derived` measures are added, which a panel cannot compute.
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
    return shown | derived(line)


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


class View:
    """The mirror: hands lines to a thread that waits for W&B, so that the run need not.

    Without a run of W&B it does nothing.
    """

    def __init__(
        self, run: "wandb.Run | None", directory: Path, patience: float, artifact: bool = False
    ) -> None:
        self._run = run
        self._directory = directory
        self._patience = patience  # what is left of it, in seconds
        self._artifact = artifact
        self._waiting: queue.Queue[Line] = queue.Queue(LINES_WAITING)
        self._over = run is None
        self._error: BaseException | None = None
        if run is not None:
            self._begin(run)

    def _begin(self, run: "wandb.Run") -> None:
        self._thread = threading.Thread(target=self._work, args=[run], daemon=True)
        self._thread.start()

    def __call__(self, line: Line) -> None:
        if self._over:
            return
        started = time.monotonic()
        self._error = sys.exception()  # the record is closed while what ended the run is raised
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

    def _work(self, run: "wandb.Run") -> None:
        try:
            while "end" not in (line := self._waiting.get()):
                # W&B drops what an attempt before this one uploaded.
                if "step" in line:
                    run.log(summarize(line), step=line["step"], commit=True)
                self._waiting.task_done()
            self._end(run, line["end"])
        except Exception as error:
            self._give_up(_in_words(error))

    def _end(self, run: "wandb.Run", end: Line) -> None:
        run.summary.update(end)
        name, outcome = self._directory.name[:50], end["outcome"]  # a title has 64 characters
        if outcome == "interrupted":
            if isinstance(self._error, Exception):
                text = f"{type(self._error).__name__}: {self._error}"
                run.alert(f"{name} failed", f"At step {end['step']}: {text}", "ERROR")
            elif _sweep():
                run.mark_preempting()  # the sweep gives it to another agent
            return run.finish(exit_code=1)
        recorded = _recorded(self._directory)
        if recorded:
            run.summary.update(single_numbers(recorded))
        if outcome == "diverged":
            run.alert(f"{name} diverged", f"The loss is not finite at step {end['step']}.", "WARN")
        if self._artifact and recorded:
            run.log_artifact(_artifact(recorded))
        run.finish(exit_code=0)

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


def _recorded(directory: Path) -> Run | None:
    """The run as it was recorded, None if others than scripts/train.py wrote a shorter header."""
    try:
        return load_run(directory)
    except ValueError:
        return None


def _artifact(run: Run) -> "wandb.Artifact":
    """The record and the last checkpoint, which `bnstudy.wandb_records` reads back."""
    import wandb

    place = {"experiment": run.experiment, "scale": run.scale, "name": run.directory.name}
    artifact = wandb.Artifact(f"record-{run_id(run.header)}", type="record", metadata=place)
    for name in ("run.jsonl", "checkpoint.pt"):
        if (run.directory / name).exists():
            # Neither changes any more: no need to copy them.
            artifact.add_file(str(run.directory / name), policy="immutable")
    return artifact


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
    if hasattr(error, "errors"):  # pydantic's: several lines, the second of which says it
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
    if "returned error 401" in said or "returned error 403" in said:
        return "the server refuses the API key"
    if isinstance(error, TimeoutError) or "deadline exceeded" in said or "timed out" in said:
        return "the server does not answer in time"
    return said.splitlines()[0].partition(". ")[0].rstrip(".")
