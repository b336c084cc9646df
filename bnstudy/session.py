"""One run on disk: its folder is locked, its record written, resumed and ended. No Hydra."""

import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnstudy import interruption
from bnstudy.wandb_mirror import wandb_run

if TYPE_CHECKING:  # torch takes seconds to import: --help and a refusal do not wait for it
    import torch

    from bnstudy.data import DataSet
    from bnstudy.record import Mirror
    from bnstudy.update import Probe

ROOT = Path(__file__).resolve().parent.parent
# Long enough for `bnstudy status`, which looks who holds it, to let go of it again.
SECONDS_FOR_LOCK = 2


@dataclass(frozen=True)
class Session:
    """A run that can start: everything its config names, built and checked.

    `options` are those of configs/train.yaml, plain and resolved.
    """

    directory: Path
    header: dict[str, Any]
    options: Mapping[str, Any]
    data: "DataSet"
    model: "torch.nn.Module"
    optimizer: "torch.optim.Optimizer"
    schedule: Callable[[int, int], float]
    probes: dict[str, "Probe"]
    device: "torch.device"


def run(session: Session) -> str:
    """Train, from the last checkpoint if there is one; the outcome.

    It is "interrupted" after a signal, and "running in another process" if one holds the lock. If
    the run fails, its folder says why in `error.txt`.
    """
    from filelock import Timeout

    from bnstudy.lock import locked

    session.directory.mkdir(parents=True, exist_ok=True)
    try:
        with locked(session.directory / "lock", SECONDS_FOR_LOCK):
            return run_alone(session)
    except Timeout:
        return "running in another process"


def run_alone(session: Session) -> str:
    """`run`, while no other process is at it."""
    # The process that held the lock until now may have ended the run.
    outcome = past_outcome(session.directory, session.header)
    if outcome and not session.options["force"]:
        return outcome
    error = session.directory / "error.txt"
    error.unlink(missing_ok=True)
    try:
        return train_recorded(session, anew=outcome is not None)
    except Exception:
        with suppress(OSError):  # where the disk is full, the exception is all that there is
            error.write_text(traceback.format_exc(), encoding="utf-8")
        raise


def train_recorded(session: Session, anew: bool) -> str:
    """Train with record, checkpoints and mirrors, `anew` without those that are there; the outcome.

    Only a run that has ended starts anew: `force` is still in the command of a job that Slurm puts
    back into the queue, which goes on.
    """
    from bnstudy import checkpoint
    from bnstudy.params import copy_of
    from bnstudy.record import Recorder, count_steps, read_header
    from bnstudy.train import train

    options, directory = session.options, session.directory
    path, record = directory / "checkpoint.pt", directory / "run.jsonl"
    header = session.header if anew else read_header(record) or session.header
    mirrors = choose_mirrors(session, header)  # which may refuse: nothing is removed before
    if anew:
        checkpoint.remove(path)
        checkpoint.remove_kept(session.directory)
        record.unlink(missing_ok=True)
    key = session.header["fingerprint"]
    recorded = count_steps(record)
    initial = copy_of(session.model) if session.probes else None
    step = checkpoint.load(path, key, session.model, session.optimizer, session.device, recorded)
    recorder = Recorder(session.directory, session.header, step, mirrors)
    due = cadence(options["save_every"] or 0, options["save_seconds"])
    kept = cadence(options["keep_every"], 0)

    def save(step: int) -> None:
        checkpoint.save(path, step, key, session.model, session.optimizer)
        if kept(step) or (options["keep_every"] and step == options["steps"]):
            checkpoint.keep(session.directory, step, session.model)

    if options["keep_every"] and step == 0:
        checkpoint.keep(session.directory, 0, session.model)
    try:
        outcome = train(
            session.model,
            session.data,
            session.optimizer,
            recorder,
            steps=options["steps"],
            batch_size=options["batch_size"],
            seed=options["seed"],
            probes=session.probes,
            schedule=session.schedule,
            test_every=options["test_every"],
            precise=options["precise_statistics"],
            start=step,
            initial=initial,
            save=save,
            save_due=lambda step: due(step) or kept(step),
            stop=lambda: interruption.came() != 0,
        )
        if outcome != "interrupted":
            recorder.end(outcome)
            checkpoint.previous(path).unlink(missing_ok=True)
    finally:
        recorder.close()
    return outcome


def cadence(steps: int, seconds: float) -> Callable[[int], bool]:
    """Whether a checkpoint is due after a step: every so many steps, and seconds; 0 for never."""
    last = time.monotonic()

    def due(step: int) -> bool:
        nonlocal last
        late = bool(seconds) and time.monotonic() - last >= seconds
        if late or (steps and step % steps == 0):
            last = time.monotonic()
            return True
        return False

    return due


def check_writable(results: Path) -> None:
    """OSError in one sentence unless files can be made in the results folder."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        raise OSError(
            f"results={results} cannot be written to ({error.strerror}); "
            "choose another folder with results=DIR."
        ) from error


def past_outcome(directory: Path, header: dict[str, Any]) -> str | None:
    """How an earlier run of this config ended; None if there is none or it was interrupted."""
    from bnstudy.record import read_header, read_outcome, refuse_other_config

    path = directory / "run.jsonl"
    existing = read_header(path)
    if existing is None:
        return None
    refuse_other_config(existing, header, path)
    return read_outcome(path)


def choose_device(name: str) -> "torch.device":
    """The device of that name, ready for bitwise repeatable float32; auto prefers a GPU."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda, but torch finds no CUDA device; use device=cpu or auto.")
    if name == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device=mps, but torch finds no Apple GPU; use device=cpu or auto.")
    if name == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
        # Gradient changes at small step sizes drown in TF32's rounding.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def git_revision() -> str:
    """The commit of this checkout, with + if files were changed; "unknown" outside of git."""
    # A hook, `git bisect run` and some CI name another repository in GIT_DIR and its like.
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    place: Any = {"cwd": ROOT, "env": own, "stderr": subprocess.DEVNULL}
    head = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        root, revision = subprocess.check_output(head, **place, text=True).splitlines()
        changed = subprocess.call(["git", "diff", "--quiet", "HEAD"], **place)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    if not ROOT.samefile(root):  # a copy without git, inside of another repository
        return "unknown"
    return revision + ("+" if changed else "")


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = ("bnstudy", "torch", "torchvision", "numpy", "hydra-core")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def describe_device(device: "torch.device") -> str:
    """The device in words, with the number of threads for a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def choose_mirrors(session: Session, header: dict[str, Any]) -> list["Mirror"]:
    """The views of the run with that header that the config asks for."""
    from bnstudy import terminal

    options, name = session.options, session.directory.name
    chosen: list[Mirror] = []
    if options["wandb"]["mode"] != "disabled":
        chosen.append(wandb_run(session.directory, header, **options["wandb"]))
    if options["progress"] == "auto":
        on_terminal = sys.stderr.isatty()
        show = terminal.progress_bar if on_terminal else terminal.progress_lines
        chosen.append(show(name, options["steps"]))
    return chosen
