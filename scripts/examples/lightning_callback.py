"""Training by Lightning: `python scripts/examples/lightning_callback.py FOLDER`.

Needs `pip install 'bnstudy[lightning]'`. A callback is all that is added to the trainer; it records
the loss and the gradient change along the gradient of a small network on this package's digits.
"""

import logging
import sys
from pathlib import Path

from lightning import LightningModule, Trainer, seed_everything
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, TensorDataset

from bnstudy.data import digits
from bnstudy.lightning import ObserveCallback
from bnstudy.measures.landscape import CHANGE, edges
from bnstudy.probes.landscape import Landscape
from bnstudy.results import load_run

STEPS = 40


class Classifier(LightningModule):
    """A multilayer perceptron with BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Flatten(), nn.Linear(1024, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
        )
        self.criterion = nn.CrossEntropyLoss()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, targets = batch
        return self.criterion(self(images), targets)

    def configure_optimizers(self) -> Optimizer:
        return SGD(self.parameters(), lr=0.1)


def main(folder: Path) -> None:
    """Train, print the gradient change along the gradient, and draw it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(0, verbose=False)
    batch = digits().batch(step=0, batch_size=1280, seed=0)
    loader = DataLoader(TensorDataset(batch.inputs, batch.targets), batch_size=64, shuffle=True)
    directory = folder / "runs" / "digits" / "batch"
    callback = ObserveCallback(
        nn.CrossEntropyLoss(), {"landscape": Landscape(every=4)}, recorder=directory, norm="batch"
    )
    trainer = Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), loader)

    run = load_run(directory)
    steps, low, high = edges(run, CHANGE)
    for row in range(len(steps)):
        print(f"step {steps[row]:2}: gradient change from {low[row]:.3f} to {high[row]:.3f}")
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(steps, low, high, alpha=0.4)
    axes.set(xlabel="step", ylabel="‖∇L(θ − ηg) − ∇L(θ)‖")
    figure.savefig(folder / "lightning_callback.png")
    print(folder / "lightning_callback.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
