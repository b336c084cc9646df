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
from bnstudy.recorder import Recorder


class ObserveCallback(Callback):
    """An `Observer` of a LightningModule: `Trainer(callbacks=[ObserveCallback(...)])`.

    What is observed is the module as a function, `forward`, under `criterion`; `split(batch)` says
    what of a batch are its inputs and targets. A step is one of the optimizer, seen on the
    last batch before it. The record's train/loss is what `training_step` returned. `more` are the
    other arguments of `Observer`, such as `norm`, `seed` and `test`; `steps` is the trainer's.

    Raises ValueError for several optimizers: a step would have several ends.
    """

    def __init__(
        self,
        criterion: Criterion,
        probes: Probes,
        split: Callable[[Any], Pair] = lambda batch: (batch[0], batch[1]),
        recorder: Recorder | Path | str | None = None,
        **more: Any,
    ) -> None:
        self.criterion, self.probes, self.split = criterion, probes, split
        self.recorder, self.more = recorder, more
        self.observer: Observer | None = None
        self._batch: Any = None
        self._step = ExitStack()
        self._record: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the observer, when the module is on its device and the optimizer is there."""
        if len(trainer.optimizers) != 1:
            raise ValueError(
                f"ObserveCallback found {len(trainer.optimizers)} optimizers; it observes training "
                "by one."
            )
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
        self._batch = batch

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """After the backward pass."""
        if self.observer is not None:
            inputs, targets = self.split(self._batch)
            self._record = self._step.enter_context(self.observer.step(inputs, targets))

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
        self._record = {}

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
