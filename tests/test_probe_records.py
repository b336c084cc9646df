"""What probes record besides: smaller steps, the last step, drift, parameters of no layer."""

from dataclasses import replace

import pytest
import torch
from conftest import build, options, run, small_config
from scipy.stats import wasserstein_distance
from torch import nn

from bnstudy.lanczos import mean_of, signs_like, top_eigenvalues
from bnstudy.observe import observe
from bnstudy.params import add_scaled, copy_of, dot, normal_like
from bnstudy.probes.drift import Drift
from bnstudy.probes.hessian_trace import HessianTrace
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.spectrum import Spectrum
from bnstudy.train import loss_of_step
from bnstudy.update import Update, layers_of


def test_small_steps_and_the_curve_along_the_gradient_of_a_quadratic():
    update, matrix = quadratic_update()
    measured = Landscape(small_multiples=(1 / 64, 1 / 8), curve_multiples=(0.25, 16))(update)
    g = update.grads["w"].double()
    for prefix, multiples in (("small_", (1 / 64, 1 / 8)), ("curve_", (0.25, 16))):
        etas = torch.tensor(multiples, dtype=torch.float64) * update.lr
        torch.testing.assert_close(measured[f"{prefix}step_size"], etas)
        there = [update.loss({"w": update.params["w"] - eta * update.grads["w"]}) for eta in etas]
        torch.testing.assert_close(measured[f"{prefix}loss"], torch.stack(there))
    expected = measured["small_step_size"] * (matrix.double() @ g).norm()
    torch.testing.assert_close(measured["small_gradient_change"], expected, rtol=1e-6, atol=0)
    assert "curve_gradient_change" not in measured


def quadratic_update():
    """A step on w'Aw / 2, in float64."""
    generator = torch.Generator().manual_seed(3)
    matrix = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(4, dtype=torch.float64))

        def forward(self, matrix):
            return 0.5 * self.w @ matrix @ self.w

    return observe(Quadratic(), lambda out, _: out, matrix, None, lr=0.01), matrix


@pytest.mark.parametrize("every", [2, 3, 100])
def test_the_last_step_is_probed(every, tmp_path):
    probes = {"landscape": Landscape(every=every)}
    _, _, lines = run(small_config("mlp", "batch"), tmp_path, probes, steps=6)
    probed = [line["step"] for line in lines if "landscape/loss" in line]
    assert probed == sorted({*range(0, 6, every), 5})


class Moved(nn.Module):
    """A layer whose outputs move by its bias alone: y = x + bias."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.fc.weight.data = torch.eye(3)
        self.fc.bias.data.zero_()

    def forward(self, input):
        return self.fc(input)


def test_a_unit_that_moves_by_its_bias_drifts_by_as_many_standard_deviations():
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    inputs = inputs * torch.tensor([1, 2, 0])
    update = observe(Moved(), lambda out, _: out.sum(), inputs, None)
    still = {name: tensor.clone() for name, tensor in update.params.items()}
    shifted = still | {"fc.bias": torch.tensor([0.5, -1.0, 1.0])}
    later = observe(Moved(), lambda out, _: out.sum(), inputs.flip(0), None).loss
    update = replace(update, new_params=shifted, losses=lambda n: later)
    measured = Drift(units=3)(update)
    std = inputs.std(0, correction=0)
    expected = torch.tensor([0.5, 1.0]) / std[:2]
    for when in ("same", "next"):  # the same samples in another order: the same distribution
        distance = measured[f"norm_input_{when}/fc"]
        torch.testing.assert_close(distance[:2], expected)
        assert distance[2].isnan()  # a unit that does not vary
        torch.testing.assert_close(measured[f"preactivation_{when}/fc"][:2], expected)
        torch.testing.assert_close(measured[f"norm_input_mean_{when}/fc"], expected.mean())
    assert "activation_same/fc" not in measured
    unmoved = Drift(units=3)(replace(update, new_params=still))
    assert unmoved["norm_input_same/fc"][:2].abs().max() == 0


@pytest.mark.parametrize(("size", "next_size"), [(30, 17), (8, 6), (6, 8), (49, 28)])
def test_drift_to_a_batch_of_another_size_is_scipys_distance(size, next_size):
    now, then = torch.randn(size, 3), torch.randn(next_size, 3)
    update = observe(Moved(), lambda out, _: out.sum(), now, None)
    later = observe(Moved(), lambda out, _: out.sum(), then, None).loss
    update = replace(update, new_params=update.params, losses=lambda n: later)
    measured = Drift(units=3)(update)["norm_input_next/fc"]
    for unit, distance in enumerate(measured.tolist()):
        a, b = now[:, unit], then[:, unit]
        expected = wasserstein_distance(a.numpy(), b.numpy()) / a.std(correction=0).item()
        assert distance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("placement", ["before", "after"])
def test_drift_looks_before_the_norm_before_and_after_the_activation_function(placement):
    update = step_of("mlp", "batch", f"model.placement={placement}")
    seen: dict[str, torch.Tensor] = {}

    def keep(place, values):
        seen.setdefault(place, values)  # returns nothing: a hook's value would replace the tensor

    layer = update.loss.model.get_submodule("layer1")
    layer.norm.register_forward_pre_hook(lambda _m, inputs: keep("norm_input", inputs[0]))
    layer.preactivation.register_forward_hook(lambda _m, _i, out: keep("preactivation", out))
    layer.register_forward_hook(lambda _m, _i, out: keep("activation", out))
    update.loss(update.params)
    before = {place: values.mean(0) for place, values in seen.items()}
    deviation = {place: values.std(0, correction=0) for place, values in seen.items()}
    seen.clear()
    update.loss(update.new_params)
    measured = Drift(layers=["layer1"])(update)
    for place, values in seen.items():
        shift = (values.mean(0) - before[place]).abs() / deviation[place]
        expected = shift[deviation[place] > 0].mean()
        torch.testing.assert_close(measured[f"{place}_mean_same/layer1"], expected)


def step_of(model, norm, *overrides):
    """The first step of a small network with lr 0.1."""
    cfg = small_config(model, norm, *overrides)
    data, network, _ = build(cfg)
    network.train()
    losses = [loss_of_step(network, data, step, cfg.batch_size, 0) for step in range(3)]
    params = copy_of(network)
    _, grads = losses[0].value_and_grad(params)
    moved = add_scaled(params, grads, -0.1)
    layers = layers_of(network)
    return Update(0, losses[0], params, grads, moved, 0.1, layers, losses.__getitem__)


class Recurrent(nn.Module):
    """A recurrent cell, which is no layer, then a factor, then a linear layer."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)
        self.after = nn.Parameter(torch.ones(2))
        self.cell = nn.LSTM(3, 5, batch_first=True)

    def forward(self, input):
        return self.head(self.cell(input)[0][:, -1]) * self.after


def test_parameters_of_no_layer_move_where_they_are_first_used():
    torch.manual_seed(0)
    model, inputs, targets = Recurrent(), torch.randn(8, 4, 3), torch.arange(8) % 2
    update = observe(model, nn.functional.cross_entropy, inputs, targets, lr=5.0)
    measured = InternalCovariateShift()(update)
    cell = {name: update.new_params[name] for name in update.params if name.startswith("cell")}
    _, moved = update.loss.value_and_grad(update.params | cell)
    both = (update.grads, moved)
    old, new = (torch.cat([g["head.weight"].flatten(), g["head.bias"]]) for g in both)
    assert (old - new).norm() > 1e-3
    torch.testing.assert_close(measured["l2/head"], (old - new).double().norm())
    squares = {name: grad.double().square().sum() for name, grad in update.grads.items()}
    total = sum(squares.values())
    below = sum(square for name, square in squares.items() if name.startswith("cell"))
    torch.testing.assert_close(measured["share_below/head"], below / total)
    torch.testing.assert_close(measured["unlayered_share"], (below + squares["after"]) / total)


def test_a_network_without_a_layer_says_that_all_of_it_is_unlayered():
    class Cell(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRU(3, 2, batch_first=True)

        def forward(self, input):
            return self.cell(input)[0][:, -1]

    inputs, targets = torch.randn(4, 5, 3), torch.arange(4) % 2
    update = observe(Cell(), nn.functional.cross_entropy, inputs, targets)
    assert InternalCovariateShift()(update) == {"unlayered_share": 1.0}


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("norm", ["batch", "weight"])
def test_every_parameter_of_our_own_networks_is_in_a_layer(model, norm):
    update = step_of(model, norm) if model != "torchvision" else None
    if update is not None:
        assert InternalCovariateShift(layers=[])(update)["unlayered_share"] == 0


@pytest.mark.parametrize("probe", [Sharpness, Spectrum, HessianTrace])
def test_curvature_of_several_batches_is_that_of_their_mean_loss(probe):
    update = step_of("mlp", "batch")
    first, second = update.losses(0), update.losses(1)
    several = probe(batches=2, **({"iterations": 30} if probe is not HessianTrace else {}))(update)
    assert several["training_samples"] == 2 * len(first.batch.targets)
    if probe is HessianTrace:
        vector = signs_like(update.params, update.seed_of("hessian_trace"))
        by_hand = sum(dot(vector, loss.hvp(update.params, vector)) for loss in (first, second)) / 2
        torch.testing.assert_close(several["batch_samples"][0], by_hand)
    else:
        start = normal_like(update.params, 0)
        mean = mean_of([loss.hessian(update.params) for loss in (first, second)])
        top = top_eigenvalues(mean, start, 1, 1e-4, 60)
        found = several["batch_eigenvalues"][0]
        torch.testing.assert_close(found, top.values[0], rtol=2e-3, atol=0)
