"""Norms against torch's own and against the formula."""

import pytest
import torch

from bnstudy.norms import BatchNorm


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 4, 5)])
def test_batch_norm_is_torchs_for_every_shape(shape):
    reference = torch.nn.BatchNorm1d(3) if len(shape) == 2 else torch.nn.BatchNorm2d(3)
    ours = BatchNorm(3)
    inputs = torch.randn(shape)
    for training in (True, False):
        ours.train(training), reference.train(training)
        assert torch.equal(ours(inputs), reference(inputs))
    assert torch.equal(ours.running_var, reference.running_var)


def test_batch_norm_is_the_formula():
    """Ioffe & Szegedy 2015, algorithm 1: the biased variance over batch and positions."""
    inputs = torch.randn(6, 2, 3, 3, dtype=torch.float64)
    norm = BatchNorm(2, eps=0.01).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0])), norm.bias.copy_(torch.tensor([0.5, 3.0]))
    mean = inputs.mean((0, 2, 3), keepdim=True)
    variance = ((inputs - mean) ** 2).mean((0, 2, 3), keepdim=True)
    gamma, beta = norm.weight.view(1, 2, 1, 1), norm.bias.view(1, 2, 1, 1)
    expected = gamma * (inputs - mean) / (variance + 0.01).sqrt() + beta
    torch.testing.assert_close(norm(inputs), expected)


def test_batch_norm_refuses_inputs_without_features():
    with pytest.raises(ValueError, match=r"needs inputs \[N, C, ...\], found shape \[4\]"):
        BatchNorm(4)(torch.randn(4))
