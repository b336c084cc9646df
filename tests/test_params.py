"""Arithmetic on parameters, against the same on one long vector."""

import pytest
import torch

from bnstudy import params as p


def flat(params: p.Params) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in params.values()])


def random_params(seed: int) -> p.Params:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (3, 2), "bias": (3,), "gamma": (1,)}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def test_arithmetic_is_that_of_the_long_vector():
    a, b = random_params(0), random_params(1)
    torch.testing.assert_close(flat(p.add_scaled(a, b, -0.3)), flat(a) - 0.3 * flat(b))
    torch.testing.assert_close(flat(p.subtract(a, b)), flat(a) - flat(b))
    torch.testing.assert_close(p.dot(a, b), flat(a) @ flat(b))
    torch.testing.assert_close(p.length(a), flat(a).norm())
    expected = torch.cosine_similarity(flat(a), flat(b), dim=0)
    torch.testing.assert_close(p.cosine(a, b), expected)


def test_the_length_of_many_float32_numbers():
    many = torch.randn(3_000_000, generator=torch.Generator().manual_seed(0))
    expected = many.double().norm()
    torch.testing.assert_close(p.length({"w": many}), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1e-23, 1e-24, 1e-40, 1e18, 1e38])
def test_lengths_and_angles_of_float32_numbers_neither_underflow_nor_overflow(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    first, other = (torch.rand(1000, generator=generator) * size for _ in range(2))
    a, b = {"w": first}, {"w": first / 2 + other / 2}
    x, y = (values["w"].double() / size for values in (a, b))
    torch.testing.assert_close(p.length(a) / size, x.norm(), rtol=1e-12, atol=0)
    torch.testing.assert_close(p.dot(a, b) / size / size, x @ y, rtol=1e-12, atol=0)
    torch.testing.assert_close(p.cosine(a, b), x @ y / x.norm() / y.norm(), rtol=1e-12, atol=0)


def test_complex_numbers_count_with_their_absolute_value():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(50, generator=generator, dtype=torch.complex64) for _ in range(2))
    x, y = (torch.view_as_real(values).double().flatten() for values in (a, b))
    torch.testing.assert_close(p.length({"w": a}), x.norm())
    torch.testing.assert_close(p.dot({"w": a}, {"w": b}), x @ y)
    torch.testing.assert_close(p.cosine({"w": a}, {"w": b}), x @ y / x.norm() / y.norm())


def test_cosine_with_zero_is_nan_and_not_a_made_up_angle():
    a = random_params(0)
    zero = {name: torch.zeros_like(tensor) for name, tensor in a.items()}
    assert torch.isnan(p.cosine(a, zero))


def test_normal_like_is_a_function_of_the_seed_and_leaves_the_global_generator():
    a = random_params(0)
    before = torch.get_rng_state()
    first, again, other = p.normal_like(a, 7), p.normal_like(a, 7), p.normal_like(a, 8)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(flat(first), flat(again))
    assert not torch.equal(flat(first), flat(other))
    assert {n: t.dtype for n, t in first.items()} == {n: t.dtype for n, t in a.items()}


def test_a_scalar_parameter_keeps_its_dtype():
    """Torch gives the product of two scalars the wider of their dtypes; lengths are float64."""
    a = {"weight": torch.tensor([3.0, 0.0]), "alpha": torch.tensor(4.0)}
    torch.testing.assert_close(p.unit(a)["alpha"], torch.tensor(0.8))
    torch.testing.assert_close(p.times(a, p.length(a))["alpha"], torch.tensor(20.0))
