"""ResNet, and the same network without shortcuts, for small images or ImageNet's."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from bnstudy.models.layer import Layer

Norm = Callable[[int], nn.Module]

# He et al. 2016, table 1, four stages: blocks per stage, channels of a bottleneck's output over
# those of its 3x3 convolution (0: basic blocks). All other depths are those of section 4.2, 6n + 2.
STAGES = {18: ((2, 2, 2, 2), 0), 34: ((3, 4, 6, 3), 0), 50: ((3, 4, 6, 3), 4)}
CHANNELS = {3: (16, 32, 64), 4: (64, 128, 256, 512)}  # by the number of stages
SHORTCUTS = ("A", "B", "none")
STEMS = ("small", "imagenet")


class ResNet(nn.Sequential):
    """Images [N, C, H, W] to logits [N, num_outputs]: He et al. 2016, section 4.2 and table 1.

    `depth` 6n + 2 (20, 32, 44, 56, 110 ...) has three stages of n blocks for small images; 18, 34
    and 50 have four, with torchvision's blocks. `width` multiplies the channels. `shortcut` says
    how the sum is made where shapes change: A subsamples and pads with zeros, B is a 1x1
    convolution with a norm, none leaves all shortcuts out (a plain network). A is the default: it
    is what He et al. used on CIFAR-10, the parameters are those of the plain network, and the
    layers form a chain. `stem` small is a 3x3 convolution, imagenet a 7x7 one of stride 2 with
    max-pooling.

    The layers in forward order, which defines what precedes a layer for internal covariate shift:
    the stem, the blocks, the head; in a block its branch and, with option B, the convolution of the
    shortcut before the branch's last layer, which adds it. With A, and without shortcuts, all that
    comes before a layer feeds it. With B two layers of a block count as preceding although they do
    not feed: the branch's first ones for the convolution beside them, that for the branch's last.

    Raises ValueError for an unknown depth, shortcut or stem, or a width without channels.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Norm,
        depth: int = 20,
        width: float = 1.0,
        shortcut: str = "A",
        stem: str = "small",
        bias: bool = False,
    ) -> None:
        super().__init__()
        blocks, expansion = _stages(depth)
        _check(input_shape, width, shortcut, stem)
        channels = [int(full * width) for full in CHANNELS[len(blocks)]]
        size, stride = (7, 2) if stem == "imagenet" else (3, 1)
        conv = nn.Conv2d(input_shape[0], channels[0], size, stride, size // 2, bias=bias)
        self.add_module("stem", Layer(conv, norm(channels[0]), nn.ReLU()))
        if stem == "imagenet":
            self.add_module("pool", nn.MaxPool2d(3, stride=2, padding=1))
        self.layers = ["stem"]
        before = channels[0]
        for i, (repeats, inner) in enumerate(zip(blocks, channels, strict=True), start=1):
            stage: OrderedDict[str, nn.Module] = OrderedDict()
            for j in range(1, repeats + 1):
                stride = 2 if i > 1 and j == 1 else 1
                block = Block(before, inner, expansion, stride, norm, shortcut, bias)
                stage[f"block{j}"] = block
                self.layers += [f"stage{i}.block{j}.{name}" for name in block.layers]
                before = inner * max(1, expansion)
            self.add_module(f"stage{i}", nn.Sequential(stage))
        self.add_module("average", nn.AdaptiveAvgPool2d(1))
        self.add_module("flatten", nn.Flatten())
        self.add_module("head", Layer(nn.Linear(before, num_outputs), nn.Identity()))
        self.layers.append("head")


class Block(nn.Module):
    """A residual block: a branch of layers, and a shortcut that its last layer adds.

    Two 3x3 convolutions, or, if `expansion`, 1x1, 3x3, 1x1 with that many times the channels at
    the end; the stride is that of the (first) 3x3, as in torchvision.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        expansion: int,
        stride: int,
        norm: Norm,
        shortcut: str,
        bias: bool,
    ) -> None:
        super().__init__()
        outer = inner * max(1, expansion)
        shapes = [(channels, inner, 3, stride), (inner, inner, 3, 1)]
        if expansion:
            shapes = [(channels, inner, 1, 1), (inner, inner, 3, stride), (inner, outer, 1, 1)]
        self.branch = [f"layer{i}" for i in range(1, len(shapes) + 1)]
        for name, (before, after, size, step) in zip(self.branch, shapes, strict=True):
            conv = nn.Conv2d(before, after, size, step, size // 2, bias=bias)
            self.add_module(name, Layer(conv, norm(after), nn.ReLU()))
        self.layers = list(self.branch)
        self.shortcut: nn.Module | None = None
        if shortcut != "none":
            self.shortcut = nn.Identity()
            if stride > 1 or channels != outer:
                self.shortcut = Pad(stride, outer - channels)
                if shortcut == "B":
                    conv = nn.Conv2d(channels, outer, 1, stride, bias=bias)
                    self.shortcut = Layer(conv, norm(outer))
                    self.layers.insert(-1, "shortcut")

    def forward(self, input: Tensor) -> Tensor:
        """The activations after the sum."""
        *names, last = self.branch
        hidden = input
        for name in names:
            hidden = self.get_submodule(name)(hidden)
        shortcut = None if self.shortcut is None else self.shortcut(input)
        return self.get_submodule(last)(hidden, shortcut)


class Pad(nn.Module):
    """Option A of He et al. 2016, section 3.3: every stride-th position, zeros as new channels."""

    def __init__(self, stride: int, channels: int) -> None:
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C + channels, H / stride, W / stride]."""
        return F.pad(input[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


def _stages(depth: int) -> tuple[tuple[int, ...], int]:
    if depth in STAGES:
        return STAGES[depth]
    if depth < 8 or (depth - 2) % 6:
        raise ValueError(
            f"model.depth={depth} is not a ResNet; it must be 18, 34, 50, or 6n + 2, "
            "such as 20, 32, 44, 56, 110."
        )
    return ((depth - 2) // 6,) * 3, 0


def _check(input_shape: Sequence[int], width: float, shortcut: str, stem: str) -> None:
    if not width * 16 >= 1:
        raise ValueError(
            f"model.width={width} leaves the first stage without a channel; "
            "it must be at least 1/16."
        )
    for key, value, known in (("shortcut", shortcut, SHORTCUTS), ("stem", stem, STEMS)):
        if value not in known:
            words = ", ".join(known)
            raise ValueError(f"model.{key}={value} is unknown; it must be one of {words}.")
    if len(input_shape) != 3:
        raise ValueError(f"ResNet needs images [C, H, W]; the data has inputs {list(input_shape)}.")
