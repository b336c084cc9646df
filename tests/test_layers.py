"""Layers found by a forward pass: their order, and the norm of each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bnstudy.layers import find_layers, find_norms
from bnstudy.models.vgg import VGG
from bnstudy.norms import BatchNorm, LpNorm
from bnstudy.observe import layers_called
from bnstudy.update import layers_of

NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(6),
    "instance": lambda: nn.InstanceNorm2d(6, affine=True),
    "group": lambda: nn.GroupNorm(2, 6),
    "layer": lambda: nn.LayerNorm([6, 4, 4]),
    "rms": lambda: nn.RMSNorm([6, 4, 4]),
}


def found(model: nn.Module, *inputs: Tensor, classes: Any = ()) -> dict[str, str | None]:
    """The layers in order, each with its norm."""
    layers = find_layers(model, lambda: model(*inputs), find_norms(model, classes))
    for module, norm, output in layers.values():
        model.get_submodule(module)
        assert output == (module if norm is None else norm)
    return {name: norm for name, (_, norm, _) in layers.items()}


@pytest.mark.parametrize("norm", [BatchNorm, nn.Identity, LpNorm])
def test_of_a_vgg_they_are_those_that_it_states(norm):
    make = partial(norm, p=1) if norm is LpNorm else norm
    model = VGG((1, 32, 32), 10, make, depth=11, width=1 / 64)
    layers, stated = layers_called(model, torch.randn(4, 1, 32, 32), [norm]), layers_of(model)
    assert list(layers) == [*[f"{name}.conv" for name in stated][:-1], "layer9.linear"]
    for own, theirs in zip(layers.values(), stated.values(), strict=True):
        assert (own.weights, own.norm) == (theirs.weights, theirs.norm)
    # An identity is a norm by name only: the last layer has one, and of these there are more.
    last = "layer9.norm" if norm is nn.Identity else None
    assert [layer.norm_module for layer in layers.values()] == [
        *(layer.norm_module for layer in list(stated.values())[:-1]),
        last,
    ]


def test_of_a_resnet_of_torchvision_every_conv_has_the_norm_beside_it():
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    model = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=4)
    layers = layers_called(model, torch.randn(2, 3, 32, 32))
    beside = {
        name: name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        for name in layers
        if name != "fc"
    }
    assert {name: layer.norm_module for name, layer in layers.items()} == beside | {"fc": None}
    assert list(layers)[:2] == ["conv1", "layer1.0.conv1"] and list(layers)[-1] == "fc"
    order = [name for name in layers if name.startswith("layer2.0")]
    assert order == [f"layer2.0.{name}" for name in ("conv1", "conv2", "downsample.0")]
    held = [name for layer in layers.values() for name in layer.weights + layer.norm]
    assert sorted(held) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("training", [True, False])
def test_of_a_transformer_an_attention_is_one_layer(training):
    """In evaluation mode without gradients it would be computed without calling its modules."""
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(block, 2, enable_nested_tensor=False).train(training)
    with torch.no_grad():
        norms = found(model, torch.randn(2, 5, 4))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    expected = {"self_attn": "norm1", "linear1": None, "linear2": "norm2"}
    assert norms == {
        f"layers.{i}.{layer}": norm and f"layers.{i}.{norm}"
        for i in (0, 1)
        for layer, norm in expected.items()
    }
    assert list(norms) == [f"layers.{i}.{layer}" for i in (0, 1) for layer in expected]


@pytest.mark.parametrize("kdim", [None, 3])
def test_an_attention_has_all_its_projections(kdim):
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, kdim=kdim, vdim=kdim, batch_first=True)
            self.last = nn.Linear(4, 4)
            self.norm = nn.LayerNorm(4)

        def forward(self, query: Tensor, key: Tensor) -> Tensor:
            attended, mapped = self.attend(query, key, key)[0], self.last(query)
            return self.norm(input=attended) + mapped

    model = Cross()
    inputs = torch.randn(2, 5, 4), torch.randn(2, 7, kdim or 4)
    layer, last = layers_called(model, inputs).values()
    assert last.norm_module is None  # called last, but the norm takes the attention's outputs
    assert set(layer.weights) == {f"attend.{name}" for name, _ in model.attend.named_parameters()}
    assert layer.norm == ("norm.weight", "norm.bias") and layer.norm_module == "norm"


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("conv", [nn.Conv2d, nn.ConvTranspose2d])
def test_every_norm_of_torch_belongs_to_the_conv_before_it(name, conv):
    model = nn.Sequential(conv(3, 6, 1), NORMS[name](), nn.Flatten(), nn.Linear(96, 2))
    assert found(model, torch.randn(2, 3, 4, 4)) == {"0": "1", "3": None}


def test_a_norm_of_other_sizes_belongs_to_none():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Flatten(), nn.BatchNorm1d(96), nn.Linear(96, 2))
    assert found(model, torch.randn(2, 3, 4, 4)) == {"0": None, "3": None}


def test_norms_of_ones_own_are_found_by_their_class():
    class Mine(nn.Module):
        def forward(self, input: Tensor) -> Tensor:
            return input / input.norm()

    class Scaled(Mine):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(features))

    model = nn.Sequential(
        *(nn.Linear(2, 5), Scaled(5), nn.Linear(5, 3), Scaled(7), nn.Linear(3, 4), Mine()),
    )
    inputs = torch.randn(6, 2)
    assert found(model, inputs, classes=[Mine]) == {"0": "1", "2": None, "4": "5"}
    assert found(model, inputs) == {"0": None, "2": None, "4": None}
