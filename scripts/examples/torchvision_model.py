"""A network of torchvision at one point: `python scripts/examples/torchvision_model.py FOLDER`.

Which layers a ResNet-18 calls, the loss along its gradient, and internal covariate shift in every
layer, on one batch of this package's digits, at the initial weights.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure
from torch import manual_seed, nn
from torchvision.models import resnet18

from bnstudy.data import digits
from bnstudy.observe import observe
from bnstudy.probes.internal_covariate_shift import InternalCovariateShift
from bnstudy.probes.landscape import Landscape


def main(folder: Path) -> None:
    """Numbers of every layer, and a figure of the loss along the gradient."""
    manual_seed(0)
    batch = digits().batch(step=0, batch_size=16, seed=0)
    images = batch.inputs.expand(-1, 3, -1, -1)
    update = observe(resnet18(num_classes=10), nn.CrossEntropyLoss(), images, batch.targets, lr=0.1)
    line = Landscape(multiples=(0.25, 0.5, 1, 2, 4))(update)
    shift = InternalCovariateShift()(update)

    for name, layer in update.layers.items():
        cosine, norm = shift[f"cosine/{name}"], layer.norm_module or "no norm"
        print(f"{name:22} {norm:22} cosine of G and G' {cosine:6.3f}")
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot(line["step_size"], line["loss"], marker="o")
    axes.axhline(update.loss(update.params).item(), linestyle=":", color="grey")
    axes.set(xlabel="η", ylabel="L(θ − ηg)", title="ResNet-18 at its initial weights")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "torchvision_model.png")
    print(folder / "torchvision_model.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
