"""Other people's networks and loops: a probe changes nothing, is right or refused, ends nothing."""

import copy
import datetime
import functools
import hashlib
import os
import random
import warnings
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bnstudy import surfaces
from bnstudy.observe import Observer, layers_called, observe
from bnstudy.params import length
from bnstudy.probes.activations import Activations
from bnstudy.probes.covariate_shift import CovariateShift
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.probes.moments import Moments
from bnstudy.probes.sharpness import Sharpness
from bnstudy.probes.theory import Theory
from bnstudy.probes.weights import Weights
from bnstudy.results import load_run
from bnstudy.update import NotCalled, NotMeasurable

TARGETS = torch.arange(8) % 3


def inputs(seed: int = 1) -> Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))


class Own(nn.Module):
    """A linear, and whatever `writes` does with the module and its outputs in a forward pass."""

    def __init__(self, writes: Callable[["Own", Tensor], Tensor], **kept: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)
        self.writes = writes
        for name, value in kept.items():
            setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:
        return self.writes(self, self.fc(input))


# The model is left as it is


def momentum_encoder(model: Any, outputs: Tensor) -> Tensor:
    with torch.no_grad():
        model.k.weight.data.lerp_(model.fc.weight, 0.1)
    return outputs + outputs @ model.k.weight[:, :3]


def pairs(model: Any, outputs: Tensor) -> Tensor:
    with torch.no_grad():
        for query, key in model.pairs:
            key.data.lerp_(query, 0.1)
    return outputs + model.k(outputs.new_ones(1, 5))


def collected(model: Any, outputs: Tensor) -> Tensor:
    model.losses.append(outputs.square().mean())
    model.by_name["last"] = outputs
    model.nested[0]["seen"].append(len(model.losses))
    model.state.calls += 1
    return outputs * (1 + 0.1 * len(model.losses) + 0.1 * model.state.calls)


def in_place(model: Any, outputs: Tensor) -> Tensor:
    model.centre.mul_(0.9).add_(outputs.detach().mean(0), alpha=0.1)
    model.view.add_(1)
    model.table += 1
    return outputs - model.centre + float(model.table.sum())


def drawn(model: Any, outputs: Tensor) -> Tensor:
    noise = torch.randn(outputs.shape, generator=model.torch_s)
    return outputs + noise + model.numpy_s.normal() + model.old.rand() + model.python_s.random()


def hooks(model: Any, outputs: Tensor) -> Tensor:
    model.fc.register_forward_hook(lambda *_: None)
    model.register_buffer("late", outputs.detach())
    return outputs


class Shared:
    """Attributes of a class are state of every object."""

    seen: list[int] = []  # noqa: RUF012
    calls = 0


class OfClass(Own, Shared):
    def forward(self, input: Tensor) -> Tensor:
        self.seen.append(1)
        type(self).calls += 1
        return super().forward(input) * (1 + 0.1 * len(self.seen) + 0.1 * self.calls)


GENERATOR = np.random.default_rng(0)


def of_the_program(_model: Any, outputs: Tensor) -> Tensor:
    return outputs + GENERATOR.normal()


def centre() -> dict[str, Any]:
    tensor = torch.zeros(3)
    return {"centre": tensor, "view": tensor[:1], "table": np.zeros(2)}


def second() -> dict[str, Any]:
    return {"k": nn.Linear(5, 3).requires_grad_(False)}


WRITERS: dict[str, Callable[[], nn.Module]] = {
    "momentum encoder": lambda: Own(momentum_encoder, k=nn.Linear(5, 3).requires_grad_(False)),
    "lists, dicts and objects": lambda: Own(
        collected,
        losses=[],
        by_name={},
        nested=({"seen": []},),
        state=SimpleNamespace(calls=0),
    ),
    "tensors in place": lambda: Own(in_place, **centre()),
    "generators": lambda: Own(
        drawn,
        torch_s=torch.Generator().manual_seed(0),
        numpy_s=np.random.default_rng(0),
        old=np.random.RandomState(0),
        python_s=random.Random(0),
    ),
    "hooks and buffers": lambda: Own(hooks),
    "attributes of the class": lambda: OfClass(lambda _, outputs: outputs),
    "a generator of the program": lambda: Own(of_the_program),
    "an embedding that is frozen": lambda: Own(
        lambda model, outputs: outputs + model.e(torch.arange(8) % 4),
        e=nn.Embedding(4, 3, max_norm=0.1).requires_grad_(False),
    ),
}


def paired() -> nn.Module:
    model = Own(pairs, **second())
    model.pairs = list(zip(model.fc.parameters(), model.k.parameters(), strict=True))
    return model


WRITERS["parameters in a list"] = paired


def contents(value: Any, seen: dict[int, Any] | None = None) -> Any:
    """All that a value reaches, in a form that can be compared."""
    seen = {} if seen is None else seen  # by id; kept, so that no other object has the id
    if isinstance(value, Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return list(value.shape), hashlib.blake2b(raw).hexdigest()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, np.random.RandomState):
        return str(value.get_state())
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, int | float | str | None):
        return value
    if id(value) in seen:
        return None
    seen[id(value)] = value
    if isinstance(value, dict):
        # The keys of hooks are numbers that the program counts on.
        return [
            (None if isinstance(key, int) else str(key), contents(item, seen))
            for key, item in value.items()
        ]
    if isinstance(value, list | tuple):
        return [contents(item, seen) for item in value]
    if isinstance(value, nn.Module | SimpleNamespace):
        return contents(vars(value), seen), contents(dict(vars(type(value))), seen)
    return None


@pytest.mark.parametrize("name", WRITERS)
def test_what_a_forward_pass_writes_is_put_back(name):
    torch.manual_seed(0)
    model = WRITERS[name]()
    before = contents(model), contents(Shared.seen), contents(GENERATOR)
    update = observe(model, cross_entropy, inputs(), TARGETS)
    Landscape()(update), InternalCovariateShift()(update), Activations()(update)
    assert torch.equal(update.loss(update.params), update.loss(update.params))
    change = Landscape(multiples=(1e-9,))(update)["gradient_change"]
    assert change < 1e-6  # the loss is a function
    assert (contents(model), contents(Shared.seen), contents(GENERATOR)) == before
    torch.manual_seed(update.loss.seed)
    value = cross_entropy(model(inputs()), TARGETS)
    value.backward()
    assert torch.equal(update.loss.value_and_grad(update.params)[0], value) or name in (
        "generators",
        "momentum encoder",
        "parameters in a list",
        "lists, dicts and objects",
        "tensors in place",
        "attributes of the class",
        "a generator of the program",
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_loop_with_an_observer_is_the_loop_without(name):
    states = []
    for observed in (False, True):
        torch.manual_seed(0)
        GENERATOR.bit_generator.state = np.random.default_rng(0).bit_generator.state
        OfClass.seen, OfClass.calls = [], 0
        model = WRITERS[name]()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        probes = {"landscape": Landscape(), "activations": Activations()}
        observer = Observer(model, cross_entropy, probes, optimizer) if observed else None
        losses = []
        for step in range(3):
            optimizer.zero_grad()
            loss = cross_entropy(model(inputs(step)), TARGETS)
            loss.backward(retain_graph=True)
            losses.append(loss.item())
            if observer is None:
                optimizer.step()
            else:
                with observer.step(inputs(step), TARGETS):
                    optimizer.step()
        states.append((losses, contents(model)))
    assert states[0] == states[1]


class Discriminator(nn.Module):
    """What a criterion may call: it counts, draws, and normalises its own weights."""

    def __init__(self) -> None:
        super().__init__()
        linear = nn.Linear(3, 4)
        self.net = nn.Sequential(nn.utils.spectral_norm(linear), nn.BatchNorm1d(4), nn.Dropout())
        self.centre, self.rng = torch.zeros(4), torch.Generator().manual_seed(1)

    def forward(self, outputs: Tensor, _targets: Any = None) -> Tensor:
        hidden = self.net(outputs)
        self.centre.mul_(0.9).add_(hidden.detach().mean(0))
        return (hidden - self.centre).square().mean() * torch.rand((), generator=self.rng)


def closure(module: nn.Module) -> Callable[..., Tensor]:
    return lambda outputs, targets: module(outputs) + 0 * targets.sum()


class Losses:
    """A plain object that has a module and counts its calls."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.calls = module, 0

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return self.module(outputs) * (1 + 0.1 * self.calls)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self(outputs, targets)


CRITERIA: dict[str, Callable[[nn.Module], Any]] = {
    "module": lambda module: module,
    "bound method": lambda module: module.forward,
    "partial": lambda module: functools.partial(module.forward, _targets=None),
    "closure": closure,
    "object": Losses,
    "method of an object": lambda module: Losses(module).loss,
}


@pytest.mark.parametrize("name", CRITERIA)
def test_what_a_criterion_reaches_is_put_back(name):
    torch.manual_seed(0)
    model, module = nn.Linear(5, 3), Discriminator()
    criterion = CRITERIA[name](module)
    if name == "partial":
        made = criterion
        criterion = functools.partial(lambda made, outputs, targets: made(outputs), made)
    before = contents(module), getattr(getattr(criterion, "__self__", criterion), "calls", 0)
    Landscape()(observe(model, criterion, inputs(), TARGETS))
    assert (
        contents(module),
        getattr(getattr(criterion, "__self__", criterion), "calls", 0),
    ) == before


class Captured(nn.Module):
    """As a model of transformers: its first pass installs hooks that collect hidden states."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5, 5) for _ in range(2))
        self.installed, self.states = False, []

    def forward(self, input: Tensor) -> Tensor:
        self.states.clear()
        if not self.installed:
            for layer in self.layers:
                layer.register_forward_hook(lambda _m, _i, output: self.states.append(output))
            self.installed = True
        for layer in self.layers:
            input = layer(input).tanh()
        return torch.stack(self.states).sum(0)[:, :3]


def test_hooks_that_are_installed_in_a_forward_pass_are_removed():
    torch.manual_seed(0)
    model = Captured()
    update = observe(model, cross_entropy, inputs(), TARGETS)
    Landscape()(update)
    assert not any(layer._forward_hooks for layer in model.layers) and not model.states
    assert torch.equal(update.loss(update.params), cross_entropy(model(inputs()), TARGETS))
    assert len(model.states) == 2
    again = observe(model, cross_entropy, inputs(), TARGETS)
    assert torch.equal(again.loss(again.params), update.loss(update.params))
    assert len(model.states) == 2


def test_what_cannot_be_put_back_is_refused_in_a_sentence_that_names_it():
    model = Own(lambda _, outputs: outputs * next(numbers))
    numbers = iter(np.arange(1.0, 9.0))
    with pytest.raises(ValueError, match="Two forward passes of Own at one point give the losses"):
        observe(model, cross_entropy, inputs(), TARGETS)

    def hidden(model: Any, outputs: Tensor) -> Tensor:
        with torch.no_grad():
            model.own().k.weight.add_(1)
        return outputs

    # A weak reference is a way to a module that nothing can follow.
    model = Own(hidden, **second())
    other = copy.deepcopy(model.k)
    model.k.weight = other.weight
    model.own = _Weak(other)
    with pytest.raises(ValueError, match=r"of Own changes 'k.weight' in a way that cannot be"):
        observe(model, cross_entropy, inputs(), TARGETS)
    assert torch.equal(other.weight, model.k.weight)


class _Weak:
    """A slot, which is no attribute that `vars` shows."""

    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = SimpleNamespace(k=held)

    def __call__(self) -> Any:
        return self.held


# Every number is right or refused


class Down(nn.Module):
    """A block that starts with an activation function."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act, self.fc = act, nn.Linear(6, 6)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(self.act(input))


@pytest.mark.parametrize("act", [nn.LeakyReLU, nn.SiLU, nn.Dropout])
def test_a_prefix_that_is_overwritten_in_place_is_kept(act):
    shifts = []
    for inplace in (False, True):
        torch.manual_seed(0)
        blocks = [Down(act(inplace=inplace)) for _ in range(2)]
        model = nn.Sequential(nn.Linear(5, 6), *blocks, nn.Linear(6, 3))
        update = observe(model, cross_entropy, inputs(), TARGETS, lr=0.5)
        shifts.append(InternalCovariateShift()(update))
    assert all(torch.equal(shifts[0][key], shifts[1][key]) for key in shifts[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(5, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(self.rnn(input)[0][:, -1])


def test_a_cell_in_no_layer_shifts_the_layer_after_it():
    torch.manual_seed(0)
    update = observe(Recurrent(), cross_entropy, torch.randn(8, 6, 5), TARGETS, lr=1.0)
    measured = InternalCovariateShift()(update)
    moved = update.new_params | {k: update.params[k] for k in ("fc.weight", "fc.bias")}
    _, grads = update.loss.value_and_grad(moved, ["fc.weight", "fc.bias"])
    change = length({k: grads[k] - update.grads[k] for k in grads})
    assert list(update.layers) == ["fc"] and measured["l2/fc"] == change > 0.01
    cell = {k: g for k, g in update.grads.items() if k.startswith("rnn")}
    share = length(cell) ** 2 / length(update.grads) ** 2
    assert float(measured["unlayered_share"]) == pytest.approx(float(share), rel=1e-12)


def test_the_accuracy_of_one_logit_is_that_of_its_sign():
    torch.manual_seed(0)
    x = torch.randn(64, 5)
    y = (x[:, 0] > 0).long()
    model = nn.Linear(5, 1)
    model.weight.data = torch.tensor([[9.0, 0.0, 0.0, 0.0, 0.0]])
    model.bias.data.zero_()

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.float())

    update = observe(model, criterion, x, y, test=(x, y))
    assert surfaces.measure([update.loss], update.params)["accuracy"] == [1.0]
    assert CovariateShift(sizes=(0.0,))(update)["running_accuracy/linear"].tolist() == [1.0]


class Keep(nn.Module):
    """Keeps its input for a later module of the chain, as a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.kept = nn.Linear(5, 5), []

    def forward(self, input: Tensor) -> Tensor:
        self.kept[:] = [input]
        return self.fc(input).tanh()


class Add(nn.Module):
    def __init__(self, kept: list[Tensor]) -> None:
        super().__init__()
        self.fc, self.kept = nn.Linear(5, 5), kept

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(input) + self.kept[0]


def test_modules_that_hand_something_on_aside_are_no_chain():
    torch.manual_seed(0)
    first = Keep()
    model = nn.Sequential(nn.Linear(5, 5), first, Add(first.kept), nn.Linear(5, 3))
    update = observe(model, cross_entropy, inputs(), TARGETS, lr=0.5)
    model(torch.zeros(8, 5))  # leaves a stale input
    moved = update.params | {k: update.new_params[k] for k in update.params if k[0] < "2"}
    for name in ("2.fc", "3"):
        layer = update.layers[name]
        _, grads = update.loss.value_and_grad(moved, layer.weights)
        change = length({k: grads[k] - update.grads[k] for k in grads})
        assert torch.equal(InternalCovariateShift()(update)[f"l2/{name}"], change)
        moved |= {k: update.new_params[k] for k in layer.weights}


class BatchNormAct(nn.BatchNorm1d):
    """As timm's: a norm and an activation function in one module."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu_()


class Conditional(nn.BatchNorm1d):
    """A norm that scales what it has normalised: that is what the activation function sees."""

    def forward(self, input: Tensor) -> Tensor:
        return 3 * super().forward(input) + 1


@pytest.mark.parametrize(("norm", "mean", "variance"), [(BatchNormAct, 0, 1), (Conditional, 1, 9)])
def test_activations_are_what_the_activation_function_sees(norm, mean, variance):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), norm(6), nn.Linear(6, 3))
    update = observe(model, cross_entropy, torch.randn(64, 5), torch.arange(64) % 3)
    measured = Activations(units=6)(update)
    assert measured["mean/0"] == pytest.approx([mean] * 6, abs=1e-5)
    assert measured["variance/0"] == pytest.approx([variance] * 6, rel=1e-2)
    assert torch.overrides._get_current_function_mode_stack() == []


class ChannelsFirst(nn.LayerNorm):
    """Of channels, without a name that says so."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def channels_first(name: str) -> nn.Module:
    if name == "torchvision":
        return pytest.importorskip("torchvision").models.convnext.LayerNorm2d(5)
    return ChannelsFirst(5)


@pytest.mark.parametrize("name", ["torchvision", "own"])
@pytest.mark.parametrize("size", [(6, 9), (5, 5)])
def test_units_of_a_layer_norm_over_channels_are_channels(name, size):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 5, 1), channels_first(name), nn.Flatten())
    batch = torch.randn(4, 2, *size)
    update = observe(model, nn.MSELoss(), batch, torch.zeros(4, 5 * size[0] * size[1]))
    assert list(update.layers) == ["0"] and update.layers["0"].norm_module == "1"
    outputs = update.loss.activations(update.params, ["1"])["1"]
    assert torch.equal(outputs, model[1](model[0](batch)))


def test_autocast_inside_the_forward_pass_is_off_for_probes():
    class Inside(nn.Module):
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        @torch.autocast("cpu", dtype=torch.bfloat16)
        def forward(self, input: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return self.net(input)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 3))
    model = Inside(net)
    update, plain = (observe(m, cross_entropy, inputs(), TARGETS) for m in (model, net))
    assert torch.equal(update.loss(update.params), plain.loss(plain.params))
    assert model(inputs()).dtype == torch.bfloat16  # outside it is what it was


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize(
    "wrap", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm], ids=["new", "old"]
)
def test_the_hessian_under_weight_norm_is_that_of_its_formula(wrap):
    torch.manual_seed(0)
    model = nn.Sequential(wrap(nn.Linear(5, 6)), nn.Tanh(), wrap(nn.Linear(6, 3))).double()
    update = observe(model, cross_entropy, inputs().double(), TARGETS)
    vector = {name: torch.randn_like(tensor) for name, tensor in update.params.items()}
    product = update.loss.hvp(update.params, vector)
    step = 1e-6
    ends = [
        update.loss.value_and_grad({k: p + s * step * vector[k] for k, p in update.params.items()})
        for s in (1, -1)
    ]
    for name in vector:
        difference = (ends[0][1][name] - ends[1][1][name]) / (2 * step)
        assert torch.allclose(product[name], difference, atol=1e-7)
    measured = Weights()(update)
    assert float(measured["norm/0"]) == pytest.approx(
        float(model[0].weight.detach().norm()), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["spectral_norm", "straight through", "not differentiable twice"])
def test_a_hessian_that_is_not_that_of_the_gradient_is_refused(kind):
    torch.manual_seed(0)
    act: Any = nn.Tanh()
    wrap: Any = lambda linear: linear  # noqa: E731
    says = "The Hessian of Sequential that torch gives is off by"
    if kind == "spectral_norm":
        wrap, says = nn.utils.parametrizations.spectral_norm, says + ".*reparametrization of '0'"
    if kind == "straight through":
        act = Own(lambda _, z: z + (z.sign() - z).detach() * z.detach().square())
        act.fc = nn.Tanh()
    if kind == "not differentiable twice":
        act, says = nn.Hardsigmoid(), "torch has no second derivative of Sequential"
    model = nn.Sequential(wrap(nn.Linear(5, 6)), act, wrap(nn.Linear(6, 3)))
    update = observe(model, cross_entropy, inputs(), TARGETS)
    Landscape()(update)
    with pytest.raises(NotMeasurable, match=says):
        Sharpness()(update)


# Nothing that a probe meets ends the training


class Experts(nn.Module):
    """Another set of layers in every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(5, 4), nn.ModuleList(nn.Linear(5, 3) for _ in range(4))

    def forward(self, input: Tensor) -> Tensor:
        chosen, outputs = self.gate(input).argmax(1), input.new_zeros(len(input), 3)
        for i, expert in enumerate(self.experts):
            if (chosen == i).any():
                outputs[chosen == i] = expert(input[chosen == i])
        return outputs


def loop(model: nn.Module, probes: Any, batches: Any, directory: Any = None, **more: Any) -> Any:
    """The records of a loop with an observer, one a batch."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    records, steps = [], len(batches)
    criterion = more.pop("criterion", cross_entropy)
    with Observer(model, criterion, probes, optimizer, directory, steps=steps, **more) as observer:
        for n, (x, y) in enumerate(batches):
            with observer.step(x, y, later=batches[n + 1 : n + 2]):
                optimizer.step()
            records.append(observer.record)
    return records


def test_layers_that_change_from_pass_to_pass_are_measured_where_they_are_called():
    torch.manual_seed(0)
    batches = [(inputs(n)[:2], TARGETS[:2]) for n in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = loop(Experts(), {"a": Activations(), "m": Moments()}, batches)
    assert all("skipped" not in r or "a" not in r["skipped"] for r in records)
    assert len({tuple(key for key in r if key.startswith("a/mean")) for r in records}) > 1
    assert any(
        "not called in this forward pass" in r.get("skipped", {}).get("m", "") for r in records
    )
    update = observe(Experts(), cross_entropy, *batches[0])
    Activations()(update)
    missing = next(f"experts.{n}" for n in range(4) if f"experts.{n}" not in update.layers)
    with pytest.raises(NotCalled, match=rf"'{missing}' is not called in this forward pass"):
        update.loss.activations(update.params, [missing])


def test_a_layer_that_is_freed_starts_where_it_was():
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    observer = Observer(model, cross_entropy, {"w": Weights()}, optimizer)
    start = model[0].weight.detach().clone()
    for step in range(3):
        model[0].requires_grad_(step > 0)
        optimizer.zero_grad()
        cross_entropy(model(inputs()), TARGETS).backward()
        with observer.step(inputs(), TARGETS):
            optimizer.step()
        if step > 0:
            assert observer.record["w/initial_norm/0"] == length({"": start})
    assert observer.record["w/distance/0"] > 0


def test_a_probe_that_cannot_be_measured_is_left_out_with_one_warning(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Hardsigmoid(), nn.Linear(6, 3))
    probes = {"sharpness": Sharpness(), "landscape": Landscape()}
    with pytest.warns(UserWarning, match="sharpness is not measured at step 0: torch has") as said:
        loop(model, probes, [(inputs(n), TARGETS) for n in range(3)], tmp_path / "a" / "b")
    assert len(said) == 1
    run = load_run(tmp_path / "a" / "b")
    assert run.outcome == "finished" and run["landscape/loss"][0].tolist() == [0, 1, 2]
    assert not any(key.startswith(("sharpness", "skipped")) for key in run.keys())  # noqa: SIM118
    assert '"skipped": {"sharpness": "torch has' in (tmp_path / "a/b/run.jsonl").read_text()


def test_a_model_that_cannot_be_observed_is_trained_all_the_same(tmp_path):
    model = Own(lambda _, outputs: outputs * next(numbers))
    numbers = iter(np.arange(1.0, 99.0))
    with pytest.warns(UserWarning, match="landscape is not measured at step 0: Two forward passes"):
        loop(model, {"landscape": Landscape()}, [(inputs(), TARGETS)] * 2, tmp_path / "a" / "b")
    assert load_run(tmp_path / "a" / "b").outcome == "finished"


def test_later_batches_that_end_before_the_loop_do_not_end_it():
    records = loop(nn.Linear(5, 3), {"m": Moments()}, [(inputs(), TARGETS)] * 3)
    assert [list(r.get("skipped", {})) for r in records] == [[], [], ["m"]]
    with pytest.raises(ValueError, match="A probe asks for the batch of the training step 1"):
        loop(nn.Linear(5, 3), {"m": Moments()}, [(inputs(), TARGETS)])


def test_compiled_parts_are_looked_into_and_stay_compiled():
    torch.manual_seed(0)
    part = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh())
    compiled = torch.compile(part, backend="eager")
    plain = nn.Sequential(part, nn.Linear(6, 3))
    model = nn.Sequential(compiled, nn.Linear(6, 3))
    model[1] = plain[1]
    for _ in range(2):
        update = observe(model, cross_entropy, inputs(), TARGETS)
        assert list(update.layers) == ["0._orig_mod.0", "1"]
        assert Theory()(update)["layers"] == 1
        expected = Sharpness()(observe(plain, cross_entropy, inputs(), TARGETS))
        assert torch.equal(Sharpness()(update)["batch_eigenvalues"], expected["batch_eigenvalues"])
        Activations()(update)
    assert model[0] is compiled
    plain.compile(backend="eager")
    assert Theory()(observe(plain, cross_entropy, inputs(), TARGETS))["layers"] == 1


class Force(nn.Module):
    """Differentiates in its forward pass, by its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, places: Tensor) -> Tensor:
        places = places.requires_grad_(True)
        energy = self.net(places).sum()
        return -torch.autograd.grad(energy, places, create_graph=True)[0]


def test_a_model_that_differentiates_in_its_forward_pass_is_observed():
    torch.manual_seed(0)
    update = observe(Force(), nn.functional.mse_loss, torch.randn(4, 3), torch.randn(4, 3))
    assert list(update.layers) == ["net.0", "net.2"]
    for probe in (Landscape(), Sharpness(), Activations(), InternalCovariateShift()):
        assert all(torch.isfinite(value).all() for value in probe(update).values())
    with torch.no_grad():
        assert not update.loss(update.params).requires_grad


def in_a_process(rank: int, wrapped: bool, file: str) -> None:
    torch.set_num_threads(1)
    seconds = datetime.timedelta(seconds=20)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{file}", rank=rank, world_size=2, timeout=seconds
    )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    model = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    observed = model if wrapped else nn.Sequential(model)
    observer = Observer(observed, cross_entropy, {"l": Landscape()}, optimizer)
    for step in range(2):
        optimizer.zero_grad()
        cross_entropy(model(inputs(step)), TARGETS).backward()
        if rank == 0:
            with observer.step(inputs(step), TARGETS):
                optimizer.step()
            assert "l/loss" in observer.record
        else:
            optimizer.step()
    os._exit(0)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_one_process_of_several_may_observe(wrapped, tmp_path):
    start = torch.multiprocessing.get_context("fork").Process
    both = [start(target=in_a_process, args=(rank, wrapped, tmp_path / "f")) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]


# One clear sentence


class Texts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e = nn.Embedding(256, 3)

    def forward(self, texts: list[str]) -> Tensor:
        codes = [torch.tensor(list(text.encode())) for text in texts]
        return torch.stack([self.e(code).mean(0) for code in codes])


Sample = namedtuple("Sample", ["image", "length"])


class One(nn.Module):
    """Takes one object."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(5, 3)

    def forward(self, sample: Any) -> Tensor:
        return self.fc(sample.image.mul_(2))


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(5, 4), nn.Linear(4, 3)

    def forward(self, packed: Any) -> Tensor:
        return self.fc(self.rnn(packed)[1][-1])


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, images: list[Tensor], targets: Any) -> dict[str, Tensor]:
        return {"loss": torch.stack([self.conv(image[None]).mean() for image in images]).sum()}


def packed() -> Any:
    return nn.utils.rnn.pack_padded_sequence(torch.randn(4, 2, 5), torch.tensor([4, 2]))


@pytest.mark.parametrize(
    ("model", "given", "criterion", "size"),
    [
        (Texts, lambda: ["ab", "cd"], cross_entropy, 2),
        (Packed, packed, cross_entropy, 2),
        (One, lambda: Sample(torch.ones(2, 5), 2), cross_entropy, 2),
        (
            Images,
            lambda: ([torch.rand(3, 8, 8)] * 2, [{}, {}]),
            lambda outputs, _: sum(outputs.values()),
            2,
        ),
        (lambda: nn.Linear(5, 3), lambda: torch.ones(2, 5), nn.CrossEntropyLoss(), 2),
    ],
    ids=["texts", "packed", "namedtuple", "images", "tensor"],
)
def test_inputs_of_any_form_are_counted_and_copied(model, given, criterion, size, tmp_path):
    batch = given()
    loop(
        model(),
        {"l": Landscape()},
        [(batch, TARGETS[:2])],
        tmp_path / "a" / "b",
        criterion=criterion,
    )
    run = load_run(tmp_path / "a" / "b")
    assert run.batch_size == size and len(run["l/loss"][0]) == 1
    if isinstance(batch, Sample):
        assert torch.equal(batch.image, torch.ones(2, 5))


def test_a_loss_of_one_element_is_a_number(tmp_path):
    reduce_none = nn.CrossEntropyLoss(reduction="none")
    batch = [(inputs()[:1], TARGETS[:1])]
    loop(nn.Linear(5, 3), {"l": Landscape()}, batch, tmp_path / "a" / "b", criterion=reduce_none)
    assert load_run(tmp_path / "a" / "b")["train/loss"][1].shape == (1,)


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.fc = nn.Parameter(torch.tensor([3j, 4j])), nn.Linear(2, 3)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc((input[:, :2] * self.w).abs())


def test_complex_parameters_have_no_curvature_here():
    with pytest.raises(NotMeasurable, match="Complex has complex parameters"):
        Sharpness()(observe(Complex(), cross_entropy, inputs(), TARGETS))


def test_a_sparse_gradient_is_measured_as_a_dense_one_or_refused():
    update, dense = (
        observe(model, cross_entropy, torch.arange(16).reshape(8, 2) % 7, TARGETS)
        for model in (embedded(sparse=True), embedded(sparse=False))
    )
    changes = [Landscape()(each)["gradient_change"] for each in (update, dense)]
    assert torch.allclose(*changes)
    try:
        measured = Sharpness()(update)["batch_eigenvalues"]
    except NotMeasurable as error:
        assert "torch has no second derivative of Sequential" in str(error)  # noqa: PT017
    else:
        assert torch.allclose(measured, Sharpness()(dense)["batch_eigenvalues"], rtol=1e-3)


def embedded(sparse: bool) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 3, sparse=sparse), nn.Flatten(), nn.Linear(6, 3))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: nn.LazyLinear(3), "'weight' of LazyLinear has no shape yet: call the model once"),
        (lambda: nn.Linear(5, 3, device="meta"), "'weight' of Linear is on the meta device"),
        (nn.ReLU, "ReLU has no parameters; there is nothing to observe"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_model_without_values_is_refused_in_a_sentence(model, says):
    with pytest.raises(ValueError, match=says):
        observe(model(), cross_entropy, inputs(), TARGETS)
    with pytest.raises(ValueError, match=says):
        layers_called(model(), inputs())


def test_data_parallel_models_are_unwrapped():
    model = nn.DataParallel(nn.Linear(5, 3))
    update = observe(model, cross_entropy, inputs(), TARGETS)
    assert list(update.params) == ["weight", "bias"]


def test_the_calls_of_a_module_are_measured_together():
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc(a) - self.fc(b)

    model, pair = Siamese(), (inputs(1), inputs(2))
    update = observe(model, cross_entropy, pair, TARGETS)
    outputs = update.loss.activations(update.params, ["fc"])["fc"]
    assert torch.equal(outputs, torch.cat([model.fc(each) for each in pair]))


def test_an_lr_of_zero_in_the_first_group_is_not_the_lr():
    model = nn.Sequential(nn.Linear(5, 6), nn.Linear(6, 3))
    groups = [{"params": model[n].parameters(), "lr": lr} for n, lr in enumerate((0.0, 0.1))]
    observer = Observer(model, cross_entropy, {}, torch.optim.SGD(groups))
    with observer.step(inputs(), TARGETS):
        pass
    assert observer.record["train/lr"] == 0.1


# Lightning


def lit(how: str) -> Any:
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net, self.logged = nn.Linear(5, 3), {}
            self.automatic_optimization = how != "manual"

        def forward(self, input: Tensor) -> Tensor:
            outputs = self.net(input)
            self.log("size", outputs.norm())
            return outputs

        def training_step(self, batch: Any, _n: int) -> Tensor | None:
            if how != "manual":
                return cross_entropy(self(batch[0]), batch[1])
            optimizer = self.optimizers()
            for _ in range(2):
                optimizer.zero_grad()
                self.manual_backward(cross_entropy(self(batch[0]), batch[1]))
                optimizer.step()
            return None

        def configure_optimizers(self) -> Any:
            if how == "lbfgs":
                return torch.optim.LBFGS(self.parameters(), 0.1, max_iter=3)
            return torch.optim.SGD(self.parameters(), 1.0)

        def on_train_epoch_end(self) -> None:
            self.logged = {k: float(v) for k, v in self.trainer.logged_metrics.items()}

    return Module()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("how", "steps"), [("log", 4), ("manual", 8), ("lbfgs", 4)])
def test_a_step_of_lightning_is_one_of_the_optimizer_and_logs_are_its_own(how, steps, tmp_path):
    lightning = pytest.importorskip("lightning")
    from bnstudy.lightning import ObserveCallback

    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    samples = torch.utils.data.TensorDataset(torch.randn(32, 5), torch.arange(32) % 3)
    found = []
    path: Path = tmp_path / "a" / "b"
    for observed in (False, True):
        callback = ObserveCallback(cross_entropy, {"l": Landscape()}, recorder=path)
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            log_every_n_steps=1,
            callbacks=[callback] if observed else [],
            **dict.fromkeys(quiet, False),
        )
        module = lit(how)
        trainer.fit(module, torch.utils.data.DataLoader(samples, batch_size=8))
        found.append((module.logged, contents(dict(module.state_dict()))))
        assert trainer.global_step == steps
    assert found[0] == found[1]
    assert load_run(path)["l/loss"][0].tolist() == list(range(steps))
    with pytest.raises(ValueError, match=r"A batch is a dict of 2; .* or split="):
        ObserveCallback(cross_entropy, {}).split({"x": 1, "y": 2})
