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
        stuck_at: batches after which the loader gives the same few images for ever.
        images: how many training images it has; None for all.
    """

    base: Literal["dcgan", "biggan"]
    stages: tuple[Stage, ...]
    driven: str = ""
    stuck_at: int | None = None
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
    "dcgan-stuck": Run("dcgan", (Stage(1200),), "x", stuck_at=700),
    "biggan-orthogonal": Run("biggan", (Stage(500), Stage(900, ("penalties.orthogonal=10",)))),
    "dcgan-clamp": Run(
        "dcgan", (Stage(700), Stage(1100, ("penalties.sigma0_clamp.sigma_reg=0.7",)))
    ),
    "biggan-d-slow": Run("biggan", (Stage(500), Stage(1000, ("optimizer.d_lr=2e-5",)))),
    "dcgan-few": Run("dcgan", (Stage(1800),), "x", images=200),
    "biggan-r1": Run("biggan", (Stage(500), Stage(900, ("penalties.r1_gamma=3000",)))),
    "dcgan-d-rate-x100": Run("dcgan", (Stage(700), Stage(1100, ("optimizer.d_lr=5e-2",)))),
    "biggan-no-sn-hot": _steady(
        "biggan", 900, "network.spectral_norm_g=false", "optimizer.g_lr=1e-2", "optimizer.d_lr=1e-2"
    ),
    "dcgan-no-bn-hot": Run(
        "dcgan",
        (
            Stage(
                1200,
                ("network.linear_batch_norm=false", "optimizer.g_lr=4e-3", "optimizer.d_lr=2e-3"),
            ),
        ),
    ),
    "dcgan-momentum-late": Run(
        "dcgan", (Stage(700), Stage(1100, ("optimizer.betas=[0.95,0.95]", "optimizer.g_lr=5e-3")))
    ),
    "dcgan-batch-4": _steady("dcgan", 2500, "batch_size=4"),
}
