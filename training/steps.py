"""The GAN step: one update of the discriminator, then one of the generator.

Losses take logits, the step owns gradients, the loop owns time, the networks own neither.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from training.losses import discriminator_loss, generator_loss


class GanStep:
    """One simultaneous-batch step (Goodfellow et al. 2014, algorithm 1, with k = 1).

    The same fakes serve both updates, so the generator runs forward once.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        g_optimizer: torch.optim.Optimizer,
        d_optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.g_optimizer = g_optimizer
        self.d_optimizer = d_optimizer
        self.precision = precision

    def __call__(self, real: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Updates both networks.

        Args:
            real: float32 [N, C, H, W] in the range that the generator produces.
            z: float32 [N, z_dim].

        Returns:
            Scalars without gradients: `loss_d`, `loss_g`, and the mean logits `real`, `fake`.
        """
        with self._autocast(real.device.type):
            fake = self.generator(z)
            real_logits = self.discriminator(real)
            fake_logits = self.discriminator(fake.detach())
        loss_d = discriminator_loss(real_logits, fake_logits)
        self.d_optimizer.zero_grad(set_to_none=True)
        loss_d.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.d_optimizer.step()

        self.discriminator.requires_grad_(False)  # its weight gradients would be thrown away
        with self._autocast(real.device.type):
            loss_g = generator_loss(self.discriminator(fake))
        self.g_optimizer.zero_grad(set_to_none=True)
        loss_g.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.g_optimizer.step()
        self.discriminator.requires_grad_(True)

        return {
            "loss_d": loss_d.detach(),
            "loss_g": loss_g.detach(),
            "real": real_logits.detach().mean(),
            "fake": fake_logits.detach().mean(),
        }

    def _autocast(self, device: str) -> AbstractContextManager[None]:
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")
