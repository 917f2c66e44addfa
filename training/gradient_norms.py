"""How large gradients are, layer by layer, averaged over batches: without touching the network."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from training.monitor.readings import gradient_norms


def mean_gradient_norms(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """Mean over batches of the Frobenius norm of each weight's gradient, by layer.

    The gradient is of the mean cross-entropy of a batch, in training mode: batch norm normalises by
    the batch. All of it happens in a copy, so running statistics, power iterations and gradients
    of `network` stay as they are. Behind a spectral norm it is the gradient of the weight that is
    trained, not of the normalised one.

    Args:
        network: classifies.
        batches: pairs of inputs [N, …] and classes int64 [N]; at least one.

    Raises:
        ValueError: there are no batches.
    """
    copied = copy.deepcopy(network).train()
    sums: dict[str, float] = {}
    count = 0
    for inputs, labels in batches:
        copied.zero_grad(set_to_none=True)
        F.cross_entropy(copied(inputs), labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for layer, norm in gradient_norms(copied).items():
            sums[layer] = sums.get(layer, 0.0) + norm
        count += 1
    if not count:
        raise ValueError("no batches to average gradient norms over")
    return {layer: total / count for layer, total in sums.items()}
