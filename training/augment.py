"""DiffAugment (Zhao et al. 2020): the same kind of random change for real and generated images.

D sees changed images only, and G learns through the change, so each is differentiable. Apply it to
whatever D sees: real and fake images in D's update, fake ones in G's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

_SHIFT = 1 / 8  # of the side, at most (section 4)
_CUT = 1 / 2  # of the side


def diffaugment(
    images: Tensor, policies: Sequence[str], pixel_range: tuple[float, float] = (-1.0, 1.0)
) -> Tensor:
    """Applies policies in their order, each image its own draw from torch's global generator.

    Results are not clipped. What a translation uncovers and a cutout covers becomes the middle of
    `pixel_range`: the paper's 0 for images in [-1, 1].

    Args:
        images: float [N, C, H, W], C being 1 or 3.
        policies: any of `color` (brightness, saturation where C is 3, contrast), `translation` (up
            to an eighth of the side each way), and `cutout` (a square of half the side, whose
            centre is anywhere in the image).
        pixel_range: of the images; brightness moves by up to a quarter of its span.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: an unknown policy.
    """
    low, high = pixel_range
    known: dict[str, Callable[[Tensor], Tensor]] = {
        "color": partial(_color, span=high - low),
        "translation": partial(_translation, fill=(low + high) / 2),
        "cutout": partial(_cutout, fill=(low + high) / 2),
    }
    for policy in policies:
        if policy not in known:
            raise ValueError(f"unknown policy {policy!r}; known: {', '.join(known)}")
        images = known[policy](images)
    return images


def _color(images: Tensor, span: float) -> Tensor:
    images = images + (_uniform(images) - 0.5) * (span / 2)
    if images.shape[1] == 3:
        grey = images.mean(1, keepdim=True)
        images = torch.lerp(grey.expand_as(images), images, _uniform(images) * 2)
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, _uniform(images) + 0.5)


def _translation(images: Tensor, fill: float) -> Tensor:
    n, _, height, width = images.shape
    most_y, most_x = _rounded(height * _SHIFT), _rounded(width * _SHIFT)
    padded = F.pad(images, (most_x, most_x, most_y, most_y), value=fill)
    rows = torch.arange(height, device=images.device) + _integers(images, 2 * most_y + 1)
    columns = torch.arange(width, device=images.device) + _integers(images, 2 * most_x + 1)
    which = torch.arange(n, device=images.device)
    moved = padded.permute(0, 2, 3, 1)[which[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _cutout(images: Tensor, fill: float) -> Tensor:
    covered = _covered(images, 2)[:, :, None] & _covered(images, 3)[:, None, :]
    return images.masked_fill(covered[:, None], fill)


def _covered(images: Tensor, axis: int) -> Tensor:
    """Which rows, or columns, lie in a span of half the side: bool [N, side]."""
    side = images.shape[axis]
    length = _rounded(side * _CUT)
    # Centres reach the edges, where the span is cut off; an even one has one position more.
    first = _integers(images, side + 1 - length % 2) - length // 2
    place = torch.arange(side, device=images.device)
    return (place >= first) & (place < first + length)


def _rounded(value: float) -> int:
    """The nearest whole number."""
    return int(value + 0.5)


def _uniform(images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, dtype=images.dtype, device=images.device)


def _integers(images: Tensor, end: int) -> Tensor:
    return torch.randint(end, (len(images), 1), device=images.device)
