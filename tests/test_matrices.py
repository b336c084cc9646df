"""Hessian and Gauss-Newton matrix, whole and by blocks; for SciPy; in full precision."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from test_lanczos import (
    F64,
    batch_of,
    close,
    network,
    one_vector,
    trained_hessian,
    trained_update,
    update_of,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnstudy.lanczos import linear_operator, signs_like, top_eigenvalues
from bnstudy.norms import BatchNorm
from bnstudy.observe import observe
from bnstudy.params import Params, dot, normal_like
from bnstudy.probes.hessian_trace import HessianTrace
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.spectrum import Spectrum
from bnstudy.update import NotMeasurable, Update

TARGETS = torch.arange(8) % 3


def dense(product: Callable[[Params], Params], like: Params) -> Tensor:
    """A map of params as a matrix [P, P]."""
    sizes = [tensor.numel() for tensor in like.values()]
    columns = []
    for row in torch.eye(sum(sizes), dtype=F64):
        parts = zip(like.items(), row.split(sizes), strict=True)
        columns.append(one_vector(product({n: part.view_as(t) for (n, t), part in parts})))
    return torch.stack(columns, dim=1)


# Gauss-Newton


class Curve(nn.Module):
    """tanh(w x), of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=F64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.w * x)


def test_gauss_newton_of_a_curve_is_its_formula():
    x, y = torch.tensor([0.5, -1.0, 2.0], dtype=F64), torch.tensor([1.0, 0.5, -1.0], dtype=F64)
    update = observe(Curve(), lambda outputs, y: ((outputs - y) ** 2).sum() / 2, x, y)
    t = torch.tanh(0.7 * x)
    slope = (1 - t**2) * x
    gauss_newton = float((slope**2).sum())
    one = {"w": torch.ones((), dtype=F64)}
    assert float(update.loss.gauss_newton(update.params)(one)["w"]) == pytest.approx(gauss_newton)
    bend = float(((t - y) * -2 * t * slope * x).sum())  # what Gauss-Newton leaves out
    assert float(update.loss.hessian(update.params)(one)["w"]) == pytest.approx(gauss_newton + bend)
    assert abs(bend) > 0.1


@pytest.mark.parametrize("form", ["tensor", "dict", "written in place"])
def test_gauss_newton_is_jacobian_times_hessian_of_the_criterion(form):
    model, batch = network(lambda n: nn.BatchNorm2d(n, track_running_stats=False)), batch_of(0)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, input: Tensor) -> Any:
            outputs = self.net(input)
            return {"aside": input, "logits": [outputs]} if form == "dict" else outputs

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        outputs = outputs["logits"][0] if form == "dict" else outputs
        return cross_entropy(outputs.mul_(1) if form == "written in place" else outputs, targets)

    update = observe(Named(), criterion, *(batch.inputs, batch.targets))
    found = dense(update.loss.gauss_newton(update.params), update.params)
    own = {name.removeprefix("net."): tensor for name, tensor in update.params.items()}
    jacobians = torch.func.jacrev(
        lambda params: torch.func.functional_call(model, params, (batch.inputs,))
    )(own)
    jacobian = torch.cat([jacobians[name].reshape(24, -1) for name in own], dim=1)
    outputs = model(batch.inputs).detach()
    slope = torch.func.grad(lambda z: cross_entropy(z, batch.targets))
    bend = torch.func.jacrev(slope)(outputs).reshape(24, 24)
    close(found, jacobian.T @ bend @ jacobian, rtol=1e-9, atol=1e-12)
    assert torch.linalg.eigvalsh(found)[0] > -1e-12
    assert not torch.allclose(found, dense(update.loss.hessian(update.params), update.params))


def test_gauss_newton_of_a_linear_network_with_squared_error_is_the_hessian():
    update = observe(
        nn.Linear(5, 3).double(), nn.MSELoss(), torch.randn(8, 5).double(), torch.zeros(8, 3)
    )
    vector = normal_like(update.params, 0)
    expected = update.loss.hessian(update.params)(vector)
    close(update.loss.gauss_newton(update.params)(vector), expected)


def test_a_network_that_returns_its_loss_has_no_gauss_newton_matrix():
    class WithLoss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, input: Tensor, targets: Tensor) -> dict[str, Tensor]:
            logits = self.fc(input)
            return {"loss": cross_entropy(logits, targets), "logits": logits}

    given = (torch.randn(8, 5), TARGETS)
    update = observe(WithLoss(), lambda outputs, _: outputs["loss"], given, None)
    with pytest.raises(NotMeasurable, match="The criterion is linear in what WithLoss returns"):
        update.loss.gauss_newton(update.params)


# Blocks


def test_blocks_of_the_hessian_are_those_of_the_dense_one():
    update = trained_update()
    full = trained_hessian("batch")
    first, last = ["0.weight", "0.bias"], ["5.weight", "5.bias"]
    for names in (first, last, ["1.bias"]):
        rows = torch.cat([torch.full((t.numel(),), n in names) for n, t in update.params.items()])
        like = {name: update.params[name] for name in names}
        found = dense(update.loss.hessian(update.params), like)
        close(found, full[rows][:, rows], rtol=1e-9, atol=1e-12)


def layered() -> Update:
    """A step of a chain: the layers are "0", with the norm "1", and "5"."""
    batch = batch_of(0)
    return observe(network(), cross_entropy, batch.inputs, batch.targets)


def block(update: Update, names: list[str], matrix: str = "hessian") -> Tensor:
    like = {name: update.params[name] for name in update.params if name in names}
    return dense(getattr(update.loss, matrix)(update.params), like)


FIRST = ["0.weight", "0.bias", "1.weight", "1.bias"]


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_sharpness_of_layers_and_blocks_is_that_of_their_blocks(matrix):
    update = layered()
    options: Any = {"matrices": [matrix], "tolerance": 1e-7, "iterations": 80}
    measured = Sharpness(layers=["0", "5", "1"], **options)(update)
    key = "batch_eigenvalues" if matrix == "hessian" else "batch_gauss_newton_eigenvalues"
    parts = {"": list(update.params), "/0": FIRST, "/5": ["5.weight", "5.bias"]}
    for end, names in (parts | {"/1": FIRST[2:]}).items():  # "1" is no layer: names that begin so
        expected = torch.linalg.eigvalsh(block(update, names, matrix))[-1]
        close(measured[f"{key}{end}"][0], expected, rtol=1e-6, atol=1e-12)
    assert {k for k in measured if "/" in k and k.startswith(key)} == {
        f"{key}{end}" for end in ("/0", "/5", "/1")
    }
    every = Sharpness(layers=None, **options)(update)
    assert [k for k in every if k.startswith(f"{key}/")] == [f"{key}/0", f"{key}/5"]
    plain = Sharpness(**options)(update)
    assert torch.equal(plain[key], measured[key]) and not any("/" in name for name in plain)


def test_both_matrices_are_measured_beside_each_other():
    update = layered()
    measured = Sharpness(matrices=["hessian", "gauss_newton"])(update)
    assert measured["batch_eigenvalues"] != measured["batch_gauss_newton_eigenvalues"]
    alone = Sharpness(matrices=["gauss_newton"])(update)["batch_gauss_newton_eigenvalues"]
    assert torch.equal(measured["batch_gauss_newton_eigenvalues"], alone)


def test_traces_of_blocks_are_of_their_parts_of_the_same_vectors():
    update = layered()
    measured = HessianTrace(samples=3, layers=None)(update)
    for end, names in (("/0", FIRST), ("/5", ["5.weight", "5.bias"])):
        matrix = block(update, names)
        for n, sample in enumerate(measured[f"batch_samples{end}"]):
            signs = signs_like(update.params, update.seed_of("hessian_trace", n))
            vector = one_vector({name: signs[name] for name in update.params if name in names})
            close(sample, vector @ matrix @ vector, rtol=1e-9, atol=1e-12)


def test_the_spectrum_of_a_block_is_that_of_its_matrix_as_a_direction_weighs_it():
    update = layered()
    measured = Spectrum(iterations=6, layers=["0"], matrices=["gauss_newton"])(update)
    nodes, weights = (measured[f"batch_gauss_newton_{k}/0"][0] for k in ("nodes", "weights"))
    like = {name: update.params[name] for name in FIRST}
    vector = one_vector(normal_like(like, update.seed_of("spectrum", 1)))
    vector /= vector.norm()
    matrix = block(update, FIRST, "gauss_newton")
    for power in range(6):
        moment = vector @ torch.linalg.matrix_power(matrix, power) @ vector
        close((weights * nodes**power).sum(), moment, rtol=1e-8, atol=0)


@pytest.mark.parametrize("probe", [Sharpness, HessianTrace, Spectrum])
def test_what_is_no_layer_no_block_and_no_matrix_is_refused(probe):
    name = {Sharpness: "sharpness", HessianTrace: "hessian_trace", Spectrum: "spectrum"}[probe]
    with pytest.raises(ValueError, match=rf"probes.{name}.layers has 'conv', .*; layers are 0, 5"):
        probe(layers=["conv"])(layered())
    with pytest.raises(ValueError, match=rf"probes.{name}.layers=5 must be a list, such as \[5\]"):
        probe(layers="5")
    with pytest.raises(ValueError, match=rf"{name}.matrices=\['fisher'\] must be of hessian and"):
        probe(matrices=["fisher"])


# SciPy


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
def test_scipy_finds_the_eigenvalues_that_lanczos_finds(matrix):
    linalg = pytest.importorskip("scipy.sparse.linalg")
    update = update_of(network(), batch_of(0))
    operator = linear_operator(update.loss, update.params, matrix)
    found = np.sort(linalg.eigsh(operator, k=3, which="LA", return_eigenvectors=False))[::-1]
    product = getattr(update.loss, matrix)(update.params)
    top = top_eigenvalues(product, normal_like(update.params, 1), 3, 1e-9, 60)
    close(torch.from_numpy(found.copy()), top.values, rtol=1e-7, atol=1e-12)
    everything = dense(product, update.params)
    close(torch.from_numpy(operator @ np.eye(len(everything))), everything)


def test_an_operator_of_float32_parameters_is_float32():
    linalg = pytest.importorskip("scipy.sparse.linalg")
    update = observe(nn.Linear(5, 3), cross_entropy, torch.randn(8, 5), TARGETS)
    operator = linear_operator(update.loss, update.params)
    assert (operator.dtype, operator.shape) == (np.float32, (18, 18))
    top = Sharpness(tolerance=1e-6)(update)["batch_eigenvalues"]
    assert linalg.eigsh(operator, k=1, which="LA")[0] == pytest.approx(top.numpy(), rel=1e-4)


# Full precision


@pytest.fixture
def _precision() -> Iterator[None]:
    parts = products()
    was = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    own = [part.fp32_precision for part in parts]
    yield
    torch.set_float32_matmul_precision(was[0])
    torch.backends.cudnn.allow_tf32 = was[1]
    for part, precision in zip(parts, own, strict=True):
        part.fp32_precision = precision
    any_backend: Any = torch.backends
    any_backend.fp32_precision = "none"


def products() -> list[Any]:
    backends: Any = torch.backends
    of_nvidia = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    return [*of_nvidia, backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]


def older() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True


def medium() -> None:
    torch.set_float32_matmul_precision("medium")


def newer() -> None:
    backends: Any = torch.backends
    backends.fp32_precision = "tf32"


class Watched(torch.autograd.Function):
    """The identity; keeps in what precision forward and backward passes are."""

    seen: list[str] = []  # noqa: RUF012

    @staticmethod
    def forward(ctx: Any, input: Tensor) -> Tensor:
        Watched.seen.extend(part.fp32_precision for part in products())
        return input.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        Watched.seen.extend(part.fp32_precision for part in products())
        return Watched.apply(grads[0])


class Watching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, input: Tensor) -> Any:
        torch.backends.cuda.matmul.allow_tf32  # noqa: B018  a model may read it
        return Watched.apply(self.fc(input))


@pytest.mark.usefixtures("_precision")
@pytest.mark.parametrize("switch", [older, medium, newer])
def test_no_product_of_a_probe_is_in_tf32_and_what_was_set_is_set_again(switch):
    switch()
    before = [part.fp32_precision for part in products()]
    assert "tf32" in before
    Watched.seen.clear()
    update = observe(Watching(), cross_entropy, torch.randn(8, 5), TARGETS)
    Sharpness(iterations=2)(update)
    update.loss(update.params)
    update.loss.gauss_newton(update.params)(update.grads)
    assert len(Watched.seen) > 60 and set(Watched.seen) == {"ieee"}
    assert [part.fp32_precision for part in products()] == before
    if switch is not newer:
        expected = "medium" if switch is medium else "high"
        assert torch.get_float32_matmul_precision() == expected


def test_curvature_of_batchnorm_before_a_linear_layer_is_not_that_of_a_sample():
    """Gauss-Newton in training mode has the batch's statistics in its Jacobian."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), BatchNorm(6), nn.Linear(6, 3)).double()
    update = observe(model, cross_entropy, torch.randn(8, 5).double(), TARGETS)
    first = {n: p if n == "0.weight" else torch.zeros_like(p) for n, p in update.params.items()}
    # The norm takes the scale of the weights away: along them no output moves.
    image = update.loss.gauss_newton(update.params)(first)
    assert math.sqrt(dot(image, image)) < 1e-4 * math.sqrt(dot(first, first))
