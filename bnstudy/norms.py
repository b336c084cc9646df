"""Normalization layers: modules built from the number of features, for [N, C] and [N, C, H, W].

Any callable `norm(num_features) -> Module` will do. "No norm" is `torch.nn.Identity`, which takes
that argument and ignores it, so the two arms of a comparison have the same layer names.
"""

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class BatchNorm(_BatchNorm):
    """Batch normalization over the batch and all positions of inputs [N, C] or [N, C, ...].

    Ioffe & Szegedy 2015, algorithms 1 and 2. torch's own BatchNorm1d and BatchNorm2d differ from
    this class only in that each refuses the other's shape.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(
                f"BatchNorm needs inputs [N, C, ...], found shape {list(input.shape)}."
            )
