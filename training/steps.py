"""GAN steps: updates of the discriminator, then one of the generator.

Losses take logits, steps own gradients, the loop owns time, the networks own neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from training.losses import Loss
from zoo.nets.layers import normalised_weights

Inputs = tuple[Tensor, ...]
"""A network's arguments: images or latents, then class weights where there are classes."""


@dataclass(frozen=True)
class Draw:
    """What one iteration consumes: for each of its parts the arguments of a network.

    Attributes:
        itr: how many iterations were done before.
        real: for each part of each update of D: float32 images [N, C, H, W] in the range that the
            generator produces, then their classes.
        d_fake: as many: float32 latents [N, z_dim], then classes.
        g_fake: for each part of the update of G.
    """

    itr: int
    real: Sequence[Inputs]
    d_fake: Sequence[Inputs]
    g_fake: Sequence[Inputs]


class Step(Protocol):
    """One iteration: updates both networks.

    Returns scalars without gradients: `loss_d`, `loss_g`, and the mean logits `real`, `fake` of D
    on what its last update saw.
    """

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """Carries out one iteration."""


@dataclass(frozen=True)
class Players:
    """The two networks with what updates them.

    Attributes:
        precision: `bf16` runs forward and backward passes under autocast; weights, spectral norms
            and batch-norm statistics stay fp32.
        augment: differentiable, applied to whatever D sees (Zhao et al. 2020, DiffAugment).
    """

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer
    loss: Loss
    precision: str = "fp32"
    augment: Callable[[Tensor], Tensor] | None = None

    def seen_by_d(self, images: Tensor) -> Tensor:
        """Images float32 [N, C, H, W] as D gets them: augmented, where the recipe says so."""
        return images if self.augment is None else self.augment(images)

    @contextmanager
    def forward(self, *networks: nn.Module) -> Iterator[None]:
        """Around forward passes: spectral norms once, in fp32; the rest in `precision`."""
        device = next(self.generator.parameters()).device.type
        half = torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")
        with normalised_weights(*networks), half:
            yield


class SimultaneousStep:
    """One update of each on the same fakes (Goodfellow et al. 2014, algorithm 1, with k = 1).

    The generator runs forward once. D sees real and fake in passes of their own, so that its batch
    norm does not mix them.

    Args:
        players: networks, optimisers, loss, precision.
        constrain_g: called after every update of G.
    """

    def __init__(self, players: Players, constrain_g: Callable[[], None] | None = None) -> None:
        self._players = players
        self._constrain_g = constrain_g

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """See `Step`; the one `d_fake` serves G as well."""
        it = self._players
        ((real_images, *real_classes),), ((z, *fake_classes),) = draw.real, draw.d_fake
        with it.forward(it.generator, it.discriminator):
            fake = it.generator(z, *fake_classes)
            real_logits = it.discriminator(real_images, *real_classes)
            fake_logits = it.discriminator(fake.detach(), *fake_classes)
        loss_d = it.loss.discriminator(real_logits, fake_logits)
        it.d_optimizer.zero_grad(set_to_none=True)
        loss_d.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        it.d_optimizer.step()

        with frozen(it.discriminator), it.forward(it.discriminator):
            loss_g = it.loss.generator(it.discriminator(fake, *fake_classes))
        it.g_optimizer.zero_grad(set_to_none=True)
        loss_g.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        it.g_optimizer.step()
        if self._constrain_g is not None:
            self._constrain_g()
        return {
            "loss_d": loss_d.detach(),
            "loss_g": loss_g.detach(),
            "real": real_logits.detach().mean(),
            "fake": fake_logits.detach().mean(),
        }


class AlternatingStep:
    """Several updates of D, each on fakes of its own, then one of G (BigGAN, appendix C).

    D sees real and fake in one pass. An update may be made of several parts, whose gradients are
    averaged (gradient accumulation).

    Args:
        players: networks, optimisers, loss, precision.
        accumulations: parts of an update.
        penalise_d: called with the iteration and D's real inputs when the gradients of an update
            are there, and adds to them.
        penalise_g: adds to the gradients of G.
        average: makes gradients those of the whole batch where several processes share it.
        constrain_g: called after every update of G.
        seed_draws: called with the iteration before anything is drawn within it.
    """

    def __init__(
        self,
        players: Players,
        accumulations: int = 1,
        penalise_d: Callable[[int, Sequence[Inputs]], None] | None = None,
        penalise_g: Callable[[], None] | None = None,
        average: Callable[[nn.Module], None] | None = None,
        constrain_g: Callable[[], None] | None = None,
        seed_draws: Callable[[int], object] | None = None,
    ) -> None:
        self._players = players
        self._accumulations = accumulations
        self._penalise_d = penalise_d
        self._penalise_g = penalise_g
        self._average = average
        self._constrain_g = constrain_g
        self._seed_draws = seed_draws

    def __call__(self, draw: Draw) -> dict[str, Tensor]:
        """See `Step`."""
        if self._seed_draws is not None:
            self._seed_draws(draw.itr)
        outcome = {}
        for first in range(0, len(draw.real), self._accumulations):
            part = slice(first, first + self._accumulations)
            outcome = self._update_d(draw.itr, draw.real[part], draw.d_fake[part])
        return outcome | self._update_g(draw.g_fake)

    def _update_d(
        self, itr: int, real: Sequence[Inputs], fake: Sequence[Inputs]
    ) -> dict[str, Tensor]:
        it, share = self._players, 1.0 / self._accumulations
        sums = torch.zeros(3, device=real[0][0].device)
        it.d_optimizer.zero_grad(set_to_none=True)
        for (real_images, *real_classes), (z, *fake_classes) in zip(real, fake, strict=True):
            with torch.no_grad(), it.forward(it.generator):
                fake_images = it.generator(z, *fake_classes)
            images = it.seen_by_d(torch.cat((real_images, fake_images)))
            classes = [torch.cat(pair) for pair in zip(real_classes, fake_classes, strict=True)]
            with it.forward(it.discriminator):
                real_logits, fake_logits = it.discriminator(images, *classes).chunk(2)
            loss = it.loss.discriminator(real_logits, fake_logits)
            (loss * share).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            sums += torch.stack((loss, real_logits.mean(), fake_logits.mean())).detach() * share
        if self._penalise_d is not None:
            self._penalise_d(itr, real)
        self._finish(it.discriminator)
        it.d_optimizer.step()
        return dict(zip(("loss_d", "real", "fake"), sums, strict=True))

    def _update_g(self, fake: Sequence[Inputs]) -> dict[str, Tensor]:
        it, share = self._players, 1.0 / self._accumulations
        total = torch.zeros((), device=fake[0][0].device)
        it.g_optimizer.zero_grad(set_to_none=True)
        with frozen(it.discriminator):
            for z, *classes in fake:
                with it.forward(it.generator, it.discriminator):
                    logits = it.discriminator(it.seen_by_d(it.generator(z, *classes)), *classes)
                loss = it.loss.generator(logits)
                (loss * share).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                total += loss.detach() * share
        if self._penalise_g is not None:
            self._penalise_g()
        self._finish(it.generator)
        it.g_optimizer.step()
        if self._constrain_g is not None:
            self._constrain_g()
        return {"loss_g": total}

    def _finish(self, network: nn.Module) -> None:
        if self._average is not None:
            self._average(network)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within it `network` gathers no gradients of its own, which would be thrown away."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
