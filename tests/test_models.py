"""Networks: published sizes, the same names and initial weights in every arm, forward order."""

import pytest
import torch
from conftest import build, options, small_config
from torch import nn

from bnstudy.models.deep_linear import DeepLinear
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
    assert not hasattr(model.get_submodule("layer16"), "relu")


def test_vgg_is_conv_norm_relu():
    model = VGG((3, 32, 32), 10, BatchNorm, depth=11, width=0.125)
    assert [type(m) for m in model.get_submodule("layer1")] == [nn.Conv2d, BatchNorm, nn.ReLU]
    assert isinstance(model.get_submodule("layer9.norm"), nn.Identity)  # logits are not normalised


def test_deep_linear_is_the_product_of_its_matrices():
    model = DeepLinear((3,), 3, nn.Identity, depth=5).double()
    inputs = torch.randn(4, 3, dtype=torch.float64)
    product = torch.linalg.multi_dot(list(reversed(list(model.parameters()))))
    torch.testing.assert_close(model(inputs), inputs @ product.T)
    assert model.layers[0] == "layer1"


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
