"""Parameters as a dictionary of tensors, and its arithmetic."""

import math

import torch
from torch import Tensor, nn

Params = dict[str, Tensor]


def add_scaled(a: Params, b: Params, scale: float) -> Params:
    """a + scale * b; a scale beyond the numbers of a tensor is infinite."""
    return {name: _add_scaled(a[name], b[name], scale) for name in a}


def _add_scaled(a: Tensor, b: Tensor, scale: float) -> Tensor:
    if abs(scale) > torch.finfo(a.dtype).max:  # which torch refuses to round
        return a + b * math.copysign(math.inf, scale)
    return torch.add(a, b, alpha=scale)


def subtract(a: Params, b: Params) -> Params:
    """a - b."""
    return {name: a[name] - b[name] for name in a}


def dot(a: Params, b: Params) -> Tensor:
    """The inner product over all tensors, a float64 scalar; of complex tensors its real part."""
    return torch.stack([torch.sum(_wide(a[n]).conj() * _wide(b[n])).real for n in a]).sum()


def length(a: Params) -> Tensor:
    """The l2 norm over all tensors together, a float64 scalar."""
    # In float32 vector_norm is off by 4e-4 for ten million numbers on a CPU, and underflows.
    lengths = [torch.linalg.vector_norm(_real(t), dtype=torch.float64) for t in a.values()]
    return torch.linalg.vector_norm(torch.stack(lengths))


def times(a: Params, factor: Tensor) -> Params:
    """a times a scalar tensor, in the dtypes of a.

    A product of two scalar tensors would have the wider of their dtypes.
    """
    return {name: (tensor * factor).to(tensor.dtype) for name, tensor in a.items()}


def unit(a: Params) -> Params:
    """a divided by its length, in the dtypes of a; nan where the length is zero."""
    size = length(a)
    return {name: (tensor / size).to(tensor.dtype) for name, tensor in a.items()}


def cosine(a: Params, b: Params) -> Tensor:
    """The cosine of the angle between a and b, a float64 scalar; nan where one of them is zero."""
    return dot(a, b) / (length(a) * length(b))


def _real(tensor: Tensor) -> Tensor:
    """The tensor, or its absolute values where it is complex, where float64 can be had."""
    if tensor.device.type == "mps":  # Apple's GPUs have no float64
        tensor = tensor.cpu()
    return tensor.to(torch.complex128).abs() if tensor.is_complex() else tensor


def _wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, in which no square of a float32 number under- or overflows."""
    if tensor.device.type == "mps":  # Apple's GPUs have no float64
        tensor = tensor.cpu()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def normal_like(a: Params, seed: int) -> Params:
    """Independent standard normal entries in the shapes of a; the global generator is untouched."""
    device = next(iter(a.values())).device
    generator = torch.Generator(device).manual_seed(seed)
    return {
        name: torch.randn(t.shape, generator=generator, device=t.device, dtype=t.dtype)
        for name, t in a.items()
    }


def trainable(model: nn.Module) -> Params:
    """The trainable parameters, as views that follow the optimizer."""
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def copy_of(model: nn.Module) -> Params:
    """The trainable parameters as they are now."""
    return {name: tensor.clone() for name, tensor in trainable(model).items()}
