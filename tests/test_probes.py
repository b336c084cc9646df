"""Probes: what each measures, by hand; that none of them disturbs training, for every norm."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import config, options, run, small_config
from hydra.utils import instantiate
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.models.deep_linear import DeepLinear
from bnstudy.norms import BatchNorm, NoisyBatchNorm
from bnstudy.params import Params
from bnstudy.probes.activations import Activations
from bnstudy.probes.consecutive_gradients import ConsecutiveGradients
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.moments import Moments
from bnstudy.train import gradients, trainable
from bnstudy.update import Loss, Update, layers_of

EVERY_STEP = "probe_every=1"


def probes_of(option: str) -> dict[str, Any]:
    return instantiate(config(f"probes=[{option}]", EVERY_STEP).probes, _convert_="all")


def update_of(
    model: nn.Module,
    criterion: Any,
    batch: Batch,
    lr: float,
    next_batch: Batch | None = None,
    **options: Any,
) -> Update:
    """One step of SGD on one batch, seen from both ends; the next step's batch may be another."""
    loss = Loss(model, criterion, batch, seed=11)
    next_loss = Loss(model, criterion, next_batch or batch, seed=12)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **options)
    torch.manual_seed(11)
    criterion(model(batch.inputs), batch.targets).backward()
    before = {name: p.clone() for name, p in trainable(model).items()}
    optimizer.step()
    layers = layers_of(model) if hasattr(model, "layers") else {}
    grads, after = gradients(model), trainable(model)
    return Update(0, loss, before, grads, after, lr, layers, next_loss)


# Contracts: every probe of configs/probes, without being told of it


@pytest.mark.parametrize("norm", options("norm"))
@pytest.mark.parametrize("option", options("probes"))
def test_a_run_with_the_probe_is_bitwise_the_run_without(norm, option, tmp_path):
    regularised = ["optimizer.momentum=0.9", "optimizer.weight_decay=1e-3"]
    cfg = small_config("vgg", norm, "data.augment=true", *regularised)
    outcomes = []
    for name, probes in (("with", probes_of(option)), ("without", {})):
        model, optimizer, record = run(cfg, tmp_path / name, probes)
        training = [
            {key: line[key] for key in line if key.startswith(("step", "train/", "test/"))}
            for line in record
        ]
        modes = [module.training for module in model.modules()]
        grads = [p.grad for p in model.parameters()]
        momenta = [s["momentum_buffer"] for s in optimizer.state.values()]
        tensors = [*model.state_dict().values(), *grads, *momenta, torch.get_rng_state()]
        outcomes.append((training, modes, tensors))
        keys = {key.split("/")[0] for line in record for key in line}
        assert (set(probes) <= keys) and (name == "with" or not keys & set(probes_of(option)))
    (training, modes, tensors), (other_training, other_modes, other_tensors) = outcomes
    assert training == other_training and modes == other_modes
    assert all(torch.equal(a, b) for a, b in zip(tensors, other_tensors, strict=True))


@pytest.mark.parametrize("option", options("probes"))
def test_a_probe_says_when_it_is_due_and_keeps_no_state(option):
    for probe in probes_of(option).values():
        assert probe.every == 1
        with pytest.raises(AttributeError):
            probe.every = 2


@pytest.mark.parametrize("norm", options("norm"))
def test_the_update_shows_what_training_saw(norm, tmp_path):
    @dataclass(frozen=True)
    class Spy:
        every: int = 1

        def __call__(self, update: Update) -> dict[str, Tensor]:
            value, grads = update.loss.value_and_grad(update.params)
            same = all(torch.equal(grads[name], update.grads[name]) for name in grads)
            moved = {
                name: update.params[name] - update.lr * update.grads[name] for name in update.params
            }
            actual = all(torch.allclose(moved[n], update.new_params[n], rtol=1e-6) for n in moved)
            return {"loss": value, "same_grads": torch.tensor(same), "moved": torch.tensor(actual)}

    _, _, record = run(small_config("vgg", norm), tmp_path, {"spy": Spy()})
    steps = [line for line in record if "train/loss" in line]
    assert len(steps) == 3
    for line in steps:
        assert line["spy/loss"] == line["train/loss"]
        assert line["spy/same_grads"] and line["spy/moved"]


# Landscape


class Point(nn.Module):
    """A model that is its parameter, so that the criterion is the loss."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(start)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.theta


def quadratic(matrix: Tensor, start: Tensor, lr: float) -> Update:
    batch = Batch(torch.zeros(1), torch.zeros(1))
    return update_of(Point(start), lambda theta, _: 0.5 * theta @ matrix @ theta, batch, lr)


def test_landscape_of_a_quadratic():
    """L = theta A theta / 2: the gradient changes by eta ||A g||, so beta is ||A g|| / ||g||."""
    torch.manual_seed(0)
    root = torch.randn(4, 4, dtype=torch.float64)
    matrix, start = root @ root.T, torch.randn(4, dtype=torch.float64)
    measured = Landscape(multiples=(0.5, 1, 2, 4))(quadratic(matrix, start.clone(), lr=0.1))
    gradient = matrix @ start
    steps = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
    torch.testing.assert_close(measured["step_size"], steps)
    torch.testing.assert_close(measured["gradient_norm"], gradient.norm())
    torch.testing.assert_close(measured["gradient_change"], steps * (matrix @ gradient).norm())
    points = start - steps[:, None] * gradient
    expected = 0.5 * ((points @ matrix) * points).sum(1)
    torch.testing.assert_close(measured["loss"], expected)


def test_landscape_along_a_random_direction_of_the_same_length():
    """With A = c I the gradient changes by c times the distance in every direction."""
    torch.manual_seed(11)  # the seed of the loss: what a network draws must not be the direction
    start = torch.randn(50, dtype=torch.float64)
    probe = Landscape(multiples=(0.5, 2), random_direction=True)
    update = quadratic(3.0 * torch.eye(50, dtype=torch.float64), start, lr=0.1)
    measured = probe(update)
    distance = torch.tensor([0.05, 0.2], dtype=torch.float64) * measured["gradient_norm"]
    torch.testing.assert_close(measured["random_gradient_change"], 3.0 * distance)
    assert not torch.allclose(measured["random_loss"], measured["loss"])
    assert torch.equal(probe(update)["random_loss"], measured["random_loss"])
    other = replace(update, loss=replace(update.loss, seed=12))
    assert not torch.equal(probe(other)["random_loss"], measured["random_loss"])


def test_landscape_records_what_overflows():
    update = quadratic(torch.eye(1), torch.tensor([1e20]), lr=1e20)
    measured = Landscape(multiples=(1e-30, 1.0))(update)
    assert torch.isfinite(measured["loss"]).tolist() == [False, False]
    assert torch.isfinite(measured["gradient_change"]).tolist() == [True, False]


@pytest.mark.parametrize("multiples", [[], [0.0, 1.0], [-1.0], [float("inf")]])
def test_landscape_refuses_multiples_that_are_no_step(multiples):
    with pytest.raises(ValueError, match=r"probes.landscape.multiples=\[.*must be positive"):
        Landscape(multiples=multiples)


# Internal covariate shift


def linear_update(norm: Any, depth: int = 2, **options: Any) -> Update:
    torch.manual_seed(2)
    model = DeepLinear((3,), 3, norm, depth=depth).double()
    batch = Batch(*torch.randn(2, 7, 3, dtype=torch.float64))
    criterion = lambda outputs, targets: 0.5 * ((outputs - targets) ** 2).sum()  # noqa: E731
    return update_of(model, criterion, batch, lr=0.05, **options)


def test_shift_of_two_linear_layers_in_closed_form():
    """dL/dW2 = (W2 W1 x - y) (W1 x)^T, before and after the step of W1."""
    update = linear_update(nn.Identity, weight_decay=0.1)
    inputs, targets = update.loss.batch.inputs, update.loss.batch.targets
    first, second = update.params["layer1.linear.weight"], update.params["layer2.linear.weight"]
    moved = update.new_params["layer1.linear.weight"]

    def gradient(below: Tensor) -> Tensor:
        hidden = inputs @ below.T
        return (hidden @ second.T - targets).T @ hidden

    old, new = gradient(first), gradient(moved)
    measured = InternalCovariateShift()(update)
    torch.testing.assert_close(measured["l2/layer2"], (old - new).norm())
    torch.testing.assert_close(measured["norm/layer2"], old.norm())
    cosine = (old * new).sum() / (old.norm() * new.norm())
    torch.testing.assert_close(measured["cosine/layer2"], cosine)
    below = update.grads["layer1.linear.weight"].norm() ** 2
    torch.testing.assert_close(measured["share_below/layer2"], below / (below + old.norm() ** 2))


def test_the_first_layer_has_no_shift():
    measured = InternalCovariateShift()(linear_update(BatchNorm))
    assert measured["l2/layer1"] == 0 and measured["share_below/layer1"] == 0
    torch.testing.assert_close(measured["cosine/layer1"], torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize("norm_below", [True, False])
def test_only_the_layers_below_move_with_their_norms_or_without(norm_below):
    update = linear_update(BatchNorm, depth=3)
    probe = InternalCovariateShift(layers=["layer3"], norm_below=norm_below)
    moved: Params = {}
    for name in update.params:
        below = name.startswith(("layer1.", "layer2."))
        new = below and (norm_below or ".norm." not in name)
        moved[name] = (update.new_params if new else update.params)[name]
    _, grads = update.loss.value_and_grad(moved)
    expected = (grads["layer3.linear.weight"] - update.grads["layer3.linear.weight"]).norm()
    measured = probe(update)
    torch.testing.assert_close(measured["l2/layer3"], expected)
    kinds = ("l2", "cosine", "norm", "share_below")
    assert sorted(measured) == sorted(f"{kind}/layer3" for kind in kinds)
    assert measured["l2/layer3"] > 0


# Activations


def test_activations_of_known_outputs():
    torch.manual_seed(3)
    model = DeepLinear((6,), 6, nn.Identity, depth=1).double()
    batch = Batch(
        torch.randn(501, 6, dtype=torch.float64), torch.zeros(501, 6, dtype=torch.float64)
    )
    update = update_of(model, nn.functional.mse_loss, batch, lr=0.1)
    outputs = (batch.inputs @ update.params["layer1.linear.weight"].T).numpy()
    measured = {key: t.numpy() for key, t in Activations(units=3, bins=10)(update).items()}
    sampled = outputs[:, [0, 2, 4]]
    for unit in range(3):
        counts, edges = np.histogram(sampled[:, unit], bins=10)
        assert measured["histogram/layer1"][unit].tolist() == counts.tolist()
        np.testing.assert_allclose(measured["range/layer1"][unit], edges[[0, -1]])
    np.testing.assert_allclose(measured["mean/layer1"], sampled.mean(0))
    np.testing.assert_allclose(measured["variance/layer1"], sampled.var(0))
    nearest = np.percentile(sampled, [15, 50, 85], axis=0, method="nearest").T
    np.testing.assert_allclose(measured["percentiles/layer1"], nearest)
    np.testing.assert_allclose(measured["zeros/layer1"], (outputs <= 0).mean())


def test_activations_are_per_channel_over_batch_and_positions_and_after_the_norm():
    model = nn.Sequential()
    conv = nn.Sequential()
    conv.add_module("conv", nn.Conv2d(2, 5, 3))
    conv.add_module("norm", BatchNorm(5))
    conv.add_module("relu", nn.ReLU(inplace=True))
    model.add_module("layer1", conv)
    model.layers = ["layer1"]
    batch = Batch(torch.randn(4, 2, 8, 8), torch.zeros(4))
    update = update_of(model, lambda outputs, _: outputs.sum(), batch, lr=0.1)
    measured = Activations(units=2, bins=7)(update)
    assert measured["histogram/layer1"].sum(1).tolist() == [4 * 6 * 6] * 2
    torch.testing.assert_close(measured["mean/layer1"], torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(measured["variance/layer1"], torch.ones(2), atol=1e-3, rtol=0)
    assert 0.3 < measured["zeros/layer1"] < 0.7  # a ReLU has not run yet


def test_activations_that_overflow_or_do_not_vary():
    model = DeepLinear((2,), 2, nn.Identity, depth=1)
    with torch.no_grad():
        model.get_submodule("layer1.linear").weight.copy_(torch.diag(torch.tensor([1.0, 1e30])))
    batch = Batch(torch.tensor([[1.0, 0.0], [1.0, 1e30]]), torch.zeros(2, 2))
    update = update_of(model, nn.functional.mse_loss, batch, lr=0.0)
    measured = Activations(units=2, bins=4)(update)
    assert measured["histogram/layer1"].tolist() == [[2, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("key", ["units", "bins"])
def test_activations_refuse_to_record_nothing(key):
    with pytest.raises(ValueError, match=f"probes.activations.{key}=0 must be at least 1"):
        Activations(**{key: 0})


# Moments


def test_moments_of_two_steps_in_closed_form():
    """Of W x on a batch and of W' x' on the next one."""
    torch.manual_seed(4)
    model = DeepLinear((6,), 6, nn.Identity, depth=2).double()
    batch, next_batch = (Batch(*torch.randn(2, 50, 6, dtype=torch.float64)) for _ in range(2))
    update = update_of(model, nn.functional.mse_loss, batch, lr=0.5, next_batch=next_batch)
    measured = Moments(layers=["layer1"], units=3)(update)
    for prefix, params, inputs in (
        ("", update.params, batch.inputs),
        ("next_", update.new_params, next_batch.inputs),
    ):
        sampled = (inputs @ params["layer1.linear.weight"].T)[:, [0, 2, 4]]
        torch.testing.assert_close(measured[f"{prefix}mean/layer1"], sampled.mean(0))
        variance = (sampled - sampled.mean(0)).square().mean(0)
        torch.testing.assert_close(measured[f"{prefix}variance/layer1"], variance)
    keys = {f"{prefix}{what}/layer1" for prefix in ("", "next_") for what in ("mean", "variance")}
    assert measured.keys() == keys


def test_the_drift_of_the_moments_is_that_of_figure_8():
    """A third with the noise of algorithm 1, at most 1; next to nothing with BatchNorm alone."""
    torch.manual_seed(5)
    batch = Batch(*torch.randn(2, 200, 20))
    drift = {}
    for norm in (BatchNorm, NoisyBatchNorm):
        update = update_of(
            DeepLinear((20,), 20, norm, depth=1), nn.functional.mse_loss, batch, 0.01
        )
        steps = []
        for seed in range(100):
            losses = {"loss": replace(update.loss, seed=2 * seed)}
            losses["next_loss"] = replace(update.loss, seed=2 * seed + 1)
            measured = Moments(units=20)(replace(update, **losses))
            steps.append((measured["next_mean/layer1"] - measured["mean/layer1"]).abs())
        drift[norm] = torch.stack(steps)
    assert drift[BatchNorm].max() < 0.01
    # 2000 draws: 4 standard errors. 200 samples leave a mean 0.009 from mu.
    assert drift[NoisyBatchNorm].mean().item() == pytest.approx(1 / 3, abs=0.02)
    assert 0.9 < drift[NoisyBatchNorm].max() < 1.06


def test_moments_refuse_to_record_nothing():
    with pytest.raises(ValueError, match="probes.moments.units=0 must be at least 1"):
        Moments(units=0)


# Gradients of successive steps


def noisy_quadratic(lr: float, next_noise: Tensor) -> Update:
    """L_t = theta A theta / 2 + b_t theta, with A = diag(1, 2, 3): every batch has its own b."""
    matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    start = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    noise = torch.tensor([0.1, 0.2, -0.3], dtype=torch.float64)
    return update_of(
        Point(start),
        lambda theta, b: 0.5 * theta @ matrix @ theta + b @ theta,
        Batch(torch.zeros(1), noise),
        lr,
        next_batch=Batch(torch.zeros(1), next_noise),
    )


def test_consecutive_gradients_contain_the_noise_of_two_batches():
    """g_{t+1} - g_t = b_{t+1} - b_t - lr A g_t: it stays when the step vanishes."""
    next_noise = torch.tensor([-0.2, 0.4, 0.0], dtype=torch.float64)
    update = noisy_quadratic(0.1, next_noise)
    (grad,) = update.grads.values()
    change = next_noise - update.loss.batch.targets - 0.1 * torch.tensor([1.0, 2.0, 3.0]) * grad
    torch.testing.assert_close(ConsecutiveGradients()(update)["change"], change.norm())
    still = noisy_quadratic(1e-12, next_noise)
    noise_alone = (next_noise - still.loss.batch.targets).norm()
    torch.testing.assert_close(ConsecutiveGradients()(still)["change"], noise_alone)
    assert Landscape(multiples=[1])(still)["gradient_change"] < 1e-10


def test_on_one_batch_consecutive_gradients_are_the_landscapes_at_one_step():
    update = linear_update(BatchNorm)
    measured = ConsecutiveGradients()(update)
    torch.testing.assert_close(
        measured["change"], Landscape(multiples=[1])(update)["gradient_change"][0]
    )
    _, grads = update.loss.value_and_grad(update.new_params)
    name = "layer2.linear.weight"
    expected = (grads[name] - update.grads[name]).norm()
    torch.testing.assert_close(measured["change/layer2"], expected)
    assert measured.keys() == {"change", "change/layer2"}
