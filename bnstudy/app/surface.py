"""Draw the loss surface around the weights of a run."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from filelock import Timeout
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from bnstudy.app.schema import check_positive_int
from bnstudy.app.train import CANNOT_START, build, sentence
from bnstudy.figures import style
from bnstudy.lock import locked
from bnstudy.record import NOT_SCIENCE_OF_DATA
from bnstudy.results import Run, load_run
from bnstudy.session import describe_device, versions
from bnstudy.surface_plots import draw, load_surface, page

if TYPE_CHECKING:  # torch takes seconds to import: --help and a refusal do not wait for it
    import torch

    from bnstudy.data import DataSet
    from bnstudy.params import Params
    from bnstudy.surfaces import Point
    from bnstudy.update import Loss

Mark = tuple[Sequence[float], str]  # coordinates, and what lies there

SURFACES = Path("results/surfaces")
MOST_POINTS = 1001  # on an axis
WIDEST = 1e6  # in units of the directions
SECONDS_PER_LINE = 10.0
MARGIN = 1.25  # around a trajectory
# What a name says only where it is another one.
DEFAULTS = {"points": 25, "span": 1.0, "batches": 4, "seed": 0}
EPILOG = """\
directions:
  random    filter-normalised (Li et al. 2018): biases, gamma and beta stay where they are
  gradient  against the gradient of these batches: a is the step size; --filter-normalise for the
            scale of the weights. In two dimensions b is random, orthogonal and of the same length
  eigenvectors
            of the largest eigenvalues of the Hessian of these batches; a, b: l2 distances
  pca       the plane of the weights that the run kept, through the last; a, b: l2 distances.
            Needs a run with keep_every=STEPS
  line      from the weights of RUN (a = 0) to those of RUN2 (a = 1), or between two steps of RUN

--span S: a and b from -S to S; line: a from 0.5 - S to 0.5 + S, and 0 and 1 besides, b from -S to
S, both in units of the line's length; pca: S = 1 is as far as the trajectory goes and a quarter
more.

--statistics batch: norms use the statistics of each batch, the function that SGD descends; running:
those kept with the weights, on a line interpolated as the weights are (and beyond its ends those of
the end), for pca those of the last.

examples:
  python scripts/surface.py results/runs/demo/vgg/RUN
  python scripts/surface.py RUN --directions pca --step 2000
  python scripts/surface.py RUN --directions gradient --dimensions 1 --points 101 --span 2
  python scripts/surface.py RUN RUN2 --directions line --dimensions 1 --statistics running
  python scripts/surface.py RUN --directions line --dimensions 1 --step 0,2000
  python scripts/surface.py RUN data.root=DIR       the data lies elsewhere now

costs: a forward pass for each point and batch. 25 x 25 points with 4 batches are 2500: as long as
about 800 steps of training; 25 points on a line as long as about 30. pca holds all kept weights in
memory at once, in float64 one layer at a time; the inputs of all batches are too. eigenvectors
take up to 100 Hessian-vector products on each batch besides, whose graphs are in memory together.

Results: results/surfaces/<scale>/<experiment>/<run>/, a .jsonl with every measurement, a .png and a
page, .html, to turn the surface on. An interrupted one goes on when the command is given again.
"""


@dataclass(frozen=True)
class Weights:
    """Where a run was after a step: trainable parameters and buffers, in main memory."""

    run: Run
    step: int
    params: "Params"
    buffers: "Params"


@dataclass(frozen=True)
class Frame:
    """The directions in main memory, the grid on them, and the words for the picture."""

    directions: "list[Params]"
    axes: list[list[float]]
    labels: list[str]  # of the axes
    marks: list[Mark]  # points to name
    notes: list[str]
    path: dict[str, Any] | None = None  # a trajectory: steps and coordinates


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit status."""
    options = parser().parse_intermixed_args(arguments)
    try:
        check(options)
        draw_surface(measure_surface(options))
    except CANNOT_START as error:
        refuse(sentence(error))
    except Timeout:
        refuse("This surface is being computed by another process.")
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s RUN [RUN2] [options] [data.KEY=VALUE ...]",
    )
    add = parser.add_argument
    add("words", metavar="RUN", nargs="+", help="folder of a run; for line a second one")
    kinds = ("random", "gradient", "eigenvectors", "pca", "line")
    add("--directions", choices=kinds, default="random", help="(random)")
    add("--dimensions", type=int, choices=(1, 2), default=2, help="(2)")
    add("--points", type=int, default=DEFAULTS["points"], help="along each direction (25)")
    add("--span", type=float, default=DEFAULTS["span"], help="how far from the weights (1.0)")
    add("--statistics", choices=("batch", "running"), default="batch", help="of norms (batch)")
    add("--batches", type=int, default=DEFAULTS["batches"], help="of training to average over (4)")
    help_of_step = "kept weights; two of them for a line within RUN (the last checkpoint)"
    add("--step", type=steps, default=[], metavar="N[,N]", help=help_of_step)
    add("--seed", type=int, default=DEFAULTS["seed"], help="of random directions (0)")
    add("--filter-normalise", action="store_true", help="the gradient direction too")
    add("--all-tensors", action="store_true", help="random directions move 1-d tensors too")
    add("--out", type=Path, metavar="DIR", help=f"({SURFACES}/<scale>/<experiment>/<run>)")
    add("--device", default="cpu", choices=("auto", "cpu", "cuda", "mps"), help="(cpu)")
    return parser


def steps(text: str) -> list[int]:
    """The steps in "100" or "0,100"."""
    return [int(word) for word in text.split(",")]


def refuse(reason: str) -> NoReturn:
    """End the command in one sentence."""
    print(reason, file=sys.stderr)
    raise SystemExit(1)


def check(options: argparse.Namespace) -> None:
    """ValueError for what no surface can be made of."""
    options.runs = [word for word in options.words if "=" not in word or Path(word).is_dir()]
    options.overrides = [word for word in options.words if word not in options.runs]
    kind = options.directions
    if len(options.runs) != 1 and not (kind == "line" and len(options.runs) == 2):
        wanted = "one or two runs" if kind == "line" else "one run"
        raise ValueError(f"--directions {kind} takes {wanted}, found {len(options.runs)}.")
    if not 3 <= options.points <= MOST_POINTS:
        raise ValueError(f"--points {options.points} is out of range; it must lie in 3..1001.")
    if not 0 < options.span <= WIDEST:
        raise ValueError(f"--span {options.span:g} is out of range; it must lie in 0..{WIDEST:g}.")
    if options.batches < 1:
        raise ValueError(f"--batches {options.batches} must be a whole number, 1 or more.")
    if not 0 <= options.seed < 2**63:
        raise ValueError(f"--seed {options.seed} must be a whole number, 0 or more.")
    most = 2 if kind == "line" else 1
    if len(options.step) > most:
        raise ValueError(f"--step takes {most} of a run's steps here, found {len(options.step)}.")
    for flag, kinds in (("filter_normalise", ["gradient"]), ("all_tensors", ["random"])):
        if getattr(options, flag) and kind not in kinds:
            option = "--" + flag.replace("_", "-")
            raise ValueError(f"{option} is for --directions {kinds[0]}, not {kind}.")


def measure_surface(options: argparse.Namespace) -> Path:
    """Measure what is missing of a surface; its file."""
    runs = [read_run(Path(folder)) for folder in options.runs]
    if len(runs) == 2:
        check_same_network(*runs)
    chosen = choose(runs, options)
    data, model, device = rebuild(runs[0], options)
    weights = [read_weights(run, step, path, model) for run, step, path in chosen]
    origin = weights[-1] if options.directions == "pca" else weights[0]
    model.load_state_dict(origin.params | origin.buffers)
    losses = losses_of(origin, data, model, options)
    frame = frame_of(weights, origin, losses, options)
    run = origin.run
    folder = options.out or SURFACES / run.scale / run.experiment / run.directory.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name_of(weights, origin, options)}.jsonl"
    header = describe(weights, origin, frame, losses, device, options)
    with locked(path.with_suffix(".lock"), 0):
        write(path, header, frame, weights, losses, device)
    return path


def read_run(directory: Path) -> Run:
    """The record of a run; ValueError where there is none."""
    if not (directory / "run.jsonl").is_file():
        raise ValueError(f"There is no run in {directory}: RUN is a folder that holds a run.jsonl.")
    return load_run(directory.resolve())


def check_same_network(first: Run, second: Run) -> None:
    """ValueError unless two runs train the same network on the same data."""
    for group in ("model", "norm", "data"):
        one, other = (
            {
                key: value
                for key, value in run.config[group].items()
                if key not in NOT_SCIENCE_OF_DATA
            }
            for run in (first, second)
        )
        for key in one | other:
            if one.get(key) != other.get(key):
                raise ValueError(
                    f"There is no line between these two runs: {group}.{key} is {one.get(key)} in "
                    f"the first and {other.get(key)} in the second."
                )


def choose(runs: list[Run], options: argparse.Namespace) -> list[tuple[Run, int, Path]]:
    """The weights to read: one, the two ends of a line, or a trajectory, whose last is the origin.

    ValueError for a step whose weights are not there.
    """
    if options.directions == "pca":
        return trajectory(runs[0], options)
    wanted: list[int | None] = list(options.step) or [None]
    if options.directions == "line" and len(runs) == 1:
        if len(wanted) != 2:
            raise ValueError("A line within one run needs the two steps it joins: --step 0,2000.")
        runs = runs * 2
    elif len(wanted) < len(runs):
        wanted = wanted * 2
    chosen = []
    for run, step in zip(runs, wanted, strict=True):
        there = left_by(run)
        at = max(there) if step is None else step
        if at not in there:
            raise ValueError(
                f"{run.directory.name} has no weights of step {at}: it has those of "
                f"{shortened(sorted(there))} (keep_every=STEPS keeps more)."
            )
        chosen.append((run, at, there[at]))
    return chosen


def trajectory(run: Run, options: argparse.Namespace) -> list[tuple[Run, int, Path]]:
    """The weights that a run kept up to --step."""
    from bnstudy import checkpoint

    there = checkpoint.kept(run.directory)
    last = options.step[0] if options.step else max(there, default=0)
    kept = [step for step in sorted(there) if step <= last]
    if last not in there or len(kept) <= options.dimensions:
        found = f"those of {shortened(sorted(there))}" if there else "none"
        raise ValueError(
            f"--directions pca needs the weights that a run kept along the way to step {last}, "
            f"{options.dimensions + 1} or more; {run.directory.name} kept {found}: train it with "
            "keep_every=100 force=true."
        )
    return [(run, step, there[step]) for step in kept]


def left_by(run: Run) -> dict[int, Path]:
    """The weights that a run left, by step: those that it kept and its last checkpoint."""
    import torch

    from bnstudy import checkpoint

    there = checkpoint.kept(run.directory)
    last = run.directory / "checkpoint.pt"
    for path in (last, checkpoint.previous(last)):
        state = checkpoint.read(path, torch.device("cpu")) if path.exists() else None
        if state and state["fingerprint"] == run.header["fingerprint"]:
            there = {state["step"]: path} | there
    if not there:
        raise ValueError(
            f"{run.directory.name} left no weights: its checkpoint.pt is missing, torn, or of "
            "another config than its run.jsonl."
        )
    return there


def shortened(numbers: Sequence[int]) -> str:
    """The numbers in words, not all of them where they are many."""
    if len(numbers) <= 8:
        return ", ".join(map(str, numbers))
    first, last = (", ".join(map(str, part)) for part in (numbers[:3], numbers[-2:]))
    return f"{first}, ..., {last}"


def rebuild(
    run: Run, options: argparse.Namespace
) -> "tuple[DataSet, torch.nn.Module, torch.device]":
    """Data and model of a run, as scripts/train.py makes them, in training mode."""
    allowed = ["threads", *(f"data.{key}" for key in NOT_SCIENCE_OF_DATA)]
    for word in options.overrides:
        key = word.partition("=")[0]
        if key not in allowed:
            raise ValueError(f"{key} cannot be changed here; what can be: {', '.join(allowed)}.")
    try:
        given = OmegaConf.from_dotlist(options.overrides)
    except YAMLError as error:
        raise ValueError(f"{' '.join(options.overrides)} is not KEY=VALUE.") from error
    if "threads" in given:
        check_positive_int("threads", given.threads)
    cfg = OmegaConf.merge(OmegaConf.create(run.config), given)
    cfg.device, cfg.probes = options.device, {}
    job = build(cast(DictConfig, cfg), run.directory, {})
    expected, found = run.header["data"].get("digest"), job.header["data"]["digest"]
    if expected not in (None, found):
        raise ValueError(
            f"The data that was found is not that of {run.directory.name}; give data.root=DIR "
            "with the folder in which that lies."
        )
    return job.data, job.model.train(), job.device


def read_weights(run: Run, step: int, path: Path, model: "torch.nn.Module") -> Weights:
    """The weights in a file, in main memory; ValueError where they do not fit the model."""
    import torch

    from bnstudy.params import trainable

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torn file raises whatever its first wrong byte leads to
        raise ValueError(f"{path} is torn or holds no weights.") from error
    state = state["model"] if path.parent == run.directory else state
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    fits = isinstance(state, dict) and {n: getattr(t, "shape", None) for n, t in state.items()}
    if fits != shapes:
        raise ValueError(f"{path} holds the weights of another network than its run.jsonl says.")
    params = {name: state.pop(name) for name in trainable(model)}
    if not all(bool(tensor.isfinite().all()) for tensor in params.values()):
        raise ValueError(f"The weights of step {step} are not all finite: the run has diverged.")
    return Weights(run, step, params, state)


def losses_of(
    origin: Weights, data: "DataSet", model: "torch.nn.Module", options: argparse.Namespace
) -> "list[Loss]":
    """The losses that training descends at the origin's step and those after it."""
    from bnstudy.train import loss_of_step

    size, seed = origin.run.batch_size, origin.run.seed
    most = max(1, len(data.train.targets) // size)
    if options.batches > most:
        raise ValueError(
            f"--batches {options.batches} is more than all the training data: {most} batches."
        )
    steps = range(origin.step, origin.step + options.batches)
    losses = [loss_of_step(model, data, step, size, seed) for step in steps]
    return [replace(loss, statistics=options.statistics) for loss in losses]


def frame_of(
    weights: list[Weights], origin: Weights, losses: "list[Loss]", options: argparse.Namespace
) -> Frame:
    """The directions that the options name, at these weights."""
    from bnstudy import surfaces

    here: list[Mark] = [((0.0,), f"step {origin.step}")]
    axis = surfaces.axis(options.points, options.span)
    if options.directions == "pca":
        return principal_frame(weights, options)
    if options.directions == "eigenvectors":
        return eigenvector_frame(origin, losses, options)
    if options.directions == "line":
        frame = line_frame(weights[0], weights[1], options)
    elif options.directions == "random":
        first = random_direction(origin, 1, options)
        frame = Frame([first], [axis], ["a: random direction, filter-normalised"], here, [])
    else:
        frame = Frame(
            [against_gradient(origin, losses)], [axis], ["a: step size η, along −∇L"], here, []
        )
        if options.filter_normalise:
            first = surfaces.filter_normalised(frame.directions[0], origin.params)
            frame = replace(frame, directions=[first], labels=["a: −∇L, filter-normalised"])
    return frame if options.dimensions == 1 else with_second(frame, origin, options)


def with_second(frame: Frame, origin: Weights, options: argparse.Namespace) -> Frame:
    """The frame with a second direction: random, orthogonal to the first, in the same units."""
    from bnstudy import surfaces
    from bnstudy.params import cosine, length

    (first,) = frame.directions
    drawn = random_direction(origin, 2, options)
    second, label = surfaces.orthogonal(drawn, first), "b: random direction, filter-normalised"
    if options.directions != "random" and not options.filter_normalise:
        second = surfaces.scaled(second, float(length(first)))
        label = "b: random direction, as long as that of a"
    before = f"b was made orthogonal to a (their cosine was {float(cosine(drawn, first)):.1e})."
    return replace(
        frame,
        directions=[first, second],
        axes=[*frame.axes, surfaces.axis(options.points, options.span)],
        labels=[*frame.labels, label],
        marks=[((*place, 0.0), name) for place, name in frame.marks],
        notes=[*frame.notes, before],
    )


def random_direction(origin: Weights, number: int, options: argparse.Namespace) -> "Params":
    """A filter-normalised direction, drawn in main memory: the same on every device."""
    from bnstudy import surfaces
    from bnstudy.seeds import Stream, derive_seed

    seed = derive_seed(options.seed, number, Stream.DIRECTIONS)
    return surfaces.random_direction(origin.params, seed, options.all_tensors)


def against_gradient(origin: Weights, losses: "list[Loss]") -> "Params":
    """Minus the gradient of the mean of the losses."""
    from bnstudy.surfaces import gradient_direction

    device = next(losses[0].model.parameters()).device
    return moved(gradient_direction(losses, moved(origin.params, device)), "cpu")


def line_frame(start: Weights, end: Weights, options: argparse.Namespace) -> Frame:
    """The line from one end to the other."""
    from bnstudy.params import subtract
    from bnstudy.surfaces import axis

    names, notes = [f"step {weights.step}" for weights in (start, end)], []
    if start.run.directory != end.run.directory:
        names = [f"first run, {names[0]}", f"second run, {names[1]}"]
        notes = [f"Second run: {end.run.directory.name}; the batches are the first's."]
    if options.statistics == "running":
        notes.append(
            "Running statistics are interpolated as the weights are, and stay the end's beyond it."
        )
    marks: list[Mark] = [((float(place),), name) for place, name in enumerate(names)]
    label = f"a: from {names[0]} (0) to {names[1]} (1)"
    # The two ends as well, exactly: the marks say that the surface goes through them.
    between = axis(options.points, options.span, middle=0.5)
    axes = [sorted([0.0, 1.0, *(a for a in between if min(abs(a), abs(a - 1)) > 1e-9)])]
    return Frame([subtract(end.params, start.params)], axes, [label], marks, notes)


def eigenvector_frame(origin: Weights, losses: "list[Loss]", options: argparse.Namespace) -> Frame:
    """The directions in which the mean of the losses bends most."""
    from bnstudy import surfaces

    device = next(losses[0].model.parameters()).device
    found, values = surfaces.eigenvector_directions(
        losses, moved(origin.params, device), options.dimensions, seed=options.seed
    )
    labels = [f"{'ab'[k]}: eigenvector of {v:.3g}, l2 distance" for k, v in enumerate(values)]
    axes = [surfaces.axis(options.points, options.span)] * len(found)
    here: list[Mark] = [((0.0,) * len(found), f"step {origin.step}")]
    notes = ["Eigenvalues: the largest of the Hessian of the mean loss."]
    return Frame([moved(each, "cpu") for each in found], axes, labels, here, notes)


def principal_frame(weights: list[Weights], options: argparse.Namespace) -> Frame:
    """The principal directions of a trajectory, and a grid as large as it goes."""
    from bnstudy.surfaces import axis, principal_plane

    plane = principal_plane([each.params for each in weights], options.dimensions)
    axes, labels = [], []
    for k, share in enumerate(plane.explained):
        along = [point[k] for point in plane.coordinates]
        middle, half = (max(along) + min(along)) / 2, (max(along) - min(along)) / 2
        axes.append(axis(options.points, options.span * MARGIN * half, middle))
        labels.append(f"{'ab'[k]}: principal direction {k + 1}, l2 distance ({share:.1%})")
    ends: list[Mark] = [(plane.coordinates[i], f"step {weights[i].step}") for i in (0, -1)]
    path = {"steps": [each.step for each in weights], "coordinates": plane.coordinates}
    notes = [
        "Percentages: share of the squared distances of the kept weights from the last; "
        "the trajectory is what they are on the plane, they themselves lie beside it."
    ]
    if options.statistics == "running":
        notes.append(f"Running statistics: those of step {weights[-1].step}, everywhere.")
    return Frame(plane.directions, axes, labels, ends, notes, path)


def moved(params: "Params", device: "torch.device | str") -> "Params":
    """A copy of the point on another device."""
    return {name: tensor.to(device) for name, tensor in params.items()}


def name_of(weights: list[Weights], origin: Weights, options: argparse.Namespace) -> str:
    """The name of a surface's files; what is as it is by default is left out at its end."""
    name = f"{options.directions}_{options.dimensions}d_{options.statistics}_step{origin.step}"
    if options.directions == "line":
        end = weights[-1]
        other = "" if end.run.directory == origin.run.directory else f"{end.run.directory.name}_"
        name += f"_to_{other[:120]}step{end.step}"
    for key, default in DEFAULTS.items():
        value = getattr(options, key)
        name += "" if value == default else f"_{key}={value}"
    for flag in ("filter_normalise", "all_tensors"):
        name += f"_{flag}" if getattr(options, flag) else ""
    return name


def describe(
    weights: list[Weights],
    origin: Weights,
    frame: Frame,
    losses: "list[Loss]",
    device: "torch.device",
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The header of a surface: what was asked, and the words for the picture."""
    from bnstudy.surfaces import digest

    run, last = origin.run, origin.step + options.batches - 1
    asked = {
        "run": run.header["fingerprint"],
        "steps": [each.step for each in weights],
        "statistics": options.statistics,
        "batches": [origin.step, last],
        "axes": frame.axes,
        "weights": digest(*({**each.params, **each.buffers} for each in weights)),
        "directions": digest(*frame.directions),
    }
    arm = style.arm(run.norm).name
    over = f"the training batch of step {last}"
    if last > origin.step:
        over = f"the mean over the training batches of steps {origin.step} to {last}"
        over += "" if options.dimensions == 2 else ", with their range"
    which = "of each batch" if options.statistics == "batch" else "kept with the weights (running)"
    caption = [
        f"Loss: {over}; norms with the statistics {which}.",
        *frame.notes,
    ]
    return {
        "asked": asked,
        "title": f"{arm}, lr {style.number(run.lr)}, seed {run.seed}: {run.label}",
        "caption": " ".join(caption),
        "labels": frame.labels,
        "marks": frame.marks,
        "path": frame.path,
        "options": {key: getattr(options, key) for key in ("directions", *DEFAULTS)},
        "device": describe_device(device),
        "versions": versions(),
    }


def write(
    path: Path,
    header: dict[str, Any],
    frame: Frame,
    weights: list[Weights],
    losses: "list[Loss]",
    device: "torch.device",
) -> None:
    """Measure the points of the grid that are not yet in the file."""
    from bnstudy import surfaces

    start, end = (moved(each.params, device) for each in (weights[0], weights[-1]))
    at_start, at_end = (moved(each.buffers, device) for each in (weights[0], weights[-1]))
    directions = [moved(direction, device) for direction in frame.directions]

    def on_plane(point: "Point") -> dict[str, list[float]]:
        return surfaces.measure(losses, surfaces.moved(end, directions, point))

    def on_line(point: "Point") -> dict[str, list[float]]:
        # Not start + a (end - start), which would miss the end by its rounding.
        params = surfaces.interpolated(start, end, point[0])
        # Beyond the ends a variance could come out negative: there the statistics stay the end's.
        buffers = surfaces.interpolated(at_start, at_end, min(max(point[0], 0.0), 1.0))
        return surfaces.measure(losses, surfaces.moved(params, directions[1:], point[1:]), buffers)

    measure = on_line if header["options"]["directions"] == "line" else on_plane
    points = surfaces.grid(frame.axes)
    surfaces.write(path, header, points, measure, progress(path.stem, len(points)))


def progress(name: str, points: int) -> Callable[[int], None]:
    """A line that is kept up to date on a terminal, and one every ten seconds elsewhere."""
    on_terminal = sys.stderr.isatty()
    started = printed = time.monotonic()
    first: int | None = None

    def report(done: int) -> None:
        nonlocal first, printed
        now = time.monotonic()
        first = done if first is None else first
        pause = 0.2 if on_terminal else SECONDS_PER_LINE
        if done < points and now - printed < pause:
            return
        printed = now
        left = (points - done) * (now - started) / (done - first) if done > first else 0.0
        text = f"{name}: {done}/{points} points  {left:.0f} s left"
        end = "\n" if done == points or not on_terminal else ""
        print(f"\r\x1b[K{text}" if on_terminal else text, end=end, file=sys.stderr, flush=True)

    return report


def draw_surface(path: Path) -> None:
    """Write the picture and the page of a surface, and say where they are."""
    surface = load_surface(path)
    picture = path.with_suffix(".png")
    style.save(draw(surface), picture)
    path.with_suffix(".html").write_text(page(surface), encoding="utf-8")
    for ending in (".jsonl", ".png", ".html"):
        print(path.with_suffix(ending))
