"""Probes on networks and loops that were not written for this study."""

import json
import random
from collections import UserDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import config, options
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bnstudy import surfaces
from bnstudy.figures import figure3a
from bnstudy.observe import Observer, Pair, layers_called, observe
from bnstudy.probes.covariate_shift import CovariateShift
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.moments import Moments
from bnstudy.probes.scale_and_shift import ScaleAndShift
from bnstudy.probes.theory import Theory
from bnstudy.record import Recorder, count_steps
from bnstudy.results import load_run, load_runs
from bnstudy.update import Layer, Update, seed_noise


class Counted(nn.Module):
    """BatchNorm, and a buffer of its own that every forward pass moves and uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, input: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(self.norm(self.conv(input)).relu().mean((2, 3))) * (1 + 0.1 * self.calls)


class Tied(nn.Module):
    """Three linears of which two share a weight, one of these without a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5, bias=False)
        self.second.weight = self.first.weight
        self.last = nn.Linear(5, 3)

    def forward(self, input: Tensor) -> Tensor:
        return self.last(self.second(self.first(input).relu()).relu())


class Frozen(nn.Module):
    """A frozen linear; one whose norm is trained; one that is trained, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.scaled, self.free = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(5)
        self.all.requires_grad_(False)
        self.scaled.requires_grad_(False)
        self.dropout = nn.Dropout().eval()

    def forward(self, input: Tensor) -> Tensor:
        return self.free(self.dropout(self.norm(self.scaled(self.all(input).relu())).relu()))


class Several(nn.Module):
    """Two inputs; a tuple of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.out = nn.Linear(5, 4), nn.Linear(2, 4), nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (self.left(a) + self.right(b)).tanh()
        return self.out(hidden), hidden


class Named(Several):
    """Inputs and outputs by name."""

    def forward(self, a: Tensor, *, b: Tensor) -> Any:
        logits, hidden = super().forward(a, b)
        return {"logits": logits, "hidden": hidden}


class Encoder(nn.Module):
    """Tokens to classes: an embedding, a transformer's layer with dropout, a linear."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.block = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.block(self.embedding(tokens)).mean(1))


class Random(nn.Module):
    """Noise of Python's and NumPy's, a counter as an attribute, inputs that are overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.calls = nn.Linear(5, 3), 0

    def forward(self, input: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(input.mul_(0.9)) * (random.random() + np.random.rand() + self.calls)


class Attentive(nn.Module):
    """A BatchNorm that is called by keyword, and torch's fused attention behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(5, 6), nn.BatchNorm1d(6)
        self.attention, self.out = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(6, 3)

    def forward(self, input: Tensor) -> Tensor:
        hidden = self.norm(input=self.fc(input=input)).relu().unflatten(1, (3, 2))
        return self.out(self.attention(hidden, hidden, hidden)[0].flatten(1))


def hooked() -> nn.Module:
    """A chain whose inputs are normalised by a hook."""
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    model.register_forward_pre_hook(lambda _module, inputs: ((inputs[0] - 2) / 3,))
    return model


relu = nn.ReLU()
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(5, 6), nn.Dropout(0.3), nn.ReLU(), nn.Linear(6, 3)),
    "one_relu": lambda: nn.Sequential(
        nn.Linear(5, 6), relu, nn.Linear(6, 6), relu, nn.Linear(6, 3)
    ),
    "buffers": Counted,
    "tied": Tied,
    "frozen": Frozen,
    "several": Several,
    "named": Named,
    "transformer": Encoder,
    "random": Random,
    "hooked": hooked,
    "attentive": Attentive,
    "max_norm": lambda: nn.Sequential(
        nn.Embedding(7, 4, max_norm=0.5), nn.Flatten(), nn.Linear(24, 3)
    ),
    "linear": lambda: nn.Linear(5, 3),
    "double": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.Linear(6, 3)).double(),
}


def case(name: str, seed: int = 0) -> tuple[nn.Module, Any, list[Pair], Pair | None]:
    """A network, its criterion, three batches, and test samples where it can be shown some."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    model = NETWORKS[name]()
    dtype = next(model.parameters()).dtype
    batches: list[Pair] = []
    for _ in range(3):
        inputs: Any = torch.randn(8, 5, dtype=dtype)
        if name == "buffers":
            inputs = torch.randn(8, 1, 5, 5)
        if name in ("several", "named"):
            inputs = (inputs, torch.randn(8, 2))
        if name == "named":
            inputs = dict(zip("ab", inputs, strict=True))
        if name in ("transformer", "max_norm"):
            inputs = torch.randint(7, (8, 6))
        batches.append((inputs, torch.randint(3, (8,))))

    def criterion(outputs: Any, targets: Tensor) -> Tensor:
        if isinstance(outputs, dict):
            outputs = outputs["logits"]
        if isinstance(outputs, tuple):
            outputs = outputs[0]
        return nn.functional.cross_entropy(outputs, targets)

    test = batches[2] if isinstance(batches[2][0], Tensor) else None
    return model, criterion, batches, test


@cache
def probes_of(option: str) -> dict[str, Any]:
    return instantiate(config(f"probes=[{option}]", "probe_every=1").probes, _convert_="all")


def state_of(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[Any]:
    """All that an observer could disturb, as tensors and plain values."""
    tensors = [t.clone() for t in model.state_dict().values()]
    tensors += [torch.zeros(()) if p.grad is None else p.grad.clone() for p in model.parameters()]
    if optimizer is not None:
        for slots in optimizer.state.values():
            tensors += [t.clone() for t in slots.values() if isinstance(t, Tensor)]
    flags = [module.training for module in model.modules()]
    flags += [p.requires_grad for p in model.parameters()]
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    calls = getattr(model, "calls", None)
    noise = [torch.get_rng_state(), random.getstate(), str(np.random.get_state())]
    return [tensors, noise, flags, hooks, calls.clone() if isinstance(calls, Tensor) else calls]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


# At a point


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("option", options("probes"))
def test_every_probe_measures_every_network_and_leaves_it_as_it_is(option, name):
    model, criterion, (now, *later), test = case(name)
    before = state_of(model)
    update = observe(model, criterion, *now, lr=0.1, later=later, test=test)
    for probe in probes_of(option).values():
        measured = probe(update)
        assert all(torch.isfinite(value).all() for value in measured.values())
    assert same(before, state_of(model))


@pytest.mark.parametrize("name", NETWORKS)
def test_surfaces_of_every_network_are_its_loss_and_leave_it_as_it_is(name):
    model, criterion, (now, *_), _ = case(name)
    before = state_of(model)
    update = observe(model, criterion, *now)
    along = surfaces.random_direction(update.params, seed=1)
    downhill = surfaces.gradient_direction([update.loss], update.params)
    for point in ((0.0, 0.0), (0.5, -0.1)):
        there = surfaces.moved(update.params, [along, downhill], point)
        measured = surfaces.measure([update.loss], there)["loss"]
        assert measured == [update.loss(there).item()]
    assert same(before, state_of(model))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_gradient_is_that_of_training_and_the_step_is_not_made(name):
    model, criterion, (now, *_), _ = case(name)
    update = observe(model, criterion, *now, lr=0.3)
    start = {key: p.detach().clone() for key, p in model.named_parameters()}
    inputs, targets = now
    seed_noise(torch.device("cpu"), update.loss.seed)
    if isinstance(inputs, dict):
        outputs = model(**inputs)
    else:
        outputs = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    criterion(outputs, targets).backward()
    for key, parameter in model.named_parameters():
        assert (key in update.params) == parameter.requires_grad
        if parameter.requires_grad:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(update.grads[key], grad)
            assert torch.equal(update.params[key], start[key])
            torch.testing.assert_close(update.new_params[key], start[key] - 0.3 * grad)


def test_internal_covariate_shift_of_two_linears_in_closed_form():
    """dL/dW2 = (W2 W1 x - y) (W1 x)^T, before and after the step of W1."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)).double()
    inputs, targets = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    first, second = (parameter.detach() for parameter in model.parameters())
    half = lambda outputs, targets: 0.5 * (outputs - targets).square().sum()  # noqa: E731
    update = observe(model, half, inputs, targets, lr=0.05)
    measured = InternalCovariateShift()(update)

    def gradient(below: Tensor) -> Tensor:
        hidden = inputs @ below.T
        return (hidden @ second.T - targets).T @ hidden

    error = inputs @ first.T @ second.T - targets
    old, new = gradient(first), gradient(first - 0.05 * second.T @ error.T @ inputs)
    torch.testing.assert_close(measured["l2/1"], (old - new).norm())
    cosine = (old * new).sum() / (old.norm() * new.norm())
    torch.testing.assert_close(measured["cosine/1"], cosine)
    assert measured["l2/0"] < 1e-12


def test_a_tied_weight_and_a_frozen_one_are_in_one_layer_and_in_none():
    model, _, (now, *_), _ = case("tied")
    assert layers_called(model, now[0]) == {
        "first": Layer(("first.weight", "first.bias"), (), "first"),
        "last": Layer(("last.weight", "last.bias"), (), "last"),
    }
    model, _, (now, *_), _ = case("frozen")
    assert layers_called(model, now[0]) == {
        "scaled": Layer(("norm.weight", "norm.bias"), (), "norm", "norm"),
        "free": Layer(("free.weight", "free.bias"), (), "free"),
    }


def test_the_second_derivative_of_fused_attention_is_that_of_the_gradient():
    """Differences of gradients, in float64, without the dropout that would make it plain steps."""
    torch.manual_seed(3)
    model = Encoder().double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.block.self_attn.dropout = 0.0
    update = observe(
        model, nn.functional.cross_entropy, torch.randint(7, (8, 6)), torch.randint(3, (8,))
    )
    product = update.loss.hvp(update.params, update.grads)
    ends = []
    for sign in (1, -1):
        there = {name: p + sign * 1e-5 * update.grads[name] for name, p in update.params.items()}
        ends.append(update.loss.value_and_grad(there)[1])
    for name, expected in product.items():
        difference = (ends[0][name] - ends[1][name]) / 2e-5
        torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-7)


def test_a_unit_of_a_linear_is_a_feature_and_no_position():
    """Outputs [N, T, C] of a linear, LayerNorm and attention; [N, C, T] of a conv."""
    torch.manual_seed(4)
    model = Encoder().eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs, targets = torch.randint(7, (8, 6)), torch.randint(3, (8,))
    update = observe(model, nn.functional.cross_entropy, inputs, targets)
    modules = ["block.self_attn", "block.linear1", "block.norm2"]
    outputs = update.loss.activations(update.params, modules)
    assert [tuple(outputs[name].shape) for name in modules] == [(8, 4, 6), (8, 8, 6), (8, 4, 6)]
    measured = Moments(layers=["block.linear1"], units=8)(
        replace(update, losses=lambda _: update.loss)
    )
    expected = outputs["block.linear1"].mean((0, 2))
    torch.testing.assert_close(measured["mean/block.linear1"], expected)
    conv = nn.Sequential(nn.Conv1d(2, 3, 1))
    update = observe(conv, nn.functional.mse_loss, torch.randn(8, 2, 6), torch.randn(8, 3, 6))
    assert update.loss.activations(update.params, ["0"])["0"].shape == (8, 3, 6)


@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_mode_of_the_caller_changes_nothing(mode):
    model, criterion, (now, *_), _ = case("dropout")
    update = observe(model, criterion, *now)
    probes = Landscape(), InternalCovariateShift()
    expected = [probe(update) for probe in probes]
    product = update.loss.hvp(update.params, update.grads)
    with mode():
        inside = observe(model, criterion, now[0] * 1, now[1] * 1)
        assert same(list(inside.grads.values()), list(update.grads.values()))
        for made in (update, inside):
            measured = [probe(made) for probe in probes]
            assert same([list(m.values()) for m in measured], [list(m.values()) for m in expected])
            again = made.loss.hvp(made.params, made.grads)
            assert same(list(again.values()), list(product.values()))


def test_internal_covariate_shift_below_a_hook_is_that_of_inputs_made_by_hand():
    """Of the first layer it is zero, whatever comes before it."""
    model, criterion, ((inputs, targets), *_), _ = case("hooked")
    by_hand = nn.Sequential(*model)
    shift = InternalCovariateShift()
    expected = shift(observe(by_hand, criterion, (inputs - 2) / 3, targets))
    measured = shift(observe(model, criterion, inputs, targets))
    assert measured.keys() == expected.keys() and expected["l2/2"] > 1e-4
    for key, value in expected.items():
        torch.testing.assert_close(measured[key], value)


def test_gradient_checkpointing_is_refused_and_leaves_the_model():
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU())
            self.out = nn.Linear(6, 3)

        def forward(self, input: Tensor) -> Tensor:
            return self.out(checkpoint(self.block, input, use_reentrant=False))

    model, (_, criterion, (now, *_), _) = Checkpointed(), case("dropout")
    before = state_of(model)
    with pytest.raises(RuntimeError, match="cannot see through gradient checkpointing"):
        observe(model, criterion, *now)
    assert same(before, state_of(model))


@pytest.mark.parametrize("module", [True, False])
def test_theorem_4_4_is_left_out_where_a_weight_is_shared(module):
    """Its gradient is not from one norm alone, and exceeds the bound."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm, self.out = nn.Linear(5, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)
            self.other = self.fc if module else nn.Linear(5, 5)
            self.other.weight = self.fc.weight

        def forward(self, input: Tensor) -> Tensor:
            return self.out(self.norm(self.fc(input)).relu()) + self.other(9 * input)[:, :3]

    _, criterion, (now, *_), _ = case("dropout")
    measured = Theory()(observe(Shared(), criterion, *now))
    assert "curvature/fc" in measured and "weight_bound/fc" not in measured


def test_layers_can_be_named_and_compiled_models_are_looked_into():
    model, criterion, (now, *_), _ = case("dropout")
    assert list(observe(model, criterion, *now, layers=["3"]).layers) == ["3"]
    with pytest.raises(ValueError, match="'fc' is not in the model; its layers are 0, 3"):
        observe(model, criterion, *now, layers=["fc"])
    with pytest.raises(ValueError, match=r"layers\['a'\] has '9.weight', which is no parameter"):
        observe(model, criterion, *now, layers={"a": Layer(("9.weight",), (), "0")})
    compiled = torch.compile(model, backend="aot_eager")
    assert observe(compiled, criterion, *now).params.keys() == dict(model.named_parameters()).keys()


def test_inputs_may_be_any_mapping():
    model, criterion, (now, *_), _ = case("named")
    one, other = (observe(model, criterion, kind(now[0]), now[1]) for kind in (dict, UserDict))
    assert same(list(one.grads.values()), list(other.grads.values()))


@pytest.mark.parametrize(
    ("criterion", "says"),
    [
        (lambda outputs, _: (outputs.sum(), 1), "The criterion returned a tuple; it must return"),
        (lambda outputs, _: outputs, r"returned a Tensor \(8, 3\); it must return the loss"),
        (lambda outputs, _: outputs.detach().sum(), "no gradient in any parameter: is something"),
    ],
)
def test_a_criterion_that_is_no_loss_is_refused(criterion, says):
    model, _, (now, *_), _ = case("dropout")
    before = state_of(model)
    with pytest.raises(ValueError, match=says):
        observe(model, criterion, *now)
    assert same(before, state_of(model))


def test_what_cannot_be_observed_is_refused_in_a_sentence():
    model, criterion, (now, *_), _ = case("dropout")
    update = observe(model, criterion, *now)
    assert update.losses(0) is update.loss
    with pytest.raises(ValueError, match=r"training step 1 later, and 0 .*later=\[\(inputs"):
        update.losses(1)
    with pytest.raises(ValueError, match="test=dict and Tensor must be two tensors"):
        observe(model, criterion, *now, test=({"a": now[0]}, now[1]))
    with pytest.raises(ValueError, match="No parameter of Sequential requires a gradient"):
        observe(model.requires_grad_(False), criterion, *now)


# In a loop


@dataclass(frozen=True)
class Greedy:
    """Draws numbers, and may fail after it has asked for a gradient."""

    fails: bool = False
    every: int = 1

    def __call__(self, update: Update) -> dict[str, Tensor]:
        update.loss.value_and_grad(update.new_params)
        drawn = torch.rand(3)
        if self.fails:
            raise RuntimeError("on purpose")
        return {"drawn": drawn}


def train(name: str, probes: dict[str, Any] | None, steps: int = 2) -> list[Any]:
    """The state after each step of a loop with momentum, weight decay and clipping."""
    model, criterion, batches, test = case(name)
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(free, lr=0.1, momentum=0.9, weight_decay=0.01)
    observer = None
    if probes is not None:
        observer = Observer(model, criterion, probes, optimizer, test=test)
    states = []
    for step in range(steps):
        inputs, targets = batches[step % 2]
        optimizer.zero_grad()
        if isinstance(inputs, dict):
            outputs = model(**inputs)
        else:
            outputs = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
        criterion(outputs, targets).backward()
        nn.utils.clip_grad_norm_(free, 0.5)
        if observer is None:
            optimizer.step()
        else:
            with suppress(RuntimeError), observer.step(inputs, targets, later=batches):
                optimizer.step()
        states.append(state_of(model, optimizer))
    return states


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loop_with_an_observer_is_bitwise_the_loop_without(name):
    probes: dict[str, Any] = {"greedy": Greedy()}
    for option in options("probes"):
        probes |= probes_of(option)
    without = train(name, None)
    assert same(train(name, probes), without)
    assert same(train(name, {"greedy": Greedy(fails=True)}), without)


def test_the_observer_sees_both_ends_of_the_step_that_was_made():
    model, criterion, (now, *_), _ = case("dropout")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    seen: list[Update] = []

    @dataclass(frozen=True)
    class Spy:
        every: int = 2

        def __call__(self, update: Update) -> dict[str, Tensor]:
            seen.append(update)
            assert same(list(update.new_params.values()), list(model.parameters()))
            return {}

    observer = Observer(model, criterion, {"spy": Spy()}, optimizer)
    for lr in (0.02, 0.02, 0.01):
        optimizer.param_groups[0]["lr"] = lr
        criterion(model(now[0]), now[1]).backward()
        with observer.step(*now):
            optimizer.step()
            optimizer.param_groups[0]["lr"] = 7.0  # as a schedule may
    assert [update.step for update in seen] == [0, 2]
    assert [update.lr for update in seen] == [0.02, 0.01]
    for update in seen:
        assert update.initial is not None and same(
            list(update.initial.values()), list(before.values())
        )
        assert update.loss.seed not in {other.loss.seed for other in seen if other is not update}
    assert same(list(seen[0].params.values()), list(before.values()))
    assert not same(list(seen[1].params.values()), list(before.values()))
    assert torch.equal(observer.record["train/loss"], seen[1].loss(seen[1].params))


def record(directory: Any, norm: str, steps: int = 4, lr: float = 0.1, **more: Any) -> Observer:
    """Train a small network on one batch, recorded."""
    torch.manual_seed(0)
    hidden = nn.BatchNorm1d(6) if norm == "batch" else nn.Identity()
    model = nn.Sequential(nn.Linear(5, 6), hidden, nn.ReLU(), nn.Linear(6, 3))
    inputs, targets = torch.randn(20, 5), torch.randint(3, (20,))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    probes = {"landscape": Landscape(every=2), "internal_covariate_shift": InternalCovariateShift()}
    criterion = nn.functional.cross_entropy
    start = more.get("start", 0)
    with Observer(
        model, criterion, probes, optimizer, directory, norm=norm, steps=steps, **more
    ) as observer:
        for _ in range(start, steps):
            outputs = model(inputs)
            optimizer.zero_grad()
            criterion(outputs, targets).backward()
            with observer.step(inputs, targets) as line:
                optimizer.step()
                line["train/accuracy"] = 0.5
    return observer


def test_a_record_is_read_as_that_of_any_run(tmp_path):
    record(tmp_path / "vgg" / "batch", "batch", data="made up", config={"model": {"depth": 2}})
    (run,) = load_runs("vgg", tmp_path)
    assert (run.experiment, run.norm, run.lr, run.seed) == ("vgg", "batch", 0.1, 0)
    assert run.outcome == "finished" and run.layers == ["0", "3"] and run.batch_size == 20
    assert run.option("model.depth") == 2 and run.option("optimizer") == "sgd"
    assert run.config["probes"]["landscape"]["multiples"] == [0.5, 1.0, 2.0, 4.0]
    assert run.label == "Sequential-2 on made up; batch 20; scale own"
    steps, losses = run["landscape/loss"]
    assert steps.tolist() == [0, 2] and losses.shape == (2, 4)
    assert run["internal_covariate_shift/l2/3"][0].tolist() == [0, 1, 2, 3]
    assert run["train/loss"][1].shape == (4,) and set(run["train/lr"][1]) == {0.1}
    assert run["train/accuracy"][1].tolist() == [0.5] * 4


def test_a_record_is_not_overwritten_and_can_go_on(tmp_path):
    path = tmp_path / "vgg" / "none"
    record(path, "none")
    with pytest.raises(FileExistsError, match="holds a run already: move it away"):
        record(path, "none")
    record(path, "none", start=2)
    assert load_run(path)["train/loss"][0].tolist() == [0, 1, 2, 3]
    with pytest.raises(FileExistsError, match=r"another config \(optimizer.lr: 0.1 there, 0.2 "):
        record(path, "none", start=2, lr=0.2)
    with pytest.raises(ValueError, match="Observer needs steps, the number of steps"):
        Observer(nn.Linear(1, 1), nn.functional.mse_loss, {}, recorder=tmp_path / "x")


def test_figures_are_drawn_of_two_arms_recorded_so(tmp_path, monkeypatch):
    from bnstudy.app import figures as command

    runs, out = tmp_path / "runs", tmp_path / "out"
    for norm in ("none", "batch"):
        record(runs / "vgg" / norm, norm)
    assert command.main(["--runs", str(runs), "--out", str(out), "figure4"]) == 0
    assert (out / "figure4.png").stat().st_size > 10_000
    drawn = figure3a.draw(load_runs("vgg", runs))
    texts = [text.get_text() for axes in drawn.axes for text in axes.texts]
    # Of the two learning rates that the paper shows, there is one.
    assert [text for text in texts if "lr" not in text] == []
    assert len(drawn.axes[1].get_lines()) >= 2


def test_a_loss_that_is_not_finite_ends_the_record(tmp_path):
    model = nn.Linear(2, 1)
    batch = torch.full((3, 2), 1e30), torch.zeros(3, 1)
    recorder = Recorder(tmp_path, {"fingerprint": "", "config": {}})
    with Observer(
        model, nn.functional.mse_loss, {"landscape": Landscape()}, recorder=recorder
    ) as observer:
        for _ in range(2):
            with observer.step(*batch, lr=0.1) as line:
                line["mine"] = torch.tensor(1.0)
    assert observer.diverged
    lines = [json.loads(text) for text in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and lines[1]["mine"] == 1.0 and lines[1]["train/loss"] == "Infinity"
    assert lines[-1]["end"]["outcome"] == "diverged"


def test_a_loop_that_fails_leaves_its_record_interrupted(tmp_path):
    model, criterion, (now, *_), _ = case("dropout")
    observer = Observer(model, criterion, {}, recorder=tmp_path / "a" / "b", steps=9)
    with suppress(KeyError), observer:
        with observer.step(*now, lr=0.1) as line:
            line["train/loss"] = 1.0
        raise KeyError
    run = load_run(tmp_path / "a" / "b")
    assert run.outcome == "interrupted" and run["train/loss"][1].tolist() == [1.0]


def scheduled(path: Any, steps: range, start: int = 0) -> Observer:
    """Some steps of a loop whose lr and momentum a schedule of torch moves."""
    model, criterion, (now, *_), _ = case("dropout")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=9)
    observer = Observer(model, criterion, {}, optimizer, path, start=start, steps=9)
    for step in range(steps.stop):
        if step in steps:
            with observer.step(*now) as line:
                optimizer.step()
                line["train/loss"] = 1.0
        else:
            optimizer.step()
        schedule.step()
    return observer


def test_a_record_goes_on_under_a_schedule_and_has_no_holes(tmp_path):
    path = tmp_path / "a" / "b"
    first = scheduled(path, range(4))
    first.sync()
    assert count_steps(path / "run.jsonl") == 4
    first.__exit__(KeyboardInterrupt, None, None)
    with pytest.raises(ValueError, match=r"start=5 is past the end of the record .* has 4 steps"):
        scheduled(path, range(5, 9), start=5)
    scheduled(path, range(4, 9), start=4).end()
    run = load_run(path)
    assert run.outcome == "finished" and run["train/loss"][0].tolist() == list(range(9))


def test_layers_are_found_anew_when_parameters_are_frozen_or_freed():
    model, criterion, (now, *_), _ = case("dropout")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    observer = Observer(model, criterion, {"shift": InternalCovariateShift()}, optimizer)
    for free, layers in ((True, ["0", "3"]), (False, ["3"]), (True, ["0", "3"])):
        model[0].requires_grad_(free)
        with observer.step(*now):
            pass
        assert list(observer.layers) == layers


def test_a_step_that_fails_is_not_counted_and_a_loss_must_be_a_number(tmp_path):
    model, criterion, (now, *_), _ = case("dropout")
    observer = Observer(model, criterion, {}, recorder=tmp_path / "a" / "b", steps=9)
    for fails in (True, False):
        with suppress(MemoryError), observer.step(*now, lr=0.1) as line:
            line["train/loss"] = 1.0
            if fails:
                raise MemoryError
    observer.end()
    assert load_run(tmp_path / "a" / "b")["train/loss"][0].tolist() == [0]
    step = Observer(model, criterion, {}).step(*now, lr=0.1)
    step.__enter__()["train/loss"] = [1.0]
    with pytest.raises(ValueError, match=r"train/loss'\] is \[1.0\]; it must be a number"):
        step.__exit__(None, None, None)


def test_a_loop_must_say_its_lr():
    model, criterion, (now, *_), _ = case("dropout")
    step = Observer(model, criterion, {}).step(*now)
    with pytest.raises(ValueError, match="Observer knows no lr: give it the optimizer"):
        step.__enter__()


def test_gamma_and_beta_are_found_by_whatever_name_the_norm_has():
    model = nn.ModuleDict({"map": nn.Linear(3, 5), "bn": nn.BatchNorm1d(5)})
    model.forward = lambda inputs: model["bn"](model["map"](inputs))
    with torch.no_grad():
        model["bn"].weight.copy_(torch.arange(5.0))
        model["bn"].bias.fill_(2)
    for free in (True, False):  # of a frozen linear gamma and beta are what is left
        model["map"].requires_grad_(free)
        update = observe(model, nn.MSELoss(), torch.randn(4, 3), torch.randn(4, 5))
        measured = ScaleAndShift(units=5)(update)
        assert measured["layers"] == 1
        assert measured["gamma/map"].tolist() == [0, 1, 2, 3, 4]
        assert measured["beta/map"].tolist() == [2] * 5


def test_a_shift_moves_the_features_of_a_sequence_and_not_its_positions():
    torch.manual_seed(0)
    model, seen = nn.Sequential(nn.Linear(3, 2), nn.Flatten()), []
    model[0].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    inputs = torch.randn(50, 4, 3) * torch.tensor([1.0, 10.0, 100.0])
    test = (inputs, torch.zeros(50, 8))
    update = observe(model, nn.MSELoss(), *test, test=test)
    seen.clear()
    CovariateShift(sizes=(0.0, 1.0), samples=50)(update)
    moved = (seen[1] - seen[0]).flatten(0, 1)
    expected = inputs.flatten(0, 1).std(0, correction=0).expand_as(moved)
    assert torch.allclose(moved, expected, rtol=1e-4, atol=1e-4)
