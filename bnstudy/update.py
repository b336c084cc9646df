"""Loss, Update, Probe: the names a probe author must know."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bnstudy.data import Batch
from bnstudy.layers import features_last
from bnstudy.params import Params
from bnstudy.seeds import NoiseState, noise_state, probe_seed, seed_noise, set_noise_state

# Ioffe & Szegedy 2015, figure 1: the percentiles of a typical unit's input over training.
PERCENTILES = (15, 50, 85)
# The parts of a layer that, like gamma and beta, scale and move what the conv or linear maps.
NORM_PARTS = ("norm", "bias_in", "scale_out")


@dataclass(frozen=True)
class Prefix:
    """What the first modules of a chain make of a batch, and where that leaves the generators."""

    modules: int
    hidden: Any
    noise: NoiseState | None


@dataclass(frozen=True)
class Loss:
    """L(theta) on one batch, as training saw it; calling it changes nothing.

    The model is called as a function: buffers and inputs are cloned, so running statistics stay
    where they are, what a module is given as an attribute is taken back, and every call draws the
    same noise, from `seed`, and puts the generators back. At the parameters of the training step
    its value is bitwise the number the optimizer saw. Always in full precision and, where a
    gradient is asked for, with one, whatever `torch.autocast`, `torch.no_grad` or
    `torch.inference_mode` it is called under.

    What the criterion reads of the model itself, such as a penalty on `model.parameters()`, is a
    constant here, and what it keeps from call to call is its own affair.

    With `statistics="batch"` norms use the batch's own statistics and gradients flow through them:
    the function that SGD descends. With `"running"` the model is in evaluation mode, which for
    BatchNorm is a different function of the parameters.
    """

    model: nn.Module
    criterion: Callable[[Any, Any], Tensor]
    batch: Batch
    seed: int
    statistics: Literal["batch", "running"] = "batch"

    def __call__(self, params: Params) -> Tensor:
        """The loss at `params`, a scalar; differentiable where they require gradients."""
        with self._as_training_saw_it():
            return self._scalar(self._forward(params))

    def outputs(self, params: Params) -> Any:
        """The model's outputs on the batch in the same forward pass."""
        with self._as_training_saw_it():
            return self._forward(params)

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
            return value.detach(), dict(zip(names, grads, strict=True))

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
                known = Prefix(0, _cloned(self.batch.inputs), None)
            with self._as_training_saw_it(known.noise):
                hidden = self._through(chain[known.modules : stop], params, known.hidden)
                return Prefix(stop, hidden, noise_state(self.device))

    def _value_after(self, prefix: Prefix, params: Params) -> Tensor:
        with self._as_training_saw_it(prefix.noise):
            rest = _chain(self.model)[prefix.modules :]
            return self._scalar(self._through(rest, params, prefix.hidden))

    def _scalar(self, outputs: Any) -> Tensor:
        value = self.criterion(outputs, _cloned(self.batch.targets))
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else ""
            raise ValueError(
                f"The criterion returned a {type(value).__name__}{f' {shape}' if shape else ''}; "
                "it must return the loss, a scalar tensor."
            )
        return value

    def _through(self, chain: list[str], params: Params, hidden: Any) -> Any:
        for name in chain:
            module, start = self.model.get_submodule(name), f"{name}."
            own = {key.removeprefix(start): params[key] for key in params if key.startswith(start)}
            own |= dict(module.named_buffers())
            hidden = torch.func.functional_call(module, _cloned(own), (hidden,))
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
        them. Attention is computed in plain steps, with the same value but for rounding: torch's
        fused one has no second derivative.
        """
        with differentiable(self.device), sdpa_kernel(SDPBackend.MATH):
            leaves, wrt = _leaves(params, None)
            tensors = [leaves[name] for name in wrt]
            value = self(leaves)
            grads: Sequence[Tensor | None] = [None] * len(wrt)
            if value.requires_grad:
                grads = torch.autograd.grad(value, tensors, create_graph=True, allow_unused=True)
        # A piecewise linear network in one of its tensors has a gradient with no graph behind it.
        curved = {name: grad for name, grad in zip(wrt, grads, strict=True) if _has_graph(grad)}

        def product(vector: Params) -> Params:
            if not curved:
                return {name: torch.zeros_like(params[name]) for name in wrt}
            with differentiable(self.device):
                products = torch.autograd.grad(
                    list(curved.values()),
                    tensors,
                    [vector[name] for name in curved],
                    retain_graph=not once,
                    allow_unused=True,
                    materialize_grads=True,
                )
            return dict(zip(wrt, products, strict=True))

        return product

    def activations(self, params: Params, modules: Iterable[str]) -> dict[str, Tensor]:
        """The outputs [N, C, ...] of the named modules in the same forward pass, without a graph.

        Also of modules that give [N, ..., C].
        """
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, object, Any], None]:
            # Cloned: an in-place activation function after the module would overwrite it.
            return lambda _module, _inputs, output: outputs.update(
                {name: first_tensor(output).detach().clone()}
            )

        hooks = [
            self.model.get_submodule(name).register_forward_hook(keep(name)) for name in modules
        ]
        try:
            with torch.no_grad():
                self(params)
        finally:
            for hook in hooks:
                hook.remove()
        last = {name: features_last(self.model.get_submodule(name)) for name in outputs}
        return {name: z.movedim(-1, 1) if last[name] else z for name, z in outputs.items()}

    def _forward(self, params: Params) -> Any:
        # Parameters too: an embedding with max_norm writes into its weight.
        tensors = _cloned(params | dict(self.model.named_buffers()))
        inputs = _cloned(self.batch.inputs)
        named = dict(inputs) if isinstance(inputs, Mapping) else {}
        given = () if named else inputs if isinstance(inputs, tuple) else (inputs,)
        return torch.func.functional_call(self.model, tensors, given, named)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @contextmanager
    def _as_training_saw_it(self, noise: NoiseState | None = None) -> Iterator[None]:
        """In its mode, with its noise, or from `noise` on, that of a pass under way."""
        before = noise_state(self.device)
        # The mode, and what else a forward pass may set: a counter, the weight that an old
        # `torch.nn.utils.weight_norm` computes.
        attributes = [(module, dict(vars(module))) for module in self.model.modules()]
        training = self.statistics == "batch"
        try:
            # Only where the mode differs: a module frozen on purpose inside a network in training
            # mode stays frozen, because that is what training sees.
            if self.model.training != training:
                self.model.train(training)
            seed_noise(self.device, self.seed)
            if noise is not None:
                set_noise_state(self.device, noise)
            with torch.autocast(self.device.type, enabled=False):
                yield
        finally:
            for module, own in attributes:
                vars(module).clear()
                vars(module).update(own)
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
    full_precision = torch.autocast(device.type, enabled=False)  # backward passes obey it too
    with torch.inference_mode(False), torch.enable_grad(), full_precision, hooks_off:
        yield


def _chain(model: nn.Module) -> list[str]:
    """The modules that a model calls one after the other; [] for one that is no such chain."""
    shared = len(list(model.named_parameters(remove_duplicate=False))) > len(
        list(model.parameters())
    )
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


def _cloned(values: Any) -> Any:
    """The same with every tensor copied, in tuples, lists and dicts too."""
    if isinstance(values, Tensor):
        return values.clone()
    if isinstance(values, Mapping):
        return {key: _cloned(value) for key, value in values.items()}
    if type(values) in (tuple, list):
        return type(values)(_cloned(value) for value in values)
    return values


def first_tensor(values: Any) -> Tensor:
    """The first tensor of what a module takes or returns: an attention's outputs, say."""
    while not isinstance(values, Tensor):
        values = next(iter(values.values() if isinstance(values, Mapping) else values))
    return values


def _has_graph(grad: Tensor | None) -> TypeGuard[Tensor]:
    return grad is not None and grad.requires_grad
