"""Schedules: the factors by hand at their corners, and what they refuse."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from conftest import config, options
from hydra.utils import instantiate

from bnstudy.schedules import constant, cosine, exponential, step


def factors(schedule: Callable[..., float], steps: int, **options: Any) -> list[float]:
    return [schedule(step, steps, **options) for step in range(steps)]


def test_constant_is_exactly_one():
    assert factors(constant, 5) == [1.0] * 5


def test_warmup_rises_linearly_to_one():
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(constant, 6, warmup=4) == expected
    assert factors(constant, 2, warmup=1) == [1.0, 1.0]


def test_step_is_that_of_he_et_al():
    schedule = instantiate(config("schedule=step").schedule)
    at = {step: schedule(step, 64000) for step in (0, 31999, 32000, 47999, 48000, 63999)}
    assert list(at.values()) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert at[31999] == 1.0


def test_milestones_are_at_whole_steps_however_fractions_are_rounded():
    """0.55 * 100 is 55.00000000000001 in floating point."""
    hundredths = [i / 100 for i in range(1, 100)]
    expected = [2.0**step for step in range(100)]
    assert factors(step, 100, milestones=hundredths, factor=2.0) == expected


def test_cosine_falls_from_one_to_its_floor():
    expected = [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    assert factors(cosine, 4) == pytest.approx(expected)
    assert factors(cosine, 4, floor=0.2)[2] == pytest.approx(0.6)
    assert factors(cosine, 3, floor=1) == [1.0] * 3
    assert cosine(4, 4, floor=0.1) == pytest.approx(0.1)


def test_after_a_warmup_the_cosine_takes_what_is_left_and_milestones_stay():
    after = [0.5, 1.0, *factors(cosine, 4)]
    assert factors(cosine, 6, warmup=2) == pytest.approx(after)
    expected = [0.2, 0.4, 0.6, 0.8, 0.5, 0.5, 0.25, 0.25]
    assert factors(step, 8, warmup=5, factor=0.5) == pytest.approx(expected)


@pytest.mark.parametrize("option", options("schedule"))
def test_every_option_is_a_positive_factor_of_step_and_steps_alone(option):
    schedule = instantiate(config(f"schedule={option}").schedule)
    first, again = factors(schedule, 100), factors(schedule, 100)
    assert first == again
    highest = math.inf if option == "exponential" else 1
    assert all(0 < factor <= highest for factor in first)


@pytest.mark.parametrize(
    ("schedule", "options", "message"),
    [
        (constant, {"warmup": -1}, "schedule.warmup=-1 must be a whole number, 0 or more"),
        (constant, {"warmup": True}, "schedule.warmup=True must be a whole number"),
        (step, {"warmup": 1.5}, "schedule.warmup=1.5 must be a whole number"),
        (exponential, {"decay": 1.0}, "schedule.decay=1.0 must be a number from 0 to 1"),
        (exponential, {"decay": 1 - 1e-16 * 2}, "grow beyond all numbers in steps=10"),
        (cosine, {"warmup": 10}, "schedule.warmup=10 must be .* less than steps=10"),
        (cosine, {"floor": 1.5}, "schedule.floor=1.5 must be a number from 0 to 1"),
        (cosine, {"floor": math.nan}, "schedule.floor=nan must be a number from 0 to 1"),
        (step, {"factor": 0}, "schedule.factor=0 must be a number, more than 0"),
        (step, {"factor": "small"}, "schedule.factor=small must be a number"),
        (step, {"milestones": [0.5, 0.5]}, r"milestones=\[0.5, 0.5\] must be .* rising"),
        (step, {"milestones": [0.75, 0.5]}, "must be .* rising"),
        (step, {"milestones": [32000]}, r"schedule.milestones=\[32000\] must be fractions"),
        (step, {"milestones": ["half"]}, r"schedule.milestones=\['half'\] must be fractions"),
        (step, {"milestones": 0.5}, "schedule.milestones=0.5 must be fractions"),
    ],
)
def test_options_out_of_range_are_refused_at_the_first_step(schedule, options, message):
    with pytest.raises(ValueError, match=message):
        schedule(0, 10, **options)


PAPERS = [name for name in options("experiment") if name.startswith(("vgg", "deep_linear"))]


@pytest.mark.parametrize("experiment", PAPERS)
def test_the_papers_experiments_have_a_constant_lr_and_plain_sgd(experiment):
    cfg = config(f"experiment={experiment}", "scale=paper")
    constant = {"_target_": "bnstudy.schedules.constant", "_partial_": True, "warmup": 0}
    sgd = {"_target_": "torch.optim.SGD", "_partial_": True, "momentum": 0.0, "weight_decay": 0.0}
    assert cfg.schedule == constant
    assert cfg.optimizer == sgd | {"lr": cfg.optimizer.lr}
