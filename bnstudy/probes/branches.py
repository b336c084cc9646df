"""How large residual branches are beside what they are added to: De & Smith 2020."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnstudy.update import Update


@dataclass(frozen=True)
class Branches:
    """The variance of the branch and of the shortcut of every residual block, which are added.

    A block is a module that names the layers of its `branch` and has a `shortcut`, as in
    `bnstudy.models.resnet`. The variance is over the batch and all positions, per channel, and the
    mean over channels. It divides by the number of values. Records:
        branch_variance/<block>: of what the branch gives, after its last norm.
        skip_variance/<block>: of what the shortcut gives.
    And blocks: how many there are. In a network without such blocks that is all.

    One forward pass.
    """

    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        modules: Iterable[tuple[str, Any]] = update.loss.model.named_modules()
        blocks = {
            name: (f"{name}.{module.branch[-1]}.scale_out", f"{name}.shortcut")
            for name, module in modules
            if hasattr(module, "branch") and getattr(module, "shortcut", None) is not None
        }
        measured = {"blocks": torch.tensor(len(blocks))}
        if blocks:
            names = [module for pair in blocks.values() for module in pair]
            outputs = update.loss.activations(update.params, names)
            for name, (branch, skip) in blocks.items():
                measured[f"branch_variance/{name}"] = _variance(outputs[branch])
                measured[f"skip_variance/{name}"] = _variance(outputs[skip])
        return measured


def _variance(outputs: Tensor) -> Tensor:
    over = [0, *range(2, outputs.dim())]
    return outputs.double().var(over, correction=0).mean()
