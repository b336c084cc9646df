"""Normalization layers: modules built from the number of features, for [N, C] and [N, C, H, W].

Any callable `norm(num_features) -> Module` will do. "No norm" is `torch.nn.Identity`, which takes
that argument and ignores it, so the two arms of a comparison have the same layer names.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch normalization over the batch and all positions of inputs [N, C] or [N, C, ...].

    Ioffe & Szegedy 2015, algorithms 1 and 2. torch's own BatchNorm1d and BatchNorm2d differ from
    this class only in that each refuses the other's shape.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        _check_shape(self, input)


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
        momentum: float = 0.1,
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

    Raises ValueError for p below 1 or eps below 0.
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
        _check_eps(eps)
        self.p, self.eps, self.momentum = p, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine else None
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_power_mean", torch.ones(num_features))

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, by the batch's statistics in training mode."""
        _check_shape(self, input)
        unit = [1, -1, *[1] * (input.dim() - 2)]
        if self.training:
            mean, power_mean = self._statistics(input)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_power_mean.lerp_(power_mean, self.momentum)
        else:
            mean, power_mean = self.running_mean, self.running_power_mean
        scale = 1 / power_mean if self.weight is None else self.weight / power_mean
        output = (input - mean.view(unit)) * scale.view(unit)
        return output if self.bias is None else output + self.bias.view(unit)

    def _statistics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        over = [0, *range(2, input.dim())]
        mean, absolute = input.mean(over), input.abs()
        # eps is one more term of the power mean: in the units of the inputs whatever p is, and
        # under the root, whose slope at a unit that is always zero would be infinite. Any other
        # constant unit needs no eps, because s_p is taken before the mean is removed.
        if self.p == math.inf:
            return mean, absolute.amax(over).clamp(min=self.eps)
        return mean, (absolute.pow(self.p).mean(over) + self.eps**self.p).pow(1 / self.p)


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
        _check_eps(eps)
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


def _check_eps(eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"norm.eps={eps} must be a number, 0 or more.")


def _check_shape(norm: nn.Module, input: Tensor) -> None:
    if input.dim() < 2:
        name, shape = type(norm).__name__, list(input.shape)
        raise ValueError(f"{name} needs inputs [N, C, ...], found shape {shape}.")
