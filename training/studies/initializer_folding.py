"""What becomes of a normal distribution by truncation, and by folding its tails with fmod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from training.config import InitializerConfig
from training.initializers import initialize
from training.studies.drawing import drawing
from training.studies.study import Figure, Setting

_CUT: Final = 2.0  # standard deviations
_FOLDS: Final = 4  # beyond ten standard deviations there is nothing to fold

Array = NDArray[np.float64]


def truncated_density(x: Array) -> Array:
    """Of N(0, 1) restricted to [-2, 2]."""
    density: Array = stats.truncnorm(-_CUT, _CUT).pdf(x)
    return density


def folded_density(x: Array) -> Array:
    """Of the remainder of N(0, 1) by 2, which keeps its sign: Σₖ φ(|x| + 2k) within (-2, 2)."""
    k = _CUT * np.arange(_FOLDS + 1)[:, None]
    density: Array = np.where(np.abs(x) < _CUT, stats.norm.pdf(np.abs(x) + k).sum(0), 0.0)
    return density


@dataclass(frozen=True)
class Folding:
    """Both distributions in units of the standard deviation before the cut, as drawn here.

    Attributes:
        samples: of either.
        truncated_variance: of samples of the exact one.
        folded_variance: of samples of the approximation.
        distance: Kolmogorov and Smirnov's, between the two samples: the largest difference of
            their cumulative shares.
        p_exact: probability of a distance from theory as large as that of the exact samples.
        p_folded: the same of the folded samples against the truncated normal.
    """

    samples: int
    truncated_variance: float
    folded_variance: float
    distance: float
    p_exact: float
    p_folded: float


def drawn(name: str, n: int, seed: int) -> Array:
    """Weights by an initialiser of that name, with a standard deviation of one."""
    layer = nn.Linear(n, 1, bias=False)
    torch.manual_seed(seed)
    initialize(layer, InitializerConfig.model_validate({"name": name, "std": 1.0}))
    return layer.weight.detach().flatten().double().numpy()


def study_folding(setting: Setting, n: int, seed: int) -> tuple[Folding, Figure]:
    """Draws from both, measures, and draws their densities."""
    exact = drawn("truncated-normal", n, seed)
    folded = drawn("truncated-normal-fmod", n, seed + 1)
    theory = stats.truncnorm(-_CUT, _CUT).cdf
    folding = Folding(
        n,
        float(exact.var()),
        float(folded.var()),
        float(stats.ks_2samp(exact, folded, method="asymp").statistic),
        float(stats.kstest(exact, theory, method="asymp").pvalue),
        float(stats.kstest(folded, theory, method="asymp").pvalue),
    )
    figure = Figure(
        name="truncation",
        caption=f"{n:,} weights of each, in standard deviations of the normal distribution before "
        "its cut, as histograms, and both densities. Folding puts the tails next to 0, on their "
        "own side of it.",
    )
    title = "A truncated normal, and the approximation by fmod"
    with drawing(setting, figure, title, columns=2, panel=(4.6, 3.1)) as (left, right):
        x, shares = np.linspace(-2.2, 2.2, 881), []
        for number, (label, values, density) in enumerate(
            (("truncated", exact, truncated_density), ("fmod", folded, folded_density))
        ):
            share, bounds, _ = left.hist(
                values, 88, range=(-2.2, 2.2), density=True, color=f"C{number}", alpha=0.3
            )
            shares.append(np.asarray(share))
            left.plot(x, density(x), color=f"C{number}", label=label)
        left.set_ylabel("density")
        left.legend(loc="lower center")
        middles = (bounds[:-1] + bounds[1:]) / 2
        right.bar(middles, shares[1] - shares[0], bounds[1] - bounds[0], color="C1", alpha=0.3)
        within = x[np.abs(x) < _CUT]
        right.plot(within, folded_density(within) - truncated_density(within), color="C1")
        right.set_ylabel("density of fmod less that of truncated")
        for axis in (left, right):
            axis.set_xlabel("standard deviations")
    return folding, figure
