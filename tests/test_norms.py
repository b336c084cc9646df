"""Norms against torch's own, against the formulas, and against the moments that noise promises."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from bnstudy.models.layer import Layer
from bnstudy.norms import (
    BatchNorm,
    DyT,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LpNorm,
    Noise,
    NoisyBatchNorm,
    PositionNorm,
    RMSNorm,
    WeightNorm,
    WeightStandardization,
)

SHAPES = [(8, 3), (8, 3, 4, 5)]
P = [1, 2, 3, math.inf]
MAKE = {
    "BatchNorm": BatchNorm,
    "GhostBatchNorm": GhostBatchNorm,
    "NoisyBatchNorm": NoisyBatchNorm,
    "Noise": Noise,
    "LpNorm": lambda features: LpNorm(features, p=1),
    "GroupNorm": GroupNorm,
    "LayerNorm": LayerNorm,
    "InstanceNorm": InstanceNorm,
    "PositionNorm": PositionNorm,
    "RMSNorm": RMSNorm,
    "DyT": DyT,
    "WeightNorm": WeightNorm,
    "WeightStandardization": WeightStandardization,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_is_torchs_for_every_shape(shape):
    reference = torch.nn.BatchNorm1d(3) if len(shape) == 2 else torch.nn.BatchNorm2d(3)
    ours = BatchNorm(3)
    inputs = torch.randn(shape)
    for training in (True, False):
        ours.train(training), reference.train(training)
        assert torch.equal(ours(inputs), reference(inputs))
    assert torch.equal(ours.running_var, reference.running_var)


def test_batch_norm_is_the_formula():
    """Ioffe & Szegedy 2015, algorithm 1: the biased variance over batch and positions."""
    inputs = torch.randn(6, 2, 3, 3, dtype=torch.float64)
    norm = BatchNorm(2, eps=0.01).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, -1.0])), norm.bias.copy_(torch.tensor([0.5, 3.0]))
    mean = inputs.mean((0, 2, 3), keepdim=True)
    variance = ((inputs - mean) ** 2).mean((0, 2, 3), keepdim=True)
    gamma, beta = norm.weight.view(1, 2, 1, 1), norm.bias.view(1, 2, 1, 1)
    expected = gamma * (inputs - mean) / (variance + 0.01).sqrt() + beta
    torch.testing.assert_close(norm(inputs), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_gamma_and_beta_can_make_batch_norm_the_identity(shape):
    """gamma = sqrt(variance + eps), beta = mean: Ioffe & Szegedy 2015, section 3."""
    inputs = 3 * torch.randn(shape, dtype=torch.float64) + 5
    norm = BatchNorm(3, eps=0.1).double()
    over = [0, *range(2, len(shape))]
    with torch.no_grad():
        norm.weight.copy_((inputs.var(over, correction=0) + 0.1).sqrt())
        norm.bias.copy_(inputs.mean(over))
    torch.testing.assert_close(norm(inputs), inputs)
    assert not torch.allclose(BatchNorm(3).double()(inputs), inputs)


@pytest.mark.parametrize("name", MAKE)
def test_norms_refuse_inputs_without_features(name):
    with pytest.raises(ValueError, match=rf"{name} needs inputs \[N, C, ...\], found shape \[4\]"):
        MAKE[name](4)(torch.randn(4))


@pytest.mark.parametrize("name", ["BatchNorm", "GhostBatchNorm", "NoisyBatchNorm"])
def test_batch_norm_refuses_a_batch_without_variance_and_names_the_batch_size(name):
    norm = MAKE[name](3)
    message = f"batch_size=1 gives {name} a single value of a feature, .* batch_size=2 or more"
    for shape in ((1, 3), (1, 3, 1, 1)):
        with pytest.raises(ValueError, match=message):
            norm(torch.randn(shape))
    assert norm(torch.randn(1, 3, 2, 1)).shape == (1, 3, 2, 1)  # two values
    norm.eval()
    assert norm(torch.randn(1, 3)).shape == (1, 3)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "small"])
@pytest.mark.parametrize(
    "name",
    [*("BatchNorm", "GhostBatchNorm", "NoisyBatchNorm", "LpNorm"), "GroupNorm", "LayerNorm"],
)
def test_norms_refuse_an_eps_out_of_range(name, value):
    make = partial(LpNorm, p=1) if name == "LpNorm" else MAKE[name]
    with pytest.raises(ValueError, match=f"norm.eps={value} must be a number, 0 or more"):
        make(4, eps=value)


@pytest.mark.parametrize("value", [-1.0, 2.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["BatchNorm", "GhostBatchNorm", "NoisyBatchNorm", "LpNorm"])
def test_norms_refuse_a_momentum_out_of_range(name, value):
    make = partial(LpNorm, p=1) if name == "LpNorm" else MAKE[name]
    with pytest.raises(ValueError, match=f"norm.momentum={value} must be a number, from 0 to 1"):
        make(4, momentum=value)
    assert make(4, momentum=0.0).momentum == 0 and make(4, momentum=1).momentum == 1


def test_batch_norm_without_eps_is_refused_in_a_sentence_and_a_tiny_eps_is_the_theorem():
    with pytest.raises(ValueError, match=r"norm.eps=0 cannot be used.*1e-30"):
        BatchNorm(3, eps=0)
    inputs = torch.randn(8, 3, dtype=torch.float64)
    outputs = BatchNorm(3, eps=1e-30).double()(inputs)
    exact = (inputs - inputs.mean(0)) / inputs.std(0, correction=0)
    torch.testing.assert_close(outputs, exact, rtol=1e-13, atol=1e-13)


# Ghost batches


def trained(norm: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Outputs, gradients and state of a norm after three batches."""
    inputs = inputs.clone().requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
    for _ in range(3):
        outputs = norm(inputs)
        (outputs.cos() * inputs.detach()).sum().backward()
    return [outputs, inputs.grad, norm.weight.grad, norm.bias.grad, *norm.state_dict().values()]


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("samples", [8, 9, 1000])
def test_one_ghost_batch_is_batch_norm_to_the_bit(samples, shape, momentum):
    inputs = torch.randn(shape)
    ghost = GhostBatchNorm(3, samples, momentum=momentum)
    plain = BatchNorm(3, momentum=momentum)
    assert ghost.state_dict().keys() == plain.state_dict().keys()
    for ours, theirs in zip(trained(ghost, inputs), trained(plain, inputs), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("momentum", [0.25, None])
@pytest.mark.parametrize("shape", [(11, 3), (11, 3, 4, 5)])
def test_every_ghost_batch_is_a_batch_of_its_own(shape, momentum):
    """Eleven samples, at most four in a group: 4, 4, 3."""
    inputs = 2 * torch.randn(shape, dtype=torch.float64) + 1
    ghost = GhostBatchNorm(3, 4, momentum=momentum).double()
    groups = inputs.split([4, 4, 3])
    assert torch.equal(ghost(inputs), torch.cat([BatchNorm(3).double()(g) for g in groups]))
    over, step = [0, *range(2, len(shape))], 1.0 if momentum is None else momentum
    mean = sum(len(group) / 11 * group.mean(over) for group in groups)
    variance = sum(len(group) / 11 * group.var(over) for group in groups)
    torch.testing.assert_close(ghost.running_mean, step * mean)
    torch.testing.assert_close(ghost.running_mean, step * inputs.mean(over))
    torch.testing.assert_close(ghost.running_var, (1 - step) + step * variance)
    assert ghost.num_batches_tracked == 1
    ghost(inputs)
    step = 1.0 if momentum is None else 1 - (1 - momentum) ** 2
    torch.testing.assert_close(ghost.running_mean, step * mean)


def test_the_running_variance_of_ghost_batches_is_that_of_the_population():
    """Of independent samples, without bias: groups of four have 3/4 of it before the correction."""
    torch.manual_seed(0)
    ghost = GhostBatchNorm(3, 4, momentum=1.0)
    ghost(3 * torch.randn(10_000, 3))
    torch.testing.assert_close(ghost.running_var, torch.full((3,), 9.0), rtol=0.1, atol=0)


def test_ghost_batches_have_second_derivatives():
    ghost = GhostBatchNorm(2, 2).double()
    inputs = torch.randn(5, 2, 2, dtype=torch.float64, requires_grad=True)
    assert gradgradcheck(lambda inputs: ghost(inputs).tanh(), inputs)


def test_a_ghost_batch_of_a_single_value_is_refused_and_avoided_where_it_can_be():
    assert GhostBatchNorm(3, 4)(torch.randn(9, 3)).shape == (9, 3)  # 3, 3, 3 and not 4, 4, 1
    with pytest.raises(
        ValueError, match=r"norm.samples=2 cuts batch_size=3 into groups of which one has"
    ):
        GhostBatchNorm(3, 2)(torch.randn(3, 3))
    assert GhostBatchNorm(3, 2)(torch.randn(3, 3, 2)).shape == (3, 3, 2)
    for samples in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"norm.samples={samples} must be a whole number, 1"):
            GhostBatchNorm(3, samples)


# Noise


def drawn(
    norm: nn.Module, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """m and s of s * a + m, from the outputs for a = 0 and a = 1."""
    outputs = []
    for a in (0.0, 1.0):
        torch.manual_seed(seed)
        outputs.append(norm(torch.full(shape, a, dtype=dtype)))
    return outputs[0], outputs[1] - outputs[0]


def test_the_moments_of_the_noise():
    """Algorithm 1, over 200 steps of 200 units of 64 elements; tolerances of 5 standard errors."""
    steps = [drawn(Noise(200), (4, 200, 4, 4), step) for step in range(200)]
    m, s = (torch.stack(draws).transpose(1, 2).flatten(2) for draws in zip(*steps, strict=True))
    mu, sigma = m.mean(2), s.mean(2)  # [step, unit]; an element adds 0.007 and 0.0125 to them
    drift = mu.diff(dim=0).abs()
    # Figure 8 of the paper: E|mu' - mu| = 1/3 and never more than 1.
    assert drift.mean().item() == pytest.approx(1 / 3, abs=0.01)
    assert 0.95 < drift.max().item() < 1.05
    assert mu.mean().item() == pytest.approx(0, abs=0.0075)
    assert mu.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert sigma.mean().item() == pytest.approx(1.125, abs=0.002)
    assert sigma.var().item() == pytest.approx(0.25**2 / 12 + 0.1**2 / 64, abs=1.5e-4)
    assert 0.93 < sigma.min().item() < 1.0 and 1.25 < sigma.max().item() < 1.32
    # Within a unit of a step: uniform, of half-width 0.1, and normal, of standard deviation 0.1.
    spread, scale = m - mu.unsqueeze(2), s - sigma.unsqueeze(2)
    assert (m.amax(2) - m.amin(2)).max().item() <= 0.2
    assert spread.var(2).mean().item() == pytest.approx(0.1**2 / 3, rel=0.01)
    assert scale.var(2).mean().item() == pytest.approx(0.1**2, rel=0.01)
    kurtosis = (scale**4).mean() / (scale**2).mean() ** 2
    assert kurtosis.item() == pytest.approx(3, abs=0.15)  # 3 - 6 / 64 of 64 elements' own mean


def test_noise_is_drawn_for_every_sample_and_position_around_that_of_the_unit():
    m, s = drawn(Noise(3, r_mu=0.0, r_sigma=0.0), (5, 3, 2, 2), seed=1)
    for values in (m, s):
        of_unit = values[0, :, 0, 0]
        torch.testing.assert_close(values, of_unit.view(1, 3, 1, 1).expand_as(values))
        assert of_unit.unique().numel() == 3
    m, s = drawn(Noise(3), (5, 3, 2, 2), seed=1)
    assert m.unique().numel() == s.unique().numel() == m.numel()


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_comes_after_gamma_and_beta_and_is_a_constant_to_gradients(shape):
    noisy, plain, noise = NoisyBatchNorm(3), BatchNorm(3), Noise(3)
    for norm in (noisy, plain):
        nn.init.constant_(norm.weight, 2.0), nn.init.constant_(norm.bias, 3.0)
    inputs = torch.randn(shape)
    torch.manual_seed(0)
    outputs = noisy(inputs)
    torch.manual_seed(0)
    activations = plain(inputs)
    expected = noise(activations)
    assert torch.equal(outputs, expected)
    (grad,) = torch.autograd.grad(expected.sum(), activations)
    _, s = drawn(noise, shape, seed=0, dtype=torch.float32)
    torch.testing.assert_close(grad, s)


def test_noise_is_for_training_only():
    noisy, plain = NoisyBatchNorm(3), BatchNorm(3)
    inputs = torch.randn(8, 3)
    assert not torch.equal(noisy(inputs), plain(inputs))
    noisy.eval(), plain.eval()
    before = torch.get_rng_state()
    assert torch.equal(noisy(inputs), plain(inputs))
    assert torch.equal(Noise(3).eval()(inputs), inputs)
    assert torch.equal(torch.get_rng_state(), before)
    assert noisy.state_dict().keys() == plain.state_dict().keys() and not Noise(3).state_dict()


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        ({"n_mu": -0.5}, "norm.n_mu=-0.5 must be a number, 0 or more"),
        ({"n_sigma": 0.5}, "norm.n_sigma=0.5 must be a number, 1 or more"),
        ({"r_mu": math.inf}, "norm.r_mu=inf must be"),
        ({"r_sigma": math.nan}, "norm.r_sigma=nan must be"),
    ],
)
def test_noise_refuses_constants_out_of_range(constant, message):
    for norm in (Noise, NoisyBatchNorm):
        with pytest.raises(ValueError, match=message):
            norm(3, **constant)


# l_p norms


@pytest.mark.parametrize(
    ("p", "s_p"), [(1, 3.0), (2, 12.5**0.5), (3, 63 ** (1 / 3)), (math.inf, 6.0)]
)
@pytest.mark.parametrize("positions", [(), (2, 2)])
def test_lp_norm_by_hand(p, s_p, positions):
    """Of -1, -3, 2, -6 the mean is -2; the norm is that of these, not of 1, -1, 4, -4."""
    values = torch.tensor([-1.0, -3.0, 2.0, -6.0], dtype=torch.float64)
    inputs = torch.stack([values, torch.ones(4, dtype=torch.float64)], dim=1)
    if positions:
        inputs = inputs.T.reshape(1, 2, *positions)
    norm = LpNorm(2, p, eps=0.0, momentum=0.25).double()
    nn.init.constant_(norm.weight, 2.0), nn.init.constant_(norm.bias, 0.5)
    outputs = norm(inputs).movedim(1, 0).flatten(1)
    torch.testing.assert_close(outputs[0], 2.0 * (values + 2.0) / s_p + 0.5)
    assert outputs[1].tolist() == [0.5] * 4  # a unit that does not vary comes out as beta
    assert norm.running_mean.tolist() == pytest.approx([0.25 * -2, 0.25])
    assert norm.running_power_mean.tolist() == pytest.approx([0.75 + 0.25 * s_p, 1.0])


@pytest.mark.parametrize("p", P)
def test_positions_are_part_of_the_batch(p):
    inputs = torch.randn(6, 3, 2, 5, dtype=torch.float64)
    conv, linear = LpNorm(3, p).double(), LpNorm(3, p).double()
    rows = inputs.movedim(1, -1).reshape(-1, 3)
    for training in (True, False):
        conv.train(training), linear.train(training)
        torch.testing.assert_close(conv(inputs).movedim(1, -1).reshape(-1, 3), linear(rows))


def test_l2_is_batch_norm_where_the_mean_is_zero_and_nowhere_else():
    centred = torch.randn(50, 3, dtype=torch.float64)
    centred -= centred.mean(0)
    batch, l2 = BatchNorm(3).double(), LpNorm(3, 2, eps=1e-5**0.5).double()
    torch.testing.assert_close(l2(centred), batch(centred))
    shifted = centred + torch.tensor([0.0, 1.0, -10.0], dtype=torch.float64)
    # s_2^2 = variance + mean^2: the further a unit is from zero, the smaller it comes out.
    variance = centred.square().mean(0) + 1e-5
    factor = (variance / (variance + torch.tensor([0.0, 1.0, 100.0]))).sqrt()
    torch.testing.assert_close(l2(shifted), factor * batch(shifted))
    assert factor[0] == 1 and factor[1] < 0.8 and factor[2] < 0.2


@pytest.mark.parametrize("p", P)
def test_gradients_flow_through_the_mean_and_the_power_mean(p):
    torch.manual_seed(0)
    norm = LpNorm(2, p, eps=0.0).double()
    inputs = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(4, 2, 2, dtype=torch.float64)

    def function(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        replaced = {"weight": weight, "bias": bias}
        outputs = torch.func.functional_call(norm, replaced, (inputs,))
        return (weights * outputs**2).sum()

    arguments = inputs, norm.weight, norm.bias
    assert gradcheck(function, arguments) and gradgradcheck(function, arguments)
    # z does not change with the scale of y: <y, dL/dy> = 0 in every unit.
    (grad,) = torch.autograd.grad(function(*arguments), inputs)
    assert (grad * inputs).sum((0, 2)).abs().max() < 1e-12 < grad.abs().min()


def by_torch(norm: LpNorm, inputs: Tensor) -> Tensor:
    """The formula in torch's words, which finds the gradients by itself."""
    over = [0, *range(2, inputs.dim())]
    mean, absolute = inputs.mean(over, keepdim=True), inputs.abs()
    if norm.p == math.inf:
        power_mean = absolute.amax(over, keepdim=True).clamp(min=norm.eps)
    else:
        powers = absolute.pow(norm.p).mean(over, keepdim=True) + norm.eps**norm.p
        power_mean = powers.pow(1 / norm.p)
    outputs = (inputs - mean) / power_mean
    if norm.weight is None:
        return outputs
    return outputs * norm.weight.view(mean.shape) + norm.bias.view(mean.shape)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("p", P)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradients_written_out_are_those_of_torch(p, shape, affine):
    torch.manual_seed(0)
    norm = LpNorm(3, p, eps=0.2, affine=affine).double()
    inputs = torch.randn(shape, dtype=torch.float64) + torch.tensor([0.0, 3.0, 0.0]).view(
        3, *[1] * (len(shape) - 2)
    )
    inputs[:, 2] *= 0.01  # of a unit smaller than eps
    inputs[0, 1] = inputs[1, 1] = 9.0  # the largest, more than once
    inputs.requires_grad_()
    wrt, direction = [inputs, *norm.parameters()], torch.randn(shape, dtype=torch.float64)
    found = torch.autograd.grad((norm(inputs).sin() * direction).sum(), wrt)
    expected = torch.autograd.grad((by_torch(norm, inputs).sin() * direction).sum(), wrt)
    twice = torch.autograd.grad((norm(inputs).sin() * direction).sum(), wrt, create_graph=True)
    for own, others, again in zip(found, expected, twice, strict=True):
        torch.testing.assert_close(own, others, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(again, others, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", P)
def test_lp_norm_of_frozen_parameters_and_of_inputs_that_need_no_gradient(p):
    norm, inputs = LpNorm(3, p), torch.randn(8, 3)
    norm.bias.requires_grad_(False)
    (grad,) = torch.autograd.grad(norm(inputs).square().sum(), norm.weight, create_graph=True)
    torch.testing.assert_close(
        grad, torch.autograd.grad(by_torch(norm, inputs).square().sum(), norm.weight)[0]
    )
    norm(inputs).sum().backward()
    assert norm.bias.grad is None and norm.weight.grad is not None


@pytest.mark.parametrize("p", P)
def test_eps_is_one_more_term_of_the_power_mean(p):
    norm = LpNorm(1, p, eps=0.5, momentum=1.0).double()
    norm(torch.zeros(4, 1, dtype=torch.float64))
    assert norm.running_power_mean.item() == pytest.approx(0.5)
    norm(torch.full((4, 1), 2.0, dtype=torch.float64))
    expected = 2.0 if p == math.inf else (2.0**p + 0.5**p) ** (1 / p)
    assert norm.running_power_mean.item() == pytest.approx(expected)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_float32_statistics_of_a_million_elements_are_accurate(p):
    torch.manual_seed(0)
    norm, inputs = LpNorm(1, p, momentum=1.0), torch.rand(2_000_000, 1) + 0.5
    norm(inputs)
    exact = LpNorm(1, p, momentum=1.0).double()
    exact(inputs.double())
    for name in ("running_mean", "running_power_mean"):
        expected = getattr(exact, name).float()
        torch.testing.assert_close(getattr(norm, name), expected, rtol=1e-6, atol=0)


class Passes(TorchDispatchMode):
    """Counts the operations that read or write as many elements as a tensor has."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.elements, self.count = tensor.numel(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # pyrefly: ignore
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in (*args, result) if isinstance(x, Tensor)]
        large = any(x.numel() >= self.elements for x in tensors)
        self.count += large and not func.is_view
        return result


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_lp_norm_takes_two_thirds_of_the_passes_that_torchs_own_gradient_takes(p):
    """Passes over the inputs are what a step costs; timing them would be at the machine's mercy."""
    norm, inputs = LpNorm(3, p), torch.randn(500, 3, requires_grad=True)
    counts = []
    for function in (norm, partial(by_torch, norm)):
        with Passes(inputs) as passes:
            function(inputs).sum().backward()
        counts.append(passes.count)
    assert counts[0] <= 2 / 3 * counts[1], counts


@pytest.mark.parametrize("p", P)
def test_a_unit_that_is_always_zero_stays_finite(p):
    inputs = torch.zeros(4, 2, requires_grad=True)
    outputs = LpNorm(2, p)(inputs)
    assert not outputs.any()
    (grad,) = torch.autograd.grad((outputs * torch.randn(4, 2)).sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), inputs)
    assert torch.isfinite(grad).all() and torch.isfinite(second).all()


@pytest.mark.parametrize("p", P)
def test_evaluation_uses_the_averages_of_training(p):
    torch.manual_seed(0)
    norm = LpNorm(2, p, momentum=0.1).double()
    mean, power_mean = [], []
    for _ in range(300):
        inputs = 2.0 * torch.randn(100, 2, dtype=torch.float64) + torch.tensor([0.0, 3.0])
        norm(inputs)
        mean.append(inputs.mean(0))
        power = inputs.abs().amax(0) if p == math.inf else (inputs.abs() ** p).mean(0) ** (1 / p)
        power_mean.append(power)
    # An average over the last 10 or so of 300 batches: within 5 of its standard errors.
    for running, seen in ((norm.running_mean, mean), (norm.running_power_mean, power_mean)):
        batches = torch.stack(seen)
        error = (running - batches.mean(0)).abs() / batches.std(0)
        assert error.max() < 5 * (0.1 / 1.9) ** 0.5
        assert not torch.equal(running, batches[-1])
    norm.eval()
    before = [norm.running_mean.clone(), norm.running_power_mean.clone()]
    single = torch.tensor([[5.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(norm(single), (single - before[0]) / before[1])
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_power_mean, before[1])


def test_without_gamma_and_beta():
    inputs = torch.randn(8, 3)
    plain = LpNorm(3, 1, affine=False)
    assert not list(plain.parameters()) and torch.equal(plain(inputs), LpNorm(3, 1)(inputs))


@pytest.mark.parametrize("wrong", [{"p": 0.5}, {"p": math.nan}, {"p": 1, "eps": -1.0}])
def test_lp_norm_refuses_what_is_no_norm(wrong):
    key = list(wrong)[-1]
    with pytest.raises(ValueError, match=f"norm.{key}={wrong[key]} must be a number, "):
        LpNorm(3, **wrong)


# Norms of single samples


def test_layer_norm_is_torchs_on_features_and_over_positions_too():
    features = torch.randn(6, 5)
    torch.testing.assert_close(LayerNorm(5)(features), nn.LayerNorm(5)(features))
    images = torch.randn(6, 5, 2, 3)
    expected = nn.functional.layer_norm(images, [5, 2, 3])
    torch.testing.assert_close(LayerNorm(5)(images), expected)


@pytest.mark.parametrize(
    ("features", "channels", "groups"),
    [(64, 16, 4), (10, 16, 1), (36, 16, 2), (35, 16, 1), (6, 2, 3)],
)
def test_groups_are_of_equal_size_and_large_enough(features, channels, groups):
    norm = GroupNorm(features, channels)
    assert norm.num_groups == groups
    inputs = torch.randn(2, features, 3, 3) + 7
    outputs = norm(inputs).view(2, groups, -1)
    torch.testing.assert_close(outputs.mean(2), torch.zeros(2, groups), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        outputs.var(2, correction=0), torch.ones(2, groups), rtol=1e-3, atol=0
    )


def test_instance_norm_is_torchs_and_leaves_single_positions_alone():
    images = torch.randn(6, 5, 2, 3)
    torch.testing.assert_close(InstanceNorm(5)(images), nn.InstanceNorm2d(5)(images))
    norm = InstanceNorm(5)
    with torch.no_grad():
        norm.weight.fill_(2.0), norm.bias.fill_(3.0)
    for shape in ((6, 5), (6, 5, 1, 1)):
        inputs = torch.randn(shape)
        torch.testing.assert_close(norm(inputs), 2 * inputs + 3)


@pytest.mark.parametrize("norm", [LayerNorm, GroupNorm, InstanceNorm])
def test_samples_do_not_see_each_other_nor_the_mode(norm):
    images, norm = torch.randn(6, 32, 2, 3), norm(32)
    together = norm(images)
    torch.testing.assert_close(together[2:3], norm(images[2:3]))
    assert torch.equal(together, norm.eval()(images))


# Norms of weights


@pytest.mark.parametrize("norm", [WeightNorm, WeightStandardization])
@pytest.mark.parametrize("weights", [nn.Linear(12, 5), nn.Conv2d(3, 5, 2)])
def test_weights_by_hand(norm, weights):
    norm = norm(5, gain=3.0)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 6.0)), norm.bias.fill_(0.5)
    rows = weights.weight.flatten(1)
    if type(norm) is WeightStandardization:
        rows = rows - rows.mean(1, keepdim=True)
    rows = 3 * torch.arange(1.0, 6.0)[:, None] * rows / rows.norm(dim=1, keepdim=True)
    effective = rows.view_as(weights.weight)
    torch.testing.assert_close(norm.normalize(weights.weight), effective)
    inputs = torch.randn(4, *([12] if isinstance(weights, nn.Linear) else [3, 6, 6]))
    call = nn.functional.linear if isinstance(weights, nn.Linear) else nn.functional.conv2d
    outputs = Layer(weights, norm)(inputs)
    torch.testing.assert_close(outputs, call(inputs, effective, weights.bias) + 0.5)


@pytest.mark.parametrize("norm", [WeightNorm, WeightStandardization])
def test_the_scale_of_the_init_does_not_matter_and_zero_weights_have_gradients(norm):
    norm, weight = norm(4), torch.randn(4, 6)
    torch.testing.assert_close(norm.normalize(weight), norm.normalize(100 * weight))
    zeros = torch.zeros(4, 6, requires_grad=True)
    (grad,) = torch.autograd.grad(norm.normalize(zeros).square().sum() + zeros.sum(), zeros)
    assert torch.isfinite(grad).all()


def test_weight_standardization_has_the_variance_of_he():
    weight = WeightStandardization(7).normalize(torch.randn(7, 50) + 3)
    torch.testing.assert_close(weight.mean(1), torch.zeros(7), rtol=0, atol=1e-6)
    torch.testing.assert_close(weight.var(1, correction=0), torch.full((7,), 2 / 50))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupNorm(4, channels=0), "norm.channels=0 must be a whole number, 1 or more"),
        (lambda: LayerNorm(4, eps=-1.0), "norm.eps=-1.0 must be a number, 0 or more"),
        (lambda: WeightNorm(4, gain=0.0), "norm.gain=0.0 must be a number, more than 0"),
    ],
)
def test_norms_of_samples_and_weights_refuse_constants_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_position_norm_is_torchs_layer_norm_over_the_features_of_a_position():
    inputs = torch.randn(4, 6, 3, 2)
    norm, reference = PositionNorm(6, eps=0.01), nn.LayerNorm(6, eps=0.01)
    for module in (norm, reference):
        with torch.no_grad():
            module.weight.copy_(torch.arange(1.0, 7)), module.bias.copy_(torch.arange(6.0))
    expected = reference(inputs.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(norm(inputs), expected)
    torch.testing.assert_close(norm(inputs[:, :, 0, 0]), reference(inputs[:, :, 0, 0]))
    torch.testing.assert_close(PositionNorm(6)(inputs[..., 0, 0]), LayerNorm(6)(inputs[..., 0, 0]))


def test_rms_norm_is_torchs_and_over_images_the_formula():
    norm, reference = RMSNorm(5, eps=0.01), nn.RMSNorm(5, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(5.0)), reference.weight.copy_(torch.arange(5.0))
    rows = 3 * torch.randn(7, 5) + 1
    torch.testing.assert_close(norm(rows), reference(rows))
    images = torch.randn(3, 5, 2, 4, dtype=torch.float64)
    with_bias = RMSNorm(5, bias=True).double()
    with torch.no_grad():
        with_bias.bias.fill_(2.0)
    length = (images.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(with_bias(images), images / length + 2)


def test_rms_norm_does_not_change_with_the_scale_and_does_with_the_mean():
    rows, norm = torch.randn(7, 5), RMSNorm(5, eps=0)
    torch.testing.assert_close(norm(8 * rows), norm(rows))
    assert not torch.allclose(norm(rows + 1), norm(rows))


def test_dyt_is_the_formula_and_starts_where_it_is_published():
    """gamma * tanh(alpha x) + beta with gamma 1, beta 0, alpha 0.5: Zhu et al. 2025, section 4."""
    images = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    norm = DyT(2).double()
    torch.testing.assert_close(norm(images), torch.tanh(images / 2))
    with torch.no_grad():
        norm.alpha.fill_(2.0), norm.weight.copy_(torch.tensor([1.0, -3.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(norm(images)[:, 0], torch.tanh(2 * images[:, 0]))
    torch.testing.assert_close(norm(images)[:, 1], 0.5 - 3 * torch.tanh(2 * images[:, 1]))


@pytest.mark.parametrize("make", [PositionNorm, RMSNorm, partial(RMSNorm, bias=True), DyT])
def test_gradients_of_the_norms_of_today_are_those_of_differences(make):
    norm = make(3).double()
    inputs = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(norm, inputs) and gradgradcheck(norm, inputs)


@pytest.mark.parametrize("alpha", [0, -1, math.nan, math.inf])
def test_dyt_refuses_an_alpha_that_is_no_slope(alpha):
    with pytest.raises(ValueError, match=r"norm.alpha=.* must be a number, more than 0"):
        DyT(3, alpha)
