"""What a tick reads off two networks besides their spectra: gradients, updates, NaN."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from training.monitor.spectra import layer_name

_DIGITS = 6  # that a log keeps of a number


def number(value: float) -> float | None:
    """A value as a log keeps it: six digits; None where it is NaN or infinite, which JSON lacks."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def rounded(tree: Any) -> Any:
    """The same of every number in dictionaries and lists."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [rounded(value) for value in tree]
    return number(tree) if isinstance(tree, float) else tree


@torch.no_grad()
def gradient_norms(network: nn.Module) -> dict[str, float]:
    """Frobenius norm of the newest gradient of every weight of two axes or more, by layer.

    Of the last backward pass, averaged over nothing. Layers without a gradient are left out.
    """
    named = [
        (layer_name(name), parameter.grad)
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2 and parameter.grad is not None
    ]
    norms = _norms([gradient for _, gradient in named])
    return dict(zip((name for name, _ in named), norms, strict=True))


@torch.no_grad()
def nonfinite_share(network: nn.Module) -> float:
    """Share of all parameters and buffers' entries that are NaN or infinite, 0 to 1."""
    tensors = [t.detach() for t in (*network.parameters(), *network.buffers())]
    tensors = [t for t in tensors if t.is_floating_point()]
    # A norm is finite only where everything is, and costs one pass without a copy.
    if all(map(math.isfinite, _norms(tensors))):
        return 0.0
    wrong = sum(int((~tensor.isfinite()).sum()) for tensor in tensors)
    return wrong / max(1, sum(tensor.numel() for tensor in tensors))


class Updates:
    """How far one update moves each weight, relative to the weight: ‖ΔW‖ / ‖W‖.

    `remember` before the update, `read` after it. The copy is let go in between.
    """

    def __init__(self, network: nn.Module) -> None:
        self._named = [
            (layer_name(name), parameter)
            for name, parameter in network.named_parameters()
            if parameter.ndim >= 2
        ]
        self._before: list[Tensor] | None = None

    @property
    def remembers(self) -> bool:
        """Whether there was a `remember` since the last reading."""
        return self._before is not None

    def forget(self) -> None:
        """Lets the copy go, as where the weights are put back."""
        self._before = None

    @torch.no_grad()
    def remember(self) -> None:
        """Copies the weights."""
        self._before = [parameter.detach().clone() for _, parameter in self._named]

    @torch.no_grad()
    def read(self) -> dict[str, float]:
        """By layer; empty without a `remember` since the last reading. 0 where a weight is 0."""
        if self._before is None:
            return {}
        now = [parameter.detach() for _, parameter in self._named]
        moved = _norms(list(torch._foreach_sub(now, self._before)))
        sizes = _norms(self._before)
        self._before = None
        return {
            name: move / size if size else 0.0
            for (name, _), move, size in zip(self._named, moved, sizes, strict=True)
        }


def _norms(tensors: list[Tensor]) -> list[float]:
    """Frobenius norms, with one transfer from the device."""
    if not tensors:
        return []
    norms: list[float] = torch.stack(torch._foreach_norm([t.float() for t in tensors])).tolist()
    return norms
