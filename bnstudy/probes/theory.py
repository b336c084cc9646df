"""Theorems 4.1, 4.2 and 4.4 of Santurkar et al. 2018 at the batch normalizations of a network."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from bnstudy.update import (
    Layer,
    Update,
    differentiable,
    first_tensor,
    percentiles,
    sample_units,
    select_layers,
)


@dataclass(frozen=True)
class Theory:
    """Both sides of the theorems on what BatchNorm does to gradients and curvature.

    Before the step, on its batch, with the batch's statistics. Of a unit, over all m = N *
    positions values: y is what the norm takes, z what it gives, y_hat = (y - mean) / s,
    s^2 = variance + eps, rho = variance / s^2, g = dL/dz, v = dL/dy. The standard network of the
    theorems has z in the place of y, so that g is its gradient; gamma and beta are constants.
    Exact; with eps = 0, where a = 0 and rho = 1, what the paper states, which has no eps:
        4.1: ||v||^2 = gamma^2 / s^2 (||g||^2 - <1, g>^2 / m - (2 - rho) <g, y_hat>^2 / m).
        4.2: v' (d2L/dy2) v = u' (d2L/dz2) u + gamma <g, y_hat (3 a^2 - b) - 2 a v / s>, where
            a = <y_hat, v> / (m s), b = ||v||^2 / (m s^2), u = gamma (v / s - a y_hat).
        4.2, second line, on an assumption: with g, times gamma / s, in the place of u.
        4.4: ||dL/dw||^2 <= lambda^2 ||v||^2, by 4.1: the largest there is over layer inputs X with
            ||X|| <= lambda, g held fixed. X [m, fan in] are here the layer's own.
    Printed (arXiv v3) are: 4.1 with 1 / sqrt(m) for the last 1 / m; and 4.4 as
    gamma^2 / s^2 (lambda^4 ||g||^4 - <1, g>^2 / m - lambda^2 <g, y_hat>^2), whose parts have
    different units.

    Records, in the precision of the network, whose rounding is the error of the equalities:
        layers: the number of layers measured; 0 where no norm is a BatchNorm with the batch's
            statistics and nothing, such as noise, after it.
        input_gradient/<layer>, output_gradient/<layer>: ||v||^2, ||g||^2, sums over all units.
        scaled_gradient/<layer>, mean_term/<layer>, projection_term/<layer>: gamma^2 / s^2 times
            ||g||^2, <1, g>^2 / m and (2 - rho) <g, y_hat>^2 / m, sums over all units.
        error/<layer>: the largest difference of the two sides of 4.1 over units, in units of
            gamma^2 / s^2 ||g||^2; 0 where that is 0.
        violated/<layer>: the fraction of units for which 4.1 as printed is false, by more than the
            difference of the two sides of the equality; of the units whose g is not 0.
        scale_percentiles/<layer> [3]: 15, 50, 85 of gamma^2 / s^2 over all units.
        positive/<layer>: the fraction of units with <y_hat, g> > 0; of the units whose g is not 0.
        curvature/<layer> [U]: the left side of 4.2, by double backward, of U units, evenly spaced.
        curvature_first/<layer>, curvature_second/<layer> [U]: the right sides of its two lines.
        curvature_term/<layer> [U]: of these u' (d2L/dz2) u, the first term of the first.
        largest_input/<layer>: lambda^2, the largest squared singular value of X.
        weight_gradient/<layer> [U]: ||dL/dw||^2, of the gradient the optimizer was given.
        weight_bound/<layer>, weight_bound_printed/<layer> [U]: 4.4, and 4.4 as printed.
    The last four only where the norm takes the outputs of a Linear or Conv2d without groups that is
    used once: the gradient of a weight that is shared is not from this norm alone.

    `layers` names the layers to measure, None means all. One forward, one backward with its graph,
    and three backward passes through that for every one of the U units of every layer.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    units: int = 4

    def __post_init__(self) -> None:
        if self.units < 1:
            raise ValueError(f"probes.theory.units={self.units} must be at least 1.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        with differentiable(update.loss.device), sdpa_kernel(SDPBackend.MATH):
            return self._of(update, select_layers(update.layers, self.layers))

    def _of(self, update: Update, wanted: dict[str, Layer]) -> dict[str, Tensor]:
        with _watched(update.loss.model, wanted) as passes:
            value = update.loss(update.params)
        measured = {"layers": torch.tensor(len(passes))}
        if not passes:
            return measured
        deltas = [delta for one in passes.values() for delta in (one.dy, one.dz)]
        grads = torch.autograd.grad(
            value, deltas, create_graph=True, allow_unused=True, materialize_grads=True
        )
        for (name, one), dy, dz in zip(passes.items(), grads[::2], grads[1::2], strict=True):
            all_units = torch.arange(len(one.gamma))[None]
            chosen = sample_units(all_units, self.units).flatten().tolist()
            units = _units(one, dy.detach(), dz.detach())
            values = _gradients(units) | _curvatures(one, units, dy, dz, chosen)
            weight = update.grads.get(f"{_weighted(wanted[name])}.weight")
            if one.mapped is not None and weight is not None and not one.shared:
                values |= _weights(units, _rows(*one.mapped), weight, chosen)
            measured |= {f"{key}/{name}": value for key, value in values.items()}
        return measured


@dataclass
class _Pass:
    """A batch normalization in the forward pass; dy and dz are zeros, added to y and to z."""

    y: Tensor
    dy: Tensor
    dz: Tensor
    gamma: Tensor
    eps: float
    mapped: tuple[nn.Module, Tensor] | None  # the linear or conv that has y for outputs; its inputs
    shared: bool  # whether its weight is used elsewhere too


@dataclass(frozen=True)
class _Units:
    """Every unit's gradients and y_hat [C, m], and the rest [C]: scale is gamma^2 / s^2."""

    v: Tensor
    g: Tensor
    y_hat: Tensor
    gamma: Tensor
    s: Tensor
    rho: Tensor

    @property
    def m(self) -> int:
        return self.g.shape[1]

    @property
    def scale(self) -> Tensor:
        return self.gamma**2 / self.s**2

    @property
    def inner(self) -> Tensor:
        return (self.g * self.y_hat).sum(1)

    @property
    def mean_part(self) -> Tensor:
        return self.g.sum(1) ** 2 / self.m


def _units(one: _Pass, dy: Tensor, dz: Tensor) -> _Units:
    # In float64: squares of small float32 gradients would underflow.
    y, v, g = (_by_unit(values).double() for values in (one.y, dy, dz))
    variance = y.var(1, correction=0)
    square = variance + one.eps
    y_hat = (y - y.mean(1, keepdim=True)) / square.sqrt()[:, None]
    return _Units(v, g, y_hat, one.gamma.double(), square.sqrt(), variance / square)


def _gradients(units: _Units) -> dict[str, Tensor]:
    """Theorem 4.1, over all units."""
    left, right = units.v.square().sum(1), units.g.square().sum(1)
    upstream = units.scale * right
    mean_term, along = units.scale * units.mean_part, units.scale * units.inner**2
    projection = (2 - units.rho) * along / units.m
    error = (left - (upstream - mean_term - projection)).abs()
    printed = upstream - mean_term - along / math.sqrt(units.m)
    return {
        "input_gradient": left.sum(),
        "output_gradient": right.sum(),
        "scaled_gradient": upstream.sum(),
        "mean_term": mean_term.sum(),
        "projection_term": projection.sum(),
        "error": torch.where(upstream == 0, error, error / upstream).max(),
        "violated": _fraction(left - printed > error, right),
        "scale_percentiles": percentiles(units.scale[None])[0],
        "positive": _fraction(units.inner > 0, right),
    }


def _fraction(holds: Tensor, squares: Tensor) -> Tensor:
    """For how many of the units with a gradient, by its square, it holds; NaN if none has any."""
    return torch.where(squares.isfinite(), holds.to(squares), math.nan)[squares != 0].mean()


def _curvatures(
    one: _Pass, units: _Units, dy: Tensor, dz: Tensor, chosen: list[int]
) -> dict[str, Tensor]:
    """Theorem 4.2, of the chosen units, from gradients dy and dz with their graphs."""
    found: list[Tensor] = []
    for j in chosen:
        v, g, y_hat, gamma, s = (
            t[j] for t in (units.v, units.g, units.y_hat, units.gamma, units.s)
        )
        a, b = y_hat @ v / (units.m * s), v @ v / (units.m * s**2)
        bend = gamma * (g @ (y_hat * (3 * a**2 - b) - 2 * a * v / s))
        term = _quadratic(dz, one.dz, j, gamma * (v / s - a * y_hat))
        second = gamma**2 / s**2 * _quadratic(dz, one.dz, j, g) + bend
        found.append(torch.stack([_quadratic(dy, one.dy, j, v), term + bend, second, term]))
    keys = ("curvature", "curvature_first", "curvature_second", "curvature_term")
    return dict(zip(keys, torch.stack(found, dim=1), strict=True))


def _quadratic(grad: Tensor, delta: Tensor, j: int, vector: Tensor) -> Tensor:
    """vector' H vector, H the Hessian in the values of unit j; `grad` is that in delta."""
    if not grad.requires_grad:  # the loss is linear in these values
        return vector.new_zeros(())
    (product,) = torch.autograd.grad(
        _by_unit(grad)[j].double() @ vector,
        delta,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    return _by_unit(product)[j].double() @ vector


def _weights(units: _Units, rows: Tensor, grad: Tensor, chosen: list[int]) -> dict[str, Tensor]:
    """Theorem 4.4, of the chosen units; rows are the inputs [m, fan in] of the conv or linear."""
    # X'X or XX', which is smaller: their largest eigenvalues are the same.
    rows = rows.double()
    gram = rows.T @ rows if rows.shape[0] > rows.shape[1] else rows @ rows.T
    largest = gram.new_tensor(math.nan)
    if gram.isfinite().all():  # LAPACK refuses the rest
        largest = torch.linalg.eigvalsh(gram)[-1]
    plain, along = largest * units.g.square().sum(1), largest * units.inner**2
    bound = plain - largest * units.mean_part - (2 - units.rho) / units.m * along
    printed = plain**2 - units.mean_part - along
    return {
        "largest_input": largest,
        "weight_gradient": grad.flatten(1).double().square().sum(1)[chosen],
        "weight_bound": (units.scale * bound)[chosen],
        "weight_bound_printed": (units.scale * printed)[chosen],
    }


def _by_unit(values: Tensor) -> Tensor:
    """Values [N, C, ...] as [C, N * positions]."""
    return values.transpose(0, 1).flatten(1)


def _rows(module: nn.Module, inputs: Tensor) -> Tensor:
    """The inputs [N * positions, fan in] of a linear or of every position of a conv."""
    if isinstance(module, nn.Conv2d):
        assert not isinstance(module.padding, str)
        patches = F.unfold(
            inputs, module.kernel_size, module.dilation, module.padding, module.stride
        )
        return patches.transpose(1, 2).flatten(0, 1)
    return inputs


def _norm(model: nn.Module, layer: Layer) -> _BatchNorm | None:
    """The layer's norm if it is a BatchNorm and no more: its forward is torch's own."""
    module = model.get_submodule(layer.norm_module) if layer.norm_module else None
    plain = isinstance(module, _BatchNorm) and type(module).forward is _BatchNorm.forward
    return module if plain else None


def _weighted(layer: Layer) -> str:
    """The name of the layer's conv or linear, "" where its weight is not trained."""
    weights = [name for name in layer.weights if name.endswith(".weight")]
    return weights[0].rpartition(".")[0] if weights else ""


def _maps_rows(module: nn.Module, inputs: Tensor) -> bool:
    """Whether the outputs of a module are X W, with the X that `_rows` gives."""
    if isinstance(module, nn.Conv2d):
        simple = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        return simple and module.groups == 1 and inputs.dim() == 4
    return isinstance(module, nn.Linear) and inputs.dim() == 2


@contextmanager
def _watched(model: nn.Module, layers: dict[str, Layer]) -> Iterator[dict[str, _Pass]]:
    """What the layers' batch normalizations do in the next forward pass, by name of the layer."""
    passes: dict[str, _Pass] = {}
    mapped: dict[str, tuple[nn.Module, Tensor, Any]] = {}
    done: set[str] = set()
    hooks: list[RemovableHandle] = []
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    # By name: in the forward pass the weights are others.
    tied = {name for name, p in model.named_parameters() if uses[id(p)] > 1}

    def keep(
        name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
    ) -> None:
        mapped[name] = module, first_tensor((*inputs, *named.values())), output
        if name in passes:  # called again
            passes[name].shared = True

    def before(
        name: str, module: _BatchNorm, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Tensor], dict[str, Any]] | None:
        # A norm that is frozen on purpose has the statistics of other batches. One that is used
        # several times is measured at its first.
        if name in passes or not (module.training or module.running_mean is None):
            return None
        y = first_tensor((*inputs, *named.values()))
        dy, dz = (torch.zeros_like(y, requires_grad=True) for _ in range(2))
        gamma = y.new_ones(y.shape[1]) if module.weight is None else module.weight.detach()
        source, x, output = mapped.get(name, (module, y, None))
        pair = (source, x.detach()) if output is y and _maps_rows(source, x) else None
        shared = f"{_weighted(layers[name])}.weight" in tied
        passes[name] = _Pass(y.detach(), dy, dz, gamma, module.eps, pair, shared)
        return (y + dy,), {}

    def after(name: str, _module: nn.Module, _inputs: tuple[Any, ...], z: Tensor) -> Tensor | None:
        if name not in passes or name in done:
            return None
        done.add(name)
        return z + passes[name].dz

    try:
        for name, layer in layers.items():
            norm, weighted = _norm(model, layer), _weighted(layer)
            if norm is not None:
                hooks.append(
                    norm.register_forward_pre_hook(partial(before, name), with_kwargs=True)
                )
                hooks.append(norm.register_forward_hook(partial(after, name)))
                if weighted:
                    module = model.get_submodule(weighted)
                    hooks.append(
                        module.register_forward_hook(partial(keep, name), with_kwargs=True)
                    )
        yield passes
    finally:
        for hook in hooks:
            hook.remove()
