"""Learning-rate schedules: functions of the step, so that resuming a run needs no state of theirs.

Each gives the factor by which the optimizer's lr is multiplied at a `step` (from 0) of a run of
`steps`. All begin with `warmup` steps in which the factor rises linearly from 1/warmup to 1: Goyal
et al. 2017, section 2.2. Each raises ValueError for an option out of range.
"""

import math
from collections.abc import Sequence
from typing import Any

LARGEST = 600  # of the logarithm of a factor: floats end at exp(709)


def constant(step: int, steps: int, warmup: int = 0) -> float:
    """1, after the warm-up."""
    return _warmup(step, steps, warmup)


def step(
    step: int,
    steps: int,
    milestones: Sequence[float] = (0.5, 0.75),
    factor: float = 0.1,
    warmup: int = 0,
) -> float:
    """1, and `factor` times what it was from every milestone on: He et al. 2015, section 4.2.

    Milestones are fractions of the run, the warm-up included.

    >>> [step(n, steps=8) for n in (0, 3, 4, 5)]
    [1.0, 1.0, 0.1, 0.1]
    """
    _check_milestones(milestones)
    if not _is_number(factor) or not 0 < factor < math.inf:
        raise ValueError(f"schedule.factor={factor} must be a number, more than 0.")
    passed = sum(step >= round(milestone * steps) for milestone in milestones)
    return _warmup(step, steps, warmup) * factor**passed


def cosine(step: int, steps: int, floor: float = 0.0, warmup: int = 0) -> float:
    """Half a cosine from 1, after the warm-up, to `floor` at the end of the run.

    Loshchilov & Hutter 2017, eq. 5, without restarts; `floor` is their smallest lr as a fraction.
    """
    if not _is_number(floor) or not 0 <= floor <= 1:
        raise ValueError(f"schedule.floor={floor} must be a number from 0 to 1.")
    rising = _warmup(step, steps, warmup)
    if step < warmup:
        return rising
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def exponential(step: int, steps: int, decay: float = 5e-4, warmup: int = 0) -> float:
    """(1 - decay)^-(2 step + 1): the lr that stands for weight decay, decay = lr * weight_decay.

    If the loss is the same for every positive multiple of the weights, SGD at this lr and without
    weight decay makes the networks that SGD with weight decay makes: Li & Arora 2020, theorem 1.1.

    >>> exponential(0, steps=2, decay=0.5), exponential(1, steps=2, decay=0.5)
    (2.0, 8.0)
    """
    if not _is_number(decay) or not 0 <= decay < 1:
        raise ValueError(f"schedule.decay={decay} must be a number from 0 to 1, and less than 1.")
    if -2 * steps * math.log1p(-decay) > LARGEST:
        raise ValueError(
            f"schedule.decay={decay} makes the lr grow beyond all numbers in steps={steps}; use a "
            f"decay below {LARGEST / 2 / steps:.2g}."
        )
    return _warmup(step, steps, warmup) * (1 - decay) ** -(2 * step + 1)


def _warmup(step: int, steps: int, warmup: int) -> float:
    whole = isinstance(warmup, int) and not isinstance(warmup, bool)
    if not whole or not 0 <= warmup < steps:
        raise ValueError(
            f"schedule.warmup={warmup} must be a whole number, 0 or more and less than "
            f"steps={steps}."
        )
    return (step + 1) / warmup if step < warmup else 1.0


def _check_milestones(milestones: Sequence[float]) -> None:
    # From YAML anything may come, a single number or text too.
    some: list[Any] = list(milestones) if isinstance(milestones, Sequence) else [None]
    inside = all(_is_number(milestone) and 0 < milestone < 1 for milestone in some)
    if not inside or some != sorted(set(some)):
        raise ValueError(
            f"schedule.milestones={milestones} must be fractions of the run, between 0 and 1 and "
            "rising, such as [0.5, 0.75]."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
