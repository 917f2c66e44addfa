"""GAN losses on logits; a positive logit means "real"."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """-log σ(D(x)) - log(1 - σ(D(G(z)))), each averaged (Goodfellow et al. 2014, equation 1)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating: -log σ(D(G(z))), averaged (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_logits).mean()
