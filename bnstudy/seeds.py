"""Every source of randomness: the streams of seeds, and the states of the generators.

A random number of a run is a function of the run's seed, of what it is for (its stream), and of the
step or the probe that draws it. So both arms of a seed draw the same numbers, a run that goes on
draws what it would have drawn, and no two uses share a number.
"""

import hashlib
import random
from enum import IntEnum
from typing import Any

import numpy as np
import torch

NoiseState = tuple[list[torch.Tensor], Any, Any]


class Stream(IntEnum):
    """What a seed is for: the last part of `derive_seed`. A new use gets a new number."""

    ORDER = 0  # the order of the samples in an epoch
    AUGMENT = 1  # crops and flips of a step's images
    NOISE = 2  # noise in a step's forward pass, such as dropout
    DEEP_LINEAR = 3  # the data of the deep linear network
    DIRECTIONS = 4  # random directions of a loss surface
    PROBE = 5  # what a probe draws at a step
    SUBSET = 6  # noise in the forward pass of a part of the training set, between steps
    PRECISE = 7  # noise in the forward passes that re-estimate statistics


def derive_seed(*parts: int) -> int:
    """A 63-bit seed from integers in 0..2^64 - 1; different parts give independent streams.

    Raises ValueError for an integer out of that range.
    """
    if not all(0 <= part < 2**64 for part in parts):
        raise ValueError(f"A seed must lie in 0..2^64 - 1, found {parts}.")
    # SeedSequence pads with zeros and splits long integers: without a fixed length for each part
    # and their number in front, (1,) would equal (1, 0), and (2**32,) would equal (0, 1).
    words = [word for part in parts for word in (part & 0xFFFFFFFF, part >> 32)]
    sequence = np.random.SeedSequence([len(parts), *words])
    return int(sequence.generate_state(1, np.uint64)[0]) >> 1


def probe_seed(step_seed: int, probe: str, n: int = 0) -> int:
    """The seed of draw `n` of a probe, by its name, at the step that has the seed `step_seed`.

    Another probe, another draw or another step has another seed; the norm of the network plays no
    part, so the arms of a comparison draw the same vectors.
    """
    name = int.from_bytes(hashlib.blake2b(probe.encode(), digest_size=8).digest())
    return derive_seed(step_seed, name, n, Stream.PROBE)


def default_generators(device: torch.device) -> list[torch.Generator]:
    """The generators that noise in a forward pass on `device` draws from."""
    generators = [torch.default_generator]
    if device.type == "cuda":
        index = device.index if device.index is not None else torch.cuda.current_device()
        generators.append(torch.cuda.default_generators[index])
    if device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    return generators


def seed_noise(device: torch.device, seed: int) -> None:
    """Seed what noise in a forward pass may draw from: torch's generators, Python's, NumPy's."""
    for generator in default_generators(device):
        generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def noise_state(device: torch.device) -> NoiseState:
    """The states of these generators."""
    states = [generator.get_state() for generator in default_generators(device)]
    return states, random.getstate(), np.random.get_state()


def set_noise_state(device: torch.device, state: NoiseState) -> None:
    """Put these generators back to an earlier state."""
    states, of_python, of_numpy = state
    for generator, own in zip(default_generators(device), states, strict=True):
        generator.set_state(own)
    random.setstate(of_python)
    np.random.set_state(of_numpy)
