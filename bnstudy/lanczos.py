"""Spectra of symmetric maps that are known by their products with vectors, such as Hessians."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bnstudy.params import Params, add_scaled, dot, length, normal_like, unit
from bnstudy.update import Loss, Update

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Product = Callable[[Params], Params]
Statistics = Literal["batch", "running"]  # of `update.Loss`
Matrix = Literal["hessian", "gauss_newton"]  # methods of `update.Loss`
Array = NDArray[np.float64]

# Of a start near the gradient, in units of the gradient's norm; and products in a row after which
# the error estimates must hold. Early on a value can settle near an eigenvalue further down. Where
# the gradient is the eigenvector of 50 exactly and the largest is 55, with a bulk of 2,000 below
# 20, ten of ten starts with 0.1 and 3 end at 50, none with 0.3 and 5; at 51 two still do.
RANDOM_PART = 0.3
IN_A_ROW = 5


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """The algebraically largest eigenvalues of a symmetric map, descending.

    Of K wanted: `values` and `errors` [K], float64, nan where there is none; an error estimates the
    absolute error of its value. `vectors` are the eigenvectors of those there are, of length 1.
    `products` is how often the map was applied.
    """

    values: Tensor
    errors: Tensor
    vectors: tuple[Params, ...]
    products: int


def top_eigenvalues(
    product: Product, start: Params, count: int, tolerance: float, iterations: int
) -> Eigenpairs:
    """The `count` largest eigenvalues of `product`, by Lanczos from `start`.

    Ends when the error estimate of each has been at most `tolerance` times its absolute value after
    five products in a row, and after `iterations` products at the latest; the estimates tell which
    it was. They are of the distance to an eigenvalue, which may be one further down where `start`
    is nearly orthogonal to the eigenvectors of the largest. A repeated eigenvalue is found once,
    unless rounding brings it up again; one whose eigenvectors are orthogonal to `start` is not.
    Everything is nan where a product is not finite. Takes the memory of `iterations` vectors.

    The estimate is min(r, r^2 / gap), with r the norm of the residual and gap the distance to the
    nearest other Ritz value, less its residual (Parlett 1998, The Symmetric Eigenvalue Problem,
    chapters 11 and 13), but at least the rounding of the numbers.
    """
    # Not scipy.sparse.linalg.eigsh: it looks only when its 20 vectors are full, so that it takes 21
    # products and more where this takes 5 to 16 (VGG-11 at width 1/8 on digits, tolerance 1e-3).
    in_a_row = 0

    def accurate(krylov: _Krylov) -> bool:
        nonlocal in_a_row
        values, errors = krylov.values[:count], krylov.errors()[:count]
        holds = len(values) == count and bool(np.all(errors <= tolerance * np.abs(values)))
        in_a_row = in_a_row + 1 if holds else 0
        return in_a_row == IN_A_ROW

    krylov = _lanczos(product, start, iterations, accurate)
    values, errors = krylov.values[:count], krylov.errors()[:count]
    rows = torch.tensor(krylov.coordinates[:, :count].T.copy(), dtype=krylov.basis.dtype)
    vectors = rows.to(krylov.basis.device) @ krylov.basis
    missing = (0, count - len(values))
    return Eigenpairs(
        torch.tensor(np.pad(values, missing, constant_values=np.nan)),
        torch.tensor(np.pad(errors, missing, constant_values=np.nan)),
        tuple(_shaped(vector, start) for vector in vectors),
        len(krylov.values),
    )


def quadrature(product: Product, start: Params, iterations: int) -> tuple[Tensor, Tensor]:
    """The Gauss quadrature of the spectral density of `product`, as `start` weighs it.

    Nodes [I], descending, and weights [I], float64, of I `iterations`: sum(weights * f(nodes)) is
    u'f(H)u with u = start / ||start||, exactly so for polynomials f of degree below 2 I. The mean
    over random starts is tr f(H) / P, with P parameters: stochastic Lanczos quadrature (Ghorbani et
    al. 2019, section 2). Where fewer products say everything, the last node is repeated with weight
    0. Everything is nan where a product is not finite.
    """
    krylov = _lanczos(product, start, iterations)
    missing = (0, iterations - len(krylov.values))
    weights = np.pad(krylov.coordinates[0] ** 2, missing)
    return torch.tensor(np.pad(krylov.values, missing, "edge")), torch.tensor(weights)


def start_near(gradient: Params, seed: int) -> Params:
    """A start for `top_eigenvalues`: the gradient, and a little of a random vector from `seed`.

    The gradient lies for the most part in the top eigenspace (Gur-Ari et al. 2018): over the first
    32 steps of twelve small networks it took 659 products where random starts took 769. The random
    part makes up for eigenvectors that it is nearly orthogonal to.
    """
    noise = normal_like(gradient, seed)
    if length(gradient) == 0:
        return noise
    return add_scaled(unit(gradient), noise, RANDOM_PART / float(length(noise)))


def signs_like(a: Params, seed: int) -> Params:
    """Independent entries of 1 and -1 (Rademacher) in the shapes of a."""
    return {
        name: torch.where(tensor < 0, -torch.ones_like(tensor), torch.ones_like(tensor))
        for name, tensor in normal_like(a, seed).items()
    }


def mean_of(products: Sequence[Product]) -> Product:
    """The mean of maps: given the Hessians of some losses, the Hessian of the mean loss."""

    def product(vector: Params) -> Params:
        images = [one(vector) for one in products]
        return {name: torch.stack([i[name] for i in images]).mean(0) for name in vector}

    return product


def matrix_of(losses: Sequence[Loss], params: Params, matrix: Matrix = "hessian") -> Product:
    """The Hessian at `params` of the mean of some losses, or its Gauss-Newton matrix."""
    of = {"hessian": Loss.hessian, "gauss_newton": Loss.gauss_newton}[matrix]
    return mean_of([of(loss, params) for loss in losses])


def linear_operator(loss: Loss, params: Params, matrix: Matrix = "hessian") -> "LinearOperator":
    """The Hessian at `params` [P, P] for SciPy, or the Gauss-Newton matrix; P parameters.

    Algorithms of others run on it, as `scipy.sparse.linalg.eigsh(operator, k=5, which="LA")` does.
    The parameters are in the order of `params`, each tensor row by row. With the loss of an
    `Update` it is the Hessian in training mode. Needs SciPy. Raises NotMeasurable as
    `Loss.hessian` does.
    """
    from scipy.sparse.linalg import LinearOperator

    product = matrix_of([loss], params, matrix)
    first = next(iter(params.values()))
    precision = torch.float64 if first.dtype == torch.float64 else torch.float32

    def multiply(vector: NDArray[Any]) -> NDArray[Any]:
        flat = torch.from_numpy(vector.reshape(-1)).to(first.device, precision)
        there = {name: part.to(params[name].dtype) for name, part in _shaped(flat, params).items()}
        image = [tensor.flatten().to(precision) for tensor in product(there).values()]
        return torch.cat(image).cpu().numpy()

    size = sum(tensor.numel() for tensor in params.values())
    dtype = np.dtype("float64" if precision == torch.float64 else "float32")
    made: Any = LinearOperator  # SciPy's types know no operator of a function
    return made((size, size), matvec=multiply, rmatvec=multiply, dtype=dtype)


def blocks(update: Update, probe: str, layers: Sequence[str] | None) -> dict[str, list[str]]:
    """The parameters of the whole network, and of some of its parts, by the ends of their keys.

    The whole has the end "", a part "/<name>". A name is that of a layer: its weights and its norm.
    Or it is what the names of some parameters begin with, up to a dot: a block. None: all layers.
    Raises ValueError for a name that is neither.
    """
    found = {"": list(update.params)}
    for name in update.layers if layers is None else layers:
        layer = update.layers.get(name)
        names = (
            [key for key in update.params if key == name or key.startswith(f"{name}.")]
            if layer is None
            else [key for key in update.params if key in (*layer.weights, *layer.norm)]
        )
        if names:
            found[f"/{name}"] = names
        elif layers is not None:
            raise ValueError(
                f"probes.{probe}.layers has {name!r}, and no parameter that is trained is of such "
                f"a layer or has a name that begins so; layers are {', '.join(update.layers)}."
            )
    return found


def part_of(params: Params, names: Sequence[str]) -> Params:
    """The tensors of these names."""
    return {name: params[name] for name in names}


def key_of(statistics: Statistics, matrix: Matrix) -> str:
    """How the keys of a probe begin: "batch_" for the Hessian, "batch_gauss_newton_"."""
    return f"{statistics}_" if matrix == "hessian" else f"{statistics}_{matrix}_"


def read_statistics(probe: str, statistics: Sequence[str]) -> tuple[Statistics, ...]:
    """The BN statistics to measure with, as a tuple; ValueError for what is none of the two."""
    if not statistics or not set(statistics) <= set(get_args(Statistics)):
        raise ValueError(
            f"probes.{probe}.statistics={statistics} must be of batch and running, such as [batch]."
        )
    return tuple(cast("Sequence[Statistics]", statistics))


def read_matrices(probe: str, matrices: Sequence[str]) -> tuple[Matrix, ...]:
    """The matrices to measure, as a tuple; ValueError for what is none of the two."""
    if not matrices or not set(matrices) <= set(get_args(Matrix)):
        raise ValueError(
            f"probes.{probe}.matrices={matrices} must be of hessian and gauss_newton, such as "
            "[hessian]."
        )
    return tuple(cast("Sequence[Matrix]", matrices))


def read_layers(probe: str, layers: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of layers and blocks as a tuple; ValueError for a single one."""
    if isinstance(layers, str):
        raise ValueError(f"probes.{probe}.layers={layers} must be a list, such as [{layers}].")
    return None if layers is None else tuple(layers)


@dataclass(frozen=True, eq=False)
class _Krylov:
    """What k products tell of a map: its eigenvalues on their span, which `basis` [k, P] spans.

    Ritz values [k], descending, with the coordinates [k, k] of their vectors in columns. `residual`
    is the length of what the map takes the last basis vector out of the span by, `rounding` the
    resolution of the numbers at the size of the map.
    """

    basis: Tensor
    values: Array
    coordinates: Array
    residual: float
    rounding: float

    def errors(self) -> Array:
        """An estimate of every Ritz value's absolute error."""
        residuals = self.residual * np.abs(self.coordinates[-1])
        # To where the neighbours may still move. Above the first there is none, and of what is
        # below the last nothing is known.
        above = np.append(np.inf, -np.diff(self.values) - residuals[:-1])
        below = np.append(-np.diff(self.values) - residuals[1:], 0.0)
        gap = np.maximum(np.minimum(above, below), residuals)
        with np.errstate(invalid="ignore"):
            return np.where(residuals == 0, 0.0, residuals * (residuals / gap)) + self.rounding


def _lanczos(
    product: Product,
    start: Params,
    iterations: int,
    done: Callable[[_Krylov], bool] = lambda _krylov: False,
) -> _Krylov:
    """The Krylov space of `start` after `iterations` products.

    Or after fewer: when it is `done`, when the map does not lead out of it, or is not finite there.
    """
    vector = torch.cat([tensor.flatten() for tensor in start.values()])
    basis = vector.new_empty(min(iterations, len(vector)), len(vector))
    residual, rounding = _length(vector), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    krylov = _Krylov(basis[:0], np.empty(0), np.empty((0, 0)), residual, rounding)
    for k in range(len(basis)):
        basis[k] = vector / residual
        vector = torch.cat([t.flatten() for t in product(_shaped(basis[k], start)).values()])
        diagonal.append(float(dot({"": basis[k]}, {"": vector})))
        size = _length(vector)
        rounding = max(rounding, 10 * torch.finfo(vector.dtype).eps * size)
        # Against all vectors so far, and twice: otherwise rounding makes the basis lose its
        # orthogonality, and eigenvalues that are found are found again.
        for _ in range(2):
            vector = vector - _products(basis[: k + 1], vector) @ basis[: k + 1]
        residual = _length(vector)
        values, coordinates = _tridiagonal_eigenvalues(diagonal, beside, residual)
        krylov = _Krylov(basis[: k + 1], values, coordinates, residual, rounding)
        if np.isnan(values).any() or residual <= rounding or done(krylov):
            break
        beside.append(residual)
    return krylov


def _tridiagonal_eigenvalues(
    diagonal: list[float], beside: list[float], residual: float
) -> tuple[Array, Array]:
    """Eigenvalues [k], descending, and eigenvectors [k, k] in columns; nan where not finite."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    if not np.isfinite([*diagonal, *beside, residual]).all():
        return np.full(len(matrix), np.nan), np.full(matrix.shape, np.nan)
    values, vectors = np.linalg.eigh(matrix)
    return values[::-1], vectors[:, ::-1]


def _products(basis: Tensor, vector: Tensor) -> Tensor:
    """The inner products [k] of basis [k, P] and vector [P], summed part by part.

    A BLAS may sum float32 numbers one after the other, which for millions of them is off by 1e-5.
    """
    parts = zip(basis.split(2**14, dim=1), vector.split(2**14), strict=True)
    return torch.stack([some @ part for some, part in parts]).sum(0)


def _length(vector: Tensor) -> float:
    return float(length({"": vector}))


def _shaped(vector: Tensor, like: Params) -> Params:
    parts = vector.split([tensor.numel() for tensor in like.values()])
    return {n: part.view(t.shape) for part, (n, t) in zip(parts, like.items(), strict=True)}
