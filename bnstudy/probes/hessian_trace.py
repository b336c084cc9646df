"""Samples whose mean is the trace of the Hessian: Hutchinson 1990; Yao et al. 2019, PyHessian."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

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
    signs_like,
)
from bnstudy.params import dot
from bnstudy.update import Update, count_samples


@dataclass(frozen=True)
class HessianTrace:
    """v'Hv for random vectors v of entries 1 and -1, at the parameters before the step.

    Its mean is the trace of the Hessian; the spread of the samples tells how well it is known. The
    Hessian is of the mean loss over `batches` training batches, as that of `Sharpness`. The vectors
    are drawn from the step's own seed. `statistics` are those of the norms, measured one by one;
    "running" is evaluation mode. Records, with M = `samples`:
        <statistics>_samples [M].
        training_samples: the number of training samples that the Hessian is of.

    `layers` names the layers and blocks whose diagonal blocks of the matrix are measured besides
    the whole: a block is what the names of its parameters begin with, such as "layer4.0". None
    means all layers. Keys end in /<layer>, such as <statistics>_samples/conv1. `matrices` are
    "hessian" and "gauss_newton"; keys of the latter are <statistics>_gauss_newton_samples.
    """

    samples: int = 4
    batches: int = 1
    statistics: Sequence[Statistics] = ("batch",)
    layers: Sequence[str] | None = ()
    matrices: Sequence[Matrix] = ("hessian",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("hessian_trace", self.statistics))
        object.__setattr__(self, "layers", read_layers("hessian_trace", self.layers))
        object.__setattr__(self, "matrices", read_matrices("hessian_trace", self.matrices))
        for key, value in (("samples", self.samples), ("batches", self.batches)):
            if value < 1:
                raise ValueError(f"probes.hessian_trace.{key}={value} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        losses = [update.losses(n) for n in range(self.batches)]
        measured = {"training_samples": count_samples(losses)}
        parts = blocks(update, "hessian_trace", self.layers)
        vectors = [
            signs_like(update.params, update.seed_of("hessian_trace", n))
            for n in range(self.samples)
        ]
        for statistics in self.statistics:
            own = [replace(loss, statistics=statistics) for loss in losses]
            for matrix in self.matrices:
                product = matrix_of(own, update.params, matrix)
                for end, names in parts.items():
                    signs = [part_of(vector, names) for vector in vectors]
                    samples = [dot(vector, product(vector)) for vector in signs]
                    key = key_of(statistics, matrix)
                    measured[f"{key}samples{end}"] = torch.stack(samples)
        return measured
