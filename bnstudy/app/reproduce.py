"""Run the study: experiments, figures and report. `python scripts/reproduce.py --help`."""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict

from bnstudy import interruption, streams
from bnstudy.app import CONFIGS, figures, report, status
from bnstudy.app import overrides as overrides_of
from bnstudy.app.schema import check_options
from bnstudy.app.status import duration
from bnstudy.app.train import CANNOT_START, build, check_optimizer, describe, prepare, sentence
from bnstudy.session import Session, check_writable, past_outcome, run
from bnstudy.status import Status, read_status

REFUSALS = (*CANNOT_START, CompactHydraException, OverrideParseException)
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


@dataclass(frozen=True)
class Planned:
    """One run of a grid: the overrides that make it, its config, and where it stands."""

    overrides: list[str]
    cfg: DictConfig
    norm: str
    status: Status


def main() -> int:
    """The exit code: 0 if every run ended, however it ended, and figures and report are made."""
    options = parse()
    try:
        given = read_overrides(options.overrides)
        planned = plan(options.experiments, given, options.workers)
        check_writable(Path(planned[0].cfg.results))
        waiting = [job for job in planned if needs_to_run(job)]
        workers = options.workers or default_workers(len(waiting))
        announce(planned, waiting, workers, each=options.plan)
    except REFUSALS as error:
        print(f"reproduce: {sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT  # nothing has started
    if options.plan:
        return 0
    failed = execute(waiting, workers)
    if interruption.came():
        interruption.leave()
    cfg = planned[0].cfg
    drawn = draw(cfg.scale.name, cfg.results)
    for name, reason in failed:
        streams.say(f"failed: {name}: {reason}", sys.stderr)
    return 0 if drawn and not failed else 1


def draw(scale: str, runs: str) -> bool:
    """Figures and report, from one drawing of each figure; whether both were made."""
    pictures = str(figures.FIGURES / scale)
    return report.main(["--scale", scale, "--runs", runs, "--figures", pictures]) == 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Run every experiment of the study, draw its figures and write the report. "
        "Runs that have ended are skipped and interrupted ones go on, so the same command can be "
        "given again.",
        epilog="Example: python scripts/reproduce.py scale=small data=image_folder data.root=DIR",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="as for scripts/train.py, for every run: scale=demo (minutes, the default), small "
        "(hours on two cores) or paper (a GPU); optimizer.lr=0.1 or seed=0,1 replaces an axis",
    )
    parser.add_argument(
        "--experiments",
        nargs="+",
        metavar="NAME",
        choices=EXPERIMENTS,
        default=EXPERIMENTS,
        help=f"which, of {', '.join(EXPERIMENTS)}; default: all",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes of one thread each; default: the number of cores, 1 with a GPU",
    )
    parser.add_argument(
        "--plan",
        action="store_true",
        help="list the runs, where each stands and how long, and stop",
    )
    options = parser.parse_intermixed_args()
    wrong = [word for word in options.overrides if "=" not in word]
    if wrong:
        parser.error(f"{wrong[0]!r} is not KEY=VALUE, such as scale=demo.")
    options.experiments = list(dict.fromkeys(options.experiments))
    return options


def read_overrides(words: list[str]) -> list[str]:
    """The overrides of every run; ValueError in a sentence for what they must not say."""
    words = overrides_of.read(words, multirun=True)
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "experiment":
            raise ValueError(f"{word}: choose experiments with --experiments {value}.")
    return words


def positive(text: str) -> int:
    """A number of processes."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def plan(experiments: list[str], overrides: list[str], workers: int | None) -> list[Planned]:
    """The runs of all grids, every config checked."""
    runs = [run for name in experiments for run in grid(name, overrides)]
    # Another process takes as long to start as ten configs to compose.
    workers = min(workers or joblib.cpu_count(), 1 + len(runs) // 10)
    return side_by_side(workers)(joblib.delayed(planned)(run) for run in runs)


def grid(experiment: str, overrides: list[str]) -> list[list[str]]:
    """The overrides of each run of an experiment."""
    overrides = [f"experiment={experiment}", *overrides]
    option = OmegaConf.load(CONFIGS / "experiment" / f"{experiment}.yaml")
    if any("override /data" in entry for entry in option.defaults):
        # The experiment is about its own data: which images the others use does not concern it.
        overrides = [word for word in overrides if not word.startswith(("data=", "data."))]
    given = {word.split("=")[0] for word in overrides}
    axes = composed(overrides_without_sweeps(overrides)).hydra.sweeper.params
    words = [f"{key}={values}" for key, values in axes.items() if key not in given] + overrides
    parsed = OverridesParser.create().parse_overrides(words)
    (runs,) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(run) for run in runs]


def overrides_without_sweeps(overrides: list[str]) -> list[str]:
    """The overrides that have one value, which a config can be composed with."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [p.input_line for p in parsed if not p.is_sweep_override() and p.input_line]


def composed(overrides: list[str]) -> DictConfig:
    """The config of these overrides, Hydra's own part included."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("train", overrides, return_hydra_config=True)


def planned(overrides: list[str]) -> Planned:
    """One run, composed and checked, and where it stands if it was started before."""
    with in_a_sentence():
        cfg, choices = split(composed(overrides))
        directory, header = describe(cfg, choices, overrides)
        past_outcome(directory, header)  # refuses the record of another config
    return Planned(overrides, cfg, choices["norm"], read_status(directory))


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Let a refusal cross to another process: not every error of Hydra's can be sent there."""
    try:
        yield
    except REFUSALS as error:
        raise ValueError(sentence(error)) from None


def side_by_side(workers: int, results: str = "list") -> joblib.Parallel:
    """Processes of one thread each, the same ones for all of the work; `workers` 1: this one."""
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        return joblib.Parallel(n_jobs=workers, return_as=results)


def needs_to_run(job: Planned) -> bool:
    """Whether a run has not ended yet, or is to run again."""
    return job.cfg.force or not job.status.ended


def split(cfg: DictConfig) -> tuple[DictConfig, dict[str, str]]:
    """The config of the run, and which option of each group it chose."""
    choices = dict(cfg.hydra.runtime.choices)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg, choices


def default_workers(runs: int) -> int:
    """One process per core, one alone where they would share a GPU."""
    import torch

    on_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    return 1 if on_gpu else max(1, min(joblib.cpu_count(), runs))


def announce(
    planned: list[Planned], waiting: list[Planned], workers: int, each: bool = False
) -> None:
    """Say what will run and roughly how long that takes; with `each`, a line for every run.

    Every config is built, so that one that cannot start is refused here, before any has started.
    """
    for experiment, runs in Counter(job.cfg.experiment for job in planned).items():
        left = sum(job.cfg.experiment == experiment for job in waiting)
        print(f"{experiment}: {runs} runs at scale {planned[0].cfg.scale.name}, {left} to do")
    seconds = {id(job): cost for job, cost in zip(waiting, costs(waiting, workers), strict=True)}
    if each:
        left_of_each = [seconds.get(id(job)) for job in planned]
        print(*status.table([job.status for job in planned], left_of_each), sep="\n")
    if waiting:
        total = sum(seconds.values()) / workers
        processes = "1 process" if workers == 1 else f"{workers} processes"
        print(f"roughly {duration(total)} in {processes} of one thread each", flush=True)


def costs(waiting: list[Planned], workers: int) -> list[float]:
    """Seconds that each run still needs; an example of each network in an experiment is timed."""
    timed: dict[tuple[str, str, str], Planned] = {}
    others: dict[str, Planned] = {}
    for job in waiting:
        # The values of these are checked already; any other may be one that cannot be built.
        varied = ("seed=", "optimizer.lr=")
        others.setdefault(str([w for w in job.overrides if not w.startswith(varied)]), job)
        timed.setdefault(kind_of(job), job)
    parallel = side_by_side(workers)
    seconds = parallel(joblib.delayed(estimate)(job) for job in timed.values())
    whole = dict(zip(timed, seconds, strict=True))
    built = {id(job) for job in timed.values()}
    parallel(joblib.delayed(refuse)(job) for job in others.values() if id(job) not in built)
    return [whole[kind_of(job)] * fraction_left(job) for job in waiting]


def kind_of(job: Planned) -> tuple[str, str, str]:
    """What runs have in common that take about as long."""
    return job.cfg.experiment, job.norm, str(job.cfg.model)


def fraction_left(job: Planned) -> float:
    """How much of a run is still to do: all of one that has ended and is to run again."""
    return 1.0 if job.status.ended else 1 - job.status.step / job.cfg.steps


def refuse(job: Planned) -> None:
    """Raise what keeps a run from starting, if anything does."""
    try_to_build(job.cfg)


def try_to_build(cfg: DictConfig) -> Session:
    """Build the run of a config, of which nothing is kept; a refusal is a ValueError."""
    import torch

    torch.set_num_threads(1)
    with in_a_sentence():
        check_options(cfg)
        check_optimizer(cfg)
        known = {"experiment": cfg.experiment, "scale": cfg.scale.name}
        rest = {"choices": {}, "config": {}, "fingerprint": "", "data": {"digest": None}}
        return build(cfg, Path(), known | rest)


def estimate(job: Planned) -> float:
    """Seconds that a run takes, from a few of its steps with and without probes."""
    from bnstudy.evaluation import evaluate
    from bnstudy.record import Recorder
    from bnstudy.train import train

    cfg = job.cfg.copy()
    cfg.probe_every = 3
    built = try_to_build(cfg)
    for group in built.optimizer.param_groups:
        group["lr"] = 0.0  # a step costs the same, and does not diverge
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        clock = [lambda line: ends.append(line["time"]) if "step" in line else None]
        recorder = Recorder(Path(folder), built.header, mirrors=clock)
        started = time.monotonic()
        evaluate(built.model, built.data, cfg.batch_size, cfg.seed, cfg.precise_statistics)
        evaluation = time.monotonic() - started
        numbers = {"batch_size": cfg.batch_size, "seed": cfg.seed, "steps": 4}
        train(built.model, built.data, built.optimizer, recorder, probes=built.probes, **numbers)
        recorder.close()
    if len(ends) < 4:  # no loss at these initial weights: the run ends at its first step
        return ends[-1] + evaluation
    # Steps 0 and 3 were probed; step 0 also paid for the warm-up.
    plain = min(ends[1] - ends[0], ends[2] - ends[1])
    probing = max(0.0, ends[3] - ends[2] - plain)
    steps, cadence = job.cfg.steps, job.cfg.test_every
    evaluations = 0 if cadence is None else 1 + (steps // cadence if cadence else 0)
    return steps * plain + steps / job.cfg.probe_every * probing + evaluations * evaluation


def execute(waiting: list[Planned], workers: int) -> list[tuple[str, str]]:
    """Run them side by side, a line for each that ends; names and reasons of those that failed."""
    started, failed = time.monotonic(), []
    interruption.listen(stop_children)
    runs = (joblib.delayed(work)(job.overrides, os.getpid()) for job in waiting)
    results = side_by_side(workers, "generator_unordered")(runs)
    for done, (name, outcome, note) in enumerate(results, start=1):
        left = (time.monotonic() - started) / done * (len(waiting) - done)
        if outcome == "stopped":  # before it started, by a signal
            continue
        streams.say(f"[{done}/{len(waiting)}] {name}: {outcome}{note}; {duration(left)} left")
        if outcome == "failed":
            failed.append((name, note))
    return failed


def stop_children() -> None:
    """Tell the processes at work to save and stop."""
    for process in multiprocessing.active_children():
        process.terminate()


def work(overrides: list[str], parent: int) -> tuple[str, str, str]:
    """One run: its name, its outcome, and why it failed if it did; `parent`: who asked for it."""
    import torch

    if os.getpid() != parent:  # a single worker is the parent itself
        interruption.listen_to_parent()
    if interruption.came():
        return "", "stopped", ""
    torch.set_num_threads(1)
    try:
        cfg, choices = split(composed([*overrides, "progress=none"]))
        job = prepare(cfg, choices, overrides)
        if isinstance(job, str):
            return job, "skipped", ""
        return job.directory.name, run(job), ""
    except Exception as error:  # a fault in one run must not take the others down
        return " ".join(overrides), "failed", f" ({type(error).__name__}: {sentence(error)})"
