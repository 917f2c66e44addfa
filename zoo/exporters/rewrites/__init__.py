"""Rewrites that make an exported generator faster, each exact but for rounding.

Each takes a generator with folded spectral norms in evaluation mode, and returns it changed, or as
it was where the rewrite does not apply. benchmarks/export.py measures them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn

from zoo.exporters.graph import ServedGenerator
from zoo.exporters.rewrites.joint_norms import joint_norms
from zoo.exporters.rewrites.output_layers import fold_output_norm, transposed_output
from zoo.exporters.rewrites.upsampling import shortcuts_before_upsampling, upsample_by_phases

Rewrite = Callable[[nn.Module], nn.Module]

REWRITES: tuple[Rewrite, ...] = (
    upsample_by_phases,
    shortcuts_before_upsampling,
    transposed_output,
    fold_output_norm,
    joint_norms,  # last: it hides the generator behind a module of another kind
)


@torch.no_grad()
def rewritten(served: ServedGenerator, rewrites: Sequence[Rewrite] = REWRITES) -> ServedGenerator:
    """A copy of `served`, in evaluation mode, that makes the same images at less expense.

    Args:
        served: with spectral norms folded and final batch-norm statistics.
        rewrites: those to apply, in this order.
    """
    faster = copy.deepcopy(served).eval()
    for rewrite in rewrites:
        faster.generator = rewrite(faster.generator)
    return faster.eval()
