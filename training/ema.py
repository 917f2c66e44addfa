"""The generator that is kept: an average of weights, with batch-norm statistics of its own."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from training.config import EmaConfig
from training.steps import Inputs


class Ema:
    """Exponential moving average of weights (BigGAN, appendix C; Karras et al. 2018).

    Buffers are copied, not averaged: batch-norm statistics that fit the averaged weights are
    estimated afresh by `standing_statistics` when the average is used.
    """

    def __init__(self, source: nn.Module, config: EmaConfig) -> None:
        self.module = copy.deepcopy(source).requires_grad_(False).eval()
        self._source = source
        self._config = config

    @torch.no_grad()
    def update(self, itr: int) -> None:
        """Folds in the weights after iteration `itr` (counted from 1)."""
        decay = self._config.decay if itr > self._config.start_itr else 0.0
        averaged: list[Tensor] = list(self.module.parameters())
        newest = [parameter.detach() for parameter in self._source.parameters()]
        torch._foreach_lerp_(averaged, newest, 1.0 - decay)
        for mine, theirs in zip(self.module.buffers(), self._source.buffers(), strict=True):
            mine.copy_(theirs)


@torch.no_grad()
def standing_statistics(generator: nn.Module, batches: Iterable[Inputs]) -> None:
    """Re-estimates batch-norm statistics in place: the mean over batches (BigGAN, appendix C.1).

    Leaves `generator` in evaluation mode.

    Args:
        generator: called with each batch.
        batches: arguments of the generator (latents float32 [N, z_dim], then class weights where
            there are classes), drawn as they will be when it serves.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    generator.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average instead of an exponential one
        norm.train()
    for inputs in batches:
        generator(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()
