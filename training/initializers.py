"""Weight initialisation, chosen by name in a recipe.

Weights behind a spectral norm are set before its normalisation. Batch-norm gains start at 1, or are
drawn around it as DCGAN's paper has it; biases start at 0, but with `torch-default` as in torch.

Fan-in is how many weights meet in one output of a layer, fan-out how many leave one input, strides
not counted. An embedding counts as the linear layer of a one-hot vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.config import InitializerConfig, LayerInitializer

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding

_SIGMAS = 2.0  # where normal distributions are cut off


@torch.no_grad()
def initialize(module: nn.Module, config: InitializerConfig) -> None:
    """Overwrites every weight of `module` in place."""
    for layer in module.modules():
        if isinstance(layer, Layer):
            own = config.linear if isinstance(layer, nn.Linear) else None
            _draw(layer, own or config)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.affine:
            nn.init.ones_(layer.weight)
            if config.batch_norm_std > 0:
                nn.init.normal_(layer.weight, 1.0, config.batch_norm_std)
            nn.init.zeros_(layer.bias)


def fans(layer: Layer) -> tuple[int, int]:
    """Fan-in and fan-out; torch's own count exchanges them for transposed convolutions."""
    weight = _weight(layer)
    if isinstance(layer, nn.Embedding):
        return weight.shape[0], weight.shape[1]
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    taps = math.prod(layer.kernel_size)
    return layer.in_channels // layer.groups * taps, layer.out_channels // layer.groups * taps


def _draw(layer: Layer, config: LayerInitializer) -> None:
    weight = _weight(layer)
    _INITIALIZERS[config.name](layer, weight, config)
    bias = getattr(layer, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
        if config.name == "torch-default":
            bound = 1.0 / math.sqrt(weight[0].numel())
            nn.init.uniform_(bias, -bound, bound)


def _weight(layer: nn.Module) -> Tensor:
    if parametrize.is_parametrized(layer, "weight"):
        original: Tensor = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]  # torch types attributes of modules as Tensor or Module
        return original
    weight: Tensor = layer.weight  # type: ignore[assignment]  # as above
    return weight


def _std(layer: Layer, config: LayerInitializer) -> float:
    """Of a normal distribution that is not cut off."""
    fan_in, fan_out = fans(layer)
    if config.fan == "none":
        return config.gain * config.std
    return config.gain / math.sqrt(fan_in if config.fan == "in" else (fan_in + fan_out) / 2)


def _normal(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """N(0, std), as DCGAN has it (Radford et al. 2015, section 4)."""
    nn.init.normal_(weight, 0.0, _std(layer, config))


def _truncated_normal(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """N(0, std) restricted to two standard deviations, which leaves 0.880 of std."""
    std = _std(layer, config)
    nn.init.trunc_normal_(weight, 0.0, std, -_SIGMAS * std, _SIGMAS * std)


def _truncated_normal_fmod(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """N(0, std), values beyond two standard deviations folded back by their remainder.

    An approximation that is in use for truncation, kept for comparison: the 4.6% that are beyond
    gather around 0, where a truncated normal spreads them as it spreads the others.
    """
    weight.normal_().fmod_(_SIGMAS).mul_(_std(layer, config))


def _orthogonal(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """Rows or columns orthonormal, times `gain` (Saxe et al. 2014; BigGAN, section 3)."""
    nn.init.orthogonal_(weight, config.gain)


def _glorot_uniform(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """U(±gain·√(6 / (fan in + fan out))) (Glorot and Bengio 2010, equation 16)."""
    bound = math.sqrt(3.0) * (config.gain * math.sqrt(2.0 / sum(fans(layer))))
    nn.init.uniform_(weight, -bound, bound)


def _he_uniform(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """U(±gain·√(6 / fan in)): variance 2 / fan in (He et al. 2015, equation 10)."""
    bound = config.gain * math.sqrt(6.0 / fans(layer)[0])
    nn.init.uniform_(weight, -bound, bound)


def _torch_default(layer: Layer, weight: Tensor, config: LayerInitializer) -> None:
    """What torch's `reset_parameters` draws, times `gain`; its numbers, if seeded alike.

    That is U(±1/√fan in) for weights and biases, variance 1 / (3 fan in), a sixth of He's, though
    torch calls kaiming_uniform_ for it (with a = √5); fan in by torch's count. Embeddings are
    N(0, 1).
    """
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(weight)
    else:
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5.0))
    weight.mul_(config.gain)


_INITIALIZERS: dict[str, Callable[[Layer, Tensor, LayerInitializer], None]] = {
    "normal": _normal,
    "truncated-normal": _truncated_normal,
    "truncated-normal-fmod": _truncated_normal_fmod,
    "orthogonal": _orthogonal,
    "glorot-uniform": _glorot_uniform,
    "he-uniform": _he_uniform,
    "torch-default": _torch_default,
}
