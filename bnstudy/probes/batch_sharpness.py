"""Curvature along the gradient: Andreyev & Beneventano 2024, edge of stochastic stability."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bnstudy.lanczos import Statistics, read_statistics
from bnstudy.params import dot, length, unit
from bnstudy.update import Update, count_samples


@dataclass(frozen=True)
class BatchSharpness:
    """g'Hg / ||g||^2 with gradient and Hessian of one and the same batch, on some batches.

    The mean over batches is the batch sharpness of Andreyev & Beneventano 2024, which SGD holds
    near 2 / lr. One batch's is the limit of gradient_change / (eta ||g||), the effective
    beta-smoothness of Santurkar et al. 2018, for small eta, in the part along g: a gradient change
    is a length, and counts what turns the gradient too.

    The batches are the step's and those of the steps after it, all at the parameters before the
    step. `statistics` are those of the norms, measured one by one; "running" is evaluation mode.
    Records, with B = `batches`:
        <statistics>_curvature [B]: nan where the gradient is zero.
        <statistics>_gradient_norm [B]: ||g||.
        training_samples: the number of training samples of all batches together.
    """

    batches: int = 1
    statistics: Sequence[Statistics] = ("batch",)
    every: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "statistics", read_statistics("batch_sharpness", self.statistics))
        if self.batches < 1:
            raise ValueError(f"probes.batch_sharpness.batches={self.batches} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        batches = [update.losses(n) for n in range(self.batches)]
        measured = {"training_samples": count_samples(batches)}
        for statistics in self.statistics:
            curvatures, sizes = [], []
            for batch in batches:
                loss = replace(batch, statistics=statistics)
                _, grads = loss.value_and_grad(update.params)
                # Of length 1 first: the square of a large gradient would overflow.
                along = unit(grads)
                curvatures.append(dot(along, loss.hvp(update.params, along)))
                sizes.append(length(grads))
            measured[f"{statistics}_curvature"] = torch.stack(curvatures)
            measured[f"{statistics}_gradient_norm"] = torch.stack(sizes)
        return measured
