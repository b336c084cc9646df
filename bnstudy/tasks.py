"""The task of a network: the loss that it descends, and which of its outputs are correct."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CLASSIFICATION, REGRESSION = "classification", "regression"


def cross_entropy(outputs: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The cross-entropy of logits [N, C] and class indices [N], mean over samples.

    `label_smoothing` is the share of every target that is spread evenly over all classes (Szegedy
    et al. 2016, section 7). Raises ValueError for a share outside 0..1, and for the targets of a
    regression.
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"criterion.label_smoothing={label_smoothing} must be a number from 0 to 1."
        )
    _needs_classes("cross_entropy", targets)
    return F.cross_entropy(outputs, targets, label_smoothing=label_smoothing)


def one_hot_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half of ||outputs - one-hot targets||^2, mean over samples: Cohen et al. 2021, section 3.

    Outputs [N, C], class indices [N]. Raises ValueError for the targets of a regression.
    """
    _needs_classes("mse", targets)
    wanted = F.one_hot(targets, outputs.shape[1]).to(outputs.dtype)
    return 0.5 * (outputs - wanted).square().sum() / len(targets)


def half_sum_of_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Half of ||outputs - targets||^2, summed over samples and dimensions; both [N, D].

    Raises ValueError for class indices.
    """
    if not targets.is_floating_point():
        raise ValueError(
            "criterion=sum_of_squares is for a regression, and the data has classes; use "
            "criterion=cross_entropy, or criterion=mse for one-hot targets."
        )
    return 0.5 * (outputs - targets).square().sum()


def _needs_classes(criterion: str, targets: Tensor) -> None:
    if targets.is_floating_point():
        raise ValueError(
            f"criterion={criterion} is for classes, and the data is a regression; "
            "use criterion=sum_of_squares."
        )


def correct(outputs: Any, targets: Any) -> Tensor | None:
    """Whether each prediction is right, a bool tensor; None for a regression.

    The rule follows from shapes and types alone:
    - class indices [N, ...] with outputs [N, C, ...], or [N, ..., C]: the largest output wins.
      A negative index, such as torch's ignore_index, is no sample and is left out.
    - labels 0 and 1 in the shape of the outputs, or one output a sample: a positive output says 1.
      With several labels a sample every label is a prediction.
    - floating-point targets are labels if all of them are 0 or 1: of one class a sample where every
      row has a single 1, and otherwise each for itself. All others are a regression.

    A prediction from an output that is NaN is wrong. A mapping is read by its key "logits".
    """
    if isinstance(outputs, Mapping) and "logits" in outputs:
        outputs = outputs["logits"]
    if not isinstance(outputs, Tensor) or not isinstance(targets, Tensor):
        return None
    if outputs.shape == (*targets.shape, 1):
        outputs = outputs[..., 0]
    if targets.is_floating_point():
        if outputs.shape != targets.shape or not ((targets == 0) | (targets == 1)).all():
            return None
        if targets.dim() == 2 and targets.shape[1] > 1 and (targets.sum(1) == 1).all():
            targets = targets.argmax(1)
    if outputs.shape == targets.shape:
        return ((outputs > 0) == (targets > 0)) & ~outputs.isnan()
    classes = _class_dimension(outputs, targets)
    if classes is None:
        return None
    right = (outputs.argmax(classes) == targets) & ~outputs.isnan().any(classes)
    return right[targets >= 0]


def accuracy(outputs: Any, targets: Any) -> Tensor | None:
    """The fraction of the predictions that are `correct`, a scalar; None for a regression."""
    right = correct(outputs, targets)
    return None if right is None else right.float().mean()


def _class_dimension(outputs: Tensor, targets: Tensor) -> int | None:
    """The dimension of outputs that holds the classes; None where the shapes do not fit."""
    for dimension in (1, outputs.dim() - 1):
        if outputs.dim() > 1 and _without(outputs.shape, dimension) == targets.shape:
            return dimension
    return None


def _without(shape: torch.Size, dimension: int) -> torch.Size:
    return shape[:dimension] + shape[dimension + 1 :]
