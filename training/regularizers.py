"""Penalties on weights and gradients, as gradients that are added to what backward left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_NOT_REGULARIZED = (nn.Embedding,)


def orthogonal_weights(network: nn.Module) -> list[Tensor]:
    """The weights that orthogonal regularisation is for: of every linear map and convolution.

    Raw ones, before spectral norm; no biases, gains, nor the shared class embedding.
    """
    excluded = {id(p) for m in network.modules() if isinstance(m, _NOT_REGULARIZED) for p in m.parameters()}
    return [p for p in network.parameters() if p.ndim >= 2 and id(p) not in excluded]


@torch.no_grad()
def add_orthogonal_gradient(weights: Sequence[Tensor], strength: float) -> None:
    """Adds the gradient of strength/2 · ||W Wᵀ ⊙ (1 - I)||² (BigGAN, section 3.1, equation 3).

    That is 2·strength·(W Wᵀ ⊙ (1 - I)) W, W being out x (in·kh·kw). The diagonal is taken off
    afterwards, which allows W (Wᵀ W) where that is the smaller product.
    """
    for weight in weights:
        if weight.grad is None:
            continue
        w = weight.flatten(1)
        product = (w @ w.t()) @ w if w.shape[0] <= w.shape[1] else w @ (w.t() @ w)
        product -= w * w.square().sum(1, keepdim=True)
        weight.grad.add_(product.view_as(weight), alpha=2.0 * strength)
