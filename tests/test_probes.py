"""Probes: what each measures, by hand; that none of them disturbs training, for every norm."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from conftest import build, config, options, run, small_config
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.models.deep_linear import DeepLinear
from bnstudy.norms import BatchNorm, NoisyBatchNorm
from bnstudy.params import Params, copy_of, trainable
from bnstudy.probes.activations import Activations
from bnstudy.probes.consecutive_gradients import ConsecutiveGradients
from bnstudy.probes.covariate_shift import CovariateShift
from bnstudy.probes.gradients import Gradients
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.moments import Moments
from bnstudy.probes.scale_and_shift import ScaleAndShift
from bnstudy.train import gradients
from bnstudy.update import Layer, Loss, Update, layers_of

EVERY_STEP = "probe_every=1"


@cache
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
    losses = [loss, Loss(model, criterion, next_batch or batch, seed=12)]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, **options)
    torch.manual_seed(11)
    criterion(model(batch.inputs), batch.targets).backward()
    before = copy_of(model)
    optimizer.step()
    layers = layers_of(model) if hasattr(model, "layers") else {}
    grads, after = gradients(model), trainable(model)
    return Update(0, loss, before, grads, after, lr, layers, losses.__getitem__, initial=before)


# Contracts: every probe of configs/probes, without being told of it


@pytest.mark.parametrize("norm", options("norm"))
def test_a_run_with_all_probes_is_bitwise_the_run_without(norm, tmp_path):
    probes = {
        name: probe for option in options("probes") for name, probe in probes_of(option).items()
    }
    probes["sharpness"] = replace(probes["sharpness"], iterations=3)  # they draw as forty do
    # Two layers are probed as all are; all are in the test of each probe alone.
    for name, probe in probes.items():
        if getattr(probe, "layers", ()) is None:
            probes[name] = replace(probe, layers=("layer2", "layer9"))
    check_silent(norm, probes, tmp_path)


# Each alone too, so that no probe makes up for what another one does.
@pytest.mark.parametrize("option", options("probes"))
def test_a_run_with_the_probe_is_bitwise_the_run_without(option, tmp_path):
    check_silent("noisy_batch", probes_of(option), tmp_path)


def check_silent(norm: str, probes: dict[str, Any], directory: Path) -> None:
    """Fails if training with these probes is not, bit by bit, training without."""
    training, modes, tensors, keys = trained(norm, directory, probes)
    other_training, other_modes, other_tensors, other_keys = trained_without(norm)
    assert set(probes) <= keys and not set(probes) & other_keys
    assert training == other_training and modes == other_modes
    assert all(torch.equal(a, b) for a, b in zip(tensors, other_tensors, strict=True))


@cache
def trained_without(norm: str) -> tuple[Any, ...]:
    """`trained` without a probe; once for all probes, because it takes longer than most of them."""
    with TemporaryDirectory() as directory:
        return trained(norm, Path(directory), {})


def trained(norm: str, directory: Path, probes: dict[str, Any]) -> tuple[Any, ...]:
    """The record of training, modes, all tensors and the generator after it, and who recorded."""
    model, optimizer, record = run(contract_config(norm), directory, probes)
    training = [
        {key: line[key] for key in line if key.startswith(("step", "train/", "test/"))}
        for line in record
    ]
    modes = [module.training for module in model.modules()]
    grads = [p.grad for p in model.parameters()]
    momenta = [s["momentum_buffer"] for s in optimizer.state.values()]
    tensors = [*model.state_dict().values(), *grads, *momenta, torch.get_rng_state()]
    return training, modes, tensors, {key.split("/")[0] for line in record for key in line}


@cache
def contract_config(norm: str) -> DictConfig:
    """A small VGG with all that training may have besides."""
    regularised = ["optimizer.momentum=0.9", "optimizer.weight_decay=1e-3"]
    return small_config("vgg", norm, "data.augment=true", *regularised)


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


def test_the_update_has_one_test_sample_for_all_steps(tmp_path):
    @dataclass(frozen=True)
    class Spy:
        every: int = 1
        seen: list[Batch | None] = field(default_factory=list)

        def __call__(self, update: Update) -> dict[str, Tensor]:
            self.seen.append(update.test)
            return {}

    for model in ("vgg", "deep_linear"):
        spy, cfg = Spy(), small_config(model, "batch")
        run(cfg, tmp_path / model, {"spy": spy})
        expected = instantiate(cfg.data).test_sample(500)
        assert len(spy.seen) == 3 and len({id(sample) for sample in spy.seen}) == 1
        for sample in spy.seen:
            assert (sample is None) == (expected is None) == (model == "deep_linear")
            assert expected is None or torch.equal(sample.inputs, expected.inputs)
            assert expected is None or torch.equal(sample.targets, expected.targets)


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
    assert measured["l2/layer3"].item() == pytest.approx(expected.item())
    kinds = ("l2", "cosine", "norm", "share_below")
    assert measured.keys() == {"unlayered_share", *(f"{kind}/layer3" for kind in kinds)}
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
    nearest = np.percentile(sampled, [15, 50, 85], axis=0, method="inverted_cdf").T
    np.testing.assert_allclose(measured["percentiles/layer1"], nearest)
    np.testing.assert_allclose(measured["zeros/layer1"], (outputs <= 0).mean())
    within = [(np.abs(outputs) < 0.5).mean(), (np.abs(outputs) < 1).mean()]
    np.testing.assert_allclose(measured["within/layer1"], within)


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
            losses = [replace(update.loss, seed=2 * seed + i) for i in range(2)]
            step = replace(update, loss=losses[0], losses=losses.__getitem__)
            measured = Moments(units=20)(step)
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


# Gradients


def test_gradients_of_two_linear_layers_in_closed_form():
    """dL/dW2 = (W2 W1 x - y) (W1 x)^T and dL/dW1 = W2^T (W2 W1 x - y) x^T, without weight decay."""
    update = linear_update(nn.Identity, weight_decay=0.1)
    inputs, targets = update.loss.batch.inputs, update.loss.batch.targets
    first, second = (update.params[f"layer{i}.linear.weight"] for i in (1, 2))
    hidden = inputs @ first.T
    error = hidden @ second.T - targets
    expected = {"norm/layer1": (second.T @ error.T @ inputs).norm()}
    expected["norm/layer2"] = (error.T @ hidden).norm()
    expected["norm"] = (expected["norm/layer1"] ** 2 + expected["norm/layer2"] ** 2).sqrt()
    measured = Gradients()(update)
    assert measured.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(measured[key], value)


def test_a_layer_has_the_gradient_of_its_bias_and_not_of_gamma_and_beta():
    layer = nn.Sequential()
    layer.add_module("linear", nn.Linear(3, 4))
    layer.add_module("norm", BatchNorm(4))
    model = nn.Sequential()
    model.add_module("layer1", layer)
    model.layers = ["layer1"]
    batch = Batch(torch.randn(9, 3), torch.randn(9, 4))
    update = update_of(model, nn.functional.mse_loss, batch, lr=0.1)
    grads = {name: torch.full_like(grad, 2.0) for name, grad in update.grads.items()}
    measured = Gradients(layers=["layer1"])(replace(update, grads=grads))
    assert measured["norm/layer1"].item() == pytest.approx(2 * (12 + 4) ** 0.5)
    assert measured["norm"].item() == pytest.approx(2 * (12 + 4 + 8) ** 0.5)
    with pytest.raises(ValueError, match="'layer2' is not in the model"):
        Gradients(layers=["layer2"])(update)


# Gamma and beta


def test_scale_and_shift_set_by_hand():
    """Before the step, and none of the weights; a layer without a norm has no record."""
    torch.manual_seed(6)
    model = DeepLinear((11,), 11, BatchNorm, depth=3)
    model.get_submodule("layer2").norm = nn.Identity()
    gamma, beta = torch.randn(2, 2, 11)
    for i, layer in enumerate(("layer1", "layer3")):
        norm = model.get_submodule(f"{layer}.norm")
        with torch.no_grad():
            norm.weight.copy_(gamma[i])
            norm.bias.copy_(beta[i])
    update = update_of(model, nn.functional.mse_loss, Batch(*torch.randn(2, 9, 11)), lr=1.0)
    assert not torch.equal(update.new_params["layer1.norm.weight"], gamma[0])
    measured = ScaleAndShift(units=3)(update)
    assert measured.pop("layers") == 2
    for i, layer in enumerate(("layer1", "layer3")):
        for key, values in (("gamma", gamma[i]), ("beta", beta[i])):
            assert torch.equal(measured.pop(f"{key}/{layer}"), values[[0, 3, 7]])
            nearest = np.percentile(values.numpy(), [15, 50, 85], method="inverted_cdf")
            assert measured.pop(f"{key}_percentiles/{layer}").tolist() == nearest.tolist()
    assert not measured
    assert ScaleAndShift(layers=["layer2"])(update) == {"layers": 0}


def test_scale_and_shift_ignore_what_else_a_layer_scales_and_shifts_by():
    """Nothing without gamma and beta; of a norm that scales alone, gamma alone."""

    class Scale(nn.Module):
        def __init__(self, num_features: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(num_features))
            self.power = nn.Parameter(torch.ones(num_features))

        def forward(self, input: Tensor) -> Tensor:
            return self.weight * input**self.power

    without = lambda features: BatchNorm(features, affine=False)  # noqa: E731
    assert ScaleAndShift()(linear_update(without)) == {"layers": 0}
    measured = ScaleAndShift(layers=["layer1"])(linear_update(Scale))
    assert measured.keys() == {"layers", "gamma/layer1", "gamma_percentiles/layer1"}
    assert measured["gamma/layer1"].tolist() == [1, 1, 1]


def test_scale_and_shift_refuse_to_record_nothing():
    with pytest.raises(ValueError, match="probes.scale_and_shift.units=0 must be at least 1"):
        ScaleAndShift(units=0)


# Covariate shift


def classifier_update(norm: Any, test: Batch | None = None) -> Update:
    """A linear network of three layers on two classes in float64, and 30 test samples."""
    torch.manual_seed(7)
    model = DeepLinear((4,), 4, norm, depth=3).double()
    inputs, classes = torch.randn(80, 4, dtype=torch.float64), torch.randint(2, (80,))
    update = update_of(model, nn.functional.cross_entropy, Batch(inputs[:50], classes[:50]), lr=0.5)
    return replace(update, test=test or Batch(1.5 * inputs[50:] + 0.3, classes[50:]))


def outcome(update: Update, inputs: Tensor, first: int, training: bool) -> dict[str, Tensor]:
    """Loss and accuracy of the layers from `first` on, with the parameters before the step."""
    model = deepcopy(update.loss.model)
    model.load_state_dict(update.params, strict=False)
    outputs = inputs
    for name in model.train(training).layers[first:]:
        outputs = model.get_submodule(name)(outputs).detach()
    targets = update.test.targets
    accuracy = (outputs.argmax(1) == targets).float().mean()
    return {"loss": nn.functional.cross_entropy(outputs, targets), "accuracy": accuracy}


@pytest.mark.parametrize("norm", [nn.Identity, BatchNorm, NoisyBatchNorm])
def test_at_size_0_nothing_is_moved(norm):
    update = classifier_update(norm)
    measured = CovariateShift(sizes=[1, 0])(update)
    assert measured["size"].tolist() == [1, 0]
    for kind, training in (("running", False), ("batch", True)):
        torch.manual_seed(update.loss.seed)
        for key, value in outcome(update, update.test.inputs, 0, training).items():
            for layer in ("layer1", "layer2"):
                torch.testing.assert_close(measured[f"{kind}_{key}/{layer}"][1], value)
    assert measured["running_loss/layer1"][0] != measured["running_loss/layer1"][1]


def test_the_inputs_of_a_layer_move_by_standard_deviations_of_their_own():
    """Without a norm in closed form, and the same with either statistics."""
    update = classifier_update(nn.Identity)
    first = update.params["layer1.linear.weight"]
    inputs = {"layer1": update.test.inputs, "layer2": update.test.inputs @ first.T}
    probe = CovariateShift(layers=["layer1", "layer2"], sizes=(0, 0.25, 2))
    measured = probe(update)
    for i, (layer, before) in enumerate(inputs.items()):
        std = (before - before.mean(0)).square().mean(0).sqrt()
        for k, size in enumerate(probe.sizes):
            for key, value in outcome(update, before + size * std, i, training=True).items():
                for kind in ("running", "batch"):
                    torch.testing.assert_close(measured[f"{kind}_{key}/{layer}"][k], value)
    kinds = [f"{kind}_{key}" for kind in ("running", "batch") for key in ("loss", "accuracy")]
    assert measured.keys() == {"size", *(f"{kind}/{layer}" for kind in kinds for layer in inputs)}
    assert len(set(measured["running_accuracy/layer1"].tolist())) > 1


def test_statistics_of_the_moved_samples_undo_what_running_ones_do_not():
    """W (x + c) = W x + W c: a norm over the batch right after it removes W c, and scales alike."""
    measured = CovariateShift(layers=["layer1", "layer3"])(classifier_update(BatchNorm))
    for layer in ("layer1", "layer3"):
        for key in ("loss", "accuracy"):
            values = measured[f"batch_{key}/{layer}"]
            torch.testing.assert_close(values, values[:1].expand(5))
        assert (measured[f"running_loss/{layer}"].diff().abs() > 1e-3).all()


def test_a_channel_of_images_moves_as_one():
    torch.manual_seed(8)
    model = nn.Sequential()
    for i, conv in enumerate((nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 5))):
        layer = nn.Sequential()
        layer.add_module("conv", conv)
        layer.add_module("norm", nn.Identity())
        model.add_module(f"layer{i + 1}", layer)
    model.layers = ["layer1", "layer2"]
    images = torch.randn(6, 2, 5, 5) * torch.tensor([1.0, 3.0])[:, None, None]
    mean_square = lambda outputs, targets: (outputs - targets).square().mean()  # noqa: E731
    batch = Batch(images, torch.full((6, 2, 1, 1), 0.5))  # no labels: a regression
    update = replace(update_of(model, mean_square, batch, lr=0.1), test=batch)
    measured = CovariateShift(layers=["layer1"], sizes=(0, -0.5))(update)
    moved = images - 0.5 * images.std((0, 2, 3), correction=0)[:, None, None]
    expected = replace(update.loss, batch=Batch(moved, batch.targets))(update.params)
    torch.testing.assert_close(measured["batch_loss/layer1"][1], expected)
    assert measured.keys() == {"size", "running_loss/layer1", "batch_loss/layer1"}


def test_as_many_samples_as_asked_for_spread_over_those_there_are():
    update = classifier_update(BatchNorm)
    some = replace(update, test=update.test.spread(7))
    assert (
        update.test.spread(7).targets.tolist()
        == update.test.targets[[0, 4, 8, 12, 17, 21, 25]].tolist()
    )
    for key, value in CovariateShift(samples=7)(update).items():
        assert torch.equal(value, CovariateShift(samples=500)(some)[key])
        assert key == "size" or not torch.equal(value, CovariateShift(samples=500)(update)[key])


@pytest.mark.parametrize(
    ("depth", "numbers"), [(1, [1]), (2, [1, 2]), (3, [1, 2]), (4, [1, 3]), (14, [1, 8, 13])]
)
def test_layers_to_move_are_the_first_a_middle_one_and_the_last_before_the_outputs(depth, numbers):
    torch.manual_seed(9)
    model = DeepLinear((2,), 2, nn.Identity, depth=depth)
    batch = Batch(*torch.randn(2, 5, 2))
    update = replace(update_of(model, nn.functional.mse_loss, batch, lr=0.1), test=batch)
    measured = CovariateShift()(update)
    kinds = ("running_loss", "batch_loss")
    assert [*measured] == ["size", *(f"{kind}/layer{n}" for n in numbers for kind in kinds)]


def test_without_a_test_set_there_is_no_covariate_shift():
    assert CovariateShift()(linear_update(BatchNorm)) == {}


def test_nothing_stays_hooked_where_the_network_fails():
    update = classifier_update(BatchNorm, test=Batch(torch.randn(5, 3), torch.zeros(5).long()))
    with pytest.raises(RuntimeError):
        CovariateShift()(update)
    assert not any(module._forward_pre_hooks for module in update.loss.model.modules())


@pytest.mark.parametrize(
    ("model", "norm"),
    [
        *((model, "batch") for model in options("model") if model != "deep_linear"),
        ("vgg", "weight"),
    ],
)
def test_the_inputs_of_any_layer_of_any_model_can_be_moved(model, norm):
    """Of a layer whose norm acts on its weights, too; shortcuts stay."""
    data, network, _ = build(small_config(model, norm))
    network.double()
    sample = data.test_sample(10)
    batch = Batch(sample.inputs.double(), sample.targets)
    update = replace(update_of(network, data.criterion, batch, lr=0.1), test=batch)
    probe = CovariateShift(layers=network.layers, sizes=(0, 1))
    losses = {key: value for key, value in probe(update).items() if "running_loss" in key}
    assert len(losses) == len(network.layers)
    plain = replace(update.loss, batch=batch, statistics="running")(update.params)
    for value in losses.values():
        torch.testing.assert_close(value[0], plain)
        assert value[0] != value[1]


def test_layers_that_a_model_of_ones_own_names_as_it_likes():
    torch.manual_seed(10)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    batch = Batch(*torch.randn(2, 5, 3))
    update = replace(update_of(model, nn.functional.mse_loss, batch, lr=0.1), test=batch)
    layers = {
        "below": Layer(("0.weight", "0.bias"), (), "0"),
        "above": Layer(("2.weight",), (), "2"),
    }
    measured = CovariateShift(sizes=(0, 1))(replace(update, layers=layers))
    assert measured["batch_loss/below"][1] != measured["batch_loss/above"][1]
    assert measured["batch_loss/below"][0] == measured["batch_loss/above"][0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"sizes": [0.5, 1]},
            r"covariate_shift.sizes=\[0.5, 1\] must be finite numbers with 0 among",
        ),
        ({"sizes": []}, r"covariate_shift.sizes=\[\] must be finite numbers with 0 among"),
        ({"sizes": [0, float("inf")]}, r"covariate_shift.sizes=\[0, inf\] must be finite"),
        ({"samples": 0}, "probes.covariate_shift.samples=0 must be at least 1"),
    ],
)
def test_covariate_shift_refuses_what_measures_nothing(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        CovariateShift(**options)
