"""Loss, Update, Probe: the names a probe author must know."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Protocol, TypeGuard, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnstudy.data import Batch
from bnstudy.derivatives import DoubleBackward, disagreement, full_precision, ieee, uncompiled
from bnstudy.layers import first_tensor as first_tensor  # for probes
from bnstudy.layers import outputs_of
from bnstudy.params import Params
from bnstudy.seeds import NoiseState, noise_state, probe_seed, seed_noise, set_noise_state
from bnstudy.untouched import Held, held

# Ioffe & Szegedy 2015, figure 1: the percentiles of a typical unit's input over training.
PERCENTILES = (15, 50, 85)
# The parts of a layer that, like gamma and beta, scale and move what the conv or linear maps.
NORM_PARTS = ("norm", "bias_in", "scale_out")


# What is wrong with torch's second derivative of a network, by the statistics of its norms.
_FAULTS: WeakKeyDictionary[nn.Module, dict[str, str]] = WeakKeyDictionary()


class NotMeasurable(ValueError):
    """A probe cannot be computed for this network at this step; the message says why."""


class NotCalled(NotMeasurable):
    """A module is not called in a forward pass: another expert, a layer that is dropped."""


@dataclass(frozen=True)
class Prefix:
    """What the first modules of a chain make of a batch, and where that leaves the generators."""

    modules: int
    hidden: Any
    noise: NoiseState | None


@dataclass(frozen=True)
class Loss:
    """L(theta) on one batch, as training saw it; calling it changes nothing.

    A pass works on copies of buffers, frozen parameters and inputs, and of the tensors that a
    module or the criterion keeps. Everything else that a pass writes (attributes, lists, hooks,
    generators) is put back after it: see `bnstudy.untouched`. Every call draws the same noise, from
    `seed`. At the parameters of the training step its value is bitwise the number the optimizer
    saw. Always in full precision, also inside the model: without `torch.autocast`, and without TF32
    in products of float32. Also under `torch.no_grad` and `torch.inference_mode`. Compiled parts
    are called as they were written.

    The criterion may call modules, and these are left as they are. What it reads of the observed
    model, such as a penalty on `model.parameters()`, is a constant here.

    With `statistics="batch"` norms use the batch's own statistics and gradients flow through them:
    the function that SGD descends. With `"running"` the model is in evaluation mode, which for
    BatchNorm is a different function of the parameters.

    With `guarded` torch's second derivative is compared with differences of the gradient before it
    is used, once for each model. `precision` is that of all copies; None: each tensor's own.
    """

    model: nn.Module
    criterion: Callable[[Any, Any], Tensor]
    batch: Batch
    seed: int
    statistics: Literal["batch", "running"] = "batch"
    guarded: bool = False
    precision: torch.dtype | None = None

    def __call__(self, params: Params) -> Tensor:
        """The loss at `params`, a scalar; differentiable where they require gradients."""
        with_grad = torch.is_grad_enabled()
        # A model may differentiate in its forward pass, as it does in training.
        with _gradients_kept(), self._as_training_saw_it(params) as kept:
            value = self._scalar(self._forward(kept))
        return value if with_grad else value.detach()

    def outputs(self, params: Params) -> Any:
        """The model's outputs on the batch in the same forward pass."""
        with _gradients_kept(), self._as_training_saw_it(params) as kept:
            return self._forward(kept)

    def value_and_grad(
        self, params: Params, wrt: Iterable[str] | None = None, prefix: Prefix | None = None
    ) -> tuple[Tensor, Params]:
        """The loss and its gradient, by one forward and one backward.

        `wrt` names the tensors to differentiate; the backward pass goes no further down than these,
        and the forward pass starts where `prefix` ends. ValueError where the loss depends on none
        of all parameters.
        """
        with differentiable(self.device):
            leaves, names = _leaves(params, wrt)
            value = self(leaves) if prefix is None else self._value_after(prefix, leaves)
            if not value.requires_grad and wrt is None:
                raise ValueError(
                    "The loss has no gradient in any parameter: is something detached in the model "
                    "or the criterion?"
                )
            if not value.requires_grad:  # none of these is used: a norm that a model ignores
                return value, {name: torch.zeros_like(params[name]) for name in names}
            tensors = [leaves[name] for name in names]
            grads = torch.autograd.grad(value, tensors, allow_unused=True, materialize_grads=True)
            return value.detach(), dict(zip(names, map(_dense, grads), strict=True))

    def prefix(self, params: Params, before: str, known: Prefix | None = None) -> Prefix | None:
        """The forward pass up to the module that has the parameter `before`.

        It goes on from `known`, whose modules must have had the same parameters. None for a model
        that is no chain of modules.
        """
        # Several inputs are no chain either, and one in a tuple is not worth the case.
        chain = _chain(self.model) if isinstance(self.batch.inputs, Tensor) else []
        stop = next((i for i, name in enumerate(chain) if before.startswith(f"{name}.")), None)
        if stop is None:
            return None
        with torch.inference_mode(False), torch.no_grad():
            if known is None or known.modules > stop:
                known = Prefix(0, copied(self.batch.inputs), None)
            with self._as_training_saw_it(params, known.noise) as kept:
                hidden = self._through(chain[known.modules : stop], kept, known.hidden)
                # A module that keeps something for a later one makes it no chain.
                chained = not kept.changed()
                return Prefix(stop, hidden, noise_state(self.device)) if chained else None

    def _value_after(self, prefix: Prefix, params: Params) -> Tensor:
        with self._as_training_saw_it(params, prefix.noise) as kept:
            rest = _chain(self.model)[prefix.modules :]
            return self._scalar(self._through(rest, kept, prefix.hidden))

    def _scalar(self, outputs: Any) -> Tensor:
        try:
            value = self.criterion(outputs, copied(self.batch.targets))
        except Exception as error:
            if self.statistics == "running":
                error.add_note(
                    "This is in evaluation mode: if the model gives other outputs there than in "
                    "training, use statistics=batch."
                )
            raise
        if not isinstance(value, Tensor) or value.numel() != 1 or value.is_complex():
            shape = tuple(value.shape) if isinstance(value, Tensor) else ""
            raise ValueError(
                f"The criterion returned a {type(value).__name__}{f' {shape}' if shape else ''}; "
                "it must return the loss, a scalar tensor."
            )
        return value if value.dim() == 0 else value.reshape(())

    def _through(self, chain: list[str], kept: Held, hidden: Any) -> Any:
        hidden = copied(hidden)  # the first of these modules may write into its input
        for name in chain:
            module, start = self.model.get_submodule(name), f"{name}."
            own = {k.removeprefix(start): t for k, t in kept.tensors.items() if k.startswith(start)}
            hidden = torch.func.functional_call(module, own, (hidden,))
        return hidden

    def hvp(self, params: Params, vector: Params) -> Params:
        """The Hessian times `vector`, by double backward through the same function.

        Exact for BatchNorm with batch statistics, where forward-over-reverse is not.
        """
        return self.hessian(params, once=True)(vector)

    def hessian(self, params: Params, once: bool = False) -> Callable[[Params], Params]:
        """The Hessian at `params` as a function that multiplies it by a vector.

        The gradient and its graph are computed here, once: a product is one backward pass through
        them. They stay in memory as long as the function does; with `once` the first product frees
        them. A vector that has only some of the parameters is multiplied by their diagonal block.
        Attention and weight normalization are computed in plain steps, with the same value
        but for rounding: torch's fused attention has no second derivative, and its weight
        normalization a wrong one. Raises NotMeasurable where there is no second derivative, or, for
        a loss that is `guarded`, where it is not that of the gradient.
        """
        self._refuse_wrong_derivatives(params)
        with differentiable(self.device), sdpa_kernel(SDPBackend.MATH), DoubleBackward():
            leaves, wrt = _leaves(params, None)
            tensors = [leaves[name] for name in wrt]
            value = self(leaves)
            grads: Sequence[Tensor | None] = [None] * len(wrt)
            if value.requires_grad:
                with self._twice_differentiable():
                    grads = torch.autograd.grad(
                        value, tensors, create_graph=True, allow_unused=True
                    )
        # A piecewise linear network in one of its tensors has a gradient with no graph behind it.
        curved = {name: grad for name, grad in zip(wrt, grads, strict=True) if _has_graph(grad)}

        def product(vector: Params) -> Params:
            block = [name for name in wrt if name in vector]
            bent = {name: curved[name] for name in block if name in curved}
            if not bent:
                return {name: torch.zeros_like(params[name]) for name in block}
            with differentiable(self.device), self._twice_differentiable():
                products = torch.autograd.grad(
                    list(bent.values()),
                    [leaves[name] for name in block],
                    [vector[name] for name in bent],
                    retain_graph=not once,
                    allow_unused=True,
                    materialize_grads=True,
                )
            return dict(zip(block, map(_dense, products), strict=True))

        return product

    def gauss_newton(self, params: Params) -> Callable[[Params], Params]:
        """The Gauss-Newton matrix J'BJ at `params` as a function that multiplies it by a vector.

        J is the Jacobian of the model's outputs, and B the Hessian of the criterion in them
        (Schraudolph 2002, Neural Computation 14, section 3): the Hessian of the loss without the
        curvature of the network itself. With a convex criterion no eigenvalue is negative. With
        batch statistics the outputs of a sample depend on all samples of the batch, as in training.

        A product is a Jacobian-vector product, one with B, and a backward pass. The graph of the
        forward pass stays in memory as long as the function does. Vectors may have only some of the
        parameters, as in `hessian`. Raises NotMeasurable where the criterion is linear in all that
        the model returns: there the matrix is zero. A model that returns its loss is such a case.
        """
        self._refuse_complex(params)
        with differentiable(self.device), sdpa_kernel(SDPBackend.MATH), DoubleBackward():
            leaves, names = _leaves(params, None)
            outputs, ends, slopes = self._slopes_at_the_outputs(leaves)
            # J'u is linear in u with the matrix J', so that backward passes through it give Jv.
            weights = [torch.zeros_like(tensor, requires_grad=True) for tensor in outputs]
            with self._twice_differentiable():
                tensors = [leaves[name] for name in names]
                pulled = torch.autograd.grad(
                    outputs, tensors, weights, create_graph=True, allow_unused=True
                )
        reached = {name: each for name, each in zip(names, pulled, strict=True) if _has_graph(each)}
        again: Any = partial(
            torch.autograd.grad, retain_graph=True, allow_unused=True, materialize_grads=True
        )

        def product(vector: Params) -> Params:
            block = [name for name in names if name in vector]
            used = [name for name in block if name in reached]
            if not used:
                return {name: torch.zeros_like(params[name]) for name in block}
            with differentiable(self.device), self._twice_differentiable():
                pushed = again([reached[n] for n in used], weights, [vector[n] for n in used])
                bent = again(slopes, ends, pushed)
                products = again(outputs, [leaves[name] for name in block], bent)
            return dict(zip(block, map(_dense, products), strict=True))

        return product

    def _slopes_at_the_outputs(
        self, leaves: Params
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Those outputs in which the criterion bends, copies of them, and its gradient in these."""
        outputs: list[Tensor] = []
        ends: list[Tensor] = []

        def cut(tensor: Tensor) -> Tensor:
            if not tensor.requires_grad:
                return tensor
            outputs.append(tensor)
            ends.append(tensor.detach().requires_grad_())
            return ends[-1].clone()  # the criterion may write into it

        with self._as_training_saw_it(leaves) as kept:
            value = self._scalar(mapped(cut, self._forward(kept)))
        slopes: Sequence[Tensor | None] = [None] * len(ends)
        if value.requires_grad:
            with self._twice_differentiable():
                slopes = torch.autograd.grad(value, ends, create_graph=True, allow_unused=True)
        bent = [n for n, slope in enumerate(slopes) if _has_graph(slope)]
        if not bent:
            raise NotMeasurable(
                f"The criterion is linear in what {type(self.model).__name__} returns, so that the "
                "Gauss-Newton matrix is zero: let the model return its outputs, and the criterion "
                "make the loss of them."
            )
        return (
            [outputs[n] for n in bent],
            [ends[n] for n in bent],
            [cast("Tensor", slopes[n]) for n in bent],
        )

    @contextmanager
    def _twice_differentiable(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, NotImplementedError) as error:
            raise NotMeasurable(
                f"torch has no second derivative of {type(self.model).__name__} under this "
                f"criterion ({first_line(error)}): probes of curvature cannot be measured, those "
                "of values and gradients can."
            ) from error

    def _refuse_wrong_derivatives(self, params: Params) -> None:
        """NotMeasurable where the Hessian is none, or not that of the gradient."""
        self._refuse_complex(params)
        if not self.guarded:
            return
        known = _FAULTS.setdefault(self.model, {})
        if self.statistics not in known:
            known[self.statistics] = self._fault(params)
        if known[self.statistics]:
            raise NotMeasurable(known[self.statistics])

    def _refuse_complex(self, params: Params) -> None:
        if any(tensor.is_complex() for tensor in params.values()):
            raise NotMeasurable(
                f"{type(self.model).__name__} has complex parameters: probes of curvature measure "
                "real ones only."
            )

    def _fault(self, params: Params) -> str:
        """What is wrong with torch's second derivative, in a sentence; "" if nothing is."""
        plain = replace(self, guarded=False)
        modules = dict(self.model.named_modules())
        # An embedding that cuts the lengths of its rows passes gradients on as if it did not.
        cut = [name for name, module in modules.items() if getattr(module, "max_norm", None)]
        fixed = {name for name in params if name.rpartition(".")[0] in cut}
        off: float | None = None
        if self.device.type != "mps":  # Apple's GPUs have no float64
            inputs, targets = (wide(part) for part in (self.batch.inputs, self.batch.targets))
            precise = replace(plain, batch=Batch(inputs, targets), precision=torch.float64)
            try:
                off = disagreement(precise, wide(params), fixed)
            except Exception:  # a model may refuse numbers of another precision than its own
                with suppress(RuntimeError):
                    off = disagreement(plain, params, fixed)
        if off is None:
            return ""
        causes = [name for name, module in modules.items() if _is_reparametrized(module)]
        cause = f", perhaps because of the reparametrization of {causes[0]!r}" if causes else ""
        return (
            f"The Hessian of {type(self.model).__name__} that torch gives is off by {off:.1%} from "
            f"the differences of its gradient{cause}: probes of curvature cannot be measured, "
            "those of values and gradients can."
        )

    def activations(self, params: Params, modules: Iterable[str]) -> dict[str, Tensor]:
        """The outputs [N, C, ...] of the named modules in the same forward pass, without a graph.

        Also of modules that give [N, ..., C]. Of a norm that holds an activation function they are
        what this function sees. The calls of a module that is called several times are put together
        along N. NotCalled for a module that this pass does not call.
        """
        wanted = list(dict.fromkeys(modules))
        with differentiable(self.device), outputs_of(self.model, wanted) as outputs:
            self(_leaves(params, None)[0])
        for name in wanted:
            if name not in outputs:
                raise NotCalled(
                    f"{name!r} is not called in this forward pass (as an expert of a mixture, or a "
                    "layer that is dropped), so that its outputs cannot be measured."
                )
        return {name: _together(name, outputs[name]) for name in wanted}

    def effective(self, params: Params, names: Iterable[str]) -> Params:
        """The parameters of these names, and for reparametrized ones the tensor that they make.

        Of `torch.nn.utils.parametrizations` and of the older hooks: for `weight_norm` the weight
        g v / ||v|| in the place of g and v.
        """
        names, made = list(names), Params()
        if not any(_may_be_part(self.model, name) for name in names):
            return {name: params[name] for name in names}  # no copy of the network for that
        with torch.no_grad(), self._as_training_saw_it(params) as kept:
            for name in names:
                key, tensor = _reparametrized(self.model, name, kept.tensors)
                made[key] = params[name] if tensor is None else tensor
        return made

    def _forward(self, kept: Held) -> Any:
        inputs = copied(self.batch.inputs)
        named = dict(inputs) if isinstance(inputs, Mapping) else {}
        # A namedtuple, such as a PackedSequence, is one argument.
        given = () if named else inputs if type(inputs) is tuple else (inputs,)
        return torch.func.functional_call(self.model, kept.tensors, given, named)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @contextmanager
    def _as_training_saw_it(
        self, params: Params, noise: NoiseState | None = None
    ) -> Iterator[Held]:
        """In its mode, with its noise, or from `noise` on, that of a pass under way."""
        _refuse_collective(self.model)
        before = noise_state(self.device)
        try:
            with held(self.model, self.criterion, params, self.precision) as kept:
                # Only where the mode differs: a module frozen on purpose inside a network in
                # training mode stays frozen, because that is what training sees.
                training = self.statistics == "batch"
                if self.model.training != training:
                    self.model.train(training)
                seed_noise(self.device, self.seed)
                if noise is not None:
                    set_noise_state(self.device, noise)
                with full_precision(self.device), uncompiled():
                    yield kept
        finally:
            set_noise_state(self.device, before)


@dataclass(frozen=True)
class Layer:
    """One conv or linear with its norm."""

    weights: tuple[str, ...]  # parameters of the conv or linear
    norm: tuple[str, ...]  # of the norm (gamma, beta), and scalars beside it; empty without any
    output: str  # the module whose output the activation function sees
    norm_module: str | None = None  # the norm itself; None where it has no module
    activation: str | None = None  # the module whose output the next layers take; None if unknown


@dataclass(frozen=True)
class Update:
    """One optimizer step, seen from both ends."""

    step: int
    loss: Loss
    params: Params  # before the step
    grads: Params  # the gradient the optimizer was given; without weight decay
    new_params: Params  # after the step
    lr: float
    layers: dict[str, Layer]  # in forward order
    losses: Callable[[int], Loss]  # of the training step so many after this one: batch and noise
    test: Batch | None = None  # samples of the test set, normalised; None where there is none
    initial: Params | None = None  # before the first step; None where they are not known

    def seed_of(self, probe: str, n: int = 0) -> int:
        """The seed of draw `n` of a probe, by its name, at this step: see `bnstudy.seeds`."""
        return probe_seed(self.loss.seed, probe, n)


class Probe(Protocol):
    """A measurement: may read the update and call `update.loss`, may change nothing.

    Implement it as a frozen dataclass in a file of its own in `bnstudy/probes`. The loop calls it
    at every step divisible by `every` and records each returned tensor as `<file name>/<key>`.
    """

    @property
    def every(self) -> int: ...

    def __call__(self, update: Update) -> dict[str, Tensor]: ...


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """The layers of a model of `bnstudy.models`, by name, in the forward order it states.

    A network that was not written for this study states a dict instead: by name of the layer the
    names of its conv or linear, of its norm (None without one), and of the module whose output the
    activation function sees.
    """
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    stated = cast("list[str] | dict[str, tuple[str, str | None, str]]", model.layers)
    if isinstance(stated, dict):
        return {name: _layer(trainable, *modules) for name, modules in stated.items()}
    layers: dict[str, Layer] = {}
    for layer in stated:
        own = _below(layer, trainable)
        norm = [name for part in NORM_PARTS for name in _below(f"{layer}.{part}", own)]
        weights = [name for name in own if name not in norm]
        parts = dict(model.get_submodule(layer).named_children())
        output = "preactivation" if "preactivation" in parts else "norm"
        norm_module = f"{layer}.norm" if "norm" in parts else None
        output = f"{layer}.{output}"
        layers[layer] = Layer(tuple(weights), tuple(norm), output, norm_module, layer)
    return layers


def _layer(trainable: list[str], weights: str, norm: str | None, output: str) -> Layer:
    norms = _below(norm, trainable) if norm else []
    return Layer(tuple(_below(weights, trainable)), tuple(norms), output, norm)


def _below(module: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{module}.")]


def select_layers(layers: dict[str, Layer], wanted: Sequence[str] | None) -> dict[str, Layer]:
    """The wanted layers in forward order, all for None; ValueError for a name the model lacks."""
    unknown = [name for name in wanted or () if name not in layers]
    if unknown:
        raise ValueError(
            f"probe layer {unknown[0]!r} is not in the model; its layers are {', '.join(layers)}."
        )
    return {name: layers[name] for name in layers if wanted is None or name in wanted}


def sample_units(outputs: Tensor, units: int) -> Tensor:
    """The values [U, N * positions] of `units` units, evenly spaced, of outputs [N, C, ...].

    A unit is one feature of a linear layer or one channel of a convolution. U is C where the layer
    has fewer than `units`.
    """
    features = outputs.shape[1]
    units = min(units, features)
    chosen = [i * features // units for i in range(units)]
    return outputs[:, chosen].transpose(0, 1).flatten(1)


def count_samples(losses: Sequence[Loss]) -> Tensor:
    """How many samples the batches of some losses hold together."""
    return torch.tensor(sum(len(first_tensor(loss.batch.inputs)) for loss in losses))


def percentiles(values: Tensor) -> Tensor:
    """The nearest-rank 15, 50 and 85 percentiles [U, 3] of values [U, M].

    The p-th is the ceil(p M / 100)-th smallest. Sorted by hand: torch.quantile refuses more than
    2^24 values.
    """
    ranked = values.sort(dim=1).values
    # In whole numbers, whose product no rounding moves past a rank.
    ranks = [-(-percent * ranked.shape[1] // 100) for percent in PERCENTILES]
    return ranked[:, [rank - 1 for rank in ranks]]


@contextmanager
def differentiable(device: torch.device) -> Iterator[None]:
    """Gradients are kept, in full precision, whatever mode the caller is in.

    RuntimeError from a model that checkpoints: it would compute its activations again in the
    backward pass, which comes after the probe's parameters have been taken out of it.
    """
    hooks_off = torch.autograd.graph.disable_saved_tensors_hooks(
        "A probe cannot see through gradient checkpointing (or other hooks on saved tensors): "
        "switch it off in the model that is observed."
    )
    precise = torch.autocast(device.type, enabled=False)  # backward passes obey it too
    with torch.inference_mode(False), torch.enable_grad(), precise, ieee(), hooks_off:
        yield


@contextmanager
def _gradients_kept() -> Iterator[None]:
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _refuse_collective(model: nn.Module) -> None:
    """NotMeasurable for a pass that would wait for other processes, which do not make it."""
    distributed = torch.distributed
    if not distributed.is_available() or not distributed.is_initialized():
        return
    if distributed.get_world_size() == 1:
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm) and module.training:
            raise NotMeasurable(
                f"{name!r} is a SyncBatchNorm, whose statistics are those of all processes: a "
                "probe's pass is of one process and would wait for the others for ever."
            )


def _chain(model: nn.Module) -> list[str]:
    """The modules that a model calls one after the other; [] for one that is no such chain."""
    named = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    shared = len(named) > len({id(tensor) for _, tensor in named})
    # A parameter with two names has one in `params`: a module could not find it under its own.
    return [] if shared or not _is_chain(model) else _links(model)


def _links(model: nn.Module) -> list[str]:
    names: list[str] = []
    for name, child in model.named_children():
        names += [f"{name}.{link}" for link in _links(child)] if _is_chain(child) else [name]
    return names


def _is_chain(module: nn.Module) -> bool:
    if not isinstance(module, nn.Sequential):
        return False
    kind = type(module)
    plain = kind.forward is nn.Sequential.forward and kind.__call__ is nn.Module.__call__
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    hooks += (module._backward_hooks, module._backward_pre_hooks)
    # A module that is called twice is listed once.
    return plain and not any(hooks) and len(list(module.children())) == len(module)


def _leaves(params: Params, wrt: Iterable[str] | None) -> tuple[Params, list[str]]:
    names = list(params) if wrt is None else list(wrt)
    leaves = {name: tensor.detach() for name, tensor in params.items()}
    for name in names:
        if leaves[name].is_inference():  # made under torch.inference_mode
            leaves[name] = leaves[name].clone()
        leaves[name].requires_grad_()
    return leaves, names


def mapped(change: Callable[[Tensor], Tensor], values: Any) -> Any:
    """The same with every tensor changed, in containers and in plain objects too."""
    if isinstance(values, Tensor):
        return change(values)
    if isinstance(values, np.ndarray):
        return values.copy()
    again = partial(mapped, change)
    if type(values) is dict:
        return {key: again(value) for key, value in values.items()}
    if type(values) in (tuple, list):
        return type(values)(again(value) for value in values)
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(again(value) for value in values))
    if isinstance(values, MutableMapping):
        new = copy(values)
        for key, value in values.items():
            new[key] = again(value)
        return new
    if isinstance(values, Mapping):
        return {key: again(value) for key, value in values.items()}
    if hasattr(values, "__dict__") and not isinstance(values, (type, nn.Module)):
        new = copy(values)
        for key, value in vars(values).items():
            object.__setattr__(new, key, again(value))
        return new
    return values


copied = partial(mapped, Tensor.clone)


def wide(values: Any) -> Any:
    """The same with every floating point tensor in float64."""
    return mapped(lambda t: t.double() if t.is_floating_point() else t.clone(), values)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where there is none."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def _together(name: str, calls: list[Tensor]) -> Tensor:
    if len(calls) == 1:
        return calls[0]
    if len({call.shape[1:] for call in calls}) > 1:
        shapes = " and ".join(str(list(call.shape)) for call in calls[:2])
        raise NotMeasurable(
            f"{name!r} is called {len(calls)} times in a forward pass and gives {shapes}: its "
            "outputs cannot be measured together."
        )
    return torch.cat(calls)


def _reparametrized(model: nn.Module, name: str, tensors: Params) -> tuple[str, Tensor | None]:
    """The name of the tensor that a parameter is a part of, and the tensor; None: it is itself."""
    of_module, _, part = name.rpartition(".")
    if ".parametrizations." in f".{of_module}":
        start = f"{of_module}."
        own = {key.removeprefix(start): t for key, t in tensors.items() if key.startswith(start)}
        inside = model.get_submodule(of_module)
        return of_module, torch.func.functional_call(inside, own, ())
    module = model.get_submodule(of_module)
    for hook in module._forward_pre_hooks.values():
        tensor_name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", None)
        if tensor_name and part in (f"{tensor_name}_{end}" for end in ("g", "v", "orig")):
            start = f"{of_module}." if of_module else ""
            own = {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}
            made = torch.func.functional_call(_Hooked(module, hook), _prefixed(own), ())
            return f"{start}{tensor_name}", made.clone()
    return name, None


def _may_be_part(model: nn.Module, name: str) -> bool:
    """Whether a parameter may be one of several that make a tensor."""
    hooks = model.get_submodule(name.rpartition(".")[0])._forward_pre_hooks
    return ".parametrizations." in f".{name}" or bool(hooks)


def _is_reparametrized(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()
    return hasattr(module, "parametrizations") or any(
        type(hook).__name__ in ("SpectralNorm", "WeightNorm") for hook in hooks
    )


class _Hooked(nn.Module):
    """The tensor that a hook makes of its module's parameters."""

    def __init__(self, module: nn.Module, hook: Any) -> None:
        super().__init__()
        self.module, self.hook = module, hook

    def forward(self) -> Tensor:
        self.hook(self.module, None)
        name = getattr(self.hook, "name", None) or self.hook._tensor_name
        return getattr(self.module, name)


def _prefixed(tensors: Params) -> Params:
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


def _dense(grad: Tensor) -> Tensor:
    return grad.to_dense() if grad.is_sparse else grad  # an embedding's may be sparse


def _has_graph(grad: Tensor | None) -> TypeGuard[Tensor]:
    return grad is not None and grad.requires_grad
