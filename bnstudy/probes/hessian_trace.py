"""Samples whose mean is the trace of the Hessian: Hutchinson 1990; Yao et al. 2019, PyHessian."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnstudy.curvature import Statistics, mean_of, read_statistics, signs_like
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
    """

    samples: int = 4
    batches: int = 1
    statistics: Sequence[Statistics] = ("batch",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("hessian_trace", self.statistics))
        for key, value in (("samples", self.samples), ("batches", self.batches)):
            if value < 1:
                raise ValueError(f"probes.hessian_trace.{key}={value} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        losses = [update.losses(n) for n in range(self.batches)]
        measured = {"training_samples": count_samples(losses)}
        for statistics in self.statistics:
            own = [replace(loss, statistics=statistics) for loss in losses]
            product = mean_of([loss.hessian(update.params) for loss in own])
            samples = []
            for n in range(self.samples):
                vector = signs_like(update.params, update.seed_of("hessian_trace", n))
                samples.append(dot(vector, product(vector)))
            measured[f"{statistics}_samples"] = torch.stack(samples)
        return measured
