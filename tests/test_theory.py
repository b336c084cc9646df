"""The probe of the theorems on BatchNorm."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.norms import BatchNorm, LpNorm, NoisyBatchNorm
from bnstudy.params import copy_of, trainable
from bnstudy.probes.theory import Theory
from bnstudy.train import gradients
from bnstudy.update import Layer, Loss, Update

Measured = dict[str, Tensor]


class Net(nn.Module):
    """Two convolutions and a linear layer, a norm after each, and a linear one for the outputs."""

    def __init__(self, norm: Callable[[int], nn.Module], groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3, stride=2, padding=1)
        self.conv_norm = norm(5)
        self.second = nn.Conv2d(5, 5, 2, dilation=2, groups=groups)
        self.second_norm = norm(5)
        self.linear = nn.Linear(20, 6)
        self.linear_norm = norm(6)
        self.out = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        a = F.relu(self.conv_norm(self.conv(images)), inplace=True)
        a = F.gelu(self.second_norm(self.second(a)))
        return self.out(torch.tanh(self.linear_norm(self.linear(a.flatten(1)))))


LAYERS = {
    name: Layer((f"{name}.weight", f"{name}.bias"), (), f"{name}_norm", f"{name}_norm")
    for name in ("conv", "second", "linear")
} | {"out": Layer(("out.weight", "out.bias"), (), "out")}


def batch_of(samples: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(samples, 2, 8, 8, generator=generator, dtype=torch.float64)
    return Batch(images, torch.arange(samples) % 3)


def net(norm: Callable[[int], nn.Module], **options: Any) -> Net:
    """A network whose gammas and betas are of any sign and size."""
    torch.manual_seed(1)
    model = Net(norm, **options).double()
    for name, parameter in model.named_parameters():
        if "_norm" in name:
            nn.init.normal_(parameter, std=1.5)
    return model


def update_of(model: nn.Module, layers: dict[str, Layer] = LAYERS, samples: int = 7) -> Update:
    """A step of SGD; the criterion is curved everywhere."""
    batch = batch_of(samples)
    loss = Loss(model, F.cross_entropy, batch, seed=11)
    model.zero_grad()
    torch.manual_seed(11)
    loss.criterion(model(batch.inputs), batch.targets).backward()
    before, grads = copy_of(model), gradients(model)
    return Update(0, loss, before, grads, trainable(model), 0.1, layers, [loss].__getitem__)


def measure(norm: Callable[[int], nn.Module] = BatchNorm, **options: Any) -> Measured:
    return Theory(units=9)(update_of(net(norm, **options)))


def large_eps(features: int) -> nn.Module:
    """A norm whose eps is as large as a variance."""
    return BatchNorm(features, eps=0.7)


def dead(model: Net) -> Net:
    """The network with a channel that is always zero, and one that is constant."""
    with torch.no_grad():
        model.conv.weight[2] = model.conv.bias[2] = 0
        model.second.weight[1] = 0
    return model


NORMS = [BatchNorm, large_eps, lambda features: BatchNorm(features, affine=False)]


NETWORKS = [*(net(norm) for norm in NORMS), dead(net(BatchNorm)), dead(net(large_eps))]


NAMES = ["usual", "large eps", "no affine", "dead", "dead, large eps"]


MEASURED = ("conv", "second", "linear")


@pytest.fixture(scope="module", params=NETWORKS, ids=NAMES)
def measured(request: pytest.FixtureRequest) -> Measured:
    """All units of a network."""
    return Theory(units=9)(update_of(request.param))


def test_the_gradient_is_what_theorem_4_1_says(measured):
    assert measured["layers"] == 3
    for name in MEASURED:
        assert measured[f"error/{name}"] < 1e-11
        left, upstream, mean_term, projection = (
            measured[f"{key}/{name}"]
            for key in ("input_gradient", "scaled_gradient", "mean_term", "projection_term")
        )
        assert left > 0 and mean_term > 0 and projection > 0
        torch.testing.assert_close(left, upstream - mean_term - projection, rtol=1e-9, atol=0)


def test_the_gradient_term_by_term():
    """A loss whose gradient in z is given: L = <c, z>, so g = c."""
    torch.manual_seed(2)
    y, c = torch.randn(2, 6, 4, dtype=torch.float64)
    model = nn.Sequential(BatchNorm(4)).double()
    nn.init.normal_(model[0].weight)
    loss = Loss(model, lambda z, c: (z * c).sum(), Batch(y, c), seed=0)
    layers = {"norm": Layer((), (), "0", "0")}
    update = Update(0, loss, copy_of(model), {}, {}, 0.1, layers, [loss].__getitem__)
    measured = Theory(units=2)(update)
    square = y.var(0, correction=0) + 1e-5
    y_hat, scale = (y - y.mean(0)) / square.sqrt(), model[0].weight.detach() ** 2 / square
    rho = y_hat.square().mean(0)
    inner = (c * y_hat).sum(0)
    expected = {
        "output_gradient": c.square().sum(),
        "scaled_gradient": (scale * c.square().sum(0)).sum(),
        "mean_term": (scale * c.sum(0) ** 2 / 6).sum(),
        "projection_term": (scale * (2 - rho) * inner**2 / 6).sum(),
        "scale_percentiles": scale.sort().values[[0, 1, 3]],
        "positive": (inner > 0).double().mean(),
        "violated": torch.tensor(1.0, dtype=torch.float64),
        # The loss is linear in z, so all curvature is that of the norm.
        "curvature_term": torch.zeros(2, dtype=torch.float64),
    }
    for key, value in expected.items():
        torch.testing.assert_close(measured[f"{key}/norm"], value, rtol=1e-12, atol=0)
    torch.testing.assert_close(measured["curvature/norm"], measured["curvature_first/norm"])
    assert measured["curvature/norm"].abs().min() > 0
    assert not any("weight" in key or "input/" in key for key in measured)


def test_as_printed_theorem_4_1_is_false():
    measured = measure()
    assert all(measured[f"violated/{name}"] == 1 for name in MEASURED)
    # Of a constant unit y_hat is 0, and so is the term that is wrong.
    of_dead = Theory()(update_of(dead(net(BatchNorm))))
    assert (of_dead["violated/second"], of_dead["violated/linear"]) == (4 / 5, 1)


def test_the_curvature_is_what_theorem_4_2_says(measured):
    for name in MEASURED:
        left, right = measured[f"curvature/{name}"], measured[f"curvature_first/{name}"]
        assert len(left) == (6 if name == "linear" else 5)
        size = (measured[f"curvature_term/{name}"].abs() + right.abs()).clamp(min=1e-300)
        assert ((left - right).abs() / size).max() < 1e-8
        assert left.abs().max() > 0


def test_the_curvature_is_that_of_finite_differences():
    """y is moved along the gradient of one unit, by hand."""
    model = net(large_eps)
    measured, batch = Theory(units=9)(update_of(model)), batch_of()
    y = model.conv(batch.inputs).detach()

    def loss(z: Tensor) -> Tensor:
        a = F.gelu(model.second_norm(model.second(F.relu(z))))
        outputs = model.out(torch.tanh(model.linear_norm(model.linear(a.flatten(1)))))
        return F.cross_entropy(outputs, batch.targets)

    y.requires_grad_()
    z = model.conv_norm(y)
    (v,) = torch.autograd.grad(loss(z), y)
    z = z.detach().requires_grad_()
    (g,) = torch.autograd.grad(loss(z), z)
    s2 = y.var((0, 2, 3), correction=0) + 0.7
    for unit in range(5):
        mask = torch.zeros(5, dtype=torch.float64)
        mask[unit] = 1
        for gradient, at, of in ((v, y, lambda y: loss(model.conv_norm(y))), (g, z, loss)):
            along = gradient * mask[:, None, None]
            if not along.any():  # the ReLU is off
                assert measured["curvature/conv"][unit] == 0
                continue
            h = 1e-4 / along.norm()
            with torch.no_grad():
                second = (of(at + h * along) - 2 * of(at) + of(at - h * along)) / h**2
            if of is loss:
                expected = model.conv_norm.weight[unit] ** 2 / s2[unit] * second
                bend = measured["curvature_first/conv"] - measured["curvature_term/conv"]
                found = (measured["curvature_second/conv"] - bend)[unit]
            else:
                expected, found = second, measured["curvature/conv"][unit]
            torch.testing.assert_close(found, expected.detach(), rtol=2e-3, atol=1e-9)


def test_without_eps_the_first_line_is_that_of_the_paper():
    """gamma^2 / s^2 v' H v - gamma / (m s^2) <g, y_hat> ||v||^2."""
    torch.manual_seed(4)
    y, h = torch.randn(6, 1, dtype=torch.float64), torch.randn(6, 6, dtype=torch.float64)
    h, linear = h + h.T, torch.randn(6, dtype=torch.float64)
    model = nn.Sequential(BatchNorm(1, eps=1e-14)).double()
    nn.init.constant_(model[0].weight, -1.3)

    def quadratic(z: Tensor, _: Tensor) -> Tensor:
        return linear @ z[:, 0] + z[:, 0] @ h @ z[:, 0] / 2

    loss = Loss(model, quadratic, Batch(y, y), seed=0)
    layers = {"norm": Layer((), (), "0", "0")}
    update = Update(0, loss, copy_of(model), {}, {}, 0.1, layers, [loss].__getitem__)
    measured = Theory()(update)
    s2, m = y.var(correction=0), 6
    y_hat = ((y - y.mean()) / s2.sqrt())[:, 0]
    g = linear + h @ (-1.3 * y_hat)
    v = -1.3 / s2.sqrt() * (g - g.mean() - (g @ y_hat) / m * y_hat)
    bend = 1.3 / (m * s2) * (g @ y_hat) * (v @ v)
    first = 1.3**2 / s2 * v @ h @ v + bend
    second = 1.3**2 / s2 * g @ h @ g + bend
    for key, value in (("curvature", first), ("curvature_first", first), ("_second", second)):
        key = f"curvature{key}" if key.startswith("_") else key
        torch.testing.assert_close(measured[f"{key}/norm"][0], value, rtol=1e-9, atol=1e-12)


def test_the_gradient_of_the_weights_is_within_theorem_4_4(measured):
    for name in MEASURED:
        actual, bound = measured[f"weight_gradient/{name}"], measured[f"weight_bound/{name}"]
        assert (actual <= bound * (1 + 1e-9)).all() and bound.max() > 0
        # By theorem 4.1 the bound is lambda^2 ||v||^2.
        total = measured[f"largest_input/{name}"] * measured[f"input_gradient/{name}"]
        torch.testing.assert_close(bound.sum(), total, rtol=1e-8, atol=0)


def test_the_largest_input_is_that_of_the_map_from_weights_to_outputs():
    """Of a convolution by its own Jacobian, of a linear layer by its singular values."""
    model, batch = net(BatchNorm), batch_of(samples=2)
    measured = Theory()(update_of(model, samples=2))
    inputs = {"conv": batch.inputs}
    inputs["second"] = F.relu(model.conv_norm(model.conv(batch.inputs)))
    a = F.gelu(model.second_norm(model.second(inputs["second"])))
    inputs["linear"] = a.flatten(1)
    for name in MEASURED:
        module = getattr(model, name)
        one = module.weight[:1].detach()

        def outputs(weight: Tensor, module: nn.Module = module, x: Tensor = inputs[name]) -> Tensor:
            if isinstance(module, nn.Linear):
                return F.linear(x.detach(), weight)
            options = (None, module.stride, module.padding, module.dilation)
            return F.conv2d(x.detach(), weight, *options)

        jacobian = torch.autograd.functional.jacobian(outputs, one).flatten(
            -4 if one.dim() > 2 else -2
        )
        largest = torch.linalg.matrix_norm(jacobian.reshape(-1, one.numel()), 2) ** 2
        torch.testing.assert_close(measured[f"largest_input/{name}"], largest, rtol=1e-9, atol=0)


class One(nn.Module):
    """A linear layer, its norm, and a loss that is linear in what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 1, bias=False), BatchNorm(1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.norm(self.linear(inputs))


def test_the_bound_of_theorem_4_4_is_attained_by_inputs_along_the_gradient():
    """X = lambda v q' / ||v||: then ||X' v|| = lambda ||v||. v lies along y - mean and the rest."""
    torch.manual_seed(5)
    model = One().double()
    # Of m = 2 values y_hat is (1, -1) but for eps, so v is along y - mean.
    inputs = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64) * torch.tensor([[1.0], [-1.0]])
    c = torch.tensor([[3.0], [-1.0]], dtype=torch.float64)
    model.norm.eps = 0.5
    loss = Loss(model, lambda z, c: (z * c).sum(), Batch(inputs, c), seed=0)
    loss.criterion(model(inputs), c).backward()
    layers = {"one": Layer(("linear.weight",), (), "norm", "norm")}
    grads = gradients(model)
    update = Update(0, loss, copy_of(model), grads, {}, 0.1, layers, [loss].__getitem__)
    measured = Theory()(update)
    assert measured["largest_input/one"] == pytest.approx(2 * 6)
    assert measured["weight_gradient/one"].item() > 0
    torch.testing.assert_close(measured["weight_gradient/one"], measured["weight_bound/one"])
    # Printed: gamma^2 / s^2 (lambda^4 ||g||^4 - <1, g>^2 / m - lambda^2 <g, y_hat>^2).
    y = model.linear(inputs).detach()[:, 0]
    s2 = y.square().mean() + 0.5
    printed = (12**2 * 10**2 - 2**2 / 2 - 12 * ((y / s2.sqrt()) @ c[:, 0]) ** 2) / s2
    torch.testing.assert_close(measured["weight_bound_printed/one"][0], printed)


def test_without_batch_normalization_nothing_is_measured():
    for norm in (lambda _: nn.Identity(), NoisyBatchNorm, lambda n: LpNorm(n, 2.0)):
        assert measure(norm).keys() == {"layers"}
        assert measure(norm)["layers"] == 0


def test_a_frozen_norm_is_not_measured():
    model = net(BatchNorm)
    model.second_norm.eval()
    measured = Theory()(update_of(model))
    assert measured["layers"] == 2
    assert not any(key.endswith("/second") for key in measured)
    without = net(
        lambda n: nn.BatchNorm2d(n, track_running_stats=False) if n == 5 else BatchNorm(n)
    )
    without.second_norm.eval()
    assert Theory()(update_of(without))["layers"] == 3


class Twice(Net):
    """The norm of the linear layer comes a second time, and after an activation function."""

    def forward(self, images: Tensor) -> Tensor:
        a = F.gelu(self.conv_norm(F.softplus(self.conv(images))))
        a = F.gelu(self.second_norm(self.second(a)))
        z = torch.tanh(self.linear_norm(self.linear(a.flatten(1))))
        return self.out(torch.tanh(self.linear_norm(z)))


def test_a_norm_after_the_activation_function_or_used_twice():
    torch.manual_seed(1)
    measured = Theory()(update_of(Twice(BatchNorm).double()))
    assert all(measured[f"error/{name}"] < 1e-11 for name in MEASURED)
    for name in MEASURED:
        left, right = measured[f"curvature/{name}"], measured[f"curvature_first/{name}"]
        torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-12)
    # What it takes is no linear function of weights, so of theorem 4.4 there is nothing.
    assert "weight_bound/conv" not in measured and "weight_bound/linear" in measured


def test_the_wanted_layers_and_units():
    measured = Theory(layers=["linear", "out"], units=2)(update_of(net(BatchNorm)))
    every = measure()
    assert measured["layers"] == 1
    assert {key.split("/")[1] for key in measured if "/" in key} == {"linear"}
    for key in ("curvature", "weight_gradient", "weight_bound_printed"):
        torch.testing.assert_close(measured[f"{key}/linear"], every[f"{key}/linear"][[0, 3]])


def test_only_a_layer_that_is_a_matrix_of_its_inputs_has_theorem_4_4():
    measured = measure(groups=5)
    assert "weight_bound/conv" in measured and "curvature/second" in measured
    assert not any("weight" in key and key.endswith("/second") for key in measured)


def test_nothing_stays_hooked_or_moved_also_where_the_network_fails():
    model = net(BatchNorm)
    update = update_of(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grads = {name: grad.clone() for name, grad in update.grads.items()}
    Theory()(update)
    failing = replace(
        update, loss=replace(update.loss, batch=Batch(torch.zeros(2), torch.zeros(2)))
    )
    with pytest.raises((RuntimeError, ValueError)):
        Theory()(failing)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(grads[name], grad) for name, grad in update.grads.items())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


def test_what_is_not_finite_is_recorded_as_that():
    model = net(BatchNorm)
    update = update_of(model)
    params = dict(update.params) | {"conv.weight": update.params["conv.weight"] * math.inf}
    measured = Theory()(replace(update, params=params))
    for key in ("input_gradient", "error", "violated", "positive", "curvature"):
        assert measured[f"{key}/conv"].isnan().all(), key
    assert measured["largest_input/second"].isnan()


def test_a_probe_of_no_units_is_refused():
    with pytest.raises(ValueError, match=r"^probes.theory.units=0 must be at least 1\.$"):
        Theory(units=0)


def test_in_single_precision_the_error_is_rounding():
    model = net(BatchNorm).float()
    update = update_of_floats(model)
    measured = Theory()(update)
    assert all(0 < measured[f"error/{name}"] < 1e-4 for name in MEASURED)


def update_of_floats(model: nn.Module) -> Update:
    batch = batch_of()
    batch = Batch(batch.inputs.float(), batch.targets)
    loss = Loss(model, F.cross_entropy, batch, seed=0)
    params = copy_of(model)
    return Update(0, loss, params, params, params, 0.1, LAYERS, [loss].__getitem__)
