"""A transformer with LayerNorm: `python scripts/examples/transformer.py FOLDER`.

A small encoder with dropout learns which of three tokens is the most frequent in a sequence. Every
few steps the observer measures the gradient of each layer before and after the layers below it made
their update (internal covariate shift), on the same batch and the same dropout masks.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from bnstudy.observe import Observer
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape
from bnstudy.results import load_run

TOKENS, LENGTH, WIDTH, STEPS = 3, 15, 32, 60


class Majority(nn.Module):
    """Tokens [N, LENGTH] to logits [N, TOKENS]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        block = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(block, num_layers=2)
        self.out = nn.Linear(WIDTH, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.encoder(self.embedding(tokens)).mean(1))


def main(folder: Path) -> None:
    """Train, print the mean cosine of every layer, and draw them over training."""
    torch.manual_seed(0)
    model, criterion = Majority(), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    probes = {
        "internal_covariate_shift": InternalCovariateShift(every=5),
        "landscape": Landscape(every=5),
    }
    directory = folder / "runs" / "majority" / "layer"
    with Observer(
        model, criterion, probes, optimizer, directory, norm="layer", steps=STEPS
    ) as observer:
        for _ in range(STEPS):
            tokens = torch.randint(TOKENS, (64, LENGTH))
            targets = nn.functional.one_hot(tokens).sum(1).argmax(1)
            loss = criterion(model(tokens), targets)
            optimizer.zero_grad()
            loss.backward()
            with observer.step(tokens, targets) as record:
                record["train/loss"] = loss.detach()
                optimizer.step()

    run = load_run(directory)
    losses = run["train/loss"][1]
    print(f"training loss {losses[0]:.3f} at first, {losses[-10:].mean():.3f} in the end")
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for layer in run.layers[1:]:
        steps, cosines = run[f"internal_covariate_shift/cosine/{layer}"]
        print(f"{layer:28} mean cosine of G and G' {cosines.mean():.3f}")
        axes.plot(steps, cosines, marker=".", label=layer)
    axes.set(xlabel="step", ylabel="cosine of G and G′")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(folder / "transformer.png")
    print(folder / "transformer.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
