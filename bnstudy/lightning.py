"""Probes along a training by Lightning."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

try:
    from lightning import Callback, LightningModule, Trainer
except ImportError as error:
    raise ImportError(
        "bnstudy.lightning needs Lightning: pip install 'bnstudy[lightning]'."
    ) from error

from bnstudy.observe import Criterion, Observer, Pair, Probes
from bnstudy.record import Recorder


class ObserveCallback(Callback):
    """An `Observer` of a LightningModule: `Trainer(callbacks=[ObserveCallback(...)])`.

    What is observed is the module as a function, `forward`, under `criterion`; `split(batch)` gives
    the inputs and the targets of a batch, for None its two items. A step is one of the optimizer,
    seen on the last batch before it; a step that calls its closure several times, as LBFGS does, is
    seen at the first call. The record's train/loss is what `training_step` returned, for the last
    step of a batch. What `forward` logs in a pass of a probe is not logged. Of several processes
    only the first observes. `more` are the other arguments of `Observer`, such as `norm`, `seed`
    and `test`; `steps` is the trainer's.

    Raises ValueError for several optimizers, because a step would have several ends, and for a
    batch that is no pair where no `split` is given.
    """

    def __init__(
        self,
        criterion: Criterion,
        probes: Probes,
        split: Callable[[Any], Pair] | None = None,
        recorder: Recorder | Path | str | None = None,
        **more: Any,
    ) -> None:
        self.criterion, self.probes, self.split = criterion, probes, split or _pair
        self.recorder, self.more = recorder, more
        self.observer: Observer | None = None
        self._batch: Any = None
        self._step = ExitStack()
        self._record: dict[str, Any] = {}
        self._seen = -1  # the number of optimizer steps before the one that is open

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the observer, when the module is on its device and the optimizer is there."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"ObserveCallback found {len(trainer.optimizers)} optimizers; it observes training "
                "by one."
            )
        if not trainer.is_global_zero:  # one record, from one process
            return
        steps = trainer.estimated_stepping_batches
        options: dict[str, Any] = {
            "steps": int(steps) if math.isfinite(steps) else None,  # None: say so in `more`
            "start": trainer.global_step,  # of `fit(ckpt_path=...)`
            "name": type(pl_module).__name__,
            **self.more,
        }
        self.observer = Observer(
            pl_module,
            self.criterion,
            self.probes,
            trainer.optimizers[0],
            self.recorder,
            **options,
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch: the hook before the step is not given it."""
        self._batch = self.split(batch) if self.observer is not None else None

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """After the backward pass."""
        if self.observer is None or trainer.global_step == self._seen:
            return  # in a step already, whose closure is called again
        self._step.close()  # of this batch, in a loop that makes several steps with one
        self._seen = trainer.global_step
        self._record = self._step.enter_context(self.observer.step(*self._batch))

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """After the step, or after a batch whose gradient was accumulated."""
        if isinstance(outputs, dict) and "loss" in outputs:
            # Lightning divides it by the number of batches whose gradients are added up.
            self._record["train/loss"] = outputs["loss"].detach() * trainer.accumulate_grad_batches
        self._step.close()
        self._record, self._seen = {}, -1

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the record."""
        if self.observer is not None:
            self.observer.end()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the record without an end: interrupted."""
        if self.observer is not None:
            self.observer.__exit__(type(exception), exception, exception.__traceback__)


def _pair(batch: Any) -> Pair:
    """The inputs and targets of a batch that is a pair."""
    if isinstance(batch, list | tuple) and len(batch) == 2:
        return batch[0], batch[1]
    size = f" of {len(batch)}" if hasattr(batch, "__len__") else ""
    raise ValueError(
        f"A batch is a {type(batch).__name__}{size}; ObserveCallback takes a pair of inputs and "
        "targets, or split=..., a function of the batch that gives such a pair."
    )
