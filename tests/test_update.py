"""The loss as a function: values, gradients, Hessians, and that calling it changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import build, options, small_config
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.norms import BatchNorm
from bnstudy.params import Params, add_scaled, normal_like, trainable
from bnstudy.update import Loss, layers_of, percentiles, sample_units, select_layers


class Noisy(nn.Module):
    """A network with everything that remembers or draws: BatchNorm, a buffer, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = BatchNorm(4)
        self.dropout = nn.Dropout(0.5)
        self.linear = nn.Linear(16, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        hidden = torch.tanh(self.norm(self.conv(inputs)))
        return self.linear(self.dropout(hidden.flatten(1)))


def noisy_loss(**more: Any) -> Loss:
    torch.manual_seed(0)
    model = Noisy().double()
    batch = Batch(torch.randn(8, 1, 4, 4, dtype=torch.float64), torch.arange(8) % 3)
    return Loss(model, nn.functional.cross_entropy, batch, seed=5, **more)


def state(model: nn.Module) -> list[Any]:
    """All of a model that a measurement could move, and the generator."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {name: p.grad for name, p in model.named_parameters()}
    flags = [p.requires_grad for p in model.parameters()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    modes = [module.training for module in model.modules()]
    return [tensors, torch.get_rng_state(), grads, flags, hooks, modes]


def same(before: list[Any], after: list[Any]) -> bool:
    tensors = all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    return tensors and torch.equal(before[1], after[1]) and before[2:] == after[2:]


CALLS: dict[str, Callable[[Loss, Params], Any]] = {
    "value": lambda loss, params: loss(params),
    "value_and_grad": lambda loss, params: loss.value_and_grad(params),
    "hvp": lambda loss, params: loss.hvp(params, normal_like(params, 0)),
    "activations": lambda loss, params: loss.activations(params, ["norm"]),
    "hessian": lambda loss, params: loss.hessian(params)(normal_like(params, 0)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("training", [True, False])
def test_calling_the_loss_changes_nothing(call, statistics, training):
    loss = noisy_loss(statistics=statistics)
    loss.model.train(training)
    loss.model.dropout.eval()  # a submodule in a mode of its own keeps it
    before = state(loss.model)
    call(loss, trainable(loss.model))
    assert same(before, state(loss.model))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_call_that_raises_changes_nothing(call):
    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    good = noisy_loss()
    loss = Loss(good.model, broken, good.batch, seed=5, statistics="running")
    before = state(loss.model)
    with pytest.raises(RuntimeError, match="no"):
        call(loss, trainable(loss.model))
    assert same(before, state(loss.model))


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("norm", options("norm"))
def test_the_loss_is_bitwise_that_of_training(model, norm):
    data, network, _ = build(small_config(model, norm))
    batch = data.batch(0, 4, 0)
    loss = Loss(network, data.criterion, batch, seed=5)
    params = trainable(network)
    measured, measured_grads = loss.value_and_grad(params)
    torch.manual_seed(5)
    value = data.criterion(network(batch.inputs), batch.targets)
    value.backward()
    assert torch.equal(measured, value) and torch.equal(loss(params), value)
    for name, parameter in network.named_parameters():
        assert torch.equal(measured_grads[name], parameter.grad)


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("norm", ["none", "batch", "noisy_batch", "weight"])
def test_going_on_from_a_prefix_is_bitwise_the_whole_pass(model, norm):
    data, network, _ = build(small_config(model, norm))
    loss = Loss(network, data.criterion, data.batch(0, 4, 0), seed=5)
    params, prefix = trainable(network), None
    moved = add_scaled(params, normal_like(params, 1), 1e-3)
    layers = layers_of(network)
    now = dict(params)
    for name in list(layers)[:: max(1, len(layers) // 4)]:
        for before in layers:
            if before == name:
                break
            now |= {part: moved[part] for part in layers[before].weights + layers[before].norm}
        weights = layers[name].weights
        prefix = loss.prefix(now, weights[0], prefix)
        assert (prefix is None) == (model in ("torchvision", "transformer"))
        value, grads = loss.value_and_grad(now, weights, prefix)
        whole_value, whole = loss.value_and_grad(now, weights)
        assert torch.equal(value, whole_value)
        assert all(torch.equal(grads[weight], whole[weight]) for weight in weights)


def test_a_prefix_is_passed_once():
    calls = []
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    model[0].register_forward_hook(lambda *_: calls.append(0))
    batch = Batch(torch.randn(5, 3), torch.arange(5) % 3)
    loss = Loss(model, nn.functional.cross_entropy, batch, seed=0)
    params, prefix = trainable(model), None
    for i in range(4):
        prefix = loss.prefix(params, f"{i}.weight", prefix)
        loss.value_and_grad(params, [f"{i}.weight"], prefix)
    assert len(calls) == 2  # with its own gradient, and for all the others
    backwards = loss.prefix(params, "1.weight", prefix)  # asked for an earlier one: from the start
    assert backwards is not None and backwards.modules == 1 and len(calls) == 3


def test_what_is_no_chain_has_no_prefix():
    twice, relu = nn.Linear(3, 3), nn.ReLU()
    inputs = Batch(torch.randn(5, 3), torch.arange(5) % 3)
    tied = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    tied[2].weight = tied[0].weight
    repeated = nn.Sequential(twice, relu, twice)
    for model in (tied, repeated, nn.Linear(3, 3)):
        loss = Loss(model, nn.functional.cross_entropy, inputs, seed=0)
        assert loss.prefix(trainable(model), "0.weight") is None


def test_noise_is_that_of_the_seed_wherever_the_parameters_are():
    loss = noisy_loss()
    params = trainable(loss.model)
    first = loss(params)
    torch.rand(7)  # whatever others draw in between
    assert torch.equal(loss(params), first)
    other = Loss(loss.model, loss.criterion, loss.batch, seed=6)
    assert not torch.equal(other(params), first)


def test_running_statistics_make_another_function():
    loss = noisy_loss()
    running = Loss(loss.model, loss.criterion, loss.batch, seed=5, statistics="running")
    params = trainable(loss.model)
    loss.model.eval()
    expected = loss.criterion(loss.model(loss.batch.inputs), loss.batch.targets)
    assert torch.equal(running(params), expected)
    assert not torch.equal(loss(params), expected)


def test_gradient_with_respect_to_some_is_that_part_of_the_whole():
    loss = noisy_loss()
    params = trainable(loss.model)
    value, grads = loss.value_and_grad(params)
    part_value, part = loss.value_and_grad(params, wrt=["norm.weight", "conv.bias"])
    assert list(part) == ["norm.weight", "conv.bias"] and torch.equal(part_value, value)
    assert torch.equal(part["norm.weight"], grads["norm.weight"])
    # A bias in front of BatchNorm does nothing; its gradient is rounding.
    assert part["conv.bias"].abs().max() < 1e-12


@pytest.mark.parametrize("norm", options("norm"))
def test_hvp_against_finite_differences(norm):
    """Through batch statistics too, where jvp(jacrev) and torch.func.hessian are wrong."""
    torch.manual_seed(1)
    from hydra.utils import instantiate

    norm_of = instantiate(small_config("vgg", norm).norm)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), norm_of(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    model.double()
    batch = Batch(torch.randn(6, 2, 4, 4, dtype=torch.float64), torch.arange(6) % 3)
    loss = Loss(model, nn.functional.cross_entropy, batch, seed=0)
    params = trainable(model)
    vector = normal_like(params, 3)

    def difference(name: str, step: float) -> Tensor:
        _, ahead = loss.value_and_grad(add_scaled(params, vector, step), wrt=[name])
        _, behind = loss.value_and_grad(add_scaled(params, vector, -step), wrt=[name])
        return (ahead[name] - behind[name]) / (2 * step)

    product = loss.hvp(params, vector)
    for name in params:
        # Extrapolated to steps of zero: the error of one difference alone is that of its step.
        expected = (4 * difference(name, 2e-5) - difference(name, 4e-5)) / 3
        torch.testing.assert_close(product[name], expected, rtol=1e-7, atol=1e-9)


def test_hvp_of_a_linear_function_is_zero():
    model = nn.Linear(3, 1).double()
    batch = Batch(torch.randn(4, 3, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    loss = Loss(model, lambda outputs, targets: outputs.sum(), batch, seed=0)
    params = trainable(model)
    assert all(not product.any() for product in loss.hvp(params, normal_like(params, 0)).values())


def test_activations_are_the_modules_outputs_in_that_forward():
    loss = noisy_loss()
    seen = {}
    loss.model.norm.register_forward_hook(lambda _m, _i, output: seen.update(norm=output))
    loss.model(loss.batch.inputs)
    activations = loss.activations(trainable(loss.model), ["norm"])
    assert torch.equal(activations["norm"], seen["norm"]) and not activations["norm"].requires_grad


def test_unknown_probe_layers_are_named():
    _, network, _ = build(small_config("deep_linear", "none"))
    layers = layers_of(network)
    assert list(select_layers(layers, ["layer3", "layer1"])) == ["layer1", "layer3"]
    assert select_layers(layers, None) == layers
    with pytest.raises(ValueError, match="'layer9' is not in the model; its layers are layer1, "):
        select_layers(layers, ["layer9"])


@pytest.mark.parametrize("positions", [(), (2, 3)])
def test_sampled_units_are_evenly_spaced(positions):
    outputs = torch.arange(4.0 * 7 * 6).view(4, 7, 6)[:, :, : 6 if positions else 1]
    outputs = outputs.reshape(4, 7, *positions)
    for units, chosen in ((1, [0]), (3, [0, 2, 4]), (7, range(7)), (99, range(7))):
        expected = torch.stack([outputs[:, unit].flatten() for unit in chosen])
        assert torch.equal(sample_units(outputs, units), expected)


@pytest.mark.parametrize("rows", [1, 3])
def test_percentiles_are_the_nearest_ranks_of_the_textbook(rows):
    """The p-th percentile: the smallest value that at least p % of the values do not exceed."""
    for size in range(1, 201):
        values = torch.stack([torch.randperm(size) for _ in range(rows)]).double()
        expected = [
            next(v for v in range(size) if 100 * (v + 1) >= percent * size)
            for percent in (15, 50, 85)
        ]
        assert percentiles(values).tolist() == [expected] * rows
