"""What a sweep needs besides its runs: shares of the machine, and an end that says what failed."""

import multiprocessing
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig


def share_machine(number: int) -> None:
    """Beside other runs on one machine: one thread unless told otherwise, and one of its GPUs.

    Processes of joblib and of submitit_local; Slurm and Ray give each job its cores and GPUs.
    """
    process = multiprocessing.current_process().name
    if process.startswith("LokyProcess-"):  # it keeps its GPU from one run to the next
        number = int(process.partition("-")[2]) - 1
    elif os.environ.get("SUBMITIT_EXECUTOR") != "local":
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible is not None else installed_gpus()
    if len(gpus) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


def installed_gpus() -> list[str]:
    """The indices of this machine's GPUs, without torch: it would take all of them."""
    try:
        listed = subprocess.check_output(["nvidia-smi", "--list-gpus"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return []
    count = sum(line.startswith(b"GPU ") for line in listed.splitlines())
    return [str(index) for index in range(count)]


class SweepEnd(Callback):
    """Keeps a run that fails from ending its sweep, and says at the end which failed and why.

    Launchers run jobs in other processes, even on other machines, so notes of failures lie beside
    the results.
    """

    notes: ClassVar[Path | None] = None  # of the sweep that this process launches

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Remember where the notes of this sweep will lie."""
        SweepEnd.notes = Path(config.hydra.sweep.dir) / "failed"

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Note why a job failed and let Hydra go on, without an error that may not pickle."""
        if config.hydra.mode != RunMode.MULTIRUN or job_return.status != JobStatus.FAILED:
            return
        error = job_return._return_value
        refused = isinstance(error, CompactHydraException)
        reason = " ".join(str(error).split())
        reason = reason if refused else f"{type(error).__name__}: {reason}"
        line = f"failed: {' '.join(config.hydra.overrides.task)}: {reason}"
        path = Path(config.hydra.sweep.dir) / "failed" / f"{config.hydra.job.num}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{line}\n\n{''.join(traceback.format_exception(error))}")
        print(line, file=sys.stderr, flush=True)
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None


def started() -> bool:
    """Whether this process launches a sweep."""
    return SweepEnd.notes is not None


def failures() -> list[str]:
    """How many runs of the sweep failed, and a line for each: which and why."""
    if ray := sys.modules.get("ray"):  # until then it prints what its processes say
        ray.shutdown()
    notes = SweepEnd.notes
    paths = sorted(notes.glob("*.txt"), key=lambda path: int(path.stem)) if notes else []
    lines = [path.read_text().partition("\n")[0] for path in paths]
    runs = "1 run" if len(lines) == 1 else f"{len(lines)} runs"
    return [f"{runs} failed; tracebacks: {notes}", *lines] if lines else []


def stopped(error: Exception) -> str:
    """Why a sweep ended before its runs did: a process that died, a cluster out of reach."""
    reason = next(iter(str(error).strip().splitlines()), "")
    return (
        f"the sweep stopped ({type(error).__name__}: {reason}); "
        "the same command again goes on with what is left."
    )
