"""Memory formats: one choice for both arms, the same numbers, and probes that change nothing."""

from functools import partial

import pytest
import torch
from conftest import build, config, small_config
from hydra.utils import instantiate
from torch import nn

from bnstudy.data import Batch, DataSet
from bnstudy.inits import kaiming
from bnstudy.memory_format import choose, laid_out
from bnstudy.models.deep_linear import DeepLinear
from bnstudy.models.mlp import MLP
from bnstudy.models.resnet import ResNet
from bnstudy.models.vgg import VGG
from bnstudy.norms import BatchNorm, GhostBatchNorm
from bnstudy.params import add_scaled, copy_of, normal_like, subtract, trainable
from bnstudy.record import Recorder
from bnstudy.train import gradients, train
from bnstudy.update import Loss

CPU = torch.device("cpu")
NORMS = ["none", "batch", "l1", "ghost_batch", "group"]
LAST = torch.channels_last


def channels_last(model: str, norm: str) -> tuple[DataSet, nn.Module, torch.optim.Optimizer]:
    """A small network, its weights channels-last, as a run has it."""
    more = ["norm.samples=6"] if norm == "ghost_batch" else []
    data, network, optimizer = build(small_config(model, norm, *more))
    network.to(memory_format=LAST)
    return data, network, optimizer


def weights_are_channels_last(params: dict[str, torch.Tensor]) -> bool:
    # A 1x1 kernel, and one input channel, are in both orders at once.
    return all(t.is_contiguous(memory_format=LAST) for t in params.values() if t.dim() == 4)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda norm: VGG((3, 32, 32), 10, norm, depth=11, width=1 / 8), "channels_last"),
        (lambda norm: VGG((3, 32, 32), 10, norm, depth=16, width=1 / 2), "channels_last"),
        (lambda norm: VGG((3, 32, 32), 10, norm, depth=16), "contiguous"),
        (lambda norm: ResNet((3, 32, 32), 10, norm, width=1 / 4), "channels_last"),
        (lambda norm: ResNet((3, 32, 32), 10, norm), "channels_last"),
        (lambda norm: MLP((1, 8, 8), 10, norm), "contiguous"),
        (lambda norm: DeepLinear((10,), 10, norm), "contiguous"),
    ],
)
def test_auto_is_by_the_convolutions_and_the_same_for_both_arms(make, expected):
    known = {"contiguous": torch.contiguous_format, "channels_last": LAST}
    with torch.device("meta"):
        arms = [make(norm) for norm in (nn.Identity, BatchNorm)]
    for model in arms:
        assert choose(model, "auto", CPU) == known[expected]
        assert choose(model, "auto", torch.device("cuda")) == torch.contiguous_format
        assert all(choose(model, name, CPU) == known[name] for name in known)


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="memory_format=nhwc is unknown; .* auto, contiguous, ch"):
        choose(nn.Linear(2, 2), "nhwc", CPU)


def test_only_images_are_laid_out():
    images, features = torch.randn(2, 3, 4, 5), torch.randn(2, 3)
    moved = laid_out(images, LAST)
    assert torch.equal(moved, images) and moved.stride() == (60, 1, 15, 3)
    assert laid_out(moved, torch.contiguous_format).stride() == images.stride()
    assert laid_out(features, LAST) is features


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["vgg", "resnet"])
def test_outputs_and_gradients_are_those_of_the_usual_order(model, norm):
    """In float64, to rounding; a flattened image has its features in the same order."""
    results = []
    for memory_format in (torch.contiguous_format, LAST):
        data, network, _ = channels_last(model, norm)
        network.double().to(memory_format=memory_format)
        batch = data.batch(0, 16, 0)
        outputs = network(laid_out(batch.inputs.double(), memory_format))
        data.criterion(outputs, batch.targets).backward()
        results.append([outputs.detach(), *gradients(network).values()])
    for ours, usual in zip(*results, strict=True):
        torch.testing.assert_close(ours, usual, rtol=1e-9, atol=1e-9)


def test_flattening_between_convolutions_and_a_head_keeps_the_order_of_features():
    model = VGG((3, 64, 96), 4, nn.Identity, depth=11, width=1 / 16, head=[5])
    kaiming(model)
    images, last = torch.randn(2, 3, 64, 96), VGG((3, 64, 96), 4, nn.Identity, 11, 1 / 16, [5])
    last.load_state_dict(model.state_dict())
    last.to(memory_format=LAST)
    torch.testing.assert_close(last(laid_out(images, LAST)), model(images))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["vgg", "resnet"])
def test_the_loss_is_bitwise_that_of_training_in_channels_last(model, norm):
    data, network, optimizer = channels_last(model, norm)
    inputs, targets = data.batch(0, 16, 0).inputs, data.batch(0, 16, 0).targets
    batch = Batch(laid_out(inputs, LAST), targets)
    loss, params = Loss(network, data.criterion, batch, seed=5), copy_of(network)
    measured, measured_grads = loss.value_and_grad(params)
    last = network.layers[-1]
    prefix = loss.prefix(params, f"{last}.linear.weight")
    value = data.criterion(network(batch.inputs), targets)
    optimizer.zero_grad()
    value.backward()
    assert torch.equal(loss(trainable(network)), value) and torch.equal(measured, value)
    assert torch.equal(loss.value_and_grad(params, [f"{last}.linear.weight"], prefix)[0], value)
    grads = gradients(network)
    assert all(torch.equal(measured_grads[name], grads[name]) for name in grads)
    optimizer.step()
    moved = add_scaled(params, measured_grads, -0.1)
    assert weights_are_channels_last(params) and weights_are_channels_last(trainable(network))
    assert weights_are_channels_last(moved)
    assert weights_are_channels_last(subtract(moved, params))
    assert weights_are_channels_last(add_scaled(params, normal_like(params, 0), 1e-3))


PROBES = ["landscape", "internal_covariate_shift", "activations"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["vgg", "resnet"])
def test_probes_are_bitwise_silent_in_channels_last(model, norm, tmp_path, monkeypatch):
    of_usual = DataSet.batch
    monkeypatch.setattr(
        DataSet,
        "batch",
        lambda data, *at: Batch(
            laid_out(of_usual(data, *at).inputs, LAST), of_usual(data, *at).targets
        ),
    )
    cfg = config(f"probes=[{','.join(PROBES)}]", "probe_every=1")
    ends = []
    for probes in ({}, instantiate(cfg.probes, _convert_="all")):
        data, network, optimizer = channels_last(model, norm)
        recorder = Recorder(tmp_path / str(len(ends)), {"fingerprint": "", "config": {}})
        call = partial(train, steps=2, batch_size=16, seed=0, probes=probes, test_every=1)
        assert call(network, data, optimizer, recorder) == "finished"
        recorder.close()
        ends.append(network.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert weights_are_channels_last(dict(network.named_parameters()))


def test_ghost_batches_keep_the_format():
    outputs = GhostBatchNorm(3, 2)(laid_out(torch.randn(4, 3, 5, 5), LAST))
    assert outputs.is_contiguous(memory_format=LAST)
