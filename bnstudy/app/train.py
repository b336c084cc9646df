"""Train one network and probe it: `python scripts/train.py --help`."""

import errno
import hashlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import hydra
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

from bnstudy import interruption, streams
from bnstudy.app import CONFIGS, overrides, sweeps, wandb_agent
from bnstudy.app.schema import check, check_options, check_positive_int
from bnstudy.digests import known_digest, remember_digest
from bnstudy.record import (
    KNOWN_BY_OPTIONS,
    NOT_SCIENCE,
    NOT_SCIENCE_OF_DATA,
    Header,
    fingerprint,
)
from bnstudy.session import (
    Session,
    check_writable,
    choose_device,
    describe_device,
    git_revision,
    past_outcome,
    run,
    versions,
)
from bnstudy.wandb_mirror import check_settings, show_again

# What the name of a run's directory and of those above it says anyway.
NAMED = ("experiment", "scale", "model", "norm", "init", "optimizer.lr", "seed")
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


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="train")
def main(cfg: DictConfig) -> None:
    """One run from the command line."""
    hydra_config = HydraConfig.get()
    Composed.config = True
    if hydra_config.mode == RunMode.MULTIRUN:
        sweeps.share_machine(hydra_config.job.num)
    try:
        session = prepare(cfg, hydra_config.runtime.choices, hydra_config.overrides.task)
    except CANNOT_START as error:
        refuse(sentence(error), hydra_config.mode, error)
    if isinstance(session, str):
        streams.say(session)
    else:
        interruption.listen()
        try:
            outcome = run(session)
        except OSError as error:
            refuse(f"{session.directory}: {sentence(error)}", hydra_config.mode, error)
        streams.say(f"{session.directory}: {outcome}")
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


def prepare(cfg: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]) -> Session | str:
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


def build(cfg: DictConfig, directory: Path, header: dict[str, Any]) -> Session:
    """Instantiate the config; the initial weights are a function of the seed, on every device."""
    import torch

    from bnstudy.memory_format import choose
    from bnstudy.params import trainable
    from bnstudy.update import Loss, layers_of, select_layers

    device = choose_device(cfg.device)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = replace(instantiate(cfg.data), criterion=unchecked(instantiate(cfg.criterion)))
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
    schedule = unchecked(instantiate(cfg.schedule))
    schedule(0, cfg.steps)  # refuses options out of range
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    return Session(
        directory, complete.line(), options, data, model, optimizer, schedule, probes, device
    )


def unchecked(made: partial[Any]) -> partial[Any]:
    """A function with options, without what Hydra checks at each of its calls (0.1 ms a call)."""
    return partial(made.func, *made.args, **made.keywords)


def run_name(cfg: DictConfig, choices: Mapping[str, Any], overrides: Iterable[str]) -> str:
    """The name of a run's directory: model, norm, init, lr, seed, and what else was overridden."""
    name = f"{choices['model']}_{choices['norm']}_{choices['init']}"
    name += f"_lr{cfg.optimizer.lr}_seed{cfg.seed}"
    # More probes than the default and these probes alone are two runs.
    words = [o if o.startswith("+probes=") else o.lstrip("+~") for o in overrides]
    parts = [word.partition("=") for word in words]
    for key, value in sorted({key: value for key, _, value in parts}.items()):
        root, _, rest = key.partition(".")
        label = root in NOT_SCIENCE or (root == "data" and rest in NOT_SCIENCE_OF_DATA)
        if key not in NAMED and not label:
            name += f"_{key}={value}".replace("/", "-").replace(" ", "")
    if len(name) > 200:  # file systems stop at 255
        name = name[:180] + "_" + hashlib.sha256(name.encode()).hexdigest()[:16]
    return name


def sentence(error: BaseException) -> str:
    """What went wrong, in one sentence; Hydra's own messages run over several lines."""
    if found := re.search(r"tried to allocate (\d+) bytes", f"{error} {error.__cause__}"):
        return (
            f"There is no memory for this run: it asks for {int(found[1]) / 1e9:.3g} GB at once; "
            "make the model, batch_size or the data smaller."
        )
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
