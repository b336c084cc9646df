"""Samples whose mean is the trace of the Hessian: Hutchinson 1990; Yao et al. 2019, PyHessian."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnstudy.curvature import Statistics, read_statistics, signs_like
from bnstudy.params import dot
from bnstudy.update import Update


@dataclass(frozen=True)
class HessianTrace:
    """v'Hv for random vectors v of entries 1 and -1, on the training batch of the step.

    Its mean is the trace of the Hessian at the parameters before the step; the spread of the
    samples tells how well it is known. The vectors are drawn from the step's own seed. `statistics`
    are those of the norms, measured one by one; "running" is evaluation mode. Records, with
    M = `samples`:
        <statistics>_samples [M].
    """

    samples: int = 4
    statistics: Sequence[Statistics] = ("batch",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("hessian_trace", self.statistics))
        if self.samples < 1:
            raise ValueError(f"probes.hessian_trace.samples={self.samples} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        measured: dict[str, Tensor] = {}
        for statistics in self.statistics:
            product = replace(update.loss, statistics=statistics).hessian(update.params)
            samples = []
            for n in range(self.samples):
                vector = signs_like(update.params, update.seed_of("hessian_trace", n))
                samples.append(dot(vector, product(vector)))
            measured[f"{statistics}_samples"] = torch.stack(samples)
        return measured
