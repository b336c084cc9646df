"""Initializations: the moments they promise, and nothing drawn for a norm."""

import pytest
import torch
from conftest import options, small_config
from hydra.utils import instantiate
from torch import nn

from bnstudy import inits


def filled(init, fan_in: int = 400, fan_out: int = 600) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(fan_in, fan_out)
    nn.init.ones_(layer.weight), nn.init.ones_(layer.bias)
    init(layer)
    return layer


@pytest.mark.parametrize(
    ("init", "variance", "largest"),
    [
        (inits.xavier_uniform, 2 / 1000, (6 / 1000) ** 0.5),
        (inits.xavier_normal, 2 / 1000, None),
        (inits.kaiming, 2 / 400, None),
        (inits.torch_default, 1 / (3 * 400), 1 / 400**0.5),
    ],
)
def test_variance_and_shape_of_the_distribution(init, variance, largest):
    weight = filled(init).weight
    # The variance of 240,000 draws has a standard error of at most 0.3 %.
    assert weight.var().item() == pytest.approx(variance, rel=0.015)
    if largest:
        assert weight.abs().max().item() == pytest.approx(largest, rel=0.01)
    else:  # normal: the kurtosis tells it from uniform, which has 1.8
        kurtosis = (weight**4).mean() / weight.var() ** 2
        assert kurtosis.item() == pytest.approx(3, abs=0.1)


def test_gain_scales_and_biases_are_zero():
    layer, twice = filled(inits.xavier_uniform), filled(lambda m: inits.xavier_uniform(m, gain=2.0))
    torch.testing.assert_close(2 * layer.weight, twice.weight)
    assert not layer.bias.any()


def test_convolutions_count_the_kernel_in_their_fans():
    torch.manual_seed(0)
    layer = nn.Conv2d(40, 60, 3)
    inits.xavier_normal(layer)
    assert layer.weight.var().item() == pytest.approx(2 / (100 * 9), rel=0.05)


@pytest.mark.parametrize("option", options("init"))
def test_a_norm_takes_nothing_from_the_generator(option):
    init = instantiate(small_config("vgg", "none", f"init={option}").init)
    networks = [
        nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, 4))
        for norm in (nn.Identity(), nn.BatchNorm1d(4))
    ]
    for network in networks:
        torch.manual_seed(3)
        init(network)
    assert torch.equal(networks[0][2].weight, networks[1][2].weight)
