"""Curvature: Lanczos against known and dense spectra, and the probes that record it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import atan2, nan
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import build, small_config
from torch import Tensor, nn

from bnstudy.data import Batch
from bnstudy.lanczos import (
    IN_A_ROW,
    RANDOM_PART,
    quadrature,
    signs_like,
    start_near,
    top_eigenvalues,
)
from bnstudy.norms import BatchNorm, GroupNorm
from bnstudy.params import Params, add_scaled, dot, length, normal_like, subtract
from bnstudy.probes.batch_sharpness import BatchSharpness
from bnstudy.probes.hessian_trace import HessianTrace
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.spectrum import Spectrum
from bnstudy.probes.weights import Weights
from bnstudy.train import gradients
from bnstudy.update import Layer, Loss, Update

F64 = torch.float64
close = torch.testing.assert_close


# Maps with a known spectrum


def matrix_with(eigenvalues: list[float]) -> tuple[Tensor, Tensor]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors in columns."""
    torch.manual_seed(0)
    vectors, _ = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), dtype=F64))
    return vectors * torch.tensor(eigenvalues, dtype=F64) @ vectors.T, vectors


def map_of(matrix: Tensor) -> Callable[[Params], Params]:
    """The matrix as a map of params of two tensors, one with two dimensions, one with one."""

    def product(vector: Params) -> Params:
        return two_tensors(matrix @ one_vector(vector))

    return product


def two_tensors(vector: Tensor) -> Params:
    return {"a": vector[: len(vector) // 2 * 2].view(2, -1), "b": vector[len(vector) // 2 * 2 :]}


def one_vector(params: Params) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in params.values()])


def random_start(size: int, seed: int = 3) -> Params:
    return two_tensors(normal_like({"v": torch.zeros(size, dtype=F64)}, seed)["v"])


@pytest.mark.parametrize(
    ("eigenvalues", "found"),
    [
        ([5, 3, 1, 0.5, -2, -9, 0.1], [5, 3, 1]),
        ([-1, -2, -3, -7, -8, -20, -21], [-1, -2, -3]),
        ([4, 0, 0, 0, 0, 0, 0], [4, 0]),
        ([0] * 7, [0]),
        ([2] * 7, [2]),
        ([3], [3]),
        ([3, 1], [3, 1]),
    ],
)
def test_largest_eigenvalues_of_a_known_spectrum(eigenvalues, found):
    matrix, _ = matrix_with(eigenvalues)
    top = top_eigenvalues(map_of(matrix), random_start(len(matrix)), 3, 1e-9, 40)
    expected = torch.tensor(found + [torch.nan] * (3 - len(found)), dtype=F64)
    close(top.values, expected, atol=1e-9, rtol=1e-9, equal_nan=True)
    assert torch.equal(top.errors.isnan(), expected.isnan())
    assert ((top.values - expected).abs() <= top.errors).tolist()[: len(found)] == [True] * len(
        found
    )
    assert top.products <= len(set(eigenvalues)) and len(top.vectors) == len(found)
    for value, vector in zip(found, top.vectors, strict=True):
        close(length(vector), torch.tensor(1.0, dtype=F64))
        assert {name: tensor.shape for name, tensor in vector.items()} == {
            name: tensor.shape for name, tensor in random_start(len(matrix)).items()
        }
        close(matrix @ one_vector(vector), value * one_vector(vector), atol=1e-8, rtol=0)


def test_repeated_eigenvalues_are_found_once_or_where_rounding_brings_them_up():
    matrix, _ = matrix_with([5.0, 5, 5, 3, 3, 1, 0])
    for seed in range(5):
        top = top_eigenvalues(map_of(matrix), random_start(7, seed), 3, 1e-9, 40)
        found = [round(value, 6) for value in top.values.tolist()]
        assert found[0] == 5 and found == sorted(found, reverse=True) and set(found) <= {5, 3, 1}
        four = top_eigenvalues(map_of(matrix), random_start(7, seed), 7, 1e-9, 4)
        close(four.values[:4], torch.tensor([5.0, 3, 1, 0], dtype=F64), atol=1e-9, rtol=0)


SPECTRA = {
    "outliers": [100.0, 60, 30, *torch.linspace(-1, 5, 57).tolist()],
    "decay": [50 / (n + 1) for n in range(60)],
    "uniform": torch.linspace(-1, 1, 60).tolist(),
}


@pytest.mark.parametrize("eigenvalues", SPECTRA.values(), ids=SPECTRA.keys())
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_error_estimates_bound_the_errors_and_stop_at_the_tolerance(eigenvalues, tolerance):
    matrix, _ = matrix_with(eigenvalues)
    exact = torch.tensor(sorted(eigenvalues, reverse=True)[:3], dtype=F64)
    for seed in range(5):
        top = top_eigenvalues(map_of(matrix), random_start(60, seed), 3, tolerance, 60)
        assert (top.errors <= tolerance * top.values.abs()).all()
        assert ((top.values - exact).abs() <= top.errors).all()
        before = top.products - IN_A_ROW
        fewer = top_eigenvalues(map_of(matrix), random_start(60, seed), 3, tolerance, before)
        assert not (fewer.errors <= tolerance * fewer.values.abs()).all()
        assert fewer.products == before


def test_below_the_last_value_the_error_is_the_residual():
    """Of what is further down nothing is known yet, so that no gap can make it smaller."""
    matrix, _ = matrix_with(SPECTRA["decay"])
    for count in (1, 2):
        top = top_eigenvalues(map_of(matrix), random_start(60), count, 1e-9, count)
        vector = one_vector(top.vectors[-1])
        close(top.errors[-1], (matrix @ vector - top.values[-1] * vector).norm())


@pytest.mark.parametrize("seed", range(5))
def test_a_gradient_that_is_an_eigenvector_further_down_does_not_hide_the_largest(seed):
    bulk = torch.rand(2000, generator=torch.Generator().manual_seed(seed), dtype=F64) * 20
    eigenvalues = torch.cat([torch.tensor([55.0, 50.0], dtype=F64), bulk])
    gradient = {"v": torch.eye(1, len(eigenvalues), dtype=F64)[0].roll(1)}
    start = start_near(gradient, seed)
    top = top_eigenvalues(lambda v: {"v": eigenvalues * v["v"]}, start, 1, 1e-3, 40)
    close(top.values, torch.tensor([55.0], dtype=F64), rtol=1e-3, atol=0)


def test_float32_is_as_accurate_as_its_error_says_in_a_large_network():
    """A length that is off by 1e-5 makes vectors of other lengths, and eigenvalues off by twice."""
    eigenvalues = torch.linspace(0, 1, 2_000_000).square()
    eigenvalues[-1] = 2.0
    start = normal_like({"v": eigenvalues}, 0)
    top = top_eigenvalues(lambda v: {"v": eigenvalues * v["v"]}, start, 1, 1e-4, 30)
    assert float(top.errors[0]) < 1e-3
    close(top.values, torch.tensor([2.0], dtype=F64), rtol=0, atol=float(top.errors[0]))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_eigenvalues_and_their_errors_in_the_precision_of_the_parameters(dtype):
    matrix, _ = matrix_with(SPECTRA["outliers"])
    start = {name: tensor.to(dtype) for name, tensor in random_start(60).items()}
    top = top_eigenvalues(map_of(matrix.to(dtype)), start, 2, 1e-12, 60)
    exact = torch.tensor([100.0, 60.0], dtype=F64)
    assert ((top.values - exact).abs() <= top.errors).all() and top.products <= 60
    assert (top.errors < 1e3 * torch.finfo(dtype).eps * 100).all()
    assert top.vectors[0]["a"].dtype == dtype and top.values.dtype == F64


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e200])
@pytest.mark.parametrize("at", [0, 2])
def test_products_that_are_not_finite_end_it_with_nan(bad, at):
    matrix, _ = matrix_with(SPECTRA["decay"])
    calls = []

    def product(vector: Params) -> Params:
        calls.append(vector)
        scale = bad if len(calls) > at else 1.0
        return {name: tensor * scale for name, tensor in map_of(matrix)(vector).items()}

    top = top_eigenvalues(product, random_start(60), 2, 1e-3, 40)
    assert top.values.isnan().all() and top.errors.isnan().all()
    assert top.products == len(calls) == at + 1
    calls.clear()
    nodes, weights = quadrature(product, random_start(60), 40)
    assert nodes.isnan().all() and nodes.shape == (40,) and weights[: at + 1].isnan().all()


def test_a_start_of_zeros_gives_nan():
    matrix, _ = matrix_with([2.0, 1.0, 0.0])
    start = two_tensors(torch.zeros(3, dtype=F64))
    assert top_eigenvalues(map_of(matrix), start, 1, 1e-3, 40).values.isnan().all()
    near = start_near(start, seed=1)
    assert top_eigenvalues(map_of(matrix), near, 1, 1e-6, 40).values.isfinite().all()


def test_a_start_near_the_gradient_finds_what_the_gradient_is_orthogonal_to():
    matrix, vectors = matrix_with([9.0, 4, 1, 0.5, 0, -1])
    gradient = two_tensors(100 * vectors[:, 1] + 3 * vectors[:, 3])
    start = start_near(gradient, seed=1)
    unit = two_tensors(one_vector(gradient) / length(gradient))
    close(length(subtract(start, unit)).item(), RANDOM_PART)
    top = top_eigenvalues(map_of(matrix), start, 1, 1e-6, 40)
    close(top.values, torch.tensor([9.0], dtype=F64))
    alone = top_eigenvalues(map_of(matrix), gradient, 1, 1e-6, 2)
    close(alone.values, torch.tensor([4.0], dtype=F64))


def test_quadrature_is_exact_for_polynomials():
    matrix, _ = matrix_with(SPECTRA["decay"])
    start = random_start(60)
    unit = one_vector(start) / length(start)
    nodes, weights = quadrature(map_of(matrix / 50), start, 5)
    for degree in range(10):
        expected = unit @ torch.linalg.matrix_power(matrix / 50, degree) @ unit
        close((weights * nodes**degree).sum(), expected, rtol=1e-10, atol=0)
    wrong = unit @ torch.linalg.matrix_power(matrix / 50, 10) @ unit
    assert abs((weights * nodes**10).sum() / wrong - 1) > 1e-9


def test_quadrature_of_a_small_space_repeats_a_node_without_weight():
    matrix, vectors = matrix_with([5.0, 5, 5, 1, 1, -2, -2])
    start = random_start(7)
    nodes, weights = quadrature(map_of(matrix), start, 6)
    shares = ((one_vector(start) @ vectors) / length(start)) ** 2
    for eigenvalue, share in ((5, shares[:3]), (1, shares[3:5]), (-2, shares[5:])):
        near = (nodes - eigenvalue).abs() < 1e-6
        assert near.any()
        close(weights[near].sum(), share.sum())
    assert nodes.shape == (6,) and torch.equal(nodes, nodes.sort(descending=True).values)
    matrix, _ = matrix_with([2.0] * 7)
    nodes, weights = quadrature(map_of(matrix), start, 4)
    close(nodes, torch.full((4,), 2.0, dtype=F64))
    close(weights, torch.tensor([1.0, 0, 0, 0], dtype=F64))


def test_signs_are_drawn_from_the_seed():
    like = {"a": torch.zeros(40, 25), "b": torch.zeros(3, dtype=torch.float32)}
    signs = signs_like(like, 1)
    assert set(one_vector(signs).tolist()) == {-1.0, 1.0}
    assert abs(signs["a"].mean()) < 0.1 and signs["a"].dtype == torch.float32
    assert torch.equal(signs_like(like, 1)["a"], signs["a"])
    assert not torch.equal(signs_like(like, 2)["a"], signs["a"])


# Small networks, whose Hessian can be written out


def network(norm_of: Callable[[int], nn.Module] = BatchNorm, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 2, 3), norm_of(2), nn.Tanh(), nn.Dropout(dropout), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 3)).double()


def batch_of(seed: int, size: int = 8) -> Batch:
    torch.manual_seed(seed)
    return Batch(torch.randn(size, 1, 4, 4, dtype=F64), torch.arange(size) % 3)


def parameters(model: nn.Module) -> Params:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def update_of(
    model: nn.Module, *batches: Batch, criterion: Any = nn.functional.cross_entropy, **more: Any
) -> Update:
    """A step of gradient descent on the first batch; the others are those of the steps after it."""
    losses = [Loss(model, criterion, batch, seed=20 + n) for n, batch in enumerate(batches)]
    params = parameters(model)
    _, grads = losses[0].value_and_grad(params)
    new_params = add_scaled(params, grads, -0.1)
    return Update(0, losses[0], params, grads, new_params, 0.1, {}, losses.__getitem__, **more)


def trained(model: nn.Module, *batches: Batch, steps: int = 30) -> nn.Module:
    """The model a little way down, with running statistics that are not those of a batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


@cache
def trained_update() -> Update:
    batches = [batch_of(n) for n in range(3)]
    return update_of(trained(network(), *batches), *batches)


def dense(loss: Loss, params: Params) -> Tensor:
    """The Hessian [P, P], column by column."""
    product, size = loss.hessian(params), sum(tensor.numel() for tensor in params.values())
    columns = [product(shaped(column, params)) for column in torch.eye(size, dtype=F64)]
    return torch.stack([one_vector(column) for column in columns], dim=1)


@cache
def trained_hessian(statistics: str) -> Tensor:
    update = trained_update()
    return dense(replace(update.loss, statistics=statistics), update.params)


def shaped(vector: Tensor, like: Params) -> Params:
    parts = vector.split([tensor.numel() for tensor in like.values()])
    return {n: part.view_as(t) for part, (n, t) in zip(parts, like.items(), strict=True)}


@pytest.mark.parametrize("norm_of", [BatchNorm, GroupNorm, nn.Identity])
def test_columns_of_the_hessian_are_differences_of_the_gradient(norm_of):
    model = network(norm_of)
    loss, params = Loss(model, nn.functional.cross_entropy, batch_of(0), seed=0), parameters(model)
    hessian = dense(loss, params)
    close(hessian, hessian.T, rtol=1e-9, atol=1e-12)

    def difference(direction: Params, step: float) -> Tensor:
        _, ahead = loss.value_and_grad(add_scaled(params, direction, step))
        _, behind = loss.value_and_grad(add_scaled(params, direction, -step))
        return one_vector(subtract(ahead, behind)) / (2 * step)

    for column in range(0, len(hessian), 2):
        direction = shaped(torch.eye(len(hessian), dtype=F64)[column], params)
        # Extrapolated to steps of zero.
        expected = (4 * difference(direction, 1e-4) - difference(direction, 2e-4)) / 3
        close(hessian[:, column], expected, rtol=1e-7, atol=1e-9)


def test_sharpness_is_that_of_the_dense_hessian_with_either_statistics():
    update = trained_update()
    probe = Sharpness(count=4, statistics=["batch", "running"], tolerance=1e-8, iterations=80)
    measured = probe(update)
    exact = {}
    for statistics in ("batch", "running"):
        exact[statistics] = torch.linalg.eigvalsh(trained_hessian(statistics)).flip(0)[:4]
        values = measured[f"{statistics}_eigenvalues"]
        close(values, exact[statistics], rtol=1e-6, atol=0)
        assert ((values - exact[statistics]).abs() <= measured[f"{statistics}_error"]).all()
        assert measured[f"{statistics}_products"] <= 80
    assert not torch.allclose(exact["batch"], exact["running"], rtol=0.05)
    assert len(measured) == 7


def test_sharpness_is_the_same_again_and_its_start_that_of_the_step():
    update = trained_update()
    probe = Sharpness(tolerance=0.1)
    first, state = probe(update), torch.get_rng_state()
    torch.rand(3)
    assert all(torch.equal(value, first[key]) for key, value in probe(update).items())
    torch.set_rng_state(state)
    other = replace(update.loss, seed=99)
    moved = replace(update, loss=other, losses=[other].__getitem__)
    assert not torch.equal(probe(moved)["batch_eigenvalues"], first["batch_eigenvalues"])
    close(probe(moved)["batch_eigenvalues"], first["batch_eigenvalues"], rtol=0.1, atol=0)


def test_batches_are_ghost_batches():
    """The mean of their Hessians; under batch statistics that is not the Hessian of their union."""
    batches = [batch_of(n) for n in range(2)]
    union = Batch(
        torch.cat([batch.inputs for batch in batches]),
        torch.cat([batch.targets for batch in batches]),
    )
    for norm_of, adds_up in ((BatchNorm, False), (GroupNorm, True)):
        update = update_of(network(norm_of), *batches)
        hessians = [dense(update.losses(n), update.params) for n in range(2)]
        exact = torch.linalg.eigvalsh(sum(hessians) / 2)[-1:]
        probe = Sharpness(batches=2, tolerance=1e-9, iterations=80)
        close(probe(update)["batch_eigenvalues"], exact, rtol=1e-6, atol=0)
        whole = torch.linalg.eigvalsh(dense(replace(update.loss, batch=union), update.params))
        assert torch.allclose(exact, whole[-1:], rtol=1e-6) == adds_up


@pytest.mark.parametrize("norm_of", ["none", "batch"])
def test_a_start_near_the_gradient_takes_fewer_products_than_a_random_one(norm_of):
    data, model, optimizer = build(small_config("deep_linear", norm_of, "optimizer.lr=1e-6"))
    batch, totals = data.batch(0, 20, 0), [0, 0]
    for step in range(31):
        optimizer.zero_grad()
        data.criterion(model(batch.inputs), batch.targets).backward()
        if step % 15 == 0:
            params, grads = parameters(model), gradients(model)
            product = Loss(model, data.criterion, batch, seed=0).hessian(params)
            for n, start in enumerate([start_near(grads, step), normal_like(params, step)]):
                totals[n] += top_eigenvalues(product, start, 1, 1e-3, 80).products
        optimizer.step()
    assert totals[0] < totals[1]


def test_batch_sharpness_is_the_gradient_change_along_the_gradient_of_a_small_step():
    """Of the effective beta-smoothness at step size eta what is left for eta to 0, along g."""
    update = trained_update()
    measured = BatchSharpness(batches=2, statistics=["batch", "running"])(update)
    eta = 1e-4
    for statistics in ("batch", "running"):
        for n in range(2):
            loss = replace(update.losses(n), statistics=statistics)
            _, g = loss.value_and_grad(update.params)
            slopes = []
            for step in (eta, -eta):
                _, there = loss.value_and_grad(add_scaled(update.params, g, -step))
                slopes.append(dot(g, subtract(g, there)) / (step * length(g) ** 2))
            curvature = measured[f"{statistics}_curvature"][n]
            close(curvature, sum(slopes) / 2, rtol=1e-6, atol=1e-9)
            close(measured[f"{statistics}_gradient_norm"][n], length(g))
            _, there = loss.value_and_grad(add_scaled(update.params, g, -eta))
            assert curvature <= length(subtract(g, there)) / (eta * length(g)) * (1 + 1e-3)


def test_trace_of_the_dense_hessian_within_the_standard_error():
    update = trained_update()
    measured = HessianTrace(samples=100, statistics=["batch", "running"])(update)
    for statistics in ("batch", "running"):
        samples = measured[f"{statistics}_samples"]
        exact = trained_hessian(statistics).trace()
        first = one_vector(signs_like(update.params, update.seed_of("hessian_trace")))
        close(samples[0], first @ trained_hessian(statistics) @ first)
        standard_error = samples.std() / 100**0.5
        assert abs(samples.mean() - exact) < 3 * standard_error < 0.5 * abs(exact)


class Point(nn.Module):
    """A model that is its parameter, so that the criterion is the loss."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.theta = nn.Parameter(start)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.theta


def quadratic(matrix: Tensor, start: Tensor) -> Update:
    batch = Batch(torch.zeros(1), torch.zeros(1))
    return update_of(Point(start), batch, criterion=lambda theta, _: 0.5 * theta @ matrix @ theta)


def test_trace_of_a_diagonal_hessian_is_exact():
    diagonal = torch.tensor([3.0, -1, 0.5, 7], dtype=F64)
    samples = HessianTrace(samples=3)(quadratic(diagonal.diag(), torch.ones(4, dtype=F64)))
    close(samples["batch_samples"], torch.full((3,), 9.5, dtype=F64))


def test_curvature_of_a_quadratic():
    matrix, vectors = matrix_with([9.0, 4, 1, 0.5, 0, -1])
    torch.manual_seed(4)
    update = quadratic(matrix, torch.randn(6, dtype=F64))
    g = matrix @ update.params["theta"]
    sharpness = Sharpness(count=2, tolerance=1e-9)(update)
    close(sharpness["batch_eigenvalues"], torch.tensor([9.0, 4], dtype=F64))
    along = BatchSharpness()(update)
    close(along["batch_curvature"], (g @ matrix @ g / (g @ g))[None])
    spectrum = Spectrum(draws=3, iterations=6, count=2, tolerance=1e-9)(update)
    eigenvalues = torch.tensor([9.0, 4, 1, 0.5, 0, -1], dtype=F64)
    close(spectrum["batch_nodes"], eigenvalues.expand(3, 6), atol=1e-8, rtol=0)
    close(spectrum["batch_weights"].sum(1), torch.ones(3, dtype=F64))
    assert spectrum["batch_weights"].std(0).min() > 0  # every draw its own direction
    shares = (vectors.T @ g)[:2] ** 2 / (g @ g)
    close(spectrum["batch_gradient_share"], shares, rtol=1e-6, atol=0)
    close(spectrum["batch_eigenvalues"], torch.tensor([9.0, 4], dtype=F64))


def test_spectral_density_of_a_hessian():
    """Its first two moments within the standard error, and the distribution of the eigenvalues."""
    update = trained_update()
    hessian, draws = trained_hessian("batch"), 60
    eigenvalues = torch.linalg.eigvalsh(hessian)
    # The same Hessian, everywhere and cheaply.
    measured = Spectrum(draws=draws, iterations=25)(quadratic(hessian, one_vector(update.grads)))
    nodes, weights = measured["batch_nodes"], measured["batch_weights"]
    assert nodes.shape == weights.shape == (draws, 25)
    for power in (1, 2):
        moments = (weights * nodes**power).sum(1)
        error = (moments.mean() - (eigenvalues**power).mean()).abs()
        assert error < 3 * moments.std() / draws**0.5 < 0.5 * (eigenvalues**power).mean().abs()
    for share in (-0.2, -0.05, 0.05, 0.1, 0.3, 0.6):
        point = share * eigenvalues[-1]
        exact = (eigenvalues <= point).double().mean()
        assert abs((weights * (nodes <= point)).sum() / draws - exact) < 0.05


def test_the_density_of_a_network_is_that_of_its_dense_hessian_as_a_direction_weighs_it():
    update = trained_update()
    measured = Spectrum(iterations=12, statistics=["batch", "running"])(update)
    direction = one_vector(normal_like(update.params, update.seed_of("spectrum", 1)))
    direction /= direction.norm()
    for statistics in ("batch", "running"):
        eigenvalues, vectors = torch.linalg.eigh(trained_hessian(statistics))
        scaled, shares = eigenvalues / eigenvalues[-1], (direction @ vectors) ** 2
        nodes = measured[f"{statistics}_nodes"][0] / eigenvalues[-1]
        for power in range(2 * 12):
            moment = measured[f"{statistics}_weights"][0] @ nodes**power
            close(moment, shares @ scaled**power, rtol=1e-8, atol=1e-8)


def test_the_gradient_in_the_top_eigenvectors_with_either_statistics():
    update = trained_update()
    probe = Spectrum(iterations=40, count=3, tolerance=1e-7, statistics=["batch", "running"])
    measured = probe(update)
    for statistics in ("batch", "running"):
        loss = replace(update.loss, statistics=statistics)
        eigenvalues, vectors = torch.linalg.eigh(trained_hessian(statistics))
        _, grads = loss.value_and_grad(update.params)
        shares = (one_vector(grads) @ vectors).flip(0)[:3] ** 2 / length(grads) ** 2
        close(measured[f"{statistics}_gradient_share"], shares, rtol=1e-3, atol=1e-4)
        close(measured[f"{statistics}_eigenvalues"], eigenvalues.flip(0)[:3], rtol=1e-6, atol=0)
        close(measured[f"{statistics}_nodes"][0, 0], eigenvalues[-1], rtol=1e-6, atol=0)


def test_gradient_shares_of_eigenvectors_that_are_not_there_are_nan():
    update = quadratic(torch.diag(torch.tensor([2.0, 1.0], dtype=F64)), torch.ones(2, dtype=F64))
    measured = Spectrum(iterations=5, count=4)(update)
    close(measured["batch_gradient_share"].isnan(), torch.tensor([False, False, True, True]))
    close(measured["batch_gradient_share"][:2], torch.tensor([0.8, 0.2], dtype=F64))


# All of them


PROBES = {
    "sharpness": Sharpness(statistics=["batch", "running"], batches=2),
    "batch_sharpness": BatchSharpness(statistics=["batch", "running"], batches=2),
    "hessian_trace": HessianTrace(statistics=["batch", "running"]),
    "spectrum": Spectrum(statistics=["batch", "running"], iterations=4),
}


def state(update: Update) -> list[Any]:
    model = update.loss.model
    tensors = [t.clone() for t in [*model.state_dict().values(), *update.params.values()]]
    flags = [(p.grad, p.requires_grad) for p in [*model.parameters(), *update.params.values()]]
    modes = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    return [*tensors, torch.get_rng_state(), *one_vector(update.grads)[None], flags, modes]


def same(before: list[Any], after: list[Any]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
@pytest.mark.parametrize("training", [True, False])
def test_curvature_probes_change_nothing(probe, training):
    model = network(dropout=0.3).train(training)
    update = update_of(model, batch_of(0), batch_of(1))
    before = state(update)
    probe(update)
    assert same(before, state(update))

    def broken(outputs: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no")

    loss = replace(update.loss, criterion=broken)
    with pytest.raises(RuntimeError, match="no"):
        probe(replace(update, loss=loss, losses=lambda n: loss))
    assert same(before, state(update))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_curvature_of_what_overflows_is_recorded_as_nan(probe):
    update = update_of(network(), batch_of(0), batch_of(1))
    params = {name: tensor * torch.inf for name, tensor in update.params.items()}
    for key, value in probe(replace(update, params=params)).items():
        counted = key == "training_samples" or "products" in key
        assert counted or not value.isfinite().any() or "weights" in key


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Sharpness(count=0), "probes.sharpness.count=0 must be at least 1"),
        (lambda: Sharpness(batches=0), "probes.sharpness.batches=0 must be at least 1"),
        (lambda: Sharpness(count=5, iterations=4), "iterations=4 must be at least count=5"),
        (lambda: Sharpness(tolerance=0), "tolerance=0 must lie between 0 and 1"),
        (lambda: Sharpness(statistics=["eval"]), r"sharpness.statistics=\['eval'\] must be of"),
        (lambda: Sharpness(statistics=[]), r"probes.sharpness.statistics=\[\] must be of batch"),
        (lambda: BatchSharpness(batches=0), "probes.batch_sharpness.batches=0 must be at least"),
        (lambda: BatchSharpness(statistics="batch"), "batch_sharpness.statistics=batch must be"),
        (lambda: HessianTrace(samples=0), "probes.hessian_trace.samples=0 must be at least 1"),
        (lambda: HessianTrace(statistics=["a"]), r"hessian_trace.statistics=\['a'\] must be of"),
        (lambda: Spectrum(draws=0), "probes.spectrum.draws=0 must be at least 1"),
        (lambda: Spectrum(count=0), "probes.spectrum.count=0 must be at least 1"),
        (lambda: Spectrum(count=5, iterations=4), "iterations=4 must be at least count=5"),
        (lambda: Spectrum(tolerance=2), "probes.spectrum.tolerance=2 must lie between 0 and 1"),
        (lambda: Spectrum(statistics=["a"]), r"spectrum.statistics=\['a'\] must be of batch"),
    ],
)
def test_curvature_probes_refuse_what_measures_nothing(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


# Weights


def weights_update() -> Update:
    """Two layers of one conv or linear each: [3, 4] and [1, 2, 2], and their start."""
    params = {
        "a.weight": torch.tensor([[3.0, 4.0]]),
        "a.bias": torch.tensor([100.0]),
        "a.norm.weight": torch.tensor([50.0]),
        "b.weight": torch.tensor([1.0, 2.0, 2.0]),
    }
    new_params = params | {"a.weight": params["a.weight"] + 0.3, "b.weight": params["b.weight"] * 0}
    initial = params | {"a.weight": torch.tensor([[3.0, 0.0]]), "b.weight": torch.ones(3)}
    layers = {
        "first": Layer(("a.weight", "a.bias"), ("a.norm.weight",), "a.norm", "a.norm"),
        "second": Layer(("b.weight",), (), "b"),
        "frozen": Layer((), (), "c"),
    }
    loss: Any = SimpleNamespace(effective=lambda params, names: {n: params[n] for n in names})
    return Update(7, loss, params, params, new_params, 0.05, layers, [].__getitem__, None, initial)


def test_weights_by_hand():
    measured = Weights()(weights_update())
    expected = {
        "lr": 0.05,
        "norm": 34**0.5,
        "step": (0.18 + 9) ** 0.5,
        "norm/first": 5.0,
        "step/first": 0.18**0.5,
        "distance/first": 4.0,
        "initial_product/first": 9.0,
        "initial_norm/first": 3.0,
        "rotation/first": atan2(4, 3) - atan2(4.3, 3.3),
        "norm/second": 3.0,
        "step/second": 3.0,
        "distance/second": 2**0.5,
        "initial_product/second": 5.0,
        "initial_norm/second": 3**0.5,
        "rotation/second": nan,  # the new weight is zero
    }
    assert measured.keys() == expected.keys()
    for key, value in expected.items():
        close(measured[key].item(), value, rtol=1e-5, atol=0, equal_nan=True)


def test_weights_of_some_layers_and_without_a_start():
    update = weights_update()
    some = Weights(layers=["second"])(update)
    assert some["norm"] == some["norm/second"] == 3 and "norm/first" not in some
    assert set(Weights()(replace(update, initial=None))) == {
        "lr",
        *(f"{key}{layer}" for key in ("norm", "step") for layer in ("", "/first", "/second")),
        *("rotation/first", "rotation/second"),
    }
    assert set(Weights(layers=["frozen"])(update)) == {"lr"}
    with pytest.raises(ValueError, match="'third' is not in the model"):
        Weights(layers=["third"])(update)
