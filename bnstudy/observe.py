"""Probes on one's own model: at one point, or along one's own training loop."""

import dataclasses
import json
import platform
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils.rnn import PackedSequence

from bnstudy.data import Batch
from bnstudy.layers import find_layers, find_norms
from bnstudy.params import Params, add_scaled, copy_of, trainable
from bnstudy.record import DataFacts, Header, Recorder, count_steps, fingerprint, read_header
from bnstudy.seeds import Stream, derive_seed, noise_state, set_noise_state
from bnstudy.tasks import CLASSIFICATION, REGRESSION
from bnstudy.untouched import refuse_changes, traces
from bnstudy.update import (
    Layer,
    Loss,
    NotCalled,
    Probe,
    Update,
    differentiable,
    first_line,
    first_tensor,
    select_layers,
)

Criterion = Callable[[Any, Any], Tensor]
Pair = tuple[Any, Any]  # inputs and targets of one batch
Probes = Mapping[str, Probe]
Layers = Mapping[str, Layer] | Sequence[str]  # stated, or the names of those to find


def observe(
    model: nn.Module,
    criterion: Criterion,
    inputs: Any,
    targets: Any,
    lr: float = 0.1,
    *,
    layers: Layers | None = None,
    test: Pair | None = None,
    later: Sequence[Pair] = (),
    seed: int = 0,
) -> Update:
    """The step that plain gradient descent would make from here on one batch; it is not made.

    Give it to any probe: `Landscape()(observe(model, criterion, inputs, targets))`. The model is
    left as it is. `inputs` are a tensor, a tuple (given as arguments) or a dict (given by name);
    `criterion(outputs, targets)` takes what the model returns: a penalty belongs to what is
    observed if the model returns it, not if the criterion reads it off `model.parameters()`. The
    gradient is that of the batch in training mode, whatever mode the model is in, at the parameters
    that require gradients; noise such as dropout is drawn from `seed`. `layers` are those of
    `layers_called` for None; or the names of some of these; or stated, as a dict. Of what
    `torch.compile` or DistributedDataParallel gives, the module inside is observed.

    `test` (inputs, targets) and `later`, the batches of the steps to come, are for probes that look
    at them. Raises ValueError where no parameter requires a gradient, where `test` cannot be used,
    and for a model that a forward pass changes for good: two passes here must give one loss, and
    what `bnstudy.untouched.traces` shows must stay. A probe raises NotMeasurable, a ValueError, for
    what it cannot measure.

    The loss w^2 at w = 3 has the gradient 6, so that a step of lr 0.1 leads to (3 - 0.6)^2:

    >>> import torch
    >>> from torch import nn
    >>> from bnstudy.probes import Landscape
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.constant_(model.weight, 3.0)
    >>> update = observe(model, nn.MSELoss(), torch.ones(1, 1), torch.zeros(1, 1), lr=0.1)
    >>> round(Landscape(multiples=(1.0,))(update)["loss"].item(), 4)
    5.76
    """
    model = _inner(model)
    loss = _loss(model, criterion, (inputs, targets), seed, step=0)
    with _unmoved(model):
        params = copy_of(model)
        found, value = _first_look(loss, params, layers)
        again, grads = loss.value_and_grad(params)
        _refuse_two_losses(model, value, again)
    return Update(
        step=0,
        loss=loss,
        params=params,
        grads=grads,
        new_params=add_scaled(params, grads, -lr),
        lr=lr,
        layers=found,
        losses=partial(_later_loss, loss, later, seed, 0),
        test=_test_batch(test),
        initial=params,
    )


def layers_called(
    model: nn.Module, inputs: Any, norms: Sequence[type[nn.Module]] = ()
) -> dict[str, Layer]:
    """The layers that a model calls for these inputs, in order: see `bnstudy.layers.find_layers`.

    `norms` are classes to be taken for norms besides torch's. Parameters that do not require
    gradients are left out: of a frozen conv with a norm that is trained, gamma and beta are the
    weights, and a layer of which nothing is trained is none. So is one that shares all its weights
    with a layer before it: they belong to the first. The model is left as it is.
    """
    model = _inner(model)
    # Called as training does, but for nothing: what it returns is not looked at.
    loss = Loss(model, lambda outputs, _: first_tensor(outputs).sum(), Batch(inputs, None), seed=0)
    with _unmoved(model):
        return _layers_of_pass(loss, copy_of(model), norms)[0]


def _layers_of_pass(
    loss: Loss, params: Params, norms: Sequence[type[nn.Module]] = ()
) -> tuple[dict[str, Layer], Tensor]:
    """The layers that one forward pass calls, and the loss that it gives."""
    model, values = loss.model, []
    # With gradients, as in training: a model may differentiate in its forward pass.
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    run = lambda: values.append(loss(leaves).detach())  # noqa: E731
    found = find_layers(model, run, find_norms(model, norms))
    # By identity: a tensor with two names has only the first of them in `params`.
    free = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    layers: dict[str, Layer] = {}
    for name, (module, norm, output) in found.items():
        weights = _taken(model.get_submodule(module), free)
        of_norm = () if norm is None else _taken(model.get_submodule(norm), free)
        if weights or of_norm:
            parts = (weights, of_norm) if weights else (of_norm, ())
            layers[name] = Layer(*parts, output, norm)
    return layers, values[0]


class Observer:
    """Calls probes along one's own training loop, and changes nothing in it, bit by bit.

        observer = Observer(model, criterion, {"landscape": Landscape(every=10)}, optimizer)
        ...
        loss.backward()
        with observer.step(inputs, targets):
            optimizer.step()

    A probe is called at the steps, counted from 0, that its `every` divides. It sees the parameters
    before and after the step, and a gradient that the observer computes itself on this batch, with
    noise such as dropout of its own (drawn from `seed` and the step). The loop's gradient may be
    another: clipped, accumulated over several batches, in low precision, with other noise. A
    forward pass of a probe is one of the model's: hooks that are registered on it are called.

    `recorder` is a folder for `run.jsonl`, or a `Recorder`; None: no record. Its line has, besides
    the probes' values, train/loss and train/lr, and whatever the loop puts into the dict that
    `step` gives; a record whose train/loss is not finite is the last one: `diverged` is then True.
    Figures read `DIR/<experiment>/<run>`, such as `runs/vgg/batch` with `figures.py --runs runs`,
    and tell runs apart by what the header says: `norm`, the lr, `seed`; `steps` (of the whole run)
    and `classes` (how many there are) are theirs too. `config` is what else two runs may differ in.
    FileExistsError if the folder holds a run, unless `start` is the step where this one goes on:
    call `sync` before every checkpoint of one's own, or the record may end before it. Where a loop
    changes lr or momentum by itself, state them once for the header:
    `config={"optimizer": {"lr": 0.1}}`; torch's schedulers say it.

    `lr` is that given to `step`, or the optimizer's, of its first group where it is not 0. `layers`
    are as in `observe`, found anew when parameters are frozen or freed. `test` is (inputs,
    targets), for probes that look at a test set.

    Nothing that a probe meets ends the training. A probe that cannot be measured at a step is left
    out there: its reason is recorded under "skipped", and one warning says it. Only a probe that
    needs `later` batches and is given none at its first step raises ValueError.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        probes: Probes,
        optimizer: torch.optim.Optimizer | None = None,
        recorder: Recorder | Path | str | None = None,
        *,
        layers: Layers | None = None,
        test: Pair | None = None,
        seed: int = 0,
        start: int = 0,
        steps: int | None = None,
        norm: str = "none",
        name: str | None = None,
        init: str = "own",
        data: str = "own data",
        classes: int | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.criterion, self.probes = _inner(model), criterion, dict(probes)
        self.optimizer, self.seed = optimizer, seed
        self._stated, self._free = layers, []
        self.layers: dict[str, Layer] = {}  # of the last step that was looked at
        self.test = _test_batch(test)
        self.diverged = False
        self.record: dict[str, Any] = {}  # of the last step
        self._next = start
        self._looked = False  # at the model, whether a pass leaves it as it is
        self._fault: Exception | None = None  # why nothing of it can be measured
        self._measured: set[str] = set()
        self._warned: set[tuple[str, str]] = set()
        self._initial = copy_of(self.model) if start == 0 else None
        self._recorder = recorder if isinstance(recorder, Recorder) else None
        self._directory = Path(recorder) if isinstance(recorder, Path | str) else None
        name = name or type(self.model).__name__
        self._choices = {"model": name, "norm": norm, "init": init, "data": data}
        self._classes = classes
        self._config: dict[str, Any] = {"steps": steps, "seed": seed, **(config or {})}
        if self._directory is not None:
            self._check(self._directory, start)

    @contextmanager
    def step(
        self, inputs: Any, targets: Any, lr: float | None = None, later: Sequence[Pair] = ()
    ) -> Iterator[dict[str, Any]]:
        """Around one step of the optimizer, after the backward pass on this batch.

        Gives a dict; what is put into it is recorded with the step. `later` are the batches of the
        steps to come, for probes that look at them. Raises ValueError if no lr is known, or if the
        train/loss that is put in is no number. A step whose body raises is not counted.
        """
        step = self._next
        record: dict[str, Any] = {}
        due = {name: probe for name, probe in self.probes.items() if step % probe.every == 0}
        params = copy_of(self.model) if due else {}
        if self._initial is not None:  # parameters that are freed now are what they were
            for name, tensor in trainable(self.model).items():
                if name not in self._initial:
                    self._initial[name] = tensor.clone()
        lr = self._lr(lr)  # before the step: a schedule may change it in there
        yield record
        self._next = step + 1
        _check_number(record.get("train/loss", 0.0))
        if due or self._directory is not None or self._recorder is not None:
            with _unmoved(self.model):
                loss = self._loss_of(inputs, targets, step)
                self._know_layers(loss, params)
                self._start_record(inputs, lr)
                if due:
                    record |= self._measure(due, loss, params, lr, later, record)
        record.setdefault("train/lr", lr)
        self.record = record
        if self._recorder is not None and not self.diverged:
            self.diverged = not self._recorder.log(step, dict(record))

    def sync(self) -> None:
        """Write what waits through to the disk, so that no checkpoint is ahead of the record."""
        if self._recorder is not None:
            self.diverged = not self._recorder.sync() or self.diverged

    def end(self) -> None:
        """End the record: finished, or diverged."""
        if self._recorder is not None:
            self.diverged = not self._recorder.flush() or self.diverged
            self._recorder.end("diverged" if self.diverged else "finished")
            self._recorder.close()
            self._recorder, self._directory = None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the record; after an exception leave it without an end: interrupted."""
        if kind is None:
            self.end()
        elif self._recorder is not None:
            self._recorder.flush()
            self._recorder.close()

    def _loss_of(self, inputs: Any, targets: Any, step: int) -> Loss:
        return _loss(self.model, self.criterion, (inputs, targets), self.seed, step)

    def _measure(
        self,
        due: Probes,
        loss: Loss,
        params: Params,
        lr: float,
        later: Sequence[Pair],
        record: dict[str, Any],
    ) -> dict[str, Any]:
        """What the probes measure at a step; "skipped" says why one does not."""
        measured: dict[str, Any] = {}
        step, skipped = self._next - 1, {}
        try:
            if self._fault is not None:
                raise self._fault
            value, grads = loss.value_and_grad(params)
            measured["train/loss"] = record.get(
                "train/loss", value
            )  # the loop's own, if it is there
        except Exception as error:
            skipped = {name: self._warn(name, step, error) for name in due}
            return measured | {"skipped": skipped}
        losses = partial(_later_loss, loss, later, self.seed, step)
        new_params = trainable(self.model)
        update = Update(
            step, loss, params, grads, new_params, lr, self.layers, losses, self.test, self._initial
        )
        for name, probe in due.items():
            try:
                found = self._call(probe, update)
            except LaterBatches:
                if name not in self._measured:  # wrong use, at the probe's first step
                    raise
                skipped[name] = "no later batch is known"
            except Exception as error:
                skipped[name] = self._warn(name, step, error)
            else:
                self._measured.add(name)
                measured |= {f"{name}/{key}": value for key, value in found.items()}
        return measured | ({"skipped": skipped} if skipped else {})

    def _call(self, probe: Probe, update: Update) -> dict[str, Tensor]:
        try:
            return probe(update)
        except NotCalled:
            # A mixture of experts, a layer that is dropped: look at those that this pass calls.
            called, _ = _layers_of_pass(update.loss, update.params)
            if isinstance(self._stated, Sequence):
                called = {name: called[name] for name in self._stated if name in called}
            if isinstance(self._stated, Mapping):
                outputs = {layer.output for layer in called.values()}
                stated = self._stated.items()
                called = {name: layer for name, layer in stated if layer.output in outputs}
            return probe(replace(update, layers=called))

    def _warn(self, name: str, step: int, error: Exception) -> str:
        """Say once that a probe is not measured, and why; the reason."""
        reason = first_line(error)
        kind = re.sub(r"\d+", "0", f"{type(error).__name__} {reason}")
        if (name, kind) not in self._warned:
            self._warned.add((name, kind))
            said = f"The probe {name} is not measured at step {step}: {reason}. Training goes on."
            try:
                warnings.warn(said, stacklevel=4)
            except Warning:  # python -W error must not end it either
                print(said, file=sys.stderr)
        return reason

    def _lr(self, given: float | None) -> float:
        if given is not None:
            return given
        if self.optimizer is None:
            raise ValueError(
                "Observer knows no lr: give it the optimizer, or step(inputs, targets, lr=...)."
            )
        lrs = [float(group["lr"]) for group in self.optimizer.param_groups]
        return next((lr for lr in lrs if lr), lrs[0])  # a group may be frozen by an lr of 0

    def _check(self, directory: Path, start: int) -> None:
        steps = self._config["steps"]
        if steps is None:
            raise ValueError(
                "Observer needs steps, the number of steps of the whole run, to record it: "
                "figures draw over them."
            )
        path = directory / "run.jsonl"
        if read_header(path) is None:
            return
        if start == 0:
            raise FileExistsError(
                f"{directory} holds a run already: move it away, choose another folder, or give "
                "start, the step where the run goes on."
            )
        recorded = count_steps(path)
        if start > recorded:
            raise ValueError(
                f"start={start} is past the end of the record in {directory}, which has {recorded} "
                "steps: go on from a checkpoint that is not ahead of it."
            )

    def _know_layers(self, loss: Loss, params: Params) -> None:
        """Find the layers when parameters are frozen or freed, and look whether a pass is clean."""
        free = list(trainable(self.model))
        if free == self._free and (self._looked or not params):
            return
        self._free = free
        try:
            if params and not self._looked:
                self._looked = True
                self.layers, value = _first_look(loss, params, self._stated)
                _refuse_two_losses(self.model, value, loss(params))
            else:
                self.layers, _ = _stated(loss, copy_of(self.model), self._stated)
        except Exception as error:
            self._fault = error

    def _start_record(self, inputs: Any, lr: float) -> None:
        if self._directory is not None and self._recorder is None:
            header = self._header(self._directory, inputs, lr)
            self._recorder = Recorder(self._directory, header, self._next - 1)

    def _header(self, directory: Path, inputs: Any, lr: float) -> dict[str, Any]:
        """The header of the record, with the facts that a loop of one's own says."""
        optimizer: dict[str, Any] = {"lr": lr}
        choices = dict(self._choices)
        if self.optimizer is not None:
            choices["optimizer"] = type(self.optimizer).__name__.lower()
            first = self.optimizer.param_groups[0]
            # A scheduler of torch says what they were, or are to reach.
            optimizer["lr"] = float(first.get("initial_lr", lr))
            optimizer |= {k: first[k] for k in ("momentum", "weight_decay") if k in first}
            if "max_momentum" in first:
                optimizer["momentum"] = first["max_momentum"]
        experiment = directory.resolve().parent.name
        config: dict[str, Any] = {
            "experiment": experiment,
            "batch_size": _batch_size(inputs),
            "optimizer": optimizer,
            "data": {"name": choices["data"]},
            "model": {},
            "probes": {name: _options(probe) for name, probe in self.probes.items()},
            **self._config,
        }
        device = _device(self.model)
        packages = ("bnstudy", "torch", "numpy")
        return Header(
            experiment=experiment,
            scale="own",
            choices=choices,
            config=config,
            fingerprint=fingerprint({**config, "choices": choices}),
            layers=list(self.layers),
            data=DataFacts(choices["data"], _task(self._classes), self._classes),
            steps=int(self._config["steps"]),
            batch_size=int(config["batch_size"]),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            memory_format="own",
            versions={"python": platform.python_version()} | {p: version(p) for p in packages},
            started=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        ).line()


def _task(classes: int | None) -> str | None:
    """What the targets are for, by the number of classes: 0 for a regression, None if not said."""
    if classes is None:
        return None
    return CLASSIFICATION if classes else REGRESSION


class LaterBatches(ValueError):
    """A probe looks at the batches of later steps, and the loop did not give them."""


def _loss(model: nn.Module, criterion: Criterion, batch: Pair, seed: int, step: int) -> Loss:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"No parameter of {type(model).__name__} requires a gradient; there is nothing to "
            "observe."
        )
    seed = derive_seed(seed, step, Stream.NOISE)
    return Loss(model, criterion, Batch(*batch), seed, guarded=True)


def _first_look(
    loss: Loss, params: Params, layers: Layers | None
) -> tuple[dict[str, Layer], Tensor]:
    """The layers to look at and the loss of the first pass, which must change nothing."""
    before = traces(loss.model)
    found, value = _stated(loss, params, layers)
    refuse_changes(loss.model, before)
    return found, value


def _refuse_two_losses(model: nn.Module, first: Tensor, second: Tensor) -> None:
    """ValueError for a loss that is no function of the parameters."""
    first, second = first.detach(), second.detach()
    # On a GPU the order of a sum may differ from pass to pass.
    tolerance = min(1000 * torch.finfo(first.dtype).eps, 0.01)
    if torch.allclose(first, second, rtol=tolerance, atol=0.0, equal_nan=True):
        return
    raise ValueError(
        f"Two forward passes of {type(model).__name__} at one point give the losses "
        f"{float(first):.6g} and {float(second):.6g}: the model or the criterion draws noise, or "
        "keeps something from pass to pass, in a way that cannot be put back. Let it draw from "
        "torch's generators, or keep it in a buffer."
    )


def _later_loss(loss: Loss, later: Sequence[Pair], seed: int, step: int, after: int) -> Loss:
    if after == 0:
        return loss
    if after > len(later):
        raise LaterBatches(
            f"A probe asks for the batch of the training step {after} later, and {len(later)} "
            "later ones are known; give them, as in later=[(inputs, targets)]."
        )
    return _loss(loss.model, loss.criterion, later[after - 1], seed, step + after)


def _test_batch(test: Pair | None) -> Batch | None:
    if test is None:
        return None
    if not all(isinstance(part, Tensor) for part in test):
        found = " and ".join(type(part).__name__ for part in test)
        raise ValueError(f"test={found} must be two tensors, inputs and targets.")
    return Batch(*test)


def _stated(loss: Loss, params: Params, layers: Layers | None) -> tuple[dict[str, Layer], Tensor]:
    """The layers to look at; ValueError for one that the model or its parameters do not have."""
    if not isinstance(layers, Mapping):
        called, value = _layers_of_pass(loss, params)
        return select_layers(called, layers), value
    for name, layer in layers.items():
        unknown = [weight for weight in (*layer.weights, *layer.norm) if weight not in params]
        if unknown:
            raise ValueError(
                f"layers[{name!r}] has {unknown[0]!r}, which is no parameter of the model that "
                "requires a gradient."
            )
    return dict(layers), loss(params)


def _check_number(loss: Any) -> None:
    if not isinstance(loss, float | int) and getattr(loss, "shape", None) != ():
        raise ValueError(
            f"record['train/loss'] is {loss!r:.40}; it must be a number or a scalar tensor."
        )


def _inner(model: nn.Module) -> nn.Module:
    """The module inside of what `torch.compile` and data-parallel training wrap around it.

    The first has no second derivatives; the second sends messages to other processes. ValueError
    for a model that has no parameters of its own to look at.
    """
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
            continue
        compiled: Any = getattr(model, "_orig_mod", None)
        if compiled is None:
            break
        model = compiled
    name = type(model).__name__
    for key, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(
                f"{key!r} of {name} has no shape yet: call the model once on a batch before."
            )
        if parameter.is_meta:
            raise ValueError(
                f"{key!r} of {name} is on the meta device and has no values: load the model first."
            )
        if type(parameter).__name__ in ("DTensor", "FlatParameter"):
            raise ValueError(
                f"{key!r} of {name} is one process's share of a parameter (FSDP or DTensor); only "
                "models whose parameters are whole in each process can be observed."
            )
    if next(model.parameters(), None) is None:
        raise ValueError(f"{name} has no parameters; there is nothing to observe.")
    return model


def _batch_size(inputs: Any) -> int:
    """The number of samples: of a list of images or texts its length."""
    if isinstance(inputs, PackedSequence):
        return int(inputs.batch_sizes[0])
    if isinstance(inputs, Mapping):
        return _batch_size(next(iter(inputs.values()), ()))
    if type(inputs) is tuple:
        return _batch_size(inputs[0]) if inputs else 0
    if isinstance(inputs, Tensor) and inputs.dim() == 0:
        return 1
    return len(inputs) if hasattr(inputs, "__len__") else 1


@contextmanager
def _unmoved(model: nn.Module) -> Iterator[None]:
    """Gradients in full precision whatever the loop is in; generators are put back after it."""
    device = _device(model)
    state = noise_state(device)
    try:
        with differentiable(device):
            yield
    finally:
        set_noise_state(device, state)


def _taken(module: nn.Module, free: dict[int, str]) -> tuple[str, ...]:
    """The names of a module's parameters among those that are free, which they are no more."""
    return tuple(free.pop(id(p)) for p in module.parameters() if id(p) in free)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _options(probe: Probe) -> dict[str, Any]:
    """The options of a probe, as the config of a run has them."""
    if not dataclasses.is_dataclass(probe) or isinstance(probe, type):
        return {"every": probe.every}
    return json.loads(json.dumps(dataclasses.asdict(probe), default=str))
