"""Thresholds at which batch-norm statistics are tabulated, and weights to interpolate between them.

The statistics of a truncated generator are not those of an untruncated one (BigGAN, appendix C.1),
so a served graph carries one row of them for each knot. Knots are evenly spaced in the share of a
normal distribution that a threshold keeps, erf(t/√2), which maps every threshold, infinity
included, into [0, 1].
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import erfinv
from torch import Tensor

N_KNOTS = 17


def thresholds(n_knots: int = N_KNOTS) -> list[float | None]:
    """The knots' thresholds, from 0 to None, which is no truncation."""
    shares = np.linspace(0.0, 1.0, n_knots)[:-1]
    return [*(float(math.sqrt(2.0) * erfinv(share)) for share in shares), None]


def knots_of(truncation: Tensor, n_knots: int) -> Tensor:
    """Weights of the two nearest rows for thresholds float32 [N]: float32 [N, n_knots]."""
    share = torch.erf(truncation.clamp(0.0, 10.0) / math.sqrt(2.0))
    position = share[:, None] * (n_knots - 1)
    rows = torch.arange(n_knots, dtype=torch.float32)
    return F.relu(1.0 - (position - rows).abs())
