"""The runs of the suite: small networks on EMNIST, some of them driven into collapse.

A run is a recipe with overrides, in stages: each goes on with the one before at another setting, as
somebody does who resumes a run with `--set`. A fault of the data begins at an iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    ("network.channels=[64,32,16]", "network.linear_features=256", "batch_size=64", *_WATCHED),
)
_BIGGAN = (
    "biggan-emnist",
    ("network.ch=12", "network.z_dim=30", "network.shared_dim=32", "batch_size=32", *_WATCHED),
)
_BASES = {"dcgan": _DCGAN, "biggan": _BIGGAN}


@dataclass(frozen=True)
class Stage:
    """Trains until an iteration, with overrides of its own."""

    until_itr: int
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """One run of the suite.

    Attributes:
        base: which small network and recipe.
        stages: in order; overrides of earlier ones hold on.
        driven: how it is driven into collapse, in words; empty for one that should stay healthy.
        shuffle_labels_at: iteration from which real images come with labels that are not theirs.
        images: how many training images it has; None for all.
    """

    base: Literal["dcgan", "biggan"]
    stages: tuple[Stage, ...]
    driven: str = ""
    shuffle_labels_at: int | None = None
    images: int | None = None

    @property
    def recipe(self) -> str:
        """Name of the recipe that it changes."""
        return _BASES[self.base][0]

    def overrides(self, stage: int) -> list[str]:
        """All overrides that hold in a stage."""
        own = [o for earlier in self.stages[: stage + 1] for o in earlier.overrides]
        return [*_BASES[self.base][1], *own, f"max_itr={self.stages[stage].until_itr}"]


def _steady(base: Literal["dcgan", "biggan"], itrs: int, *overrides: str) -> Run:
    return Run(base, (Stage(itrs, overrides),))


RUNS: dict[str, Run] = {
    "dcgan-1": _steady("dcgan", 1500),
    "dcgan-g-rate-x10": Run("dcgan", (Stage(800), Stage(1500, ("optimizer.g_lr=2e-3",)))),
    "dcgan-rates-x10": _steady("dcgan", 1500, "optimizer.g_lr=4e-3", "optimizer.d_lr=4e-3"),
    "dcgan-d-rate-x20": Run("dcgan", (Stage(800), Stage(1500, ("optimizer.d_lr=4e-3",)))),
    "dcgan-d-starved": Run("dcgan", (Stage(800), Stage(1500, ("optimizer.d_lr=2e-6",)))),
    "dcgan-no-batch-norm": _steady(
        "dcgan",
        1500,
        "network.linear_batch_norm=false",
        "optimizer.g_lr=1e-3",
        "optimizer.d_lr=1e-3",
    ),
    "dcgan-batch-4": _steady(
        "dcgan", 3000, "batch_size=4", "optimizer.g_lr=2e-3", "optimizer.d_lr=2e-3"
    ),
    "dcgan-init": _steady("dcgan", 1500, "initializer.std=0.2"),
    "dcgan-momentum": _steady(
        "dcgan", 1500, "optimizer.betas=[0.9,0.999]", "optimizer.g_lr=2e-3", "optimizer.d_lr=2e-3"
    ),
    "biggan-1": _steady("biggan", 1500),
    "biggan-g-rate-x10": Run("biggan", (Stage(800), Stage(1500, ("optimizer.g_lr=2e-3",)))),
    "biggan-no-sn": _steady(
        "biggan",
        1500,
        "network.spectral_norm_g=false",
        "optimizer.g_lr=2e-3",
        "optimizer.d_lr=2e-3",
    ),
    "biggan-labels": Run("biggan", (Stage(1500),), "x", shuffle_labels_at=800),
    "biggan-few": Run("biggan", (Stage(2000),), "x", images=400),
    "biggan-d-starved": Run("biggan", (Stage(800), Stage(1500, ("optimizer.d_lr=1e-6",)))),
    "biggan-rates": Run(
        "biggan", (Stage(800), Stage(1500, ("optimizer.d_lr=1e-2", "optimizer.g_lr=5e-3")))
    ),
}
