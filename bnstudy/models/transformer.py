"""A small transformer, with any norm before or after its branches, for images and for text."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnstudy.models.layer import Layer

PLACEMENTS = ("pre", "post", "none")
EXPANSION = 4  # hidden units of a block's MLP, in widths: Vaswani et al. 2017, section 3.3


class Transformer(nn.Module):
    """Images [N, C, H, W] to logits [N, num_outputs]; tokens [N, T] to [N, num_outputs, T].

    Images are cut into patches of `patch` pixels a side, and the logits are of the mean over
    patches (Dosovitskiy et al. 2021, without a class token). Tokens are indices below
    num_outputs; a position attends to itself and to earlier ones, so that the logits at a position
    predict the next token.

    Each of the `depth` blocks adds two branches to its input, an attention with `heads` heads and
    an MLP with 4 * `width` hidden units. `placement` says where the norms are: "pre" before each
    branch and before the last layer (Xiong et al. 2020), "post" after each addition (Vaswani et
    al. 2017), or "none". A norm sees every token as a sample, [N * T, width], so that BatchNorm
    takes its statistics over batch and positions. A norm that acts on weights, such as WeightNorm,
    acts on those of every linear layer of the branches instead, whatever the placement.

    Raises ValueError for an unknown placement, heads that do not divide the width, patches that do
    not divide the image, and sizes below 1.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        norm: Callable[[int], nn.Module],
        depth: int = 4,
        width: int = 64,
        heads: int = 4,
        patch: int = 4,
        placement: str = "pre",
    ) -> None:
        super().__init__()
        _check(input_shape, depth, width, heads, patch, placement)
        self.of_text = len(input_shape) == 1
        of_weights = hasattr(norm(width), "normalize")
        inner = norm if of_weights else _identity
        if of_weights:
            placement = "none"
        stream = _identity if placement == "none" else norm
        if self.of_text:
            self.embedding: nn.Module = Tokens(num_outputs, width, input_shape[0])
        else:
            self.embedding = Patches(input_shape, width, patch)
        self.embedded = nn.Identity()
        blocks = [Block(width, heads, stream, inner, placement, self.of_text) for _ in range(depth)]
        self.blocks = nn.ModuleDict({f"block{i}": block for i, block in enumerate(blocks, 1)})
        self.norm = stream(width) if placement == "pre" else nn.Identity()
        self.head = Layer(nn.Linear(width, num_outputs), nn.Identity())
        self.layers = self._names(placement)

    def _names(self, placement: str) -> dict[str, tuple[str, str | None, str]]:
        """The layers in forward order: weights, the norm that is called next, what that gives."""
        starts = [f"blocks.{short}.attention_norm" for short in self.blocks] + ["norm"]
        first = starts[0] if placement == "pre" else None
        layers = {"embedding": ("embedding", first, first or "embedded")}
        for short, after in zip(self.blocks, starts[1:], strict=True):
            block = f"blocks.{short}"
            attention, mlp = f"{block}.attention_norm", f"{block}.mlp_norm"
            follow = {"pre": (mlp, after), "post": (attention, mlp), "none": (None, None)}
            ends = dict(zip(("project", "contract"), follow[placement], strict=True))
            for part in ("attend", "project", "expand", "contract"):
                layers[f"{short}.{part}"] = self._layer(f"{block}.{part}", ends.get(part))
        return layers | {"head": self._layer("head", None)}

    def _layer(self, name: str, norm: str | None) -> tuple[str, str | None, str]:
        """A linear layer with the norm that follows it, or else with its own."""
        linear = f"{name}.linear"
        if norm is not None:
            return linear, norm, norm
        own = next(self.get_submodule(f"{name}.norm").parameters(), None)
        return linear, None if own is None else f"{name}.norm", f"{name}.preactivation"

    def forward(self, input: Tensor) -> Tensor:
        """The logits."""
        tokens = self.embedding(input)  # [N, T, width]
        count, length, _ = tokens.shape
        x = self.embedded(tokens.flatten(0, 1))
        for block in self.blocks.values():
            x = block(x, count)
        x = self.norm(x)
        if self.of_text:
            return self.head(x).view(count, length, -1).transpose(1, 2)
        return self.head(x.view(count, length, -1).mean(1))


class Block(nn.Module):
    """An attention and an MLP, each added to its input; tokens [N * T, width]."""

    def __init__(
        self,
        width: int,
        heads: int,
        stream: Callable[[int], nn.Module],
        inner: Callable[[int], nn.Module],
        placement: str,
        causal: bool,
    ) -> None:
        super().__init__()
        self.heads, self.placement, self.causal = heads, placement, causal
        hidden = EXPANSION * width
        self.attention_norm, self.mlp_norm = stream(width), stream(width)
        self.attend = Layer(nn.Linear(width, 3 * width), inner(3 * width))
        self.project = Layer(nn.Linear(width, width), inner(width))
        self.expand = Layer(nn.Linear(width, hidden), inner(hidden), nn.GELU())
        self.contract = Layer(nn.Linear(hidden, width), inner(width))

    def forward(self, x: Tensor, count: int) -> Tensor:
        """The tokens of `count` samples after both branches."""
        branches = (self.attention_norm, self._attention), (self.mlp_norm, self._mlp)
        for norm, branch in branches:
            if self.placement == "post":
                x = norm(x + branch(x, count))
            else:
                x = x + branch(norm(x), count)
        return x

    def _attention(self, x: Tensor, count: int) -> Tensor:
        # Written out: torch's fused attention has no second derivative on a CPU.
        width = x.shape[1]
        parts = self.attend(x).view(count, -1, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each [N, heads, T, width / heads]
        scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        mixed = scores.softmax(-1) @ value
        return self.project(mixed.transpose(1, 2).reshape(-1, width))

    def _mlp(self, x: Tensor, count: int) -> Tensor:
        return self.contract(self.expand(x))


class Tokens(nn.Module):
    """Indices [N, T] to the sum of a learned vector per token and one per position [N, T, width].

    The vectors of tokens are a linear map of one-hot inputs, so that inits fill them as any other
    linear layer; those of positions start at zero.

    Raises ValueError for inputs that are no indices.
    """

    def __init__(self, tokens: int, width: int, length: int) -> None:
        super().__init__()
        self.linear = nn.Linear(tokens, width, bias=False)
        self.positions = nn.Parameter(torch.zeros(length, width))

    def forward(self, input: Tensor) -> Tensor:
        """The vectors of all tokens."""
        if input.is_floating_point():
            raise ValueError(
                "model=transformer takes images or tokens, and the data has vectors of numbers; "
                "use data=text, or a data set of images."
            )
        return F.embedding(input, self.linear.weight.T) + self.positions


class Patches(nn.Module):
    """Images [N, C, H, W] to a linear map of each patch plus one vector per place [N, T, width].

    The vectors of places start at zero.
    """

    def __init__(self, shape: Sequence[int], width: int, patch: int) -> None:
        super().__init__()
        channels, *sides = shape
        self.conv = nn.Conv2d(channels, width, patch, patch)
        places = math.prod(side // patch for side in sides)
        self.positions = nn.Parameter(torch.zeros(places, width))

    def forward(self, input: Tensor) -> Tensor:
        """The vectors of all patches, row by row."""
        return self.conv(input).flatten(2).transpose(1, 2) + self.positions


def _identity(_features: int) -> nn.Module:
    return nn.Identity()


def _check(
    input_shape: Sequence[int], depth: int, width: int, heads: int, patch: int, placement: str
) -> None:
    for key, value in {"depth": depth, "width": width, "heads": heads, "patch": patch}.items():
        if value < 1:
            raise ValueError(f"model.{key}={value} must be a whole number, 1 or more.")
    if placement not in PLACEMENTS:
        raise ValueError(f"model.placement={placement} must be one of {', '.join(PLACEMENTS)}.")
    if width % heads:
        raise ValueError(f"model.heads={heads} does not divide model.width={width}.")
    if len(input_shape) == 1:
        return
    if len(input_shape) != 3 or any(side % patch for side in input_shape[1:]):
        size = "x".join(map(str, input_shape[1:]))
        raise ValueError(f"model.patch={patch} does not divide the sides of the images, {size}.")
