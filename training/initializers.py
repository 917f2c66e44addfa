"""Weight initialisation, chosen by name in a recipe."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from training.config import InitializerConfig


def initialize(module: nn.Module, config: InitializerConfig) -> None:
    """Overwrites every weight of `module` in place."""
    _INITIALIZERS[config.name](module, config)


def _normal(module: nn.Module, config: InitializerConfig) -> None:
    """Weights N(0, std), batch-norm gains N(1, std), biases 0 (Radford et al. 2015, section 4)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, config.std)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, config.std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


_INITIALIZERS: dict[str, Callable[[nn.Module, InitializerConfig], None]] = {"normal": _normal}
