"""Everything that changes while a run trains, and its image in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from training.augment import diffaugment
from training.config import Recipe
from training.distributed import ALONE, World
from training.draws import step_seed
from training.ema import Ema
from training.errors import RunError
from training.initializers import initialize
from training.losses import LOSSES
from training.networks import GREY, Subject, build
from training.regularizers import (
    Sigma0Clamp,
    add_orthogonal_gradient,
    add_r1_gradient,
    clamped_weights,
    map_weights,
)
from training.steps import AlternatingStep, Inputs, Players, SimultaneousStep, Step
from zoo.errors import one_line
from zoo.nets.layers import fuse_resampling, synchronise_batch_norm


class TrainingState:
    """Networks, optimisers, average, and the numbers of iterations done and real images seen.

    Random numbers need no state of their own: batches and noise are functions of (seed, itr), and
    for what is drawn within a step torch's generator is seeded by (seed, itr, rank). Its state is
    kept all the same.
    """

    def __init__(
        self,
        recipe: Recipe,
        device: torch.device,
        subject: Subject = GREY,
        world: World = ALONE,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.subject = subject
        self.itr = 0
        self.images_seen = 0
        self.generator, self.discriminator = build(recipe.network, subject)
        for network in (self.generator, self.discriminator):
            initialize(network, recipe.initializer)
            fuse_resampling(network, recipe.fused_resampling)
            network.to(device)
            if recipe.channels_last:
                network.to(memory_format=torch.channels_last)
        adam = recipe.optimizer
        self.g_optimizer = torch.optim.Adam(
            self.generator.parameters(), adam.g_lr, adam.betas, adam.eps, fused=True
        )
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), adam.d_lr, adam.betas, adam.eps, fused=True
        )
        self.ema = Ema(self.generator, recipe.ema)
        self._world = world
        self.clamp = self._clamp()
        self.step = self._step(world)

    def _clamp(self) -> Sigma0Clamp | None:
        config = self.recipe.penalties.sigma0_clamp
        if config is None:
            return None
        return Sigma0Clamp(clamped_weights(self.generator, config.layers), config)

    def _step(self, world: World) -> Step:
        recipe, penalties = self.recipe, self.recipe.penalties
        if world.size > 1:
            synchronise_batch_norm(self.generator)
        if recipe.compile:
            self.generator.compile()
            self.discriminator.compile()
        players = Players(
            self.generator,
            self.discriminator,
            self.g_optimizer,
            self.d_optimizer,
            LOSSES[recipe.loss],
            recipe.precision,
            partial(diffaugment, policies=recipe.diffaugment) if recipe.diffaugment else None,
        )
        if not recipe.alternates:
            return SimultaneousStep(players, constrain_g=self.clamp)

        def penalise_d(itr: int, real: Sequence[Inputs]) -> None:
            # Lazily: now and then, at a strength that makes up for it (Karras et al. 2020, B).
            if itr % penalties.r1_every == 0:
                add_r1_gradient(self.discriminator, real, penalties.r1_gamma * penalties.r1_every)

        weights = map_weights(self.generator)
        penalise_g = partial(add_orthogonal_gradient, weights, penalties.orthogonal)
        return AlternatingStep(
            players,
            recipe.accumulations,
            penalise_d=penalise_d if penalties.r1_gamma > 0 else None,
            penalise_g=penalise_g if penalties.orthogonal > 0 else None,
            average=world.average_gradients,
            constrain_g=self.clamp,
            seed_draws=lambda itr: torch.manual_seed(step_seed(recipe.seed, itr, world.rank)),
        )

    def adopt(self, recipe: Recipe) -> None:
        """Goes on with another recipe, which differs in rates, penalties or steps of D."""
        self.recipe = recipe
        self.clamp = self._clamp()
        self.step = self._step(self._world)
        self._apply_optimizer_settings()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "itr": self.itr,
            "images_seen": self.images_seen,
            "subject": asdict(self.subject),
            "recipe": self.recipe.model_dump(mode="json"),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "ema": self.ema.module.state_dict(),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
            "clamp": None if self.clamp is None else self.clamp.state_dict(),
            "rng": {"torch": torch.get_rng_state()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a checkpoint.

        Raises:
            RunError: the checkpoint is of a network of another shape.
        """
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            self.ema.module.load_state_dict(state["ema"])
            self.g_optimizer.load_state_dict(state["g_optimizer"])
            self.d_optimizer.load_state_dict(state["d_optimizer"])
            if self.clamp is not None:
                self.clamp.load_state_dict(state.get("clamp"))
            torch.set_rng_state(state["rng"]["torch"])
            self.itr, self.images_seen = state["itr"], images_seen(state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise RunError(f"the checkpoint does not fit this recipe: {one_line(error)}") from error
        self._apply_optimizer_settings()

    def _apply_optimizer_settings(self) -> None:
        """A resumed run may have other settings than the checkpoint, which restored its own."""
        adam = self.recipe.optimizer
        for optimizer, lr in ((self.g_optimizer, adam.g_lr), (self.d_optimizer, adam.d_lr)):
            for group in optimizer.param_groups:
                group.update(lr=lr, betas=adam.betas, eps=adam.eps)


def images_seen(state: Mapping[str, Any]) -> int:
    """Real images that D had seen; where a checkpoint is too old to say, by its steps of D."""
    recipe = state["recipe"]
    counted: int = state.get("images_seen", state["itr"] * recipe["batch_size"] * recipe["d_steps"])
    return counted
