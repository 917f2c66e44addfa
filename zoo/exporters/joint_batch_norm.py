"""Batch norms of a BigGAN prepared jointly, and applied in one pass over the maps.

As written, each class-conditional norm interpolates its statistics by two products, projects its
condition by two more, and passes over its maps four times: two multiplications, two additions. Here
one product interpolates the statistics of all norms, one product a block makes the gains and biases
of its norms, and each norm passes over its maps once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.nets import biggan, biggan_deep
from zoo.nets.layers import ConditionalBatchNorm2d, StandingBatchNorm2d

Norm = ConditionalBatchNorm2d | StandingBatchNorm2d


@dataclass(frozen=True)
class NormVectors:
    """What one norm needs, float32 [N, features] each."""

    mean: Tensor
    variance: Tensor
    gain: Tensor
    bias: Tensor


class PreparedNorm(nn.Module):
    """Batch norm of each image with vectors of its own.

    It is batch norm of one image of N·features channels, which onnxruntime computes as one
    multiplication and one addition a channel, in one pass.

    Args:
        index: which of the prepared vectors are its own.
        eps: added to the variance.
    """

    def __init__(self, index: int, eps: float) -> None:
        super().__init__()
        self.index, self.eps = index, eps

    def forward(self, x: Tensor, *arguments: Sequence[NormVectors]) -> Tensor:
        """X [N, features, H, W]; the last argument, in the place of `knots`, are all vectors."""
        own = arguments[-1][self.index]
        features, height, width = x.shape[1:]
        out = F.batch_norm(
            x.reshape(1, -1, height, width),
            own.mean.reshape(-1),
            own.variance.reshape(-1),
            own.gain.reshape(-1),
            own.bias.reshape(-1),
            eps=self.eps,
        )
        return out.reshape(-1, features, height, width)


class JointBatchNorms(nn.Module):
    """A generator, changed in place, whose norms get their vectors from here.

    Args:
        generator: in evaluation mode, its spectral norms folded; `needs_vectors` is true of it.
            All its norms have tables, or none has and `knots` will not be given.
    """

    def __init__(self, generator: biggan.Generator | biggan_deep.Generator) -> None:
        super().__init__()
        self.pixel_range = generator.pixel_range
        norms: list[Norm] = []
        self.affines = nn.ModuleList()
        for part in (*generator.blocks, generator):  # the generator itself: its last norm
            taken = _take_norms(part, first=len(norms))
            norms += taken
            if taken:  # the last norm may have been folded
                self.affines.append(_Affines(taken))
        self.generator = generator
        standing = [
            norm.norm if isinstance(norm, ConditionalBatchNorm2d) else norm for norm in norms
        ]
        self.features = [norm.num_features for norm in standing]
        means, variances = zip(*map(_statistics, standing), strict=True)
        self.register_buffer("statistics", torch.cat((*means, *variances), 1))

    def forward(
        self, z: Tensor, class_weights: Tensor | None = None, knots: Tensor | None = None
    ) -> Tensor:
        """See `forward` of the generator."""
        statistics = self.get_buffer("statistics")  # [K, 2 * sum of features]
        of_images = statistics.expand(z.shape[0], -1) if knots is None else knots @ statistics
        means, variances = (torch.split(half, self.features, 1) for half in of_images.chunk(2, 1))
        _, conditions = self.generator.conditions(z, class_weights)
        gains: list[Tensor] = []
        biases: list[Tensor] = []
        for affines, condition in zip(self.affines, (*conditions, z), strict=False):
            of_part = affines(condition)
            gains += of_part[0]
            biases += of_part[1]
        vectors = list(map(NormVectors, means, variances, gains, biases))
        images: Tensor = self.generator(z, class_weights, vectors)
        return images


def needs_vectors(generator: nn.Module) -> bool:
    """Whether some norm follows class, z or truncation; the others the exporter folds by itself."""
    return any(
        isinstance(layer, ConditionalBatchNorm2d)
        or (isinstance(layer, StandingBatchNorm2d) and layer.mean_table is not None)
        for layer in generator.modules()
    )


class _Affines(nn.Module):
    """Gains and biases of norms that share a condition: one product.

    Args:
        norms: all class-conditional, or all with gains and biases of their own.
    """

    def __init__(self, norms: Sequence[Norm]) -> None:
        super().__init__()
        conditional = [norm for norm in norms if isinstance(norm, ConditionalBatchNorm2d)]
        self.weight: nn.Parameter | None = None
        if conditional:
            maps = [norm.gain for norm in conditional] + [norm.bias for norm in conditional]
            weights: list[Tensor] = [layer.get_parameter("weight") for layer in maps]
            self.weight = nn.Parameter(torch.cat(weights))
            gains = [torch.ones_like(weight[:, 0]) for weight in weights[: len(norms)]]
            biases = [torch.zeros_like(weight[:, 0]) for weight in weights[len(norms) :]]
        else:
            gains = [norm.get_parameter("weight") for norm in norms]
            biases = [norm.get_parameter("bias") for norm in norms]
        self.features = [len(gain) for gain in gains]
        self.offset = nn.Parameter(torch.cat((*gains, *biases)).detach())

    def forward(self, condition: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Of a condition [N, dim] the gain and the bias of each norm, [N, features]."""
        if self.weight is None:
            both = self.offset.expand(condition.shape[0], -1)
        else:
            both = F.linear(condition, self.weight, self.offset)
        gains, biases = both.chunk(2, 1)
        return torch.split(gains, self.features, 1), torch.split(biases, self.features, 1)


def _take_norms(part: nn.Module, first: int) -> list[Norm]:
    """Puts prepared norms, numbered from `first`, into the places of a part's norms."""
    taken: list[Norm] = []
    for parent in list(part.modules()):
        if isinstance(parent, ConditionalBatchNorm2d):
            continue  # taken as a whole
        for name, layer in list(parent.named_children()):
            if isinstance(layer, ConditionalBatchNorm2d | StandingBatchNorm2d):
                standing = layer.norm if isinstance(layer, ConditionalBatchNorm2d) else layer
                prepared = PreparedNorm(first + len(taken), standing.eps)
                parent.register_module(name, prepared)
                taken.append(layer)
    return taken


def _statistics(norm: StandingBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Means and variances [K, features], one row where there are no tables."""
    if norm.mean_table is not None and norm.var_table is not None:
        return norm.mean_table, norm.var_table
    mean, variance = norm.statistics(None)
    return mean[None], variance[None]
