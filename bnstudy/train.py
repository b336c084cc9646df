"""The training loop."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from bnstudy.data import DataSet
from bnstudy.evaluation import evaluate
from bnstudy.params import Params, copy_of, dot, trainable
from bnstudy.record import Recorder
from bnstudy.schedules import constant
from bnstudy.seeds import Stream, derive_seed, seed_noise
from bnstudy.tasks import accuracy
from bnstudy.update import Loss, Probe, Update, layers_of

TEST_SAMPLE = 500  # at most so many test samples for probes: they stay in memory

# Their weight decay is no part of what they descend. The Adam family says so in its groups too.
DECOUPLED = (torch.optim.AdamW, torch.optim.Adafactor, torch.optim.Muon)


def train(
    model: nn.Module,
    data: DataSet,
    optimizer: torch.optim.Optimizer,
    recorder: Recorder,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    probes: Mapping[str, Probe],
    schedule: Callable[[int, int], float] = constant,
    test_every: int | None = 0,
    precise: bool = False,
    start: int = 0,
    initial: Params | None = None,
    save: Callable[[int], None] = lambda step: None,
    save_due: Callable[[int], bool] = lambda step: False,
    stop: Callable[[], bool] = lambda: False,
) -> str:
    """Train from step `start` to `steps`; the outcome: finished, diverged, or interrupted.

    The record of a step describes the parameters before its update. Probes are called after it,
    because they may look at both ends, and see the same batch and the same noise. A probe is due at
    the steps that its `every` divides, and at the last one. At every step the
    optimizer's lr is multiplied by `schedule(step, steps)`; if that is ever other than 1, the
    product is recorded as train/lr. `initial` are the parameters before step 0, for probes of a run
    that starts later. `test_every` and `precise` are those of `bnstudy.evaluation`, which also
    measures the trained network. `save(step)` stores the state after that many updates: when it is
    `save_due(step)`, at the end, and before training ends early because `stop()` says so.
    """
    layers = layers_of(model)
    test = data.test_sample(TEST_SAMPLE) if probes else None
    if probes and start == 0:
        initial = copy_of(model)
    scheduled = any(schedule(step, steps) != 1 for step in range(steps))
    model.train()
    for step in range(start, steps):
        loss = loss_of_step(model, data, step, batch_size, seed)
        batch = loss.batch
        last = step == steps - 1
        due = {name: p for name, p in probes.items() if step % p.every == 0 or last}
        tested = test_every and step % test_every == 0
        record = evaluate(model, data, batch_size, seed, precise) if tested else {}

        seed_noise(batch.inputs.device, loss.seed)
        outputs = model(batch.inputs)
        value = data.criterion(outputs, batch.targets)
        optimizer.zero_grad()
        value.backward()
        record |= {"train/loss": value.detach(), **penalty(optimizer)}
        right = accuracy(outputs.detach(), batch.targets) if data.classes else None
        if right is not None:
            record["train/accuracy"] = right
        params = copy_of(model) if due else {}
        lr = take_step(optimizer, schedule(step, steps))
        if scheduled:
            record["train/lr"] = torch.tensor(lr, dtype=torch.float64)

        if due:
            grads, new_params = gradients(model), trainable(model)
            losses = partial(_later_loss, model, data, batch_size, seed, step)
            update = Update(
                step, loss, params, grads, new_params, lr, layers, losses, test, initial
            )
            for name, probe in due.items():
                record |= {f"{name}/{key}": value for key, value in probe(update).items()}
        if not recorder.log(step, record):
            return "diverged"
        stopping = stop() and step + 1 < steps
        if stopping or step + 1 == steps or save_due(step + 1):
            if not recorder.sync():
                return "diverged"
            save(step + 1)
        if stopping:
            return "interrupted"
    final = {} if test_every is None else evaluate(model, data, batch_size, seed, precise)
    if final:
        recorder.log(steps, final)
    return "finished" if recorder.flush() else "diverged"


def loss_of_step(model: nn.Module, data: DataSet, step: int, batch_size: int, seed: int) -> Loss:
    """The loss that training descends at a step: its batch and its noise."""
    batch = data.batch(step, batch_size, seed)
    return Loss(model, data.criterion, batch, derive_seed(seed, step, Stream.NOISE))


def _later_loss(
    model: nn.Module, data: DataSet, batch_size: int, seed: int, step: int, after: int
) -> Loss:
    return loss_of_step(model, data, step + after, batch_size, seed)


def take_step(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """One step of the optimizer at `factor` times its lr; that product, of the first group.

    The lr itself stays what it was, so that it is the config's in every checkpoint.
    """
    lrs = [group["lr"] for group in optimizer.param_groups]
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr * factor
    optimizer.step()
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr
    return lrs[0] * factor


@torch.no_grad()
def penalty(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """weight_decay / 2 * ||theta||^2, what the optimizer descends besides; {} without it.

    Decoupled weight decay is no gradient of anything that is descended: {} for it too.
    """
    if isinstance(optimizer, DECOUPLED):
        return {}
    penalties = [
        group["weight_decay"] / 2 * dot({"": parameter}, {"": parameter})
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group.get("weight_decay", 0.0) > 0 and not group.get("decoupled_weight_decay", False)
    ]
    return {"train/penalty": torch.stack(penalties).sum()} if penalties else {}


def gradients(model: nn.Module) -> Params:
    """The gradients of the last backward pass."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
        if p.requires_grad
    }
