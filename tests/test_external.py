"""Networks that were not written for this study: their norms, their layers, what is refused."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import build, config
from torch import Tensor, nn

from bnstudy.models.external import External
from bnstudy.norms import BatchNorm, WeightNorm, WeightStandardization
from bnstudy.update import layers_of

Norm = Callable[[int], nn.Module]


class Chain(nn.Module):
    """conv - norm - ReLU - mean - fc, declared in another order."""

    def __init__(self, num_classes: int, classes: type[nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.fc = nn.Linear(5, num_classes)
        self.norm = classes(5)
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(input)).relu().mean((2, 3)))


class Block(nn.Module):
    """A residual block that normalises its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5, eps=0.1, momentum=0.5)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, input: Tensor) -> Tensor:
        return input + self.conv(self.relu(self.norm(input)))


class Residual(nn.Module):
    """A conv, two blocks, a concatenation, norm, fc; one of its linears is never called."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(10, num_classes)
        self.unused = nn.Linear(10, 10)
        self.last = nn.BatchNorm1d(10)
        self.block2, self.block1 = Block(), Block()
        self.conv1 = nn.Conv2d(3, 5, 3)

    def forward(self, input: Tensor) -> Tensor:
        features = self.block2(self.block1(self.conv1(input))).mean((2, 3))
        return self.fc(self.last(torch.cat([features, features], 1)))


def external(network: Any, norm: Norm = BatchNorm, channels: int = 3, **more: Any) -> External:
    torch.manual_seed(0)
    return External((channels, 8, 8), 4, norm, network, **more)


@pytest.mark.parametrize("norm", [BatchNorm, nn.Identity])
def test_layers_are_found_in_the_order_of_calls(norm):
    """A norm belongs to the conv before it, over an addition too; after a concatenation to none."""
    model = external(Residual, norm)
    assert model.layers == {
        "conv1": ("network.conv1", "network.block1.norm", "network.block1.norm"),
        "block1.conv": ("network.block1.conv", "network.block2.norm", "network.block2.norm"),
        "block2.conv": ("network.block2.conv", None, "network.block2.conv"),
        "fc": ("network.fc", None, "network.fc"),
    }
    assert list(model.layers) == ["conv1", "block1.conv", "block2.conv", "fc"]
    layer = layers_of(model)["conv1"]
    assert layer.weights == ("network.conv1.weight", "network.conv1.bias")
    gamma_beta = ("network.block1.norm.weight", "network.block1.norm.bias")
    assert layer.norm == (() if norm is nn.Identity else gamma_beta)
    assert layer.output == "network.block1.norm"


@pytest.mark.parametrize("norm", [BatchNorm, nn.Identity])
def test_a_norm_belongs_to_the_conv_whose_outputs_it_takes(norm):
    class Parallel(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.norm1, self.norm2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.after = nn.BatchNorm2d(4)

        def forward(self, input: Tensor) -> Tensor:
            z1, z2 = self.conv1(input), self.conv2(input)
            return (self.after(self.norm1(z1)) + self.norm2(z2)).mean((2, 3))

    norms = {name: norm for name, (_, norm, _) in external(Parallel, norm).layers.items()}
    assert norms == {"conv1": "network.norm1", "conv2": "network.norm2"}


def test_every_norm_is_replaced_with_its_eps_and_momentum():
    modules = external(Residual).modules()
    norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert [type(norm) for norm in norms] == [BatchNorm] * 3
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_with_batchnorm_it_is_torchvisions_network():
    from torchvision.models import ShuffleNetV2

    def network(num_classes: int) -> nn.Module:
        return ShuffleNetV2([1, 1, 1], [4, 8, 16, 32, 32], num_classes)

    model = External((3, 32, 32), 4, BatchNorm, network)
    torch.manual_seed(0)
    published = network(4)
    model.network.load_state_dict(published.state_dict())
    inputs = torch.randn(6, 3, 32, 32)
    for training in (True, False):
        outputs = model.train(training)(inputs)
        assert torch.equal(outputs, published.train(training)(inputs))
    names = [name for name, _ in published.named_parameters()]
    assert [name for name, _ in model.named_parameters()] == [f"network.{name}" for name in names]
    assert [norm is None for _, norm, _ in model.layers.values()] == [False] * 17 + [True]


def test_without_a_norm_a_block_keeps_its_shortcut():
    """The ReLU of the block is in place, and the identity before it gives its own input."""
    model = external(Residual, nn.Identity)
    block, inputs = model.network.block1, torch.randn(2, 5, 4, 4)
    expected = inputs + block.conv(inputs.relu())
    torch.testing.assert_close(block(inputs.clone()), expected)


def test_looking_for_layers_changes_nothing():
    class Noisy(Chain):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input + torch.randn(3, 8, 8))

    torch.manual_seed(0)
    network = Noisy(4)
    state = torch.get_rng_state()
    model = external(Noisy)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training and all(module.training for module in model.modules())
    for name, tensor in network.state_dict().items():
        assert torch.equal(model.network.state_dict()[name], tensor)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_one_channel_is_shown_as_grey():
    model = external(Chain, channels=1, repeat_channel=True)
    grey = torch.randn(6, 1, 8, 8)
    assert torch.equal(model(grey), model.network(torch.cat([grey] * 3, 1)))
    colours = torch.randn(6, 3, 8, 8)
    model = external(Chain, repeat_channel=True)
    assert torch.equal(model(colours), model.network(colours))


@pytest.mark.parametrize("norm", [WeightNorm, WeightStandardization])
def test_norms_that_act_on_weights_have_those_of_the_conv(norm):
    model = external(Chain, norm)
    for copy in (model, deepcopy(model)):
        network, inputs = copy.network, torch.randn(2, 3, 8, 8)
        nn.init.normal_(network.conv.weight)
        nn.init.normal_(network.norm.weight)
        weight = network.norm.normalize(network.conv.weight)
        z = F.conv2d(inputs, weight, network.conv.bias) + network.norm.bias.view(-1, 1, 1)
        expected = network.fc(z.relu().mean((2, 3)))
        torch.testing.assert_close(copy(inputs), expected)
    assert not torch.equal(model(inputs), copy(inputs))  # each with weights of its own


class BatchNormAct(nn.BatchNorm2d):
    """As timm's BatchNormAct2d: a norm that holds what follows it."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.act, self.drop = nn.ReLU(), nn.Dropout(0.5)


def test_what_a_norm_holds_besides_is_kept():
    model = external(lambda num_classes: Chain(num_classes, BatchNormAct))
    parts = dict(model.network.norm.named_children())
    assert {name: type(part) for name, part in parts.items()} == {
        "norm": BatchNorm,
        "drop": nn.Dropout,
        "act": nn.ReLU,
    }
    assert list(parts) == ["norm", "drop", "act"]
    assert model.layers["conv"] == ("network.conv", "network.norm.norm", "network.norm.norm")


def test_a_norm_of_two_names_stays_one():
    class Shared(Chain):
        def __init__(self, num_classes: int) -> None:
            super().__init__(num_classes)
            self.again = self.norm

    network = external(Shared).network
    assert type(network.norm) is BatchNorm and network.again is network.norm


class Stem(nn.Conv2d):
    """A conv with a forward pass of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(F.pad(input, (1, 1, 1, 1)))


class OwnConv(Chain):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.conv = Stem(3, 5, 3)


class Auxiliary(Chain):
    def forward(self, input: Tensor) -> Any:
        outputs = super().forward(input)
        return (outputs, outputs) if self.training else outputs


def pooled(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def unnormalised(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))


def unknown(num_classes: int) -> nn.Module:
    raise RuntimeError(f"no network of {num_classes} classes")


@pytest.mark.parametrize(
    ("network", "more", "message"),
    [
        (Chain, {"channels": 1}, r"Chain cannot be called with inputs \[N, 1, 8, 8\] .*expected"),
        (Chain, {"channels": 1}, "; try model.repeat_channel=true.$"),
        (Chain, {"channels": 2}, r"expected input.* to have 3 channels, .* instead\).$"),
        (nn.ReLU, {}, r"ReLU cannot be built \(.*num_classes.*\); .* must take num_classes"),
        (unknown, {}, r"model.network unknown cannot be built \(no network of 4 classes\)"),
        (nn.ReLU(), {}, "model.network is ReLU where a constructor is wanted; .*_partial_=true"),
        (lambda num_classes: num_classes, {}, "makes a int; it must make a torch.nn.Module"),
        (pooled, {"norm": nn.Identity}, "pooled calls no conv and no linear"),
        (unnormalised, {}, "has no BatchNorm, .* use norm=none"),
        (lambda num_classes: Chain(7), {}, r"gives outputs \[N, 7\]; they must be \[N, 4\]"),
        (OwnConv, {"norm": WeightNorm}, "and norm of model.network OwnConv follows a Stem"),
        (Residual, {"norm": WeightNorm}, "and last of model.network Residual follows none"),
    ],
)
def test_what_cannot_be_is_refused(network, more, message):
    with pytest.raises(ValueError, match=message) as refusal:
        external(network, **more)
    assert "\n" not in str(refusal.value)


def test_auxiliary_outputs_are_refused_in_training():
    model = external(Auxiliary)
    with pytest.raises(ValueError, match=r"Auxiliary gives tuple .*model.network.aux_logits=false"):
        model(torch.zeros(2, 3, 8, 8))


def test_a_network_without_norms_is_one_of_norm_none():
    assert list(external(unnormalised, nn.Identity).layers) == ["1"]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
@pytest.mark.parametrize("norm", ["batch", "none", "weight"])
def test_networks_of_timm(name, norm):
    pytest.importorskip("timm")
    words = [f"+model.network.model_name={name}", "+model.network.in_chans=1"]
    words += ["model.network._target_=timm.create_model", "model.repeat_channel=false"]
    cfg = config("model=torchvision", f"norm={norm}", *words)
    data, model, optimizer = build(cfg)
    layers = layers_of(model)
    held = [name for layer in layers.values() for name in layer.weights + layer.norm]
    assert sorted(held) == sorted(name for name, _ in model.named_parameters())
    batch = data.batch(0, 16, 0)
    data.criterion(model(batch.inputs), batch.targets).backward()
    optimizer.step()
