"""VGG for small images: 3x3 convolutions, each conv - norm - ReLU, and a head of linear layers."""

from collections.abc import Callable, Sequence

from torch import nn

from bnstudy.models.layer import Layer

# Simonyan & Zisserman 2014, table 1, columns A, B, D, E: convolutions per stage.
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Sequential):
    """Inputs [N, C, H, W] to logits [N, num_outputs].

    `depth` counts the weight layers of the published network, which has three linear layers;
    `width` multiplies the channels; `head` lists the widths of the hidden linear layers (the
    published one is [4096, 4096]). Layers are called layer1, layer2, ... from the input on, so
    "layer #13" of Santurkar et al. is the last convolution of VGG-16. The last layer has no norm.
    `placement` is that of the norms: before the ReLU, or after it.

    Raises ValueError for an unknown depth or placement, a width that leaves a stage without a
    channel, and images too small for the five halvings.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int], nn.Module],
        depth: int = 16,
        width: float = 1.0,
        head: Sequence[int] = (),
        bias: bool = True,
        placement: str = "before",
    ) -> None:
        super().__init__()
        channels, height, image_width = _check(input_shape, depth, width, head)
        self.layers: list[str] = []
        in_channels = channels
        for stage, (repeats, full) in enumerate(
            zip(CONVOLUTIONS[depth], CHANNELS, strict=True), start=1
        ):
            out_channels = int(full * width)
            for _ in range(repeats):
                conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
                self._add(Layer(conv, norm(out_channels), nn.ReLU(), placement))
                in_channels = out_channels
            self.add_module(f"pool{stage}", nn.MaxPool2d(2))
        self.add_module("flatten", nn.Flatten())
        features = in_channels * (height // 32) * (image_width // 32)
        for hidden in head:
            linear = nn.Linear(features, hidden, bias=bias)
            self._add(Layer(linear, norm(hidden), nn.ReLU(), placement))
            features = hidden
        # Logits have to be free to move: neither a norm nor a ReLU after the last layer.
        self._add(Layer(nn.Linear(features, num_outputs), nn.Identity()))

    def _add(self, layer: Layer) -> None:
        self.layers.append(f"layer{len(self.layers) + 1}")
        self.add_module(self.layers[-1], layer)


def _check(
    input_shape: Sequence[int], depth: int, width: float, head: Sequence[int]
) -> tuple[int, int, int]:
    if depth not in CONVOLUTIONS:
        raise ValueError(f"model.depth={depth} is not a VGG; it must be one of 11, 13, 16, 19.")
    if not width * min(CHANNELS) >= 1:
        raise ValueError(
            f"model.width={width} leaves the first stage without a channel; "
            f"it must be at least 1/{min(CHANNELS)}."
        )
    for hidden in head:
        if hidden < 1:
            raise ValueError(
                f"model.head={list(head)} has a layer of {hidden} units; use 1 or more."
            )
    if len(input_shape) != 3:
        raise ValueError(f"VGG needs images [C, H, W]; the data has inputs {list(input_shape)}.")
    channels, height, image_width = input_shape
    if min(height, image_width) < 32:
        raise ValueError(
            f"VGG halves its images five times and needs at least 32x32 pixels; "
            f"the data has {height}x{image_width}."
        )
    return channels, height, image_width
