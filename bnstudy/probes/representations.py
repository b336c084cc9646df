"""How alike a network makes its samples, layer by layer: Daneshmand et al. 2020 and 2021."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnstudy.update import Update, select_layers


@dataclass(frozen=True)
class Representations:
    """Rank, orthogonality and cosines of a layer's outputs, before its activation function.

    A row of H [n, d] is what the layer makes of a sample: all channels and positions together. In a
    transformer a row is a token. At most `samples` rows count, spread over the batch. The Gram
    matrix is G = H H'. None of these numbers depends on the scale of H. Records per layer:
        effective_rank/<layer>: exp(entropy of the eigenvalues of G / tr G), from 1 to min(n, d)
            (Roy & Vetterli 2007).
        orthogonality_gap/<layer>: ||G / tr G - I / n||, Frobenius; 0 for rows that are orthogonal
            and equally long, sqrt(1 - 1/n) for rows that are all the same (Daneshmand et al. 2021,
            equation 4).
        mean_cosine/<layer>: the mean cosine of two rows, of rows that are not zero.
    And samples: n.

    NaN for outputs that are all zero, or not finite. BatchNorm removes the mean over the batch,
    which alone makes the mean cosine about -1/(n - 1).

    `layers` names the layers to measure, None means all. One forward pass.
    """

    layers: Sequence[str] | None = None
    every: int = 1
    samples: int = 64

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ValueError(f"probes.representations.samples={self.samples} must be at least 2.")

    def __call__(self, update: Update) -> dict[str, Tensor]:
        """The measurements at one step."""
        wanted = select_layers(update.layers, self.layers)
        modules = {name: layer.output for name, layer in wanted.items()}
        outputs = update.loss.activations(update.params, modules.values())
        measured: dict[str, Tensor] = {}
        for name, module in modules.items():
            gram = gram_of(outputs[module], self.samples)
            measured["samples"] = torch.tensor(len(gram))
            measured[f"effective_rank/{name}"] = effective_rank(gram)
            measured[f"orthogonality_gap/{name}"] = orthogonality_gap(gram)
            measured[f"mean_cosine/{name}"] = mean_cosine(gram)
        return measured


def gram_of(outputs: Tensor, samples: int) -> Tensor:
    """The Gram matrix [n, n] in float64 of `samples` rows, or of all, of outputs [N, ...]."""
    count = len(outputs)
    # Both ends and no stride: tokens at one position of every sequence would be no sample.
    chosen = torch.linspace(0, count - 1, min(samples, count), dtype=torch.float64).long()
    rows = outputs[chosen.to(outputs.device)].flatten(1).cpu().double()
    return rows @ rows.T


def effective_rank(gram: Tensor) -> Tensor:
    """exp(-sum p log p) over the eigenvalues p of gram / trace.

    >>> effective_rank(torch.eye(5, dtype=torch.float64))
    tensor(5.0000, dtype=torch.float64)
    """
    if not _has_scale(gram):
        return gram.new_tensor(math.nan)
    shares = torch.linalg.eigvalsh(gram / gram.trace()).clamp(min=0)
    return torch.special.entr(shares).sum().exp()


def orthogonality_gap(gram: Tensor) -> Tensor:
    """||gram / trace - I / n||, Frobenius.

    >>> orthogonality_gap(torch.eye(5))
    tensor(0.)
    """
    if not _has_scale(gram):
        return gram.new_tensor(math.nan)
    return torch.linalg.matrix_norm(gram / gram.trace() - torch.eye(len(gram)).to(gram) / len(gram))


def mean_cosine(gram: Tensor) -> Tensor:
    """The mean of gram_ij / sqrt(gram_ii gram_jj) over i != j, of rows that are not zero."""
    if not _has_scale(gram):
        return gram.new_tensor(math.nan)
    lengths = gram.diagonal().clamp(min=0).sqrt()
    known = lengths > 0
    cosines = gram[known][:, known] / torch.outer(lengths[known], lengths[known])
    pairs = len(cosines) * (len(cosines) - 1)
    return (cosines.sum() - cosines.trace()) / pairs


def _has_scale(gram: Tensor) -> bool:
    return bool(torch.isfinite(gram).all() and gram.trace() > 0)
