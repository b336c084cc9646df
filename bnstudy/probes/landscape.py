"""Loss and gradient along the gradient: Santurkar et al. 2018, section 3.2, figures 4 and 11."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.params import Params, add_scaled, length, normal_like, subtract, times
from bnstudy.update import Update


@dataclass(frozen=True)
class Landscape:
    """Walks theta - eta g for eta = multiples * lr, on the training batch of the step.

    Records, with K multiples:
        step_size [K]: eta, in units of the gradient.
        loss [K]: L(theta - eta g); the loss at theta itself is train/loss.
        gradient_change [K]: ||grad L(theta - eta g) - grad L(theta)||, over all parameters.
        gradient_norm: ||g||, so that eta * gradient_norm is the distance.
        small_step_size, small_loss, small_gradient_change: the same for `small_multiples`. With the
            paper's multiples 1 / min(eta) equals 2 / lr, so that effective beta-smoothness at the
            edge of stability looks like one that the smallest step size bounds. Smaller steps tell
            the two apart.
        curve_step_size, curve_loss: for `curve_multiples` the loss alone.
        random_loss, random_gradient_change [K]: the same along a random direction of g's length
            (`random_direction`), drawn anew at every step from the step's own seed.

    g is the gradient the optimizer was given, without weight decay. One forward and one backward
    pass a point, of a curve one forward pass. Reductions to bands and to effective beta-smoothness
    are the figures' business.
    """

    multiples: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    every: int = 1
    random_direction: bool = False
    small_multiples: tuple[float, ...] = ()
    curve_multiples: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for key in ("multiples", "small_multiples", "curve_multiples"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
            found = getattr(self, key)
            missing = key == "multiples" and not found
            if missing or not all(0 < multiple < float("inf") for multiple in found):
                raise ValueError(
                    f"probes.landscape.{key}={list(found)} must be positive numbers, "
                    "such as [0.5, 1, 2, 4]."
                )

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        size = length(update.grads)
        measured = _along_gradient("", update, self.multiples) | {"gradient_norm": size}
        if self.small_multiples:
            measured |= _along_gradient("small_", update, self.small_multiples)
        if self.curve_multiples:
            etas = _step_sizes(update, self.curve_multiples)
            with torch.no_grad():
                losses = [
                    update.loss(add_scaled(update.params, update.grads, -eta))
                    for eta in etas.tolist()
                ]
            measured |= {"curve_step_size": etas, "curve_loss": torch.stack(losses)}
        if self.random_direction:
            direction = normal_like(update.grads, update.seed_of("landscape"))
            direction = times(direction, size / length(direction))
            losses, changes = _walk(update, direction, _step_sizes(update, self.multiples))
            measured |= {"random_loss": losses, "random_gradient_change": changes}
        return measured


def _step_sizes(update: Update, multiples: tuple[float, ...]) -> Tensor:
    return torch.tensor([m * update.lr for m in multiples], dtype=torch.float64)


def _along_gradient(prefix: str, update: Update, multiples: tuple[float, ...]) -> dict[str, Tensor]:
    etas = _step_sizes(update, multiples)
    losses, changes = _walk(update, update.grads, etas)
    found = {"step_size": etas, "loss": losses, "gradient_change": changes}
    return {prefix + key: value for key, value in found.items()}


def _walk(update: Update, direction: Params, etas: Tensor) -> tuple[Tensor, Tensor]:
    losses, changes = [], []
    for eta in etas.tolist():
        there = add_scaled(update.params, direction, -eta)
        loss, grads = update.loss.value_and_grad(there)
        losses.append(loss)
        changes.append(length(subtract(grads, update.grads)))
    return torch.stack(losses), torch.stack(changes)
