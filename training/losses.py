"""GAN losses on logits; a positive logit means "real"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log σ(D(x)) - log(1 - σ(D(G(z)))), each averaged (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating: -log σ(D(G(z))), averaged (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_logits).mean()


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))), each averaged (Lim and Ye 2017)."""
    return F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean()


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """-D(G(z)), averaged (Lim and Ye 2017)."""
    return -fake_logits.mean()


@dataclass(frozen=True)
class Loss:
    """A pair of losses that belong together."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


LOSSES = {
    "non-saturating": Loss(discriminator_loss, generator_loss),
    "hinge": Loss(hinge_discriminator_loss, hinge_generator_loss),
}
