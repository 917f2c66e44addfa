"""Weight initialisation, chosen by name in a recipe.

Weights behind a spectral norm are set before its normalisation. Batch-norm gains start at 1, or are
drawn around it as DCGAN's paper has it; biases start at 0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.config import InitializerConfig

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


@torch.no_grad()
def initialize(module: nn.Module, config: InitializerConfig) -> None:
    """Overwrites every weight of `module` in place."""
    draw = _INITIALIZERS[config.name]
    for layer in module.modules():
        if isinstance(layer, _LAYERS):
            draw(_weight(layer), config)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            nn.init.ones_(layer.weight)
            if config.batch_norm_std > 0:
                nn.init.normal_(layer.weight, 1.0, config.batch_norm_std)
        else:
            continue
        bias = getattr(layer, "bias", None)
        if bias is not None:
            nn.init.zeros_(bias)


def _weight(layer: nn.Module) -> Tensor:
    if parametrize.is_parametrized(layer, "weight"):
        original: Tensor = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]  # torch types attributes of modules as Tensor or Module
        return original
    weight: Tensor = layer.weight  # type: ignore[assignment]  # as above
    return weight


def _normal(weight: Tensor, config: InitializerConfig) -> None:
    """N(0, std), as DCGAN has it (Radford et al. 2015, section 4)."""
    nn.init.normal_(weight, 0.0, config.gain * config.std)


def _truncated_normal(weight: Tensor, config: InitializerConfig) -> None:
    """N(0, std) restricted to two standard deviations."""
    std = config.gain * config.std
    nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std)


def _orthogonal(weight: Tensor, config: InitializerConfig) -> None:
    """Rows or columns orthonormal, times `gain` (Saxe et al. 2014; BigGAN, section 3)."""
    nn.init.orthogonal_(weight, config.gain)


def _glorot_uniform(weight: Tensor, config: InitializerConfig) -> None:
    """U(±gain·√(6 / (fan in + fan out))) (Glorot and Bengio 2010, equation 16)."""
    nn.init.xavier_uniform_(weight, config.gain)


_INITIALIZERS: dict[str, Callable[[Tensor, InitializerConfig], None]] = {
    "normal": _normal,
    "truncated-normal": _truncated_normal,
    "orthogonal": _orthogonal,
    "glorot-uniform": _glorot_uniform,
}
