"""The theorems: both sides on tiny networks in float64; their figure, their claims."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import to_rgb
from torch import Tensor, nn

from bnstudy import claims
from bnstudy.claims import theory
from bnstudy.data import Batch
from bnstudy.figures import theory as figure
from bnstudy.measures.theory import (
    curvature_errors,
    gradient_errors,
    gradient_gain,
    mean_part,
    median_tightness,
    projected_part,
    scale_gain,
)
from bnstudy.norms import BatchNorm, LpNorm, NoisyBatchNorm
from bnstudy.params import copy_of, trainable
from bnstudy.probes.theory import Theory
from bnstudy.results import Run, load_run
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


# Theorem 4.1


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


# Theorem 4.2


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


# Theorem 4.4


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


# Which layers


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


# The figure


Lines = list[made_up.Line]


def run_of(
    directory: Path, norm: str, records: Lines, outcome: str = "finished", seed: int = 0
) -> Run:
    """A run of the experiment, four layers, with these records at steps 0, 5, ..."""
    cell = made_up.cells("theory")[0] | {"norm": norm}
    header = made_up.cell_header("theory", cell, seed)
    header["layers"] = [f"layer{number}" for number in range(1, 5)]
    lines = [{"step": 5 * number} | record for number, record in enumerate(records)]
    path = directory / f"{norm}{seed}"
    return load_run(made_up.write_record(path, header, lines, outcome))


def of_layers(**values: Any) -> made_up.Line:
    """A record of theory with the same in layers 1 and 2; those with None are left out."""
    names = ("layer1", "layer2")
    line = {f"theory/{key}/{name}": value for key, value in values.items() for name in names}
    return {"theory/positive/layer1": 0.5, "theory/positive/layer2": 0.5} | line


TERMS = {"output_gradient": 2.0, "scaled_gradient": 8.0, "mean_term": 1.0, "projection_term": 3.0}


def test_the_figure_reduces_theorem_4_1_to_parts(tmp_path):
    run = run_of(tmp_path, "batch", [of_layers(**TERMS, input_gradient=4.0)] * 2)
    assert figure.measured_layers([run]) == ["layer1", "layer2"]
    parts = (gradient_gain, scale_gain, mean_part, projected_part)
    assert [of(run, "layer2").tolist() for of in parts] == [[2, 2], [4, 4], [12.5] * 2, [37.5] * 2]


def test_the_figure_counts_what_is_false_over_all_layers(tmp_path):
    records = {
        "violated": 0.5,
        "curvature": [1.0, -2.0, 5.0, math.nan],
        "curvature_first": [1.1, -2.0, 5.0, math.nan],
        "curvature_term": [1.0, -1.0, 5.0, 1.0],
        "curvature_second": [0.5, -1.0, 6.0, 1.0],
        "weight_bound": [4.0, 4.0],
        "weight_bound_printed": [3.0, 5.0],
        "weight_gradient": [1.0, 3.0],
        "error": 1e-7,
        "input_gradient": 1.0,
        "output_gradient": 1.0,
    }
    first = of_layers(**records) | {"theory/violated/layer1": 1.0, "theory/error/layer2": 3e-7}
    # A grouped convolution has nothing of theorem 4.4.
    first = {key: first[key] for key in first if not ("weight" in key and "layer2" in key)}
    run = run_of(tmp_path, "batch", [first])
    found = [of(run)[1].tolist() for of in figure.PRINTED.values()]
    assert found == [[75], [pytest.approx(100 / 3)], [50]]
    assert median_tightness(run, "layer1").tolist() == [0.5]
    assert np.isnan(median_tightness(run, "layer2")).all()
    assert gradient_errors(run)[1].tolist() == [3e-7]
    relative = [0.1 / 1.1, 0, 0]
    expected = np.percentile(2 * relative, 95)
    assert curvature_errors(run)[1][0] == pytest.approx(expected)


def test_the_figure_has_a_line_per_layer_darker_towards_the_outputs(tmp_path):
    runs = [
        run_of(tmp_path, "batch", [made_up.theory("batch", LAYER_NAMES, 0.1, rng)] * 3, seed=seed)
        for seed, rng in enumerate(map(np.random.default_rng, (0, 1)))
    ]
    drawn = figure.draw(runs)
    lines = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 3]
    assert len(lines) == 3  # the last layer has no norm
    shades = [sum(to_rgb(line.get_color())) for line in lines]
    assert shades == sorted(shades, reverse=True)
    ratios = [gradient_gain(run, "layer2") for run in runs]
    geometric = np.sqrt(ratios[0] * ratios[1])
    assert np.allclose(np.asarray(lines[1].get_ydata(), dtype=float), geometric)
    assert not any(not axes.axison for axes in drawn.axes)


LAYER_NAMES = [f"layer{number}" for number in range(1, 5)]


# The claims


CLAIMS = {claim.name: claim for claim in theory.CLAIMS}


def value(name: str, *runs: Run) -> float:
    return CLAIMS[name].measure(*runs)


def test_every_claim_can_be_measured_and_says_what_it_lacks(tmp_path):
    runs, rng = [], np.random.default_rng(0)
    for norm in ("none", "batch"):
        for seed in (0, 1):
            records = [made_up.theory(norm, LAYER_NAMES, 0.2 * i, rng) for i in range(1, 4)]
            runs.append(run_of(tmp_path, norm, records, seed=seed))
    for claim in theory.CLAIMS:
        result = claims.judge(claim, {"theory": runs, "theory_mlp": runs})
        assert (result.n, result.verdict != claims.NO_RUNS) == (2, True), claim.name
    silent = [replace(run, records={"train/loss": ([0], [1.0])}) for run in runs]
    for claim in theory.CLAIMS:
        result = claims.judge(claim, {"theory": silent, "theory_mlp": silent})
        assert result.verdict == claims.NO_RUNS
        assert any("has no theory/" in note for note in result.notes), claim.name


def test_the_claims_on_theorem_4_1(tmp_path):
    records = of_layers(**TERMS, violated=0.9, error=1e-6, scale_percentiles=[0.1, 4.0, 9.0])
    records |= of_layers(input_gradient=4.0)
    later = records | {"theory/error/layer2": 1e-5, "theory/violated/layer1": math.nan}
    later |= {"theory/scale_percentiles/layer1": [0.1, 5.0, 9.0], "theory/positive/layer1": 0.8}
    run = run_of(tmp_path, "batch", [records, records, later])
    assert value("theorem_4.1_exact", run) == 1e-5
    assert value("theorem_4.1_printed", run) == pytest.approx(0.9)
    # Times the batch size, of which a random direction has a share of one.
    assert value("theorem_4.1_mean", run) == run.batch_size / 8
    assert value("theorem_4.1_projection", run) == run.batch_size * 3 / 8
    assert value("theorem_4.2_product", run) == pytest.approx(0.55)


@pytest.mark.parametrize("error", [math.inf, math.nan])
def test_theorem_4_1_fails_where_its_error_is_not_finite_at_finite_gradients(tmp_path, error):
    records = of_layers(output_gradient=2.0, input_gradient=4.0, error=1e-6)
    broken = records | {"theory/error/layer2": error}
    assert value("theorem_4.1_exact", run_of(tmp_path, "batch", [records, broken])) == math.inf
    for side in ("output_gradient", "input_gradient"):
        gone = broken | {f"theory/{side}/layer2": error}
        assert value("theorem_4.1_exact", run_of(tmp_path, "batch", [records, gone])) == 1e-6
    gone |= {"theory/error/layer1": error, f"theory/{side}/layer1": error}
    assert math.isnan(value("theorem_4.1_exact", run_of(tmp_path, "batch", [gone])))


def test_the_claims_on_theorems_4_2_and_4_4(tmp_path):
    records = of_layers(
        curvature=[1.0, -2.0, 5.0, math.nan],
        curvature_first=[1.0, -2.0, 6.0, 1.0],
        curvature_term=[1.0, -1.0, 5.0, 1.0],
        curvature_second=[1.0, -3.0, 6.0, 1.0],
        weight_gradient=[1.0, 3.0, 2.0],
        weight_bound=[4.0, 4.0, 4.0],
    )
    run = run_of(tmp_path, "batch", [records] * 20)
    assert value("theorem_4.2_exact", run) == pytest.approx(1 / 6)
    assert value("theorem_4.2_second", run) == pytest.approx(2 / 3)
    assert value("theorem_4.2_convex", run) == pytest.approx(3 / 4)
    assert value("theorem_4.4_bound", run) == 0.75
