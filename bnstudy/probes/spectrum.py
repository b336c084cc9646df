"""The density of the Hessian's eigenvalues: Ghorbani et al. 2019."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from bnstudy.lanczos import (
    Matrix,
    Product,
    Statistics,
    blocks,
    key_of,
    matrix_of,
    mean_of,
    part_of,
    quadrature,
    read_layers,
    read_matrices,
    read_statistics,
    start_near,
    top_eigenvalues,
)
from bnstudy.params import Params, dot, normal_like, unit
from bnstudy.update import Loss, Update, count_samples


@dataclass(frozen=True)
class Spectrum:
    """The spectrum of the Hessian, by stochastic Lanczos quadrature.

    Nodes and weights of a draw are a distribution with the first 2 I - 1 moments of the spectrum as
    a random direction weighs it; the mean over draws estimates the density of the eigenvalues. How
    to smooth it is the figures' business. The Hessian is of the mean loss over `batches` training
    batches, as that of `Sharpness`, at the parameters before the step. Measured once for each of
    `statistics`, those of the norms: "batch", in training mode, as in Ghorbani et al. 2019,
    and "running", evaluation mode, which is another function. Records, with D = `draws`, I =
    `iterations` and K = `count`:
        <statistics>_nodes [D, I]: descending.
        <statistics>_weights [D, I]: those of a draw sum to 1.
        <statistics>_gradient_share [K]: of ||g||^2, g the gradient of the same mean loss, the share
            along each of the top eigenvectors; nan where there are fewer.
        <statistics>_eigenvalues, <statistics>_error [K]: theirs, with an estimate of the absolute
            error. Like the sharpness, from at most I products, with `tolerance`.
        training_samples: the number of training samples that the Hessian is of.

    `layers` names the layers and blocks whose diagonal blocks of the matrix are measured besides
    the whole: a block is what the names of its parameters begin with, such as "layer4.0". None
    means all layers. Keys end in /<layer>, such as <statistics>_nodes/conv1. `matrices` are
    "hessian" and "gauss_newton"; keys of the latter are <statistics>_gauss_newton_nodes.

    The directions are drawn from the step's own seed.
    """

    draws: int = 1
    iterations: int = 6
    batches: int = 1
    count: int = 1
    tolerance: float = 1e-3
    statistics: Sequence[Statistics] = ("batch",)
    layers: Sequence[str] | None = ()
    matrices: Sequence[Matrix] = ("hessian",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("spectrum", self.statistics))
        object.__setattr__(self, "layers", read_layers("spectrum", self.layers))
        object.__setattr__(self, "matrices", read_matrices("spectrum", self.matrices))
        for key, value in (
            ("draws", self.draws),
            ("count", self.count),
            ("batches", self.batches),
        ):
            if value < 1:
                raise ValueError(f"probes.spectrum.{key}={value} must be at least 1.")
        if self.iterations < self.count:
            raise ValueError(
                f"probes.spectrum.iterations={self.iterations} must be at least count="
                f"{self.count}: a product shows no more than one eigenvalue."
            )
        if not 0 < self.tolerance < 1:
            raise ValueError(
                f"probes.spectrum.tolerance={self.tolerance} must lie between 0 and 1."
            )

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        batches = [update.losses(n) for n in range(self.batches)]
        measured = {"training_samples": count_samples(batches)}
        parts = blocks(update, "spectrum", self.layers)
        for statistics in self.statistics:
            losses = [replace(loss, statistics=statistics) for loss in batches]
            grads = mean_of([partial(_gradient, loss) for loss in losses])(update.params)
            for matrix in self.matrices:
                product = matrix_of(losses, update.params, matrix)
                for end, names in parts.items():
                    found = self._of(update, product, part_of(grads, names))
                    key = key_of(statistics, matrix)
                    measured |= {f"{key}{name}{end}": value for name, value in found.items()}
        return measured

    def _of(self, update: Update, product: Product, grads: Params) -> dict[str, Tensor]:
        """The spectrum of the diagonal block of these parameters."""
        draws = [
            quadrature(
                product,
                normal_like(grads, update.seed_of("spectrum", 1 + n)),
                self.iterations,
            )
            for n in range(self.draws)
        ]
        start = start_near(grads, update.seed_of("spectrum"))
        top = top_eigenvalues(product, start, self.count, self.tolerance, self.iterations)
        along = unit(grads)
        shares = torch.full((self.count,), torch.nan, dtype=torch.float64)
        for n, vector in enumerate(top.vectors):
            shares[n] = dot(vector, along) ** 2
        return {
            "nodes": torch.stack([nodes for nodes, _ in draws]),
            "weights": torch.stack([weights for _, weights in draws]),
            "gradient_share": shares,
            "eigenvalues": top.values,
            "error": top.errors,
        }


def _gradient(loss: Loss, params: Params) -> Params:
    return loss.value_and_grad(params)[1]
