"""Latents: z as a function of an image's own seed and its truncation, and of nothing else.

A counter-based generator (Philox 4x64, Salmon et al. 2011) gives each seed its uniforms u, and z is
the inverse normal CDF of u. Truncation maps the same u into a narrower normal distribution, so an
image keeps its identity and moves continuously as the threshold moves.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

MAX_SEED: Final = 2**64 - 1

# Second word of the Philox key: what a seed's random numbers are for. Changing one of these
# changes every image.
_LATENT: Final = 0
_CLASS: Final = 1

_SCALE_BOUND: Final = 2.0
_THRESHOLDS: Final = np.concatenate(([0.0], np.linspace(0.05, 8.0, 1600)))

_START: Final = np.zeros(4, np.uint64)
_thread = threading.local()


class TruncationMode(Enum):
    """What a truncation value means."""

    THRESHOLD = "threshold"
    """z ~ N(0, 1) restricted to [-t, t] (BigGAN, section 3.1)."""

    SCALE = "scale"
    """z ~ t times N(0, 1) restricted to [-2, 2] (BigGAN on TensorFlow Hub)."""


@dataclass(frozen=True)
class Truncation:
    """A truncation value with its meaning; `value` is finite and at least 0."""

    value: float
    mode: TruncationMode = TruncationMode.THRESHOLD

    @property
    def bound(self) -> float:
        """Where the normal distribution is cut off."""
        return self.value if self.mode is TruncationMode.THRESHOLD else _SCALE_BOUND

    @property
    def factor(self) -> float:
        """What z is multiplied by."""
        return 1.0 if self.mode is TruncationMode.THRESHOLD else self.value

    @property
    def equivalent_threshold(self) -> float:
        """The threshold at which z has the same variance: what batch-norm statistics follow."""
        if self.mode is TruncationMode.THRESHOLD:
            return self.value
        return _equivalent_threshold(self.value)


def _standard_deviation(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of N(0, 1) restricted to ±bound: √(1 - 2bφ(b) / (2Φ(b) - 1)); bounds 0, or at least 0.05."""
    density = np.exp(-(bounds**2) / 2) / np.sqrt(2 * np.pi)
    kept = ndtr(bounds) - ndtr(-bounds)
    lost = np.divide(2 * bounds * density, kept, out=np.ones_like(bounds), where=bounds > 0)
    std: NDArray[np.float64] = np.sqrt(1.0 - lost)
    return std


_SCALE_DEVIATION: Final = _standard_deviation(np.array([_SCALE_BOUND]))[0]
_DEVIATIONS: Final = _standard_deviation(_THRESHOLDS)


@lru_cache(1024)  # each image asks, and a request's images are mostly alike
def _equivalent_threshold(scale: float) -> float:
    return float(np.interp(scale * _SCALE_DEVIATION, _DEVIATIONS, _THRESHOLDS))


def uniforms(seed: int, n: int, purpose: int = _LATENT) -> NDArray[np.float64]:
    """The first `n` uniforms of a seed, float64 [n], strictly between 0 and 1.

    Args:
        seed: 0 to 2**64 - 1.
        n: how many.
        purpose: which of the seed's independent streams.
    """
    return _centred(_philox(seed, purpose).random_raw(n))


def _centred(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    # 52 bits and a half: exact in float64, and neither 0 nor 1, where the inverse CDF is infinite.
    centred: NDArray[np.float64] = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return centred


def _philox(seed: int, purpose: int) -> np.random.Philox:
    """This thread's generator at the start of the stream that the key (seed, purpose) names.

    Its raw words are used, not `Generator.random`: numpy promises that these never change (NEP 19).
    Moving one generator costs a quarter of making one, which gathers entropy first.
    """
    if not hasattr(_thread, "philox"):
        _thread.philox = np.random.Philox()
        _thread.state = _thread.philox.state | {"buffer_pos": 4}  # 4: nothing is buffered
    _thread.state["state"] = {
        "counter": _START,
        "key": np.array([seed, purpose], np.uint64),
    }
    _thread.philox.state = _thread.state
    philox: np.random.Philox = _thread.philox
    return philox


def latents(
    seeds: Sequence[int], truncations: Sequence[Truncation | None], dim: int
) -> NDArray[np.float32]:
    """Latents of several images, float32 [N, dim].

    Args:
        seeds: one an image, 0 to 2**64 - 1.
        truncations: one an image; None is the full normal distribution.
        dim: length of z.
    """
    words = np.empty((len(seeds), dim), np.uint64)
    for row, seed in zip(words, seeds, strict=True):
        row[:] = _philox(seed, _LATENT).random_raw(dim)
    u = _centred(words)
    bounds = np.array([[np.inf if t is None else t.bound] for t in truncations])
    factors = np.array([[1.0 if t is None else t.factor] for t in truncations])
    low = ndtr(-bounds)
    z = ndtri(low + (ndtr(bounds) - low) * u)
    # The clip only undoes rounding, which for tiny thresholds would lead beyond them.
    return (factors * np.clip(z, -bounds, bounds)).astype(np.float32)


def prior_class(seed: int, n_classes: int) -> int:
    """The class that a seed draws from the uniform prior over `n_classes`."""
    return int(uniforms(seed, 1, _CLASS)[0] * n_classes)
