"""The probe of representations, on matrices whose rank and angles are known."""

import math

import pytest
import torch
from torch import nn

from bnstudy.norms import BatchNorm
from bnstudy.observe import observe
from bnstudy.probes.representations import (
    Representations,
    effective_rank,
    gram_of,
    mean_cosine,
    orthogonality_gap,
)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_orthogonal_rows_of_one_length_have_full_rank_and_no_gap(scale):
    gram = gram_of(scale * torch.linalg.qr(torch.randn(7, 5, dtype=torch.float64))[0].T, 64)
    assert effective_rank(gram).item() == pytest.approx(5)
    assert orthogonality_gap(gram).item() == pytest.approx(0, abs=1e-12)
    assert mean_cosine(gram).item() == pytest.approx(0, abs=1e-12)


def test_rows_that_are_multiples_of_one_have_rank_one():
    rows = torch.outer(torch.tensor([1.0, 2.0, 4.0, 0.5]), torch.randn(6))
    gram = gram_of(rows, 64)
    assert effective_rank(gram).item() == pytest.approx(1, abs=1e-6)
    assert mean_cosine(gram).item() == pytest.approx(1)
    same = gram_of(torch.ones(4, 6), 64)
    assert orthogonality_gap(same).item() == pytest.approx(math.sqrt(1 - 1 / 4))


def test_the_effective_rank_is_the_exponential_of_the_entropy():
    """Of singular values 1 and 2: the shares are 1/5 and 4/5."""
    gram = gram_of(torch.diag(torch.tensor([1.0, 2.0])), 64)
    entropy = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert effective_rank(gram).item() == pytest.approx(math.exp(entropy))


def test_the_mean_cosine_is_of_pairs_of_rows_that_are_not_zero():
    rows = torch.tensor([[1.0, 0.0], [3.0, 3.0], [0.0, 0.0]])
    assert mean_cosine(gram_of(rows, 64)).item() == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("rows", [torch.zeros(3, 4), torch.full((3, 4), math.inf)])
def test_there_is_no_number_of_what_vanishes_or_overflows(rows):
    gram = gram_of(rows, 64)
    assert all(f(gram).isnan() for f in (effective_rank, orthogonality_gap, mean_cosine))


def test_rows_are_spread_over_the_batch_and_over_positions_of_sequences():
    rows = torch.arange(64.0)[:, None]  # 8 sequences of 8 tokens
    (first, *_, last) = chosen = gram_of(rows, 8).diagonal().sqrt().tolist()
    assert (first, last) == (0, 63)
    assert len({position % 8 for position in chosen}) > 4
    assert len(gram_of(rows, 100)) == 64


class Deep(nn.Sequential):
    """Linear layers with a norm, of random weights; all look at what the next one takes."""

    def __init__(self, norm, depth=30, width=32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for _ in range(depth):
            linear = nn.Linear(width, width, bias=False)
            weight = torch.randn(width, width, generator=generator) / math.sqrt(width)
            linear.weight = nn.Parameter(weight)
            self.extend([linear, norm(width), nn.ReLU()])


@pytest.mark.parametrize("norm", [lambda _: nn.Identity(), BatchNorm])
def test_random_networks_collapse_without_batch_norm_and_do_not_with_it(norm):
    """Daneshmand et al. 2020, theorem 2; of a ReLU network without a norm Poole et al. 2016."""
    torch.manual_seed(1)
    inputs = torch.randn(16, 32)
    update = observe(Deep(norm), lambda out, _: out.square().mean(), inputs, None)
    measured = Representations(samples=16)(update)
    ranks = [value.item() for key, value in measured.items() if key.startswith("effective_rank/")]
    cosines = [value.item() for key, value in measured.items() if key.startswith("mean_cosine/")]
    assert measured["samples"] == 16 and len(ranks) == 30
    assert ranks[0] > 10 and abs(cosines[0]) < 0.1
    if norm is BatchNorm:
        assert ranks[-1] > 8 and abs(cosines[-1]) < 0.1
    else:
        assert ranks[-1] < 2.5 and cosines[-1] > 0.7


def test_the_probe_refuses_a_single_sample():
    with pytest.raises(ValueError, match=r"probes.representations.samples=1 must be at least 2"):
        Representations(samples=1)
