"""Second derivatives against differences of gradients, and against another library's."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnstudy.derivatives import disagreement
from bnstudy.lanczos import key_of
from bnstudy.observe import observe
from bnstudy.params import Params
from bnstudy.probes.sharpness import Sharpness


class Made:
    """A loss whose gradient is A x + k sign(x), and whose Hessian is said to be B."""

    def __init__(self, a: Tensor, b: Tensor, kink: float = 0.0) -> None:
        self.a, self.b, self.kink = a, b, kink

    def value_and_grad(self, params: Params) -> tuple[Tensor, Params]:
        x = params["x"]
        return x @ self.a @ x / 2, {"x": self.a @ x + self.kink * x.sign()}

    def hvp(self, params: Params, vector: Params) -> Params:
        return {"x": self.b @ vector["x"]}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("wrong", "kink"), [(0.0, 0.0), (0.25, 0.0), (0.0, 1.0)])
def test_a_product_is_off_if_differences_agree_with_each_other_and_not_with_it(wrong, kink, dtype):
    torch.manual_seed(0)
    a = torch.randn(6, 6, dtype=dtype)
    off = disagreement(Made(a, a * (1 + wrong), kink), {"x": torch.ones(6, dtype=dtype)})
    assert (off == pytest.approx(wrong, rel=1e-2)) if wrong else off is None


def test_on_a_kink_differences_cannot_tell():
    class Everywhere(Made):
        """A kink at whatever point is looked at: the sign of what a step changes."""

        def value_and_grad(self, params: Params) -> tuple[Tensor, Params]:
            value, grads = super().value_and_grad(params)
            self.start = getattr(self, "start", params["x"])
            return value, {"x": grads["x"] + (params["x"] - self.start).sign()}

    a = torch.eye(3, dtype=torch.float64)
    assert disagreement(Everywhere(a, a), {"x": torch.ones(3, dtype=torch.float64)}) is None


def test_parameters_that_are_fixed_are_not_moved():
    class Watched(Made):
        def value_and_grad(self, params: Params) -> tuple[Tensor, Params]:
            assert torch.equal(params["fixed"], torch.ones(2))
            value, grads = super().value_and_grad(params)
            return value, grads | {"fixed": torch.zeros(2)}

        def hvp(self, params: Params, vector: Params) -> Params:
            return super().hvp(params, vector) | {"fixed": torch.zeros(2)}

    a = torch.eye(3)
    assert (
        disagreement(Watched(a, a), {"x": torch.ones(3), "fixed": torch.ones(2)}, {"fixed"}) is None
    )


@pytest.mark.parametrize(
    "norm", [nn.Identity, lambda: nn.BatchNorm1d(20), lambda: nn.LayerNorm(20)]
)
@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is:FutureWarning")  # theirs, through torch
def test_eigenvalues_agree_with_those_of_hessian_eigenthings(norm, matrix):
    theirs = pytest.importorskip("hessian_eigenthings")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 20), norm(), nn.Tanh(), nn.Linear(20, 3)).double()
    batch = torch.randn(32, 5).double(), torch.arange(32) % 3
    update = observe(model, cross_entropy, *batch)
    probe = Sharpness(count=3, iterations=80, tolerance=1e-8, matrices=[matrix])
    ours = probe(update)[f"{key_of('batch', matrix)}eigenvalues"]
    if matrix == "hessian":
        loss = theirs.supervised_loss(cross_entropy)
        operator = theirs.HessianOperator(model.train(), [batch], loss)
    else:
        loss = theirs.supervised_loss_of_output(cross_entropy)
        for module in model:  # theirs differentiates forward, and finds the counter in its way
            module.num_batches_tracked = None
        operator = theirs.GGNOperator(model.train(), [batch], theirs.supervised_forward, loss)
    options = {"which": "LA", "reorthogonalize": True, "seed": 0}
    found = theirs.lanczos(operator, k=3, max_iter=60, tol=1e-8, **options).eigenvalues
    expected = torch.as_tensor(found).double().sort(descending=True).values
    assert torch.allclose(ours, expected, rtol=1e-4)
