"""Evaluation between the steps of training: on the test set and on a part of the training set.

Nothing here changes the model, its buffers or the generators.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bnstudy.data import Batch, DataSet
from bnstudy.params import Params, trainable
from bnstudy.seeds import Stream, derive_seed, noise_state, seed_noise, set_noise_state
from bnstudy.tasks import correct
from bnstudy.update import Loss

EVALUATION_BATCH = 500  # bounds memory; in evaluation mode the outputs do not depend on it
SUBSET = 2000  # training images: the standard error of an accuracy is 1.1 points at most


def evaluate(
    model: nn.Module, data: DataSet, batch_size: int, seed: int, precise: bool = False
) -> dict[str, Tensor]:
    """Loss and accuracy on the test set and on a fixed part of the training set; {} without either.

    The test set is measured with running statistics. With `precise` it is measured with statistics
    re-estimated over one epoch too, as test/precise_loss and test/precise_accuracy.
    """
    if data.test is None:
        return {}
    params = trainable(model)
    own = dict(model.named_buffers())
    measured = _over_test_set("test/", model, data, params | own)
    measured |= training_subset(model, data, batch_size, seed)
    if precise:
        buffers = own | precise_statistics(model, data, batch_size, seed)
        measured |= _over_test_set("test/precise_", model, data, params | buffers)
    return measured


@torch.no_grad()
def _over_test_set(
    prefix: str, model: nn.Module, data: DataSet, tensors: Params
) -> dict[str, Tensor]:
    training = model.training
    model.eval()
    totals: dict[str, Tensor] = {}
    samples = 0
    for batch in data.test_batches(EVALUATION_BATCH):
        outputs = torch.func.functional_call(model, tensors, (batch.inputs,))
        means = _measure(outputs, batch, data)
        for key, mean in means.items():
            totals[key] = totals.get(key, 0.0) + mean * len(batch.targets)
        samples += len(batch.targets)
    model.train(training)
    return {prefix + key: total / samples for key, total in totals.items()}


@torch.no_grad()
def training_subset(
    model: nn.Module, data: DataSet, batch_size: int, seed: int
) -> dict[str, Tensor]:
    """Loss and accuracy of up to 2,000 fixed training images, as training would see them now.

    The images are spread evenly over the training set and not augmented. The model is in training
    mode: norms use the statistics of each batch of `batch_size` images, and noise is drawn. So
    train/subset_accuracy estimates, with less error, what the accuracies of single training batches
    scatter around.
    """
    params = trainable(model)
    found: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(_subset_batches(data, batch_size)):
        loss = Loss(model, data.criterion, batch, derive_seed(seed, number, Stream.SUBSET))
        for key, mean in _measure(loss.outputs(params), batch, data).items():
            found.setdefault(f"train/subset_{key}", []).append(mean)
    return {key: torch.stack(means).mean() for key, means in found.items()}


def _subset_batches(data: DataSet, batch_size: int) -> Iterator[Batch]:
    """Whole batches: the statistics of a last, smaller one would be others."""
    subset = data.train_sample(max(batch_size, SUBSET // batch_size * batch_size))
    for start in range(0, len(subset.targets) - batch_size + 1, batch_size):
        part = slice(start, start + batch_size)
        yield Batch(subset.inputs[part], subset.targets[part])


def _measure(outputs: Tensor, batch: Batch, data: DataSet) -> dict[str, Tensor]:
    measured = {"loss": data.criterion(outputs, batch.targets)}
    right = correct(outputs, batch.targets) if data.classes else None
    return measured if right is None else measured | {"accuracy": right.float().mean()}


@torch.no_grad()
def precise_statistics(model: nn.Module, data: DataSet, batch_size: int, seed: int) -> Params:
    """The running statistics re-estimated over an epoch of training batches, by buffer name.

    Wu & Johnson 2021, section 3: the average of the statistics of all batches, at the parameters as
    they are now. A running average lags behind, for its batches had other parameters. The variance
    is the mean of the batches' variances and the variance of their means. For every module that
    has buffers running_* and a `momentum`.
    """
    averaged = _momenta(model)
    params, own = trainable(model), dict(model.named_buffers())
    sums: Params = {}
    squares: Params = {}
    batches = max(1, len(data.train.targets) // batch_size)
    for step in range(batches):
        buffers = {name: buffer.clone() for name, buffer in own.items()}
        buffers |= {name: torch.zeros_like(own[name]) for name in averaged}
        inputs = data.batch(step, batch_size, seed).inputs
        with _seeded(inputs.device, derive_seed(seed, step, Stream.PRECISE)):
            torch.func.functional_call(model, params | buffers, (inputs,))
        for name, momentum in averaged.items():
            value = buffers[name] / momentum  # it was zero: it holds momentum * statistic
            sums[name] = sums.get(name, 0.0) + value
            squares[name] = squares.get(name, 0.0) + value.square()
    means = {name: total / batches for name, total in sums.items()}
    for name in means:
        mean = name.removesuffix("running_var") + "running_mean"
        if name.endswith("running_var") and mean in means:
            means[name] = means[name] + squares[mean] / batches - means[mean].square()
    return means


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    state = noise_state(device)
    try:
        seed_noise(device, seed)
        yield
    finally:
        set_noise_state(device, state)


def _momenta(model: nn.Module) -> dict[str, float]:
    """The momentum of the running average that a buffer is, by the name of the buffer."""
    return {
        f"{name}.{buffer}" if name else buffer: float(momentum)
        for name, module in model.named_modules()
        if (momentum := getattr(module, "momentum", None))
        for buffer, _ in module.named_buffers(recurse=False)
        if buffer.startswith("running_")
    }
