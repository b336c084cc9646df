"""Loss surfaces: directions in the space of the weights, and the loss on the grid they span.

`draw` makes the picture around the weights of a model at once. Directions are `Params`; a surface
is L(origin + a first + b second) on a grid of a and b, written point by point, so that an
interrupted one goes on where it was.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bnstudy.lanczos import (
    Matrix,
    Statistics,
    matrix_of,
    mean_of,
    start_near,
    top_eigenvalues,
)
from bnstudy.observe import Criterion, Pair, observe
from bnstudy.params import Params, add_scaled, dot, length, normal_like
from bnstudy.record import continued, parse, write_line
from bnstudy.seeds import Stream, derive_seed
from bnstudy.tasks import correct
from bnstudy.update import Loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, ...]  # (a,) or (a, b)


@dataclass(frozen=True)
class Plane:
    """The plane through the last weights of a trajectory that lies nearest to all of them."""

    directions: list[Params]  # orthonormal, the one that explains most first
    explained: list[float]  # share of the squared distances to the last weights that each explains
    coordinates: list[Point]  # of the trajectory's weights on the plane; the last are (0, 0)


def filter_normalised(direction: Params, params: Params, all_tensors: bool = False) -> Params:
    """The direction with every filter as long as that filter of the weights: d ||w|| / ||d||.

    Li et al. 2018, section 4. A filter is what makes one output: w[i] of a conv or linear. Tensors
    with one dimension (biases, gamma, beta) get direction 0, as in the paper's experiments; with
    `all_tensors` each of them is taken as one filter. Filters that are zero, in the weights or in
    the direction, get direction 0.
    """
    return {
        name: _per_filter(tensor, params[name], all_tensors) for name, tensor in direction.items()
    }


def _per_filter(direction: Tensor, weights: Tensor, all_tensors: bool) -> Tensor:
    if weights.dim() <= 1 and not all_tensors:
        return torch.zeros_like(direction)
    filters = weights.shape[0] if weights.dim() > 1 else 1
    rows = direction.reshape(filters, -1)
    lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    wanted = torch.linalg.vector_norm(weights.reshape(filters, -1), dim=1, keepdim=True)
    scale = torch.where(lengths > 0, wanted / lengths, 0.0)
    return (rows * scale).reshape(direction.shape)


def random_direction(params: Params, seed: int, all_tensors: bool = False) -> Params:
    """A direction with independent normal entries, filter-normalised: Li et al. 2018, section 4."""
    return filter_normalised(normal_like(params, seed), params, all_tensors)


def gradient_direction(losses: Sequence[Loss], params: Params) -> Params:
    """Minus the gradient of the mean of the losses: along it, a is a step size."""
    total = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for loss in losses:
        total = add_scaled(total, loss.value_and_grad(params)[1], -1 / len(losses))
    return total


def eigenvector_directions(
    losses: Sequence[Loss],
    params: Params,
    dimensions: int = 2,
    *,
    matrix: Matrix = "hessian",
    tolerance: float = 1e-3,
    iterations: int = 100,
    seed: int = 0,
) -> tuple[list[Params], list[float]]:
    """The eigenvectors of the largest eigenvalues of the mean loss, of length 1, and the values.

    Along them the loss bends most: it is L + a g'v + a^2 lambda / 2 near a = 0, with v the vector,
    lambda its eigenvalue and g the gradient. By Lanczos from near the gradient, with at most
    `iterations` products, until the error estimates are below `tolerance` times the value. Raises
    ValueError where so many are not found, as for a loss with no curvature.
    """
    product = matrix_of(losses, params, matrix)
    gradient = mean_of([partial(_gradient, loss) for loss in losses])(params)
    start = start_near(gradient, derive_seed(seed, Stream.DIRECTIONS))
    top = top_eigenvalues(product, start, dimensions, tolerance, iterations)
    if len(top.vectors) < dimensions or not top.values.isfinite().all():
        raise ValueError(
            f"{dimensions} eigenvectors of the {matrix.replace('_', '-')} are needed; "
            f"{int(top.values.isfinite().sum())} are found."
        )
    return list(top.vectors), top.values.tolist()


def _gradient(loss: Loss, params: Params) -> Params:
    return loss.value_and_grad(params)[1]


def orthogonal(direction: Params, to: Params) -> Params:
    """The direction without its part along `to`: Gram-Schmidt over all tensors together.

    The filters of a filter-normalised direction are then no longer quite as long as those of the
    weights: their lengths change by a share of the order of the cosine between the two directions,
    which for two random ones is about 1 / sqrt(number of weights). ValueError where nothing is
    left: the directions are parallel.
    """
    whole, left = length(direction), direction
    if not (whole.isfinite() and dot(to, to).isfinite()):
        raise ValueError("the directions are too long for the precision of the weights: diverged?")
    for _ in range(2):  # twice is enough: rounding leaves some of it the first time
        left = add_scaled(left, to, -float(dot(left, to) / dot(to, to)))
    coarsest = max(torch.finfo(tensor.dtype).eps for tensor in direction.values())
    if not length(left) > 100 * coarsest * whole:
        raise ValueError("the two directions are parallel or zero; they must span a plane.")
    return left


def scaled(direction: Params, to: float) -> Params:
    """The direction with the length `to`; ValueError for a direction that is zero."""
    own = float(length(direction))
    if not own > 0:
        raise ValueError("the direction is zero; it must point somewhere.")
    return {name: tensor * (to / own) for name, tensor in direction.items()}


def principal_plane(trajectory: Sequence[Params], dimensions: int = 2) -> Plane:
    """The leading principal directions of a trajectory: Li et al. 2018, section 7.

    Of the differences from the last weights, over all tensors. They are not centred, unlike in the
    authors' code: the plane goes through the last weights, and of all that do it leaves least of
    the trajectory outside. Directions have length 1, so that coordinates are l2 distances.

    Raises ValueError for a trajectory that does not have so many dimensions.
    """
    last = trajectory[-1]
    gram = torch.zeros(len(trajectory), len(trajectory), dtype=torch.float64)
    for name in last:
        differences = _differences(trajectory, name)
        gram += (differences @ differences.T).cpu()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0), vectors.flip(1)[:, :dimensions]
    rounding = len(trajectory) * torch.finfo(torch.float64).eps
    spanned = int((values > rounding * values[0]).sum()) if values[0] > 0 else 0
    if spanned < dimensions:
        raise ValueError(
            f"the {len(trajectory)} weights of the trajectory span {spanned} dimensions; "
            f"{dimensions} are needed."
        )
    lengths = values[:dimensions].sqrt()
    # An eigenvector's sign is arbitrary: the trajectory starts at positive coordinates.
    signs = torch.where(vectors[0] < 0, -1.0, 1.0).double()
    vectors = vectors * signs
    directions: list[Params] = [{} for _ in range(dimensions)]
    for name, tensor in last.items():
        differences = _differences(trajectory, name)
        for k, direction in enumerate(directions):
            weights = (vectors[:, k] / lengths[k]).to(differences.device)
            direction[name] = (weights @ differences).reshape(tensor.shape).to(tensor.dtype)
    coordinates = [tuple(row) for row in (vectors * lengths).tolist()]
    coordinates[-1] = (0.0,) * dimensions  # but for rounding it is
    return Plane(directions, (values[:dimensions] / values.sum()).tolist(), coordinates)


def _differences(trajectory: Sequence[Params], name: str) -> Tensor:
    """Of one tensor the differences from the last, [n, size], in float64: they nearly cancel."""
    rows = torch.stack([params[name].double().flatten() for params in trajectory])
    return rows - rows[-1]


def axis(points: int, span: float, middle: float = 0.0) -> list[float]:
    """`points` evenly spaced coordinates from middle - span to middle + span, both included."""
    return [middle + span * (2 * i / (points - 1) - 1) for i in range(points)]


def grid(axes: Sequence[Sequence[float]]) -> list[Point]:
    """The points of a grid, row by row: the first coordinate varies fastest."""
    return [point[::-1] for point in product(*reversed(axes))]


def moved(origin: Params, directions: Sequence[Params], point: Point) -> Params:
    """origin + a first + b second."""
    for direction, coordinate in zip(directions, point, strict=True):
        origin = add_scaled(origin, direction, coordinate)
    return origin


def interpolated(start: Params, end: Params, share: float) -> Params:
    """(1 - share) start + share end, bitwise either of them at 0 and 1; integers stay start's."""
    return {
        name: torch.lerp(tensor, end[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in start.items()
    }


@torch.no_grad()
def measure(
    losses: Sequence[Loss], params: Params, buffers: Params | None = None
) -> dict[str, list[float]]:
    """The value of each loss at `params`, and for classes the accuracy; the model stays as it is.

    With `statistics="running"` norms use the model's buffers, or `buffers` if they are given: on
    the line between two networks neither's fit the weights. "accuracy" is a fraction, left out for
    regression.
    """
    measured: dict[str, list[float]] = {}
    for loss in losses:
        with _buffers(loss, buffers):
            for key, value in _value_and_accuracy(loss, params).items():
                measured.setdefault(key, []).append(float(value))
    return measured


def _value_and_accuracy(loss: Loss, params: Params) -> dict[str, Tensor]:
    accuracies: dict[str, Tensor] = {}

    def criterion(outputs: Any, targets: Any) -> Tensor:
        right = correct(outputs, targets)
        if right is not None:
            accuracies["accuracy"] = right.double().mean()
        return loss.criterion(outputs, targets)

    return {"loss": replace(loss, criterion=criterion)(params), **accuracies}


@contextmanager
def _buffers(loss: Loss, buffers: Params | None) -> Iterator[None]:
    """The model's buffers with other contents; they get their own back."""
    others = buffers or {}
    own = {name: each for name, each in loss.model.named_buffers() if name in others}
    before = {name: buffer.clone() for name, buffer in own.items()}
    try:
        for name, buffer in own.items():
            buffer.copy_(others[name])
        yield
    finally:
        for name, buffer in own.items():
            buffer.copy_(before[name])


def draw(
    model: nn.Module,
    criterion: Criterion,
    batches: Sequence[Pair],
    path: Path | str | None = None,
    *,
    directions: str | Sequence[Params] = "random",
    dimensions: int = 2,
    points: int = 25,
    span: float = 1.0,
    statistics: Statistics = "batch",
    seed: int = 0,
) -> "Figure":
    """The loss surface around the weights of a model, on some batches, as a picture.

    `batches` are pairs of inputs and targets, for `criterion(outputs, targets)`, as in
    `bnstudy.observe.observe`; the model is left as it is. Directions are
        "random": filter-normalised (Li et al. 2018, section 4);
        "eigenvectors": of the largest eigenvalues of the Hessian, of length 1;
        "gradient": minus the gradient, so that a is a step size, and a random one as long;
    or one or two `Params` of one's own. The grid has `points` along each, from -`span` to `span` in
    units of the directions. It takes a forward pass for each point and batch.

    With `path` the measurements are written to `path` with the ending .jsonl, the picture to .png,
    and a page to turn the surface on to .html; an interrupted call goes on where it was. Needs
    `pip install 'bnstudy[surfaces]'`. Raises ValueError for options out of range, and what
    `observe` and `write` raise.
    """
    try:
        from bnstudy import surface_plots
        from bnstudy.figures import style
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Surfaces are drawn with {error.name}: pip install 'bnstudy[surfaces]'."
        ) from error
    losses, params = _observed(model, criterion, batches, statistics, seed)
    vectors, labels = _directions(losses, params, directions, dimensions, seed)
    if points < 3 or not 0 < span < float("inf"):
        raise ValueError(f"points={points} and span={span} must be at least 3, and positive.")
    axes = [axis(points, span)] * len(vectors)
    whose = "each batch" if statistics == "batch" else "the model (running)"
    header = {
        "asked": {
            "axes": axes,
            "statistics": statistics,
            "weights": digest(params),
            "directions": digest(*vectors),
            "losses": measure(losses, params)["loss"],
        },
        "title": f"{type(model).__name__}: {labels[0].partition(': ')[2]}",
        "caption": f"Loss: the mean over {len(losses)} batches; norms with statistics of {whose}.",
        "labels": labels,
        "marks": [((0.0,) * len(vectors), "the weights")],
        "path": None,
    }
    with TemporaryDirectory() as folder:
        kept = Path(folder) / "surface" if path is None else Path(path)
        file = kept.with_suffix(".jsonl")
        write(file, header, grid(axes), lambda at: measure(losses, moved(params, vectors, at)))
        surface = surface_plots.load_surface(file)
    figure = surface_plots.draw(surface)
    if path is not None:
        style.save(figure, kept.with_suffix(".png"))
        kept.with_suffix(".html").write_text(surface_plots.page(surface), encoding="utf-8")
    return figure


def _observed(
    model: nn.Module,
    criterion: Criterion,
    batches: Sequence[Pair],
    statistics: Statistics,
    seed: int,
) -> tuple[list[Loss], Params]:
    if not batches:
        raise ValueError("batches is empty; give pairs of inputs and targets.")
    first, *others = batches
    update = observe(model, criterion, *first, layers={}, later=others, seed=seed)
    losses = [replace(update.losses(n), statistics=statistics) for n in range(len(batches))]
    return losses, update.params


def _directions(
    losses: Sequence[Loss],
    params: Params,
    directions: str | Sequence[Params],
    dimensions: int,
    seed: int,
) -> tuple[list[Params], list[str]]:
    """The directions of a surface, and how its axes are called."""
    if not isinstance(directions, str):
        if len(directions) not in (1, 2):
            raise ValueError(f"directions are {len(directions)}; they must be one or two.")
        return list(directions), [f"{'ab'[k]}: own direction" for k in range(len(directions))]
    if dimensions not in (1, 2):
        raise ValueError(f"dimensions={dimensions} must be 1 or 2.")
    if directions == "eigenvectors":
        vectors, values = eigenvector_directions(losses, params, dimensions, seed=seed)
        return vectors, [
            f"{'ab'[k]}: eigenvector of {value:.3g}, l2 distance" for k, value in enumerate(values)
        ]
    drawn = [
        random_direction(params, derive_seed(seed, number, Stream.DIRECTIONS)) for number in (1, 2)
    ]
    if directions == "random":
        second = orthogonal(drawn[1], drawn[0])
        labels = [f"{k}: random direction, filter-normalised" for k in "ab"]
        return [drawn[0], second][:dimensions], labels[:dimensions]
    if directions == "gradient":
        first = gradient_direction(losses, params)
        if dimensions == 1:
            return [first], ["a: step size η, along −∇L"]
        second = scaled(orthogonal(drawn[1], first), float(length(first)))
        return [first, second], ["a: step size η, along −∇L", "b: random, as long as that of a"]
    raise ValueError(
        f"directions={directions} must be random, gradient or eigenvectors, or Params of your own."
    )


def digest(*weights: Mapping[str, Tensor]) -> str:
    """A hash of weights and directions, 16 hexadecimal digits."""
    hashed = hashlib.blake2b(digest_size=8)
    for tensors in weights:
        for name, tensor in tensors.items():
            array = tensor.detach().cpu().contiguous().numpy()
            hashed.update(f"{name}{array.dtype}{array.shape}".encode())
            hashed.update(array.data)
    return hashed.hexdigest()


def write(
    path: Path,
    header: dict[str, Any],
    points: Sequence[Point],
    measure_at: Callable[[Point], dict[str, list[float]]],
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a surface as JSON lines: the header, then a line per point as soon as it is measured.

    A file that is there is continued after its last whole line; the result is byte for byte that of
    one go. `header["asked"]` is what the points depend on. Numbers that are not finite become the
    strings "NaN", "Infinity" and "-Infinity", which float() reads back. `report` is told how many
    points are there.

    Raises FileExistsError if the file holds another surface, ValueError if it is broken.
    """
    size, done = _resume(path, header, points)
    with continued(path, size) as file:
        if done is None:
            write_line(file, {"header": header})
        report(done or 0)
        for number, point in enumerate(points[done or 0 :], start=(done or 0) + 1):
            write_line(file, {"at": point, **measure_at(point)})
            report(number)


def _resume(path: Path, header: dict[str, Any], points: Sequence[Point]) -> tuple[int, int | None]:
    """The bytes before what is torn at the end, and how many points they hold; None: no header."""
    raws = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    if raws and not raws[-1].endswith(b"\n"):
        raws.pop()
    if not raws:
        return 0, None
    try:
        existing, *lines = (cast("dict[str, Any]", parse(raw)) for raw in raws)
        there = existing["header"]["asked"]
        found = [tuple(line["at"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no loss surface, or broken: move it away.") from error
    asked = json.loads(json.dumps(header["asked"]))
    if there != asked:
        keys = [key for key in there | asked if there.get(key) != asked.get(key)]
        differences = [
            f"{key}: {_shown(there, key)} there, {_shown(asked, key)} here" for key in keys
        ]
        raise FileExistsError(
            f"{path} holds another surface ({'; '.join(differences)}): move it away or choose "
            "another folder."
        )
    if found != list(points[: len(found)]):
        raise ValueError(f"{path} is broken, its points are not in order: move it away.")
    return sum(map(len, raws)), len(found)


def _shown(asked: dict[str, Any], key: str) -> str:
    text = json.dumps(asked.get(key, "absent"))
    return text if len(text) <= 60 else f"{text[:57]}..."
