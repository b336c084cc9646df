"""Loss and gradient along the gradient: Santurkar et al. 2018, section 3.2, figures 4 and 11."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.params import Params, add_scaled, length, normal_like, subtract
from bnstudy.update import Update


@dataclass(frozen=True)
class Landscape:
    """Walks theta - eta g for eta = multiples * lr, on the training batch of the step.

    Records, with K multiples:
        step_size [K]: eta, in units of the gradient.
        loss [K]: L(theta - eta g); the loss at theta itself is train/loss.
        gradient_change [K]: ||grad L(theta - eta g) - grad L(theta)||, over all parameters.
        gradient_norm: ||g||, so that eta * gradient_norm is the distance.
        random_loss, random_gradient_change [K]: the same along a random direction of g's length
            (`random_direction`), drawn anew at every step from the step's own seed.

    g is the gradient the optimizer was given, without weight decay. One forward and one backward
    a point. Reductions to bands and to effective beta-smoothness are the figures' business.
    """

    multiples: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    every: int = 1
    random_direction: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "multiples", tuple(self.multiples))
        if not self.multiples or not all(0 < m < float("inf") for m in self.multiples):
            raise ValueError(
                f"probes.landscape.multiples={list(self.multiples)} must be positive numbers, "
                "such as [0.5, 1, 2, 4]."
            )

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        step_sizes = [multiple * update.lr for multiple in self.multiples]
        losses, changes = _walk(update, update.grads, step_sizes)
        size = length(update.grads)
        measured = {
            "step_size": torch.tensor(step_sizes, dtype=torch.float64),
            "loss": losses,
            "gradient_change": changes,
            "gradient_norm": size,
        }
        if self.random_direction:
            direction = normal_like(update.grads, update.seed_of("landscape"))
            scale = size / length(direction)
            direction = {name: tensor * scale for name, tensor in direction.items()}
            losses, changes = _walk(update, direction, step_sizes)
            measured |= {"random_loss": losses, "random_gradient_change": changes}
        return measured


def _walk(update: Update, direction: Params, step_sizes: list[float]) -> tuple[Tensor, Tensor]:
    losses, changes = [], []
    for step_size in step_sizes:
        there = add_scaled(update.params, direction, -step_size)
        loss, grads = update.loss.value_and_grad(there)
        losses.append(loss)
        changes.append(length(subtract(grads, update.grads)))
    return torch.stack(losses), torch.stack(changes)
