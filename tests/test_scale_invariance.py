"""Weight decay of scale-invariant weights is an exponentially growing lr, to rounding."""

from functools import partial

import pytest
import torch
from conftest import config
from torch import nn

from bnstudy.data import Batch
from bnstudy.models.deep_linear import DeepLinear
from bnstudy.norms import BatchNorm
from bnstudy.probes.weights import Weights, angle
from bnstudy.schedules import constant, exponential
from bnstudy.train import take_step
from bnstudy.update import Loss, Update, layers_of

LR, DECAY, STEPS = 0.05, 0.04, 40
# Without gamma and beta, and without an eps, nothing but the direction of the weights counts.
norm = partial(BatchNorm, eps=1e-300, affine=False)


def convolutions() -> nn.Sequential:
    """Two convolutions and a linear layer, each with a norm, so that all are scale-invariant."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3, bias=False), norm(6), nn.ReLU()),
        *(nn.Conv2d(6, 6, 3, bias=False), norm(6), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(96, 5, bias=False), norm(5)),
    )


def trajectory(model, schedule, weight_decay):
    """The losses of training, and the weights at its end."""
    torch.manual_seed(0)
    if isinstance(model, DeepLinear):
        inputs, targets = torch.randn(2, 30, 6, dtype=torch.float64)
        criterion = nn.functional.mse_loss
    else:
        inputs = torch.randn(24, 1, 8, 8, dtype=torch.float64)
        targets, criterion = torch.randint(5, (24,)), nn.functional.cross_entropy
    model = model.double()
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, weight_decay=weight_decay)
    losses = []
    for step in range(STEPS):
        loss = criterion(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        take_step(optimizer, schedule(step, STEPS))
        losses.append(loss.item())
    return losses, [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize(
    "model", [partial(DeepLinear, (6,), 6, norm, depth=8), convolutions], ids=["linear", "convs"]
)
def test_weight_decay_is_an_exponentially_growing_learning_rate(model):
    """Li & Arora 2020, theorem 1.1: the same networks, the weights longer by (1 - decay)^-t."""
    decayed, short = trajectory(model(), constant, DECAY / LR)
    grown, long = trajectory(model(), partial(exponential, decay=DECAY), 0.0)
    assert decayed[-1] < 0.98 * decayed[0]
    assert grown == pytest.approx(decayed, rel=1e-6)
    for one, other in zip(short, long, strict=True):
        torch.testing.assert_close(other * (1 - DECAY) ** STEPS, one, rtol=1e-6, atol=1e-9)
    # The growing learning rate alone does it: at a constant one the losses differ.
    assert trajectory(model(), constant, 0.0)[0] != pytest.approx(decayed, rel=1e-3)


def test_the_twin_of_the_experiment_has_its_learning_rate():
    pair = ["experiment=scale_invariance", "experiment=scale_invariance_lr"]
    decayed, twin = (config(name, "scale=small") for name in pair)
    weight_decay = 500.0  # the axis has it
    assert decayed.optimizer.lr * weight_decay == pytest.approx(twin.schedule.decay)
    assert twin.norm == decayed.norm and twin.steps == decayed.steps


def test_the_angle_between_weights_small_and_large():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    assert angle({"w": x}, {"w": y}).item() == pytest.approx(torch.pi / 2)
    assert angle({"w": x}, {"w": -2 * x}).item() == pytest.approx(torch.pi)
    tilted = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert angle({"w": tilted}, {"w": x.double()}).item() == pytest.approx(1e-9, rel=1e-6)
    assert angle({"w": x}, {"w": 0 * x}).isnan()


def test_the_weights_turn_by_the_angle_of_their_step():
    model = DeepLinear((2,), 2, nn.Identity, depth=1).double()
    batch = Batch(*torch.randn(2, 5, 2, dtype=torch.float64))
    params = {"layer1.linear.weight": torch.eye(2, dtype=torch.float64)}
    turned = {"layer1.linear.weight": torch.tensor([[0.0, 2.0], [-2.0, 0.0]]).double()}
    loss = Loss(model, nn.functional.mse_loss, batch, seed=0)
    update = Update(0, loss, params, params, turned, 0.1, layers_of(model), lambda n: loss)
    assert Weights()(update)["rotation/layer1"].item() == pytest.approx(torch.pi / 2)
