"""Normalization layers: modules built from the number of features, for [N, C] and [N, C, H, W].

Any callable `norm(num_features) -> Module` will do. "No norm" is `torch.nn.Identity`, which takes
that argument and ignores it, so the two arms of a comparison have the same layer names.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch normalization over the batch and all positions of inputs [N, C] or [N, C, ...].

    Ioffe & Szegedy 2015, algorithms 1 and 2. torch's own BatchNorm1d and BatchNorm2d differ from
    this class only in that each refuses the other's shape. A momentum of None averages all batches.

    Raises ValueError for eps or momentum out of range, and in training for a single value of every
    feature, which has no variance.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        _check_number("eps", eps)
        if eps == 0:
            raise ValueError(
                "norm.eps=0 cannot be used, because torch refuses it in batch normalization; "
                "use a small number such as 1e-30, which changes no variance of ordinary size."
            )
        if momentum is not None:
            _check_number("momentum", momentum, most=1)
        super().__init__(num_features, eps, momentum, affine)

    def _check_input_dim(self, input: Tensor) -> None:
        _check_shape(self, input)
        if self.training and len(input) * input.shape[2:].numel() < 2:
            raise ValueError(
                f"batch_size={len(input)} gives {type(self).__name__} a single value of a feature, "
                "which has no variance; use batch_size=2 or more."
            )


class GhostBatchNorm(BatchNorm):
    """Batch normalization of groups of at most `samples` consecutive samples of the batch.

    Hoffer et al. 2017, algorithm 1. The batch [N, C] or [N, C, ...] is cut into as few groups as
    can be, of sizes that differ by one at most; each is normalised by its own statistics. With
    `samples` of N or more it is `BatchNorm`, bit by bit. Parameters and buffers are those of
    `BatchNorm`. The running statistics are updated once a step, with the mean over samples of the
    groups' means and unbiased variances (the authors update them once for every group). So
    evaluation uses the typical variance of a group, by which training divides.

    Raises ValueError for `samples` below 1, and otherwise as `BatchNorm`.
    """

    def __init__(
        self,
        num_features: int,
        samples: int = 32,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
    ) -> None:
        if not isinstance(samples, int) or samples < 1:
            raise ValueError(f"norm.samples={samples} must be a whole number, 1 or more.")
        super().__init__(num_features, eps, momentum, affine)
        self.samples = samples

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, by the statistics of the groups in training mode."""
        self._check_input_dim(input)
        groups = -(-len(input) // self.samples)
        if not self.training or groups == 1:
            return super().forward(input)
        parts = input.tensor_split(groups)
        if len(parts[-1]) * input.shape[2:].numel() < 2:
            raise ValueError(
                f"norm.samples={self.samples} cuts batch_size={len(input)} into groups of which "
                "one has a single value of a feature, without variance; use norm.samples=3 or more."
            )
        outputs: list[Tensor] = []
        means, variances = (input.new_zeros(groups, input.shape[1]) for _ in range(2))
        affine = self.weight, self.bias
        for part, mean, variance in zip(parts, means, variances, strict=True):
            # With momentum 1 torch's running statistics become those of the group.
            outputs.append(F.batch_norm(part, mean, variance, *affine, True, 1.0, self.eps))
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            shares = input.new_tensor([[len(part) / len(input)] for part in parts])
            mean, variance = (shares * means).sum(0), (shares * variances).sum(0)
            self.num_batches_tracked.add_(1)
            momentum = self.momentum
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
        return torch.cat(outputs)


class Noise(nn.Module):
    """Noise that changes the moments of every unit at every training step; inputs [N, C, ...].

    Santurkar et al. 2018, algorithm 1. For every unit mu ~ U(-n_mu, n_mu), sigma ~ U(1, n_sigma);
    for every element m ~ U(mu - r_mu, mu + r_mu), s ~ N(sigma, r_sigma), r_sigma being read as the
    standard deviation; the output is s * a + m. Back-propagation takes s and m for constants. Off
    in evaluation mode, of which the paper says nothing. Alone it is the paper's control, the same
    noise on a network without a norm, and has neither parameters nor buffers.

    Raises ValueError for a constant out of range.
    """

    def __init__(
        self,
        num_features: int,
        n_mu: float = 0.5,
        n_sigma: float = 1.25,
        r_mu: float = 0.1,
        r_sigma: float = 0.1,
    ) -> None:
        super().__init__()
        constants = {"n_mu": n_mu, "n_sigma": n_sigma, "r_mu": r_mu, "r_sigma": r_sigma}
        for key, value in constants.items():
            least = 1 if key == "n_sigma" else 0
            if not least <= value < math.inf:
                raise ValueError(f"norm.{key}={value} must be a number, {least} or more.")
        self.n_mu, self.n_sigma = n_mu, n_sigma
        self.r_mu, self.r_sigma = r_mu, r_sigma

    def forward(self, input: Tensor) -> Tensor:
        """The input with noise from torch's generators, which training seeds at every step."""
        if not self.training:
            return input
        _check_shape(self, input)
        unit = [1, input.shape[1], *[1] * (input.dim() - 2)]
        mu = input.new_empty(unit).uniform_(-self.n_mu, self.n_mu)
        sigma = input.new_empty(unit).uniform_(1, self.n_sigma)
        m = torch.empty_like(input).uniform_(-self.r_mu, self.r_mu) + mu
        s = torch.empty_like(input).normal_(0, self.r_sigma) + sigma
        return s * input + m


class NoisyBatchNorm(BatchNorm):
    """Batch normalization, gamma and beta, and then `Noise`: Santurkar et al. 2018, section 2.1.

    `noise` are the constants of `Noise`; parameters and buffers are those of `BatchNorm`. The
    running statistics are averages under noise and fit the network without it badly: in evaluation
    mode it is another function, and its test accuracy says little about what was trained.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        **noise: float,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine)
        self.noise = Noise(num_features, **noise)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, with noise in training mode."""
        return self.noise(super().forward(input))


class LpNorm(nn.Module):
    """Normalization by the mean and an l_p norm of inputs [N, C] or [N, C, ...].

    Santurkar et al. 2018, section 3.3: z = gamma * (y - mean) / s_p + beta, where s_p is the power
    mean (mean |y|^p)^(1/p) over the batch and all positions, max |y| for p = inf, "before shifting
    the mean". So p = 2 is not BatchNorm: a unit far from zero comes out small. Gradients flow
    through the mean and s_p. Evaluation mode uses running averages of both, of which the paper says
    nothing.

    `eps` is one more term of the power mean, s_p = (mean |y|^p + eps^p)^(1/p), and the larger of
    max |y| and eps for p = inf. It has the units of the inputs for every p, and is part of
    `running_power_mean`. Where several elements are the largest, they share the gradient.

    Raises ValueError for p below 1, and for eps or momentum out of range.
    """

    running_mean: Tensor
    running_power_mean: Tensor

    def __init__(
        self,
        num_features: int,
        p: float,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if not p >= 1:
            raise ValueError(f"norm.p={p} must be a number, 1 or more, or .inf for the maximum.")
        _check_number("eps", eps)
        _check_number("momentum", momentum, most=1)
        self.p, self.eps, self.momentum = p, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_power_mean", torch.ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, by the batch's statistics in training mode."""
        _check_shape(self, input)
        if not self.training:
            mean, power_mean = self.running_mean, self.running_power_mean
            return _lp_normalized(input, mean, power_mean, self.weight, self.bias)
        return _LpNormalize.apply(self, input, self.weight, self.bias)


class _LpNormalize(torch.autograd.Function):
    """z of `LpNorm` with its gradient written out, which takes fewer passes than torch's own.

    Second derivatives are torch's own, of the same formulas.
    """

    @staticmethod
    def forward(
        ctx: Any, norm: LpNorm, input: Tensor, weight: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        mean, power_mean = _lp_statistics(input, norm.p, norm.eps)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_power_mean.lerp_(power_mean, norm.momentum)
        ctx.save_for_backward(input, weight, bias, mean, power_mean)
        ctx.p, ctx.eps = norm.p, norm.eps
        return _lp_normalized(input, mean, power_mean, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        input, weight, bias, mean, power_mean = ctx.saved_tensors
        if torch.is_grad_enabled():  # to differentiate once more
            statistics = _lp_statistics(input, ctx.p, ctx.eps)
            output = _lp_normalized(input, *statistics, weight, bias)
            wanted = [t for t in (input, weight, bias) if t is not None and t.requires_grad]
            found = iter(torch.autograd.grad(output, wanted, grad, create_graph=True))
            return tuple(next(found) if needed else None for needed in ctx.needs_input_grad)
        over = [0, *range(2, input.dim())]
        product = grad * input
        to_bias = grad.sum(over)
        to_weight = torch.addcmul(product.sum(over), to_bias, mean, value=-1).div_(power_mean)
        affine = None if weight is None else to_weight, None if bias is None else to_bias
        if not ctx.needs_input_grad[1]:
            return None, None, *affine
        scale = _lp_scale(power_mean, weight)
        share = scale / -(input.numel() // input.shape[1])
        to_mean = _of_units(to_bias * share, input)
        slope, factor = _lp_slope(input, power_mean, ctx.p, share.mul_(to_weight), out=product)
        to_input = torch.addcmul(to_mean, slope, _of_units(factor, input), out=product)
        return None, to_input.addcmul_(grad, _of_units(scale, input)), *affine


def _lp_statistics(input: Tensor, p: float, eps: float) -> tuple[Tensor, Tensor]:
    """The mean and s_p of every unit [C]."""
    over = [0, *range(2, input.dim())]
    mean = input.mean(over)
    # eps is one more term of the power mean: in the units of the inputs whatever p is, and under
    # the root, whose slope at a unit that is always zero would be infinite. Any other constant unit
    # needs no eps, because s_p is taken before the mean is removed.
    if p == 1:
        return mean, input.abs().mean(over).add_(eps)
    if p == 2:
        return mean, input.square().mean(over).add_(eps**2).sqrt()
    if p != math.inf:
        return mean, (input.abs().pow(p).mean(over) + eps**p).pow(1 / p)
    # max is quicker; where elements tie, amax has the gradient of `_lp_slope`.
    quick = input.dim() == 2 and not torch.is_grad_enabled()
    largest = input.abs().max(0).values if quick else input.abs().amax(over)
    return mean, largest.clamp(min=eps)


def _lp_slope(
    input: Tensor, power_mean: Tensor, p: float, factor: Tensor, out: Tensor
) -> tuple[Tensor, Tensor]:
    """The derivative of s_p by every element times their number, times factor [C], as a product.

    The first of the two may lie in `out`; the second is again of units [C].
    """
    if p == 1:
        return torch.sign(input, out=out), factor
    if p == 2:
        return input, factor / power_mean
    if p != math.inf:
        quotient = torch.div(input, _of_units(power_mean, input), out=out)
        return quotient.abs_().pow_(p - 1).copysign_(input), factor
    # 1 or -1 where the element is the largest; 0 elsewhere, and where eps is larger than all.
    largest = torch.div(input, _of_units(power_mean, input), rounding_mode="trunc", out=out)
    over = [0, *range(2, input.dim())]
    ties = largest.abs().sum(over).clamp_(min=1)
    return largest, factor.mul_(input.numel() // input.shape[1]).div_(ties)


def _lp_normalized(
    input: Tensor, mean: Tensor, power_mean: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    # Taking off the mean last is as accurate, because |mean| <= s_p: no number is above |gamma|.
    scale = _lp_scale(power_mean, weight)
    shift = -mean * scale if bias is None else torch.addcmul(bias, mean, scale, value=-1)
    return torch.addcmul(_of_units(shift, input), input, _of_units(scale, input))


def _lp_scale(power_mean: Tensor, weight: Tensor | None) -> Tensor:
    return power_mean.reciprocal() if weight is None else weight / power_mean


def _of_units(values: Tensor, input: Tensor) -> Tensor:
    """Values [C] in the shape in which they broadcast over inputs [N, C, ...]."""
    return values if input.dim() == 2 else values.view(-1, *[1] * (input.dim() - 2))


class GroupNorm(nn.GroupNorm):
    """Normalization of each sample over groups of at least `channels` features and all positions.

    Wu & He 2018, whose table 3 finds 16 channels a group as good as 32 groups: as many groups of
    equal size as that leaves, one where there are fewer features. Inputs [N, C] or [N, C, ...].

    Raises ValueError for `channels` below 1 or eps below 0.
    """

    def __init__(
        self, num_features: int, channels: int = 16, eps: float = 1e-5, affine: bool = True
    ) -> None:
        if channels < 1:
            raise ValueError(f"norm.channels={channels} must be a whole number, 1 or more.")
        _check_number("eps", eps)
        most = max(1, num_features // channels)
        groups = next(groups for groups in range(most, 0, -1) if num_features % groups == 0)
        super().__init__(groups, num_features, eps, affine)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input; the same in training and in evaluation mode."""
        _check_shape(self, input)
        return super().forward(input)


class LayerNorm(GroupNorm):
    """Normalization of each sample over all features and positions; inputs [N, C] or [N, C, ...].

    Ba et al. 2016. gamma and beta are per feature, so that of a convolution they are per channel.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, num_features, eps, affine)


class InstanceNorm(GroupNorm):
    """Normalization of each feature of each sample over its positions; inputs [N, C, ...].

    Ulyanov et al. 2016. By the sample's own statistics in evaluation mode too. A feature that has
    one position only, as in [N, C], has nothing to be normalised over: gamma and beta are left.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_features, 1, eps, affine)

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input; the same in training and in evaluation mode."""
        _check_shape(self, input)
        if input[0, 0].numel() > 1:
            return super().forward(input)
        if self.weight is None or self.bias is None:
            return input
        unit = [1, -1, *[1] * (input.dim() - 2)]
        return input * self.weight.view(unit) + self.bias.view(unit)


class PositionNorm(nn.Module):
    """Normalization of each position of each sample over its features; inputs [N, C, ...].

    Ba et al. 2016 as transformers apply it to tokens, and ConvNeXt to images (Liu et al. 2022,
    section 2.6, where it is the LayerNorm in channels-last format). For inputs [N, C], which have
    one position, it is `LayerNorm`. Tokens [N, T, C] come in as [N * T, C].

    Raises ValueError for eps below 0.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__()
        _check_number("eps", eps)
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input; the same in training and in evaluation mode."""
        _check_shape(self, input)
        # Written out: torch's layer_norm, given images with features moved last, corrupted memory
        # in the backward pass of a ResNet-18 (torch 2.14, CPU).
        centred = input - input.mean(1, keepdim=True)
        scaled = centred * (centred.square().mean(1, keepdim=True) + self.eps).rsqrt()
        if self.weight is None or self.bias is None:
            return scaled
        return scaled * _of_units(self.weight, input) + _of_units(self.bias, input)


class RMSNorm(nn.Module):
    """Division of each sample by the root of its mean square, over all features and positions.

    Zhang & Sennrich 2019, eq. 4: gamma * x / sqrt(mean(x^2) + eps). No mean is removed and, as
    published, there is no beta; `bias` adds one. Inputs [N, C] or [N, C, ...]. For [N, C] it is
    torch's RMSNorm; tokens [N, T, C] come in as [N * T, C].

    Raises ValueError for eps below 0.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, bias: bool = False) -> None:
        super().__init__()
        _check_number("eps", eps)
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features)) if bias else None

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input; the same in training and in evaluation mode."""
        _check_shape(self, input)
        over = tuple(range(1, input.dim()))
        scaled = input * (input.square().mean(over, keepdim=True) + self.eps).rsqrt()
        scaled = scaled * _of_units(self.weight, input)
        return scaled if self.bias is None else scaled + _of_units(self.bias, input)


class DyT(nn.Module):
    """Dynamic tanh in the place of a norm: gamma * tanh(alpha * x) + beta; inputs [N, C, ...].

    Zhu et al. 2025, eq. 2. It uses no statistics. alpha is one number, which starts at `alpha`;
    gamma and beta are per feature.

    Raises ValueError for an alpha that is not positive.
    """

    def __init__(self, num_features: int, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 < alpha < math.inf:
            raise ValueError(f"norm.alpha={alpha} must be a number, more than 0.")
        self.num_features = num_features
        self.alpha = nn.Parameter(torch.tensor(float(alpha)))
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """The squashed input; the same in training and in evaluation mode."""
        _check_shape(self, input)
        squashed = (self.alpha * input).tanh()
        return squashed * _of_units(self.weight, input) + _of_units(self.bias, input)


class WeightNorm(nn.Module):
    """Weights with a direction and a length of their own: w = gain * gamma * v / ||v|| per unit.

    Salimans & Kingma 2016, eq. 2. v is the weight of the conv or linear, ||v|| that of the unit's
    incoming weights. gamma starts at 1, so that with `gain` sqrt(2) units start at the scale of
    He et al. 2015 whatever that of v; they start it from the data of the first batch instead.
    beta is added to the outputs. A layer applies `normalize` to the weight it holds.

    Raises ValueError for a gain that is not positive.
    """

    centred = False

    def __init__(self, num_features: int, gain: float = math.sqrt(2)) -> None:
        super().__init__()
        if not 0 < gain < math.inf:
            raise ValueError(f"norm.gain={gain} must be a number, more than 0.")
        self.gain = gain
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))

    def normalize(self, weight: Tensor) -> Tensor:
        """The weight [C, ...] that the layer computes with."""
        rows = weight.flatten(1)
        if self.centred:
            rows = rows - rows.mean(1, keepdim=True)
        # Under the root, whose slope is infinite where an init has made all weights zero.
        length = (rows.square().sum(1, keepdim=True) + 1e-12).sqrt()
        return (self.gain * self.weight.unsqueeze(1) * rows / length).view_as(weight)

    def forward(self, input: Tensor) -> Tensor:
        """The outputs of the layer, moved by beta."""
        _check_shape(self, input)
        return input + self.bias.view([1, -1, *[1] * (input.dim() - 2)])


class WeightStandardization(WeightNorm):
    """Weights of mean zero and variance (gain * gamma)^2 / fan_in over those of each unit.

    Qiao et al. 2019, scaled with fan_in as by Brock et al. 2021, eq. 1, so that no other norm has
    to follow. Otherwise as `WeightNorm`.
    """

    centred = True


def _check_number(key: str, value: float, most: float = math.inf) -> None:
    number = isinstance(value, int | float) and math.isfinite(value)
    if not number or not 0 <= value <= most:
        bounds = "0 or more" if most == math.inf else f"from 0 to {most}"
        raise ValueError(f"norm.{key}={value} must be a number, {bounds}.")


def _check_shape(norm: nn.Module, input: Tensor) -> None:
    if input.dim() < 2:
        name, shape = type(norm).__name__, list(input.shape)
        raise ValueError(f"{name} needs inputs [N, C, ...], found shape {shape}.")
