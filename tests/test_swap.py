"""Norms swapped in networks that are there: names and forms stay, what cannot be is refused."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from bnstudy.norms import BatchNorm, WeightNorm
from bnstudy.observe import layers_called, observe
from bnstudy.probes.landscape import Landscape
from bnstudy.swap import FeaturesLast, swap_norms


class Block(nn.Module):
    """A residual block that normalises its input, and a ReLU in place."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.act = nn.BatchNorm2d(4, eps=0.1, momentum=0.5), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        return input + self.conv(self.act(self.norm(input)))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), Block(), nn.Flatten())


class Text(nn.Module):
    """An embedding, and a block with LayerNorms over the last dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.ln, self.fc = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 4)
        self.last = nn.LayerNorm(4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        return self.last(hidden + self.fc(self.ln(hidden))).mean(1)


def test_names_and_features_stay_and_outputs_are_those_of_the_new_norm():
    model, images = network(), torch.randn(3, 2, 8, 8)
    weights = dict(model.named_parameters())
    found = swap_norms(model, partial(nn.GroupNorm, 2))
    assert found == {"1": 4, "2.norm": 4}
    assert [type(model.get_submodule(name)) for name in found] == [nn.GroupNorm] * 2
    assert [name for name, _ in model.named_parameters()] == list(weights)
    assert model[0].weight is weights["0.weight"]  # what is no norm is left
    z = nn.functional.group_norm(model[0](images), 2)
    block = z + model[2].conv(nn.functional.group_norm(z, 2).relu())
    torch.testing.assert_close(model(images), block.flatten(1))


def test_without_a_norm_a_block_keeps_its_shortcut():
    model, images = network(), torch.randn(3, 2, 8, 8)
    swap_norms(model, nn.Identity)
    z = model[0](images)
    torch.testing.assert_close(model(images), (z + model[2].conv(z.relu())).flatten(1))


def test_precision_mode_and_frozenness_are_those_of_the_old_norm():
    model = network().double()
    model[1].eval().requires_grad_(False)
    model[2].norm.float()
    swap_norms(model, BatchNorm)
    frozen, free = model[1], model[2].norm
    assert (frozen.training, free.training) == (False, True)
    assert (frozen.weight.dtype, free.weight.dtype) == (torch.float64, torch.float32)
    assert (frozen.weight.requires_grad, free.weight.requires_grad) == (False, True)
    assert (free.eps, free.momentum) == (1e-5, 0.1)


@pytest.mark.parametrize("norm", [BatchNorm, nn.RMSNorm, nn.Identity])
def test_layer_norms_are_swapped_over_their_own_dimension(norm):
    torch.manual_seed(0)
    model, tokens = Text(), torch.randint(9, (6, 5))
    hidden = model.embedding(tokens)
    found = swap_norms(model, norm, replace=[nn.LayerNorm])
    moved = norm is BatchNorm
    assert list(found) == (["ln.norm", "last.norm"] if moved else ["ln", "last"])
    assert isinstance(model.ln, FeaturesLast) == moved
    expected = {
        BatchNorm: lambda z: (z - z.mean((0, 1))) / (z.var((0, 1), correction=0) + 1e-5).sqrt(),
        nn.RMSNorm: nn.RMSNorm(4),
        nn.Identity: lambda z: z,
    }[norm]
    torch.testing.assert_close(model.ln(hidden), expected(hidden))
    update = observe(model, nn.functional.cross_entropy, tokens, torch.arange(6) % 4)
    assert Landscape()(update)["loss"].isfinite().all()


def test_a_layer_norm_for_channels_is_moved_to_them():
    model, images = network(), torch.randn(3, 2, 8, 8)
    swap_norms(model, nn.LayerNorm)
    z = model[0](images)
    expected = nn.functional.layer_norm(z.movedim(1, -1), (4,)).movedim(-1, 1)
    torch.testing.assert_close(model[1](z), expected)
    torch.testing.assert_close(copy.deepcopy(model)(images), model(images))


class RMSNorm(nn.Module):
    """As in transformers: a weight, and features last."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, input: Tensor) -> Tensor:
        return self.weight * input / input.square().mean(-1, keepdim=True).sqrt()


def test_a_norm_of_no_package_is_taken_for_one_of_the_last_dimension():
    model = nn.Sequential(nn.Linear(4, 4), RMSNorm())
    assert swap_norms(model, BatchNorm, replace=(RMSNorm,)) == {"1.norm": 4}
    outputs = model(torch.randn(6, 5, 4)).detach()
    assert outputs.mean((0, 1)) == pytest.approx([0.0] * 4, abs=1e-6)
    assert layers_called(model, torch.randn(6, 5, 4))["0"].norm_module == "1.norm"


class Activated(nn.BatchNorm2d):
    """A norm with an activation function in its forward pass."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class Gated(nn.BatchNorm2d):
    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.gate = nn.Conv2d(features, features, 1)


def test_a_norm_with_a_forward_pass_of_its_own_is_replaced_where_it_is_named():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), Activated(4))
    with pytest.raises(ValueError, match=r"'1' is a Activated, .* give replace=\(Activated,\)"):
        swap_norms(model, BatchNorm)
    assert swap_norms(model, BatchNorm, replace=(Activated,)) == {"1": 4}


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_what_other_packages_norms_hold_stays(package):
    layers = pytest.importorskip(
        "timm.layers" if package == "timm" else "torchvision.models.convnext"
    )
    model = nn.Sequential(nn.Conv2d(2, 4, 3), layers.LayerNorm2d(4))
    assert swap_norms(model, BatchNorm, replace=(nn.LayerNorm,)) == {"1": 4}
    if package == "timm":
        model[1] = layers.BatchNormAct2d(4)
        assert swap_norms(model, BatchNorm) == {"1.norm": 4}
        assert list(dict(model[1].named_children())) == ["norm", "drop", "act"]
        assert (model(torch.randn(3, 2, 8, 8)) >= 0).all()


def hooked() -> nn.Module:
    model = network()
    model[2].norm.register_forward_hook(lambda *_: None)
    return model


def kept_aside() -> nn.Module:
    model = network()
    model.norms = [model[2].norm]
    return model


def compiled() -> nn.Module:
    model = network()
    model[2].compile(backend="eager")
    return model


def transformer() -> nn.Module:
    return nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))


def fused() -> nn.Module:
    parts = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)
    return nn.Sequential(torch.ao.nn.intrinsic.ConvBn2d(*parts))


LN = {"replace": (nn.LayerNorm,)}


@pytest.mark.parametrize(
    ("make", "norm", "more", "says"),
    [
        (network, BatchNorm, LN, "Sequential has no LayerNorm to replace; its norms are BatchN"),
        (Text, BatchNorm, {}, r"its norms are LayerNorm: give replace=\(LayerNorm,\)"),
        (lambda: nn.Linear(2, 3), BatchNorm, {}, "Linear has no BatchNorm to replace.$"),
        (lambda: nn.BatchNorm1d(3), BatchNorm, {}, "The model itself is a BatchNorm1d"),
        (network, nn.GroupNorm(2, 4), {}, "norm is a GroupNorm; it must be a function of the"),
        (network, partial(nn.GroupNorm, 3), {}, r"norm\(4\), for '1', cannot be built \(num_chan"),
        (network, nn.GroupNorm, {}, r"norm\(4\), for '1', cannot be built"),
        (network, float, {}, r"norm\(4\), for '1', is a float; it must be a torch.nn.Module"),
        (network, WeightNorm, {}, "WeightNorm acts on the weights of the layer before '1'"),
        (
            lambda: nn.Sequential(nn.LayerNorm(4), nn.LayerNorm((4, 4))),
            BatchNorm,
            LN,
            r"'1' is a LayerNorm, which normalises over \[4, 4\]",
        ),
        (
            lambda: nn.Sequential(nn.BatchNorm2d(4), nn.LazyBatchNorm2d()),
            BatchNorm,
            {},
            "'1' is a LazyBatchNorm2d, whose number of features is not known yet",
        ),
        (lambda: nn.Sequential(Gated(4)), BatchNorm, {}, "'0' is a Gated, which holds 'gate'"),
        (hooked, BatchNorm, {}, "'2.norm' has hooks or parametrizations, which would be lost"),
        (kept_aside, BatchNorm, {}, "'2.norm' is also in the list 'norms' of 'Sequential'"),
        (compiled, BatchNorm, {}, "'2' is compiled: swap its norms before"),
        (transformer, BatchNorm, LN, "'0.norm1' is in a TransformerEncoderLayer, which computes"),
        (fused, BatchNorm, {}, "'0.1' is in a ConvBn2d, which computes its norms in a fused"),
        (lambda: nn.DataParallel(network()), BatchNorm, {}, "is wrapped for data-parallel"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:.*torch.ao.*:DeprecationWarning")
def test_what_cannot_be_replaced_is_refused_and_nothing_is(make, norm, more, says):
    torch.manual_seed(0)
    model = make()
    before = dict(model.named_modules())
    with pytest.raises(ValueError, match=says) as refusal:
        swap_norms(model, norm, **more)
    assert "\n" not in str(refusal.value)
    after = dict(model.named_modules())
    assert list(after) == list(before) and all(after[name] is before[name] for name in after)
    assert all(module.inplace for module in after.values() if isinstance(module, nn.ReLU))
