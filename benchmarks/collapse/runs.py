"""The runs of the suite: small networks on EMNIST, some of them driven into collapse.

A run is a recipe with overrides, in stages: each goes on with the one before at another setting, as
somebody does who resumes a run with `--set`. A fault of the data begins at an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

_WATCHED = (
    "precision=bf16",
    "epochs=100000",
    "log_every=25",
    "sample_every=400",
    "checkpoint_every=50",
    "keep_checkpoints=1000",
    "ema.decay=0.99",
    "ema.start_itr=100",
    "monitor.every=25",
    "monitor.look_every=100",
    # Not the classifier: it is in its features that the suite decides what has collapsed.
    "monitor.features=random",
)
_DCGAN = (
    "dcgan-emnist",
    (
        *("network.channels=[64,32,16]", "network.linear_features=256", "batch_size=64"),
        *("initializer.std=0.05", "optimizer.g_lr=1e-3", "optimizer.d_lr=5e-4"),
        *_WATCHED,
    ),
)
_BIGGAN = (
    "biggan-emnist",
    (
        *("network.ch=8", "network.z_dim=30", "network.shared_dim=32", "batch_size=32"),
        *("d_steps=1", *_WATCHED),
    ),
)
_BASES = {"dcgan": _DCGAN, "biggan": _BIGGAN}


@dataclass(frozen=True)
class Stage:
    """Trains until an iteration, with overrides of its own."""

    until_itr: int
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """What a loader does once it has given so many batches: the same few images, or others."""

    kind: Literal["stuck", "inverted", "one class"]
    after_batches: int


@dataclass(frozen=True)
class Run:
    """One run of the suite.

    Attributes:
        base: which small network and recipe.
        stages: in order; overrides of earlier ones hold on.
        driven: how it is driven into collapse, in words; empty for one that should stay healthy.
        fault: how its loader goes wrong.
        images: how many training images it has; None for all.
    """

    base: Literal["dcgan", "biggan"]
    stages: tuple[Stage, ...]
    driven: str = ""
    fault: Fault | None = None
    images: int | None = None

    @property
    def recipe(self) -> str:
        """Name of the recipe that it changes."""
        return _BASES[self.base][0]

    def overrides(self, stage: int) -> list[str]:
        """All overrides that hold in a stage."""
        own = [o for earlier in self.stages[: stage + 1] for o in earlier.overrides]
        return [*_BASES[self.base][1], *own, f"max_itr={self.stages[stage].until_itr}"]


_Base = Literal["dcgan", "biggan"]
_LEARNED = {"dcgan": 700, "biggan": 450}  # iterations after which a healthy run makes characters
_END = {"dcgan": 1200, "biggan": 900}


def _healthy(base: _Base, seed: int, *overrides: str) -> Run:
    return Run(base, (Stage(_END[base], (f"seed={seed}", *overrides)),))


def _late(base: _Base, seed: int, driven: str, *overrides: str) -> Run:
    """Healthy until it has learned, then with other settings."""
    stages = (Stage(_LEARNED[base], (f"seed={seed}",)), Stage(_END[base], overrides))
    return Run(base, stages, driven)


def _early(base: _Base, seed: int, driven: str, *overrides: str) -> Run:
    return Run(base, (Stage(_END[base], (f"seed={seed}", *overrides)),), driven)


def _faulty(
    base: _Base, seed: int, driven: str, kind: Literal["stuck", "inverted", "one class"]
) -> Run:
    return replace(_healthy(base, seed), driven=driven, fault=Fault(kind, _LEARNED[base]))


RUNS: dict[str, Run] = {
    "dcgan-d-starved": _late("dcgan", 11, "D's rate falls to 1e-6", "optimizer.d_lr=1e-6"),
    "biggan-d-starved": _late("biggan", 12, "D's rate falls to 1e-6", "optimizer.d_lr=1e-6"),
    "dcgan-d-slow": _late("dcgan", 13, "D's rate falls to a 20th", "optimizer.d_lr=2.5e-5"),
    "biggan-orthogonal": _late(
        "biggan", 14, "orthogonal penalty 1e5 times too strong", "penalties.orthogonal=10"
    ),
    "dcgan-stuck-loader": _faulty("dcgan", 15, "the loader repeats 16 images", "stuck"),
    "biggan-d-slow": _late("biggan", 16, "D's rate falls to a 20th", "optimizer.d_lr=2e-5"),
    "dcgan-clamp": _late(
        *("dcgan", 17, "sigma0 of G clamped far too low"), "penalties.sigma0_clamp.sigma_reg=0.7"
    ),
    "biggan-r1": _late("biggan", 18, "R1 far too strong", "penalties.r1_gamma=3000"),
    "dcgan-d-rate-x100": _late("dcgan", 19, "D's rate 100 times higher", "optimizer.d_lr=5e-2"),
    "biggan-hot": _early(
        *("biggan", 20, "no spectral norm in G, high rates", "network.spectral_norm_g=false"),
        *("optimizer.g_lr=1e-2", "optimizer.d_lr=1e-2"),
    ),
    "dcgan-momentum": _late(
        *("dcgan", 21, "momentum 0.95, G's rate 5 times higher"),
        *("optimizer.betas=[0.95,0.95]", "optimizer.g_lr=5e-3"),
    ),
    "biggan-g-rate-x100": _late("biggan", 22, "G's rate 100 times higher", "optimizer.g_lr=2e-2"),
    "dcgan-rates-x50": _late(
        *("dcgan", 23, "both rates 50 times higher"),
        *("optimizer.g_lr=5e-2", "optimizer.d_lr=2.5e-2"),
    ),
    "dcgan-few-images": Run(
        *("dcgan", (Stage(1600, ("seed=24",)),), "200 training images"), images=200
    ),
    "dcgan-inverted": _faulty("dcgan", 25, "the loader inverts its images", "inverted"),
    "biggan-inverted": _faulty("biggan", 26, "the loader inverts its images", "inverted"),
    "dcgan-one-class": _faulty("dcgan", 27, "the loader gives one class", "one class"),
    "dcgan-31": _healthy("dcgan", 31),
    "biggan-32": _healthy("biggan", 32),
    "dcgan-33": _healthy("dcgan", 33, "batch_size=32"),
    "biggan-34": _healthy("biggan", 34, "network.spectral_norm_g=false", "optimizer.g_lr=5e-4"),
    "dcgan-35": _healthy("dcgan", 35, "network.linear_batch_norm=false"),
    "biggan-36": _healthy("biggan", 36, "penalties.r1_gamma=0.1", "d_steps=2"),
    "dcgan-37": _healthy("dcgan", 37, "initializer.name=orthogonal"),
    "biggan-38": _healthy("biggan", 38, "initializer.name=normal", "penalties.orthogonal=0"),
    "dcgan-39": _healthy("dcgan", 39, "network.channels=[96,48,24]"),
}
