"""Initializations: the moments they promise, and nothing drawn for a norm."""

import pytest
import torch
from conftest import options, small_config
from hydra.utils import instantiate
from torch import nn

from bnstudy import inits
from bnstudy.models.resnet import ResNet
from bnstudy.norms import BatchNorm


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


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (8, 3, 3, 3)])
def test_orthogonal_rows_or_columns(shape):
    layer = nn.Linear(shape[1], shape[0]) if len(shape) == 2 else nn.Conv2d(shape[1], shape[0], 3)
    inits.orthogonal(layer, gain=2.0)
    weight = layer.weight.flatten(1).double()
    gram = weight @ weight.T if weight.shape[0] <= weight.shape[1] else weight.T @ weight
    torch.testing.assert_close(gram, 4 * torch.eye(len(gram)).double(), rtol=0, atol=1e-5)


# Remedies of residual networks


def resnet(init, norm=nn.Identity, depth=14):
    torch.manual_seed(0)
    model = ResNet((3, 16, 16), 10, norm, depth=depth, width=0.25, bias=True)
    torch.manual_seed(1)
    init(model)
    return model


def passes(model: nn.Module, block: str) -> torch.Tensor:
    """What a block without a change of shape makes of non-negative inputs, less these."""
    inputs = torch.rand(4, 4, 8, 8)
    return model.get_submodule(block)(inputs) - inputs


@pytest.mark.parametrize(
    ("init", "norm"),
    [(inits.zero_gamma, BatchNorm), (inits.skipinit, nn.Identity), (inits.fixup, nn.Identity)],
)
def test_blocks_start_as_the_identity_and_learn(init, norm):
    model = resnet(init, norm)
    assert not passes(model, "stage1.block1").any()
    assert passes(resnet(inits.kaiming, norm), "stage1.block1").abs().max() > 0.1
    images, targets = torch.randn(16, 3, 16, 16), torch.randint(10, (16,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()
    assert passes(model, "stage1.block1").any()


def test_skipinit_and_zero_gamma_are_kaiming_besides():
    plain = dict(resnet(inits.kaiming).named_parameters())
    skip = dict(resnet(inits.skipinit).named_parameters())
    assert all(torch.equal(skip[name], plain[name]) for name in plain)
    added = {name: p.item() for name, p in skip.items() if name not in plain}
    # One scalar in each of the six branches.
    assert len(added) == 6 and set(added.values()) == {0.0}
    plain = dict(resnet(inits.kaiming, BatchNorm).named_parameters())
    zero = dict(resnet(inits.zero_gamma, BatchNorm).named_parameters())
    changed = [name for name in plain if not torch.equal(plain[name], zero[name])]
    assert len(changed) == 6 and all(name.endswith("layer2.norm.weight") for name in changed)


def test_fixup_by_hand():
    """Six branches of two layers: the first layers are scaled by 6^(-1/2), the last are zero."""
    plain = dict(resnet(inits.kaiming).named_parameters())
    fixed = dict(resnet(inits.fixup).named_parameters())
    first, last = "stage2.block1.layer1.conv.weight", "stage2.block1.layer2.conv.weight"
    torch.testing.assert_close(fixed[first], plain[first] * 6**-0.5)
    assert not fixed[last].any() and not fixed["head.linear.weight"].any()
    assert torch.equal(fixed["stem.conv.weight"], plain["stem.conv.weight"])
    added = {name: p.item() for name, p in fixed.items() if name not in plain}
    # Per branch two biases before convolutions, two before activation functions, and a factor;
    # one before the ReLU of the stem, and one before the last linear layer.
    assert len(added) == 6 * 5 + 2 and sum(added.values()) == 6
    assert {"stem.scale_out.offset", "head.bias_in.offset"} < added.keys()


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_fixup_gives_resnet20_the_47_scalars_of_the_authors(shortcut):
    """`fixup_resnet20` of hongyi-zhang/Fixup: nine branches with five, bias1 and bias2."""
    model = ResNet((3, 32, 32), 10, nn.Identity, depth=20, shortcut=shortcut)
    inits.fixup(model)
    scalars = {name: p for name, p in model.named_parameters() if p.numel() == 1}
    assert len(scalars) == 47
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        scalars["stem.scale_out.offset"].fill_(0.5)
    stem = model.get_submodule("stem.conv")(images)
    assert torch.equal(model.get_submodule("stem")(images), (stem + 0.5).relu())
    with torch.no_grad():
        scalars["head.bias_in.offset"].fill_(-1.0)
        model.get_submodule("head.linear").weight.fill_(1.0)
    features = torch.randn(2, 64)
    expected = (features - 1).sum(1, keepdim=True).expand(2, 10)
    torch.testing.assert_close(model.get_submodule("head")(features), expected)


def test_fixup_without_branches_is_kaiming_with_a_last_layer_of_zeros():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    inits.fixup(model)
    assert len(list(model.parameters())) == 4 and not model[1].weight.any()


def test_kaiming_alone_explodes_with_depth_and_the_remedies_do_not():
    images = torch.randn(16, 3, 16, 16)
    sizes = {
        init: resnet(init, depth=56)(images).std().item()
        for init in (inits.kaiming, inits.skipinit)
    }
    assert sizes[inits.kaiming] > 1e3 * sizes[inits.skipinit]
    assert not resnet(inits.fixup, depth=56)(images).any()  # its last layer is zero


@pytest.mark.parametrize("init", [inits.skipinit, inits.fixup])
def test_scalars_have_the_type_of_the_network(init):
    model = ResNet((3, 16, 16), 10, nn.Identity, depth=8, width=0.25).double()
    init(model)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
