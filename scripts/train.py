"""Train one network and probe it: `python scripts/train.py --help`."""

import errno
import hashlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
import interruption
import overrides
import streams
import sweeps
import wandb_agent
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from schema import check, check_options, check_positive_int

from bnstudy.digests import known_digest, remember_digest
from bnstudy.header import (
    KNOWN_BY_OPTIONS,
    NOT_SCIENCE,
    NOT_SCIENCE_OF_DATA,
    Header,
    fingerprint,
)
from bnstudy.wandb_mirror import check_settings, show_again, wandb_run

if TYPE_CHECKING:  # torch takes seconds to import: --help and a refusal do not wait for it
    import torch

    from bnstudy.data import DataSet
    from bnstudy.recorder import Mirror
    from bnstudy.update import Probe

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

# What the name of a run's directory and of those above it says anyway.
NAMED = ("experiment", "scale", "model", "norm", "init", "optimizer.lr", "seed")
# Long enough for scripts/status.py, which looks who holds it, to let go of it again.
SECONDS_FOR_LOCK = 2
# Raised for bad input before any work; the same raised later is a fault and keeps its traceback.
CANNOT_START = (
    ValueError,
    TypeError,
    OSError,
    OverflowError,
    MemoryError,
    RuntimeError,  # torch's, for sizes it has no room for
    InstantiationException,
    OmegaConfBaseException,
)
# The launchers that are plugins, and what brings them.
PLUGINS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "bnstudy[slurm]",
    "submitit_slurm": "bnstudy[slurm]",
    "ray": "bnstudy[ray]",
}


@hydra.main(version_base="1.3", config_path="../configs", config_name="train")
def main(cfg: DictConfig) -> None:
    """One run from the command line."""
    hydra_config = HydraConfig.get()
    Composed.config = True
    if hydra_config.mode == RunMode.MULTIRUN:
        sweeps.share_machine(hydra_config.job.num)
    try:
        job = prepare(cfg, hydra_config.runtime.choices, hydra_config.overrides.task)
    except CANNOT_START as error:
        refuse(sentence(error), hydra_config.mode, error)
    if isinstance(job, str):
        streams.say(job)
    else:
        interruption.listen()
        try:
            outcome = run(job)
        except OSError as error:
            refuse(f"{job.directory}: {sentence(error)}", hydra_config.mode, error)
        streams.say(f"{job.directory}: {outcome}")
    if interruption.came():
        interruption.leave()


class Composed:
    """Whether Hydra has made a config of the command line; what it raises before is a refusal."""

    config = False


def refuse(reason: str, mode: RunMode | None, error: BaseException) -> NoReturn:
    """End a run in one sentence."""
    if mode == RunMode.RUN:
        sys.exit(reason)
    # In a sweep the runs after this one go on, and Hydra says at the end which one it was.
    raise CompactHydraException(reason) from error


@dataclass(frozen=True)
class Job:
    """A run that can start: everything its config names, built and checked."""

    directory: Path
    header: dict[str, Any]
    cfg: DictConfig
    data: "DataSet"
    model: "torch.nn.Module"
    optimizer: "torch.optim.Optimizer"
    schedule: Callable[[int, int], float]
    probes: dict[str, "Probe"]
    device: "torch.device"


def prepare(cfg: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]) -> Job | str:
    """Check and build all that a run needs, writing nothing; a sentence if it has ended before.

    Raises what CANNOT_START lists.
    """
    directory, header = describe(cfg, choices, overrides)
    check_writable(Path(cfg.results))
    outcome = past_outcome(directory, header)
    if outcome and not cfg.force:
        show_again(directory, **cfg.wandb)
        return f"{directory}: {outcome} before; nothing to do"
    check_options(cfg)
    check_optimizer(cfg)
    check_settings(**cfg.wandb)
    return build(cfg, directory, header)


def check_optimizer(cfg: DictConfig) -> None:
    """ValueError unless the optimizer can make a step with nothing but gradients."""
    import torch

    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    optimizer = instantiate(cfg.optimizer)([weight])
    try:
        optimizer.step()
    except Exception as error:  # whatever the step of an optimizer raises
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        name = cfg.optimizer._target_
        raise ValueError(f"optimizer: {name} cannot make a step ({reason}).") from error


def describe(
    cfg: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]
) -> tuple[Path, dict[str, Any]]:
    """Where the run of a config lies, and the part of its header that the config says."""
    check(cfg)
    digest = data_digest(cfg)
    name = run_name(cfg, choices, overrides)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    return Path(cfg.results) / cfg.experiment / name, {
        "experiment": cfg.experiment,
        "scale": cfg.scale.name,
        "choices": {key: choice for key, choice in choices.items() if "hydra" not in key},
        "config": config,
        "fingerprint": fingerprint(config, digest),
        "data": {"digest": digest},
    }


def data_digest(cfg: DictConfig) -> str | None:
    """The digest of data whose content the options do not tell; None for the others.

    The data is loaded for it where it was not loaded before.
    """
    options: Any = OmegaConf.to_container(cfg.data, resolve=True)
    if options["_target_"] in KNOWN_BY_OPTIONS:
        return None
    digest = known_digest(options)
    if digest is None:
        check_options(cfg)
        check_size(cfg)
        digest = instantiate(cfg.data).digest
        remember_digest(options, digest)
    return digest


def check_size(cfg: DictConfig) -> None:
    """Refuse images that the network is too large for, before all of them are decoded."""
    if cfg.data._target_ != "bnstudy.data.image_folder" or "network" in cfg.model:
        return
    import torch

    from bnstudy.data import first_look

    shape, classes = first_look(cfg.data.root, cfg.data.test, cfg.data.held_out)
    with torch.device("meta"):  # without memory for its weights
        norm = instantiate(cfg.norm)
        instantiate(cfg.model, norm=norm, input_shape=shape, num_outputs=classes)


def build(cfg: DictConfig, directory: Path, header: dict[str, Any]) -> Job:
    """Instantiate the config; the initial weights are a function of the seed, on every device."""
    import torch

    from bnstudy.memory_format import choose
    from bnstudy.params import trainable
    from bnstudy.update import Loss, layers_of, select_layers

    device = choose_device(cfg.device)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = replace(instantiate(cfg.data), criterion=instantiate(cfg.criterion))
    facts = data.facts()
    nothing: dict[str, Any] = {
        "experiment": cfg.experiment,
        "scale": cfg.scale.name,
        "choices": {},
        "config": {},
    }
    header = nothing | {"fingerprint": "", "data": {"digest": None}} | header
    if header["data"]["digest"] not in (None, facts.digest):
        raise ValueError("The data has changed since it was looked at; give the command again.")
    data.check_batch_size(cfg.batch_size)
    torch.manual_seed(cfg.seed)
    model = instantiate(
        cfg.model,
        norm=instantiate(cfg.norm),
        input_shape=data.input_shape,
        num_outputs=data.num_outputs,
    )
    model.to(dtype=data.dtype)
    # Seeded again: constructors draw numbers too, and not the same number of them in every torch.
    torch.manual_seed(cfg.seed)
    instantiate(cfg.init)(model)
    chosen = choose(model, cfg.memory_format, device)
    model.to(device, memory_format=chosen)
    data = replace(data, memory_format=chosen)
    probes = instantiate(cfg.probes, _convert_="all")
    layers = layers_of(model)
    for name, options in cfg.probes.items():
        check_positive_int(f"probes.{name}.every", options.every)
        select_layers(layers, options.get("layers"))
    data = data.to(device)
    # What cannot be computed is refused here, where nothing is written yet; this changes nothing.
    Loss(model, data.criterion, data.batch(0, cfg.batch_size, cfg.seed), cfg.seed)(trainable(model))
    complete = Header(
        **header | {"data": facts},
        layers=list(layers),
        steps=cfg.steps,
        batch_size=cfg.batch_size,
        device=describe_device(device),
        memory_format=str(chosen).removeprefix("torch.").removesuffix("_format"),
        versions=versions(),
        started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        git=git_revision(),
    )
    optimizer = instantiate(cfg.optimizer)(model.parameters())
    schedule = instantiate(cfg.schedule)
    schedule(0, cfg.steps)  # refuses options out of range
    return Job(directory, complete.line(), cfg, data, model, optimizer, schedule, probes, device)


def run(job: Job) -> str:
    """Train, from the last checkpoint if there is one; the outcome.

    It is "interrupted" after a signal, and "running in another process" if one holds the lock. If
    the run fails, its folder says why in `error.txt`.
    """
    from filelock import Timeout

    from bnstudy.lock import locked

    job.directory.mkdir(parents=True, exist_ok=True)
    try:
        with locked(job.directory / "lock", SECONDS_FOR_LOCK):
            return run_alone(job)
    except Timeout:
        return "running in another process"


def run_alone(job: Job) -> str:
    """`run`, while no other process is at it."""
    # The process that held the lock until now may have ended the run.
    outcome = past_outcome(job.directory, job.header)
    if outcome and not job.cfg.force:
        return outcome
    error = job.directory / "error.txt"
    error.unlink(missing_ok=True)
    try:
        return train_recorded(job, anew=outcome is not None)
    except Exception:
        with suppress(OSError):  # where the disk is full, the exception is all that there is
            error.write_text(traceback.format_exc(), encoding="utf-8")
        raise


def train_recorded(job: Job, anew: bool) -> str:
    """Train with record, checkpoints and mirrors, `anew` without those that are there; the outcome.

    Only a run that has ended starts anew: `force` is still in the command of a job that Slurm puts
    back into the queue, which goes on.
    """
    from bnstudy import checkpoint
    from bnstudy.params import copy_of
    from bnstudy.recorder import Recorder, count_steps, read_header
    from bnstudy.train import train

    cfg, path, record = job.cfg, job.directory / "checkpoint.pt", job.directory / "run.jsonl"
    header = job.header if anew else read_header(record) or job.header
    mirrors = choose_mirrors(job, header)  # which may refuse: nothing is removed before
    if anew:
        checkpoint.remove(path)
        checkpoint.remove_kept(job.directory)
        record.unlink(missing_ok=True)
    key = job.header["fingerprint"]
    recorded = count_steps(record)
    initial = copy_of(job.model) if job.probes else None
    step = checkpoint.load(path, key, job.model, job.optimizer, job.device, recorded)
    recorder = Recorder(job.directory, job.header, step, mirrors)
    due = cadence(cfg.save_every or 0, cfg.save_seconds)
    kept = cadence(cfg.keep_every, 0)

    def save(step: int) -> None:
        checkpoint.save(path, step, key, job.model, job.optimizer)
        if kept(step) or (cfg.keep_every and step == cfg.steps):
            checkpoint.keep(job.directory, step, job.model)

    if cfg.keep_every and step == 0:
        checkpoint.keep(job.directory, 0, job.model)
    try:
        outcome = train(
            job.model,
            job.data,
            job.optimizer,
            recorder,
            steps=cfg.steps,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            probes=job.probes,
            schedule=job.schedule,
            test_every=cfg.test_every,
            precise=cfg.precise_statistics,
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
    from bnstudy.recorder import read_header, read_outcome, refuse_other_config

    path = directory / "run.jsonl"
    existing = read_header(path)
    if existing is None:
        return None
    refuse_other_config(existing, header, path)
    return read_outcome(path)


def run_name(cfg: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]) -> str:
    """The name of a run's directory: model, norm, init, lr, seed, and what else was overridden."""
    name = f"{choices['model']}_{choices['norm']}_{choices['init']}"
    name += f"_lr{cfg.optimizer.lr}_seed{cfg.seed}"
    parts = [override.lstrip("+~").partition("=") for override in overrides]
    for key, value in sorted({key: value for key, _, value in parts}.items()):
        root, _, rest = key.partition(".")
        label = root in NOT_SCIENCE or (root == "data" and rest in NOT_SCIENCE_OF_DATA)
        if key not in NAMED and not label:
            name += f"_{key}={value}".replace("/", "-").replace(" ", "")
    if len(name) > 200:  # file systems stop at 255
        name = name[:180] + "_" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return name


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


def choose_mirrors(job: Job, header: dict[str, Any]) -> list["Mirror"]:
    """The views of the run with that header that the config asks for."""
    from bnstudy import terminal

    cfg, name = job.cfg, job.directory.name
    chosen: list[Mirror] = []
    if cfg.wandb.mode != "disabled":
        chosen.append(wandb_run(job.directory, header, **cfg.wandb))
    if cfg.progress == "auto":
        on_terminal = sys.stderr.isatty()
        show = terminal.progress_bar if on_terminal else terminal.progress_lines
        chosen.append(show(name, cfg.steps))
    return chosen


def git_revision() -> str:
    """The commit of this checkout, with + if files were changed; "unknown" outside of git."""
    # A hook, `git bisect run` and some CI name another repository in GIT_DIR and its like.
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    options: Any = {"cwd": CONFIGS.parent, "env": own, "stderr": subprocess.DEVNULL}
    head = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        root, revision = subprocess.check_output(head, **options, text=True).splitlines()
        changed = subprocess.call(["git", "diff", "--quiet", "HEAD"], **options)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    if not CONFIGS.parent.samefile(root):  # a copy without git, inside of another repository
        return "unknown"
    return revision + ("+" if changed else "")


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    packages = ("bnstudy", "torch", "torchvision", "numpy", "hydra-core", "scikit-learn")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def describe_device(device: "torch.device") -> str:
    """The device in words, with the number of threads for a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence; Hydra's own messages run over several lines."""
    if isinstance(error, InstantiationException) and error.__cause__:
        return " ".join(str(error.__cause__).splitlines())  # what the constructor raised
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return unknown_option(group, option, error.options or [])
    if isinstance(error, OverrideParseException):
        return f"{error.override!r} cannot be read ({str(error).splitlines()[0]})."
    if isinstance(error, OmegaConfBaseException):
        reason = (error.msg or str(error)).splitlines()[0].rstrip(".")
        return f"{error.full_key or 'the config'} cannot be made out ({reason})."
    if isinstance(error, ConfigCompositionException):
        first = str(error).splitlines()[0]
        if first.startswith("Could not override '"):
            key = first.removeprefix("Could not override ").strip("'.")
            return f"{key} is not a key; --help shows those that there are."
        cause = str(error.__cause__ or "").splitlines()[:1]  # which says what would be right
        return ": ".join([first, *cause])
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}. Make room and give the command again to go on where it stopped."
    return str(error)


def unknown_option(group: str, option: str, known: Iterable[str]) -> str:
    """A sentence for an option that is not among those known of a group."""
    if not group:
        return f"--config-name={option} is unknown; the config of this command is train."
    if group == "hydra/launcher" and option in PLUGINS:
        return f"the plugin for this launcher is missing: pip install '{PLUGINS[option]}'"
    options = {path.stem for path in (CONFIGS / group).glob("*.yaml")} or set(known)
    options = sorted(options | {"joblib", "ray"} if group == "hydra/launcher" else options)
    return f"{group}={option} is unknown; it must be one of {', '.join(options)}."


def command() -> None:
    """`main`, with refusals in one sentence; with HYDRA_FULL_ERROR=1 where they were raised."""
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints the error itself
    # The processes of launchers find what lies beside this file, as this one does.
    path = [str(CONFIGS.parent / "scripts"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    if "WANDB_SWEEP_ID" in os.environ:
        sys.argv[1:] = wandb_agent.translate(sys.argv[1:])
    last = []
    try:
        overrides.read_command_line()
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        refused = isinstance(error, CompactHydraException)
        # What Hydra raises while it composes, of whatever kind, is about the command line.
        refused = refused or not (Composed.config or sweeps.started())
        if isinstance(error, BrokenPipeError) or full or not (refused or sweeps.started()):
            raise
        last = [sentence(error) if refused else sweeps.stopped(error)]
    if lines := sweeps.failures() + last:
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    streams.leave_with(command)
