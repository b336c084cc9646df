"""One's own network in one's own loop: `python scripts/examples/plain_loop.py FOLDER`.

Trains a small convolutional network on this package's digits without and with BatchNorm, records
both, prints what was measured and draws figure 4 of them into FOLDER.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from bnstudy.data import digits
from bnstudy.figures import figure4, style
from bnstudy.measures.landscape import effective_beta
from bnstudy.observe import Observer
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.results import load_runs

LR, STEPS, BATCH_SIZE = 0.1, 60, 64


def network(norm: str) -> nn.Module:
    """Two convs and a linear, as anyone would write them."""
    norms = [nn.BatchNorm2d(8), nn.BatchNorm2d(16)] if norm == "batch" else [nn.Identity()] * 2
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2), norms[0], nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2), norms[1], nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 7 * 7, 10)),
    )


def train(norm: str, folder: Path) -> None:
    """A plain loop; what is not in every loop is the observer."""
    torch.manual_seed(0)
    data, model, criterion = digits(), network(norm), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    probes = {
        "landscape": Landscape(every=2),
        "internal_covariate_shift": InternalCovariateShift(every=2),
    }
    folder = folder / "runs" / "vgg" / norm  # an experiment of which there are figures
    with Observer(
        model, criterion, probes, optimizer, folder, norm=norm, steps=STEPS, data="digits"
    ) as observer:
        for step in range(STEPS):
            batch = data.batch(step, BATCH_SIZE, seed=0)
            loss = criterion(model(batch.inputs), batch.targets)
            optimizer.zero_grad()
            loss.backward()
            with observer.step(batch.inputs, batch.targets) as record:
                record["train/loss"] = loss.detach()
                optimizer.step()


def main(folder: Path) -> None:
    """Both arms, a few numbers, a figure."""
    for norm in ("none", "batch"):
        train(norm, folder)
    runs = load_runs("vgg", folder / "runs")
    for run in runs:
        _, betas = effective_beta(run)
        _, cosines = run[f"internal_covariate_shift/cosine/{run.layers[-1]}"]
        print(
            f"{run.norm}: final training loss {run['train/loss'][1][-1]:.3f}, median effective "
            f"smoothness {sorted(betas)[len(betas) // 2]:.2f}, mean cosine of the last layer's "
            f"gradient before and after the layers below moved {cosines.mean():.3f}"
        )
    style.save(figure4.draw(runs), folder / "figure4.png")
    print(folder / "figure4.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
