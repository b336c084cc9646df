"""The largest eigenvalues of the Hessian along training: Cohen et al. 2021, edge of stability."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, tensor

from bnstudy.lanczos import (
    Matrix,
    Statistics,
    blocks,
    key_of,
    matrix_of,
    part_of,
    read_layers,
    read_matrices,
    read_statistics,
    start_near,
    top_eigenvalues,
)
from bnstudy.update import Update, count_samples


@dataclass(frozen=True)
class Sharpness:
    """The largest Hessian eigenvalues, in algebraic value, at the parameters before the step.

    Of the mean loss over `batches` training batches: the step's and those of the steps after it. In
    training mode each has batch statistics of its own, as ghost batches in Cohen et al. 2021: they
    do not add up to one large batch. `statistics` are those of the norms, measured one by one;
    "running" is evaluation mode, which is another function. Records, with K = `count`:
        <statistics>_eigenvalues [K]: descending; nan where there are fewer, or one overflows.
        <statistics>_error [K]: an estimate of each one's absolute error.
        training_samples: the number of training samples that the Hessian is of. It matters: with
            64 samples BatchNorm can be the sharper network, and with 1,024 the flatter one.
        <statistics>_products: Hessian-vector products made, until each error is at most `tolerance`
            of its eigenvalue, and no more than `iterations`.

    `layers` names the layers and blocks whose diagonal blocks of the matrix are measured besides
    the whole: a block is what the names of its parameters begin with, such as "layer4.0". None
    means all layers. Keys end in /<layer>, such as <statistics>_eigenvalues/conv1. `matrices` are
    "hessian" and "gauss_newton"; keys of the latter are <statistics>_gauss_newton_eigenvalues.

    A probe keeps no state, so there are no eigenvectors of an earlier step to start from. Lanczos
    starts at the gradient of the step's batch, with the same statistics, and a part of a random
    vector from the step's own seed. The graphs of all batches are in memory together.
    """

    count: int = 1
    batches: int = 1
    statistics: Sequence[Statistics] = ("batch",)
    tolerance: float = 1e-3
    iterations: int = 40
    layers: Sequence[str] | None = ()
    matrices: Sequence[Matrix] = ("hessian",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("sharpness", self.statistics))
        object.__setattr__(self, "layers", read_layers("sharpness", self.layers))
        object.__setattr__(self, "matrices", read_matrices("sharpness", self.matrices))
        for key, value in (("count", self.count), ("batches", self.batches)):
            if value < 1:
                raise ValueError(f"probes.sharpness.{key}={value} must be at least 1.")
        if self.iterations < self.count:
            raise ValueError(
                f"probes.sharpness.iterations={self.iterations} must be at least count="
                f"{self.count}: a product shows no more than one eigenvalue."
            )
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"probes.sharpness.tolerance={self.tolerance} must lie between 0 and 1."
            )

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        seed = update.seed_of("sharpness")
        batches = [update.losses(n) for n in range(self.batches)]
        measured = {"training_samples": count_samples(batches)}
        parts = blocks(update, "sharpness", self.layers)
        for statistics in self.statistics:
            losses = [replace(loss, statistics=statistics) for loss in batches]
            _, grads = losses[0].value_and_grad(update.params)
            for matrix in self.matrices:
                product = matrix_of(losses, update.params, matrix)
                key = key_of(statistics, matrix)
                for end, names in parts.items():
                    start = start_near(part_of(grads, names), seed)
                    top = top_eigenvalues(
                        product, start, self.count, self.tolerance, self.iterations
                    )
                    measured[f"{key}eigenvalues{end}"] = top.values
                    measured[f"{key}error{end}"] = top.errors
                    measured[f"{key}products{end}"] = tensor(top.products)
        return measured
