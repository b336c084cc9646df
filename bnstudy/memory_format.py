"""The order in memory of images and of weights of convolutions, which decides their speed.

Numbers change by rounding alone. Both arms of a comparison have the same order, because it follows
from the convolutions.
"""

from statistics import median

import torch
from torch import Tensor, nn

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
# With more channels torch's convolutions on a CPU are as fast in the usual order, or faster.
MANY_CHANNELS = 256


def choose(model: nn.Module, name: str, device: torch.device) -> torch.memory_format:
    """The memory format of that name for a model on a device; "auto" is the faster one.

    On a CPU that is channels-last for networks of 2-d convolutions, of which the median has fewer
    than 256 output channels. Everything else is contiguous: networks without convolutions have
    nothing to gain, and neither has float32 on a GPU.

    Raises ValueError for an unknown name.
    """
    if name in FORMATS:
        return FORMATS[name]
    if name != "auto":
        words = ", ".join(["auto", *FORMATS])
        raise ValueError(f"memory_format={name} is unknown; it must be one of {words}.")
    channels = [conv.out_channels for conv in model.modules() if isinstance(conv, nn.Conv2d)]
    few = device.type == "cpu" and channels and median(channels) < MANY_CHANNELS
    return FORMATS["channels_last" if few else "contiguous"]


def laid_out(tensor: Tensor, memory_format: torch.memory_format) -> Tensor:
    """A batch of images [N, C, H, W] in that memory format; any other tensor as it is."""
    return tensor.contiguous(memory_format=memory_format) if tensor.dim() == 4 else tensor
