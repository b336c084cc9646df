"""Networks: published sizes, the same names and initial weights in every arm, forward order."""

import pytest
import torch
from conftest import build, options, small_config
from torch import nn

from bnstudy.models.deep_linear import DeepLinear
from bnstudy.models.mlp import MLP
from bnstudy.models.resnet import Block, Pad, ResNet
from bnstudy.models.vgg import VGG
from bnstudy.norms import BatchNorm
from bnstudy.update import layers_of


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("norm", ["", "_bn"])
def test_vgg_convolutions_have_torchvisions_parameters(depth, norm):
    from torchvision import models

    with torch.device("meta"):  # only the shapes are wanted
        published = getattr(models, f"vgg{depth}{norm}")(init_weights=False).features
        ours = VGG((3, 32, 32), 10, BatchNorm if norm else nn.Identity, depth=depth)
    last = f"layer{len(ours.layers)}."
    shapes = [tuple(p.shape) for name, p in ours.named_parameters() if not name.startswith(last)]
    assert shapes == [tuple(p.shape) for p in published.parameters()]


def test_vgg_16_with_the_published_head_has_16_layers():
    model = VGG((3, 32, 32), 10, nn.Identity, depth=16, width=0.125, head=[40, 40])
    assert model.layers == [f"layer{i}" for i in range(1, 17)]
    assert model.get_submodule("layer13.conv").out_channels == 64  # the last convolution
    assert model.get_submodule("layer14.linear").in_features == 64
    assert isinstance(model.get_submodule("layer16.activation"), nn.Identity)


def test_vgg_is_conv_norm_relu():
    model = VGG((3, 32, 32), 10, BatchNorm, depth=11, width=0.125)
    layer, inputs = model.get_submodule("layer1"), torch.randn(4, 3, 8, 8)
    parts = [layer.get_submodule(name) for name in ("conv", "norm", "activation")]
    assert [type(part) for part in parts] == [nn.Conv2d, BatchNorm, nn.ReLU]
    assert torch.equal(layer(inputs), nn.Sequential(*parts)(inputs))
    assert isinstance(model.get_submodule("layer9.norm"), nn.Identity)  # logits are not normalised


def test_deep_linear_is_the_product_of_its_matrices():
    model = DeepLinear((3,), 3, nn.Identity, depth=5).double()
    inputs = torch.randn(4, 3, dtype=torch.float64)
    product = torch.linalg.multi_dot(list(reversed(list(model.parameters()))))
    torch.testing.assert_close(model(inputs), inputs @ product.T)
    assert model.layers[0] == "layer1"


@pytest.mark.parametrize("network", [VGG, MLP])
def test_a_norm_after_the_activation_sees_a_and_the_activation_sees_z(network):
    model = network((3, 32, 32), 10, BatchNorm, placement="after")
    layer = model.get_submodule("layer1")
    inputs = torch.randn(8, *([3, 8, 8] if network is VGG else [3 * 32 * 32]))
    seen = {}
    layer.preactivation.register_forward_hook(lambda *parts: seen.update(z=parts[2]))
    outputs = layer(inputs)
    z = layer.get_submodule(layer.kind)(inputs)
    assert torch.equal(seen["z"], z)
    torch.testing.assert_close(outputs, layer.norm(z.relu()))
    assert abs(outputs.mean().item()) < 1e-5


# ResNets


# He et al. 2016, table 6, in millions; exactly, with option A, as others have counted them.
@pytest.mark.parametrize(
    ("depth", "published", "exactly"),
    [
        (20, 0.27, 269_722),
        (32, 0.46, 464_154),
        (44, 0.66, 658_586),
        (56, 0.85, 853_018),
        (110, 1.73, 1_727_962),
    ],
)
def test_resnets_for_small_images_have_the_published_parameters(depth, published, exactly):
    with torch.device("meta"):
        model = ResNet((3, 32, 32), 10, BatchNorm, depth=depth)
        plain = ResNet((3, 32, 32), 10, BatchNorm, depth=depth, shortcut="none")
    count = sum(p.numel() for p in model.parameters())
    assert count == exactly and round(count / 1e6, 2) == published
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {name: p.shape for name, p in plain.named_parameters()}
    assert len(model.layers) == depth  # the weight layers that the name counts


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_resnets_for_imagenet_are_torchvisions(depth):
    """The same parameters and, given torchvision's, the same function."""
    from torchvision import models

    torch.manual_seed(0)
    published = getattr(models, f"resnet{depth}")()
    ours = ResNet((3, 64, 64), 1000, BatchNorm, depth=depth, shortcut="B", stem="imagenet")
    parts = ours.named_parameters()
    order = dict(sorted(parts, key=lambda item: _torchvision_order(item[0])))
    theirs = list(published.parameters())
    assert [p.shape for p in order.values()] == [p.shape for p in theirs]
    with torch.no_grad():
        for mine, value in zip(order.values(), theirs, strict=True):
            mine.copy_(value)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), published(images), rtol=1e-4, atol=1e-4)


def _torchvision_order(name: str) -> tuple[int, int, str]:
    """torchvision lists the stem first, then the stages, and in a block the shortcut last."""
    first, _, rest = name.partition(".")
    stage = {"stem": 0, "head": 9}.get(first, int(first[-1]) if first[-1].isdigit() else 0)
    block = int(rest.partition(".")[0].removeprefix("block")) if rest.startswith("block") else 0
    return stage, block, "shortcut" if ".shortcut." in name else ""


def test_option_a_subsamples_and_pads_with_zeros():
    inputs = torch.randn(2, 3, 4, 4)
    outputs = Pad(stride=2, channels=5)(inputs)
    assert outputs.shape == (2, 8, 2, 2)
    assert torch.equal(outputs[:, :3], inputs[:, :, ::2, ::2]) and not outputs[:, 3:].any()


@pytest.mark.parametrize(("shortcut", "expected"), [("A", 1.0), ("B", 0.0), ("none", 0.0)])
def test_what_passes_a_block_whose_branch_is_zero(shortcut, expected):
    block = Block(3, 6, 0, 2, nn.Identity, shortcut, bias=False)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    outputs = block(torch.ones(1, 3, 4, 4))
    assert torch.equal(outputs[:, :3], torch.full((1, 3, 2, 2), expected))
    assert not outputs[:, 3:].any()


def test_activation_functions_of_a_block_see_the_sum():
    block = Block(3, 3, 0, 1, nn.Identity, "A", bias=False)
    seen = {}
    block.layer2.preactivation.register_forward_hook(lambda *parts: seen.update(z=parts[2]))
    inputs = torch.randn(2, 3, 4, 4)
    outputs = block(inputs)
    branch = block.layer2.conv(block.layer1(inputs))
    torch.testing.assert_close(seen["z"], branch + inputs)
    torch.testing.assert_close(outputs, (branch + inputs).relu())
    layers = layers_of(ResNet((3, 32, 32), 10, BatchNorm, depth=8))
    assert layers["stage1.block1.layer2"].output == "stage1.block1.layer2.preactivation"


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_layers_of_a_resnet_precede_what_they_feed(shortcut):
    """Moving a layer moves the inputs of none before it, as internal covariate shift needs it."""
    torch.manual_seed(0)
    model = ResNet((3, 16, 16), 4, nn.Identity, depth=14, width=0.25, shortcut=shortcut)
    images, seen = torch.randn(2, 3, 16, 16), {}
    for name in model.layers:
        module = model.get_submodule(name)
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0]})
        )
    model(images)
    before = dict(seen)
    for position, name in enumerate(model.layers):
        module = model.get_submodule(name)
        weight = module.get_submodule(module.kind).weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(2)
            model(images)
            weight.copy_(kept)
        moved = {other for other in model.layers if not torch.equal(seen[other], before[other])}
        assert moved <= set(model.layers[position + 1 :])
        if shortcut == "A":  # a chain: all that comes after is fed
            assert moved == set(model.layers[position + 1 :])


def test_mlp_is_linear_norm_activation():
    model = MLP((1, 4, 4), 3, BatchNorm, hidden=[5, 6], activation="tanh")
    assert model.layers == ["layer1", "layer2", "layer3"]
    assert [model.get_submodule(f"{name}.linear").in_features for name in model.layers] == [
        16,
        5,
        6,
    ]
    assert isinstance(model.get_submodule("layer2.activation"), nn.Tanh)
    assert isinstance(model.get_submodule("layer3.norm"), nn.Identity)


# Contracts


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("norm", options("norm"))
def test_arms_share_names_and_initial_weights(model, norm):
    _, without, _ = build(small_config(model, "none"))
    _, with_norm, _ = build(small_config(model, norm))
    plain, other = without.state_dict(), with_norm.state_dict()
    assert [name for name in other if name in plain] == list(plain)
    assert all(torch.equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("norm", options("norm"))
def test_layers_are_in_forward_order_and_hold_every_parameter(model, norm):
    data, network, _ = build(small_config(model, norm))
    layers = layers_of(network)
    order: list[str] = []
    for name, layer in layers.items():
        module = network.get_submodule(layer.output)
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    network(data.batch(0, 16, 0).inputs)
    assert order == list(layers)
    held = [name for layer in layers.values() for name in layer.weights + layer.norm]
    assert sorted(held) == sorted(name for name, _ in network.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 12}, "model.depth=12 is not a VGG; it must be one of 11, 13, 16, 19"),
        ({"width": 0.01}, "model.width=0.01 leaves the first stage without a channel"),
        ({"width": float("nan")}, "model.width=nan leaves"),
        ({"head": [128, 0]}, r"model.head=\[128, 0\] has a layer of 0 units"),
        ({"input_shape": (3, 31, 32)}, "at least 32x32 pixels; the data has 31x32"),
        ({"input_shape": (10,)}, r"needs images \[C, H, W\]; the data has inputs \[10\]"),
    ],
)
def test_vgg_refuses_what_it_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        VGG(**{"input_shape": (3, 32, 32), "num_outputs": 10, "norm": nn.Identity} | arguments)


def test_deep_linear_refuses_what_it_cannot_be():
    with pytest.raises(ValueError, match="the data has inputs \\[4\\] and 3 outputs"):
        DeepLinear((4,), 3, nn.Identity)
    with pytest.raises(ValueError, match="model.depth=0 leaves no layer"):
        DeepLinear((3,), 3, nn.Identity, depth=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 21}, "model.depth=21 is not a ResNet; it must be 18, 34, 50, or 6n"),
        ({"depth": 2}, "model.depth=2 is not a ResNet"),
        ({"width": 0.01}, "model.width=0.01 leaves the first stage without a channel"),
        ({"shortcut": "C"}, "model.shortcut=C is unknown; it must be one of A, B, none"),
        ({"stem": "big"}, "model.stem=big is unknown; it must be one of small, imagenet"),
        ({"input_shape": (10,)}, r"ResNet needs images \[C, H, W\]; the data has inputs \[10\]"),
    ],
)
def test_resnet_refuses_what_it_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"input_shape": (3, 32, 32), "num_outputs": 10, "norm": nn.Identity} | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [4, 0]}, r"model.hidden=\[4, 0\] has a layer of 0 units"),
        ({"activation": "elu"}, "model.activation=elu is unknown; it must be one of relu, sigmoid"),
        ({"placement": "on"}, "model.placement=on must be before or after"),
    ],
)
def test_mlp_refuses_what_it_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLP((3,), 3, nn.Identity, **arguments)
