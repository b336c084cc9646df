"""How a probe differentiates: in full precision, uncompiled, and not on trust."""

import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bnstudy.params import Params, add_scaled, length, normal_like, subtract

# Steps of a difference of gradients, in units of the root mean square of each tensor: in float64,
# and in a precision that is coarser. Of several, because a step may cross a kink of a ReLU.
FINE, COARSE = (1e-6, 1e-5, 1e-7), (1e-2, 3e-3)
# A product that is so near to a difference is right.
NEAR, NEAR_COARSE = 1e-3, 5e-2
SMALLEST = 0.01  # of a root mean square: a tensor of zeros has a direction too


class Differentiable(Protocol):
    """What `bnstudy.update.Loss` is here."""

    def value_and_grad(self, params: Params) -> tuple[Tensor, Params]: ...

    def hvp(self, params: Params, vector: Params) -> Params: ...


def disagreement(loss: Differentiable, params: Params, fixed: Container[str] = ()) -> float | None:
    """How far Hessian times vector is from the differences of gradients, relative to these.

    None where they agree or where the differences cannot tell. They can where two steps of unlike
    length give nearly the same, which is far from the product. On a kink of a ReLU they differ.
    Measured at a point near `params`, off the kinks that zeros in the weights make; parameters that
    are `fixed` are not moved.
    """
    scales = {
        name: 0.0 if name in fixed else max(float(_rms(tensor)), SMALLEST)
        for name, tensor in params.items()
    }
    there = add_scaled(params, _scaled(normal_like(params, 1), scales), 0.01)
    direction = _scaled(normal_like(params, 2), scales)
    product = loss.hvp(there, direction)
    fine = all(tensor.dtype == torch.float64 for tensor in params.values())
    differences: list[Params] = []
    for step in FINE if fine else COARSE:
        _, ahead = loss.value_and_grad(add_scaled(there, direction, step))
        _, behind = loss.value_and_grad(add_scaled(there, direction, -step))
        difference = {k: t / (2 * step) for k, t in subtract(ahead, behind).items()}
        size, off = float(length(difference)), _distance(product, difference)
        if not off > (NEAR if fine else NEAR_COARSE) * size:  # also where one is not finite
            return None
        for earlier in differences:
            if _distance(earlier, difference) < 0.1 * min(off, _distance(product, earlier)):
                return off / size
        differences.append(difference)
    return None


@contextmanager
def ieee() -> Iterator[None]:
    """Float32 is float32 in products: neither TF32 on a GPU nor bfloat16 on a CPU stands in for it.

    As IEEE 754 defines it. Whatever is set, by torch's older flags or by its newer ones, is set
    again afterwards.
    """
    backends: Any = torch.backends
    products = (
        *(backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn),
        *(backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn),
    )
    older: tuple[str, bool] | None = None
    with suppress(RuntimeError):  # torch does not say what the older flags are after newer ones
        older = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
    newer = [each.fp32_precision for each in products]
    try:
        if older is not None:  # a model may read the older flags in its forward pass
            torch.set_float32_matmul_precision("highest")
            backends.cudnn.allow_tf32 = False
        for each in products:
            each.fp32_precision = "ieee"
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older[0])
            backends.cudnn.allow_tf32 = older[1]
        for each, was in zip(products, newer, strict=True):
            each.fp32_precision = was


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast, neither around nor inside: a model may switch it on in its forward pass."""
    kind: Any = torch.autocast
    enter = kind.__enter__

    def enter_disabled(self: Any) -> Any:
        enabled, self._enabled = self._enabled, False
        try:
            return enter(self)
        finally:
            self._enabled = enabled

    kind.__enter__ = enter_disabled
    try:
        with torch.autocast(device.type, enabled=False), ieee():
            yield
    finally:
        kind.__enter__ = enter


@contextmanager
def uncompiled() -> Iterator[None]:
    """What `torch.compile` made is called as it was written: it has no second derivative."""
    if "torch._dynamo" not in sys.modules:  # then nothing is compiled, and the import is slow
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


class DoubleBackward(TorchFunctionMode):
    """Weight normalization in plain steps: torch 2.14's own has a wrong second derivative."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._weight_norm:
            return _weight_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    others = [d for d in range(v.dim()) if d != dim % v.dim()] if dim != -1 else None
    return v * (g / torch.linalg.vector_norm(v, dim=others, keepdim=others is not None))


def _rms(tensor: Tensor) -> Tensor:
    return tensor.detach().abs().double().square().mean().sqrt()


def _scaled(direction: Params, scales: dict[str, float]) -> Params:
    return {name: tensor * scales[name] for name, tensor in direction.items()}


def _distance(a: Params, b: Params) -> float:
    return float(length(subtract(a, b)))
