"""Randomness: no two uses share a number, and generators are put back."""

import pytest
import torch
from conftest import build, config, options, small_config
from hydra.utils import instantiate

from bnstudy import seeds
from bnstudy.params import add_scaled, copy_of
from bnstudy.seeds import Stream, derive_seed, probe_seed
from bnstudy.train import loss_of_step
from bnstudy.update import Update, layers_of


def test_derive_seed_tells_all_parts_apart() -> None:
    parts = [(), (0,), (1,), (1, 0), (0, 1), (1, 0, 0), (2**32,), (2**32, 5), (0, 1, 5), (0, 5)]
    seeds = [derive_seed(*some) for some in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds == [derive_seed(*some) for some in parts]


def test_derive_seed_never_changes() -> None:
    assert derive_seed(0, 0, 0) == 2751952018555266776, (
        "runs of earlier versions would no longer repeat"
    )


@pytest.mark.parametrize("part", [-1, 2**64])
def test_derive_seed_names_a_part_out_of_range(part: int) -> None:
    with pytest.raises(ValueError, match=f"must lie in .* found .*{part}"):
        derive_seed(3, part)


def test_no_two_streams_share_a_number() -> None:
    assert len({int(stream) for stream in Stream}) == len(Stream.__members__)


def test_a_probe_s_seed_tells_probes_draws_and_steps_apart() -> None:
    found = {probe_seed(step, name, n) for step in (1, 2) for name in "ab" for n in range(5)}
    assert len(found) == 20
    assert probe_seed(1, "a", 3) == probe_seed(1, "a", 3)


def vectors_of(name: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of all random vectors that a probe draws at one step, in the order drawn."""
    cfg = (
        config(f"probes=[{name}]", "probes." + MANY[name])
        if name in MANY
        else config(f"probes=[{name}]")
    )
    (probe,) = instantiate(cfg.probes, _convert_="all").values()
    small = small_config("mlp", norm)
    data, model, _ = build(small)
    model.train()
    losses = [loss_of_step(model, data, step, small.batch_size, 0) for step in range(9)]
    params = copy_of(model)
    _, grads = losses[0].value_and_grad(params)
    moved = add_scaled(params, grads, -0.1)
    layers, test = layers_of(model), data.test_sample(20)
    update = Update(
        0, losses[0], params, grads, moved, 0.1, layers, losses.__getitem__, test, params
    )
    drawn: list[int] = []
    own = torch.Generator.manual_seed

    class Watched(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            drawn.append(seed)
            return own(self, seed)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "Generator", Watched)
        probe(update)
    return drawn


# What makes a probe draw more than one vector.
MANY = {"hessian_trace": "hessian_trace.samples=3", "spectrum": "spectrum.draws=3"}


def test_no_two_probes_and_no_two_draws_of_one_share_a_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_probe = {
        name: vectors_of(name, "batch", monkeypatch)
        for name in options("probes")
        if not name.startswith("landscape_wide")
    }
    assert len(by_probe["hessian_trace"]) == 3
    assert len(by_probe["spectrum"]) == 4  # and the start of the top eigenvalues
    assert by_probe["sharpness"] and by_probe["landscape_random"]
    drawn = [seed for seeds in by_probe.values() for seed in seeds]
    assert len(set(drawn)) == len(drawn)


def test_both_arms_of_a_seed_draw_the_same_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("landscape_random", "sharpness", "spectrum", "hessian_trace"):
        arms = [vectors_of(name, norm, monkeypatch) for norm in ("none", "batch")]
        assert arms[0] == arms[1]


def test_the_noise_of_an_apple_gpu_is_seeded_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.Generator()  # stands for that of the GPU, which this machine need not have
    monkeypatch.setattr(torch.mps, "_get_default_mps_generator", lambda: own)
    device = torch.device("mps")
    seeds.seed_noise(device, 5)
    before = seeds.noise_state(device)
    first = torch.rand(3, generator=own)
    seeds.set_noise_state(device, before)
    assert torch.equal(torch.rand(3, generator=own), first)
    seeds.seed_noise(device, 5)
    assert torch.equal(torch.rand(3, generator=own), first)
