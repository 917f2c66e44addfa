"""A request by rows: arrays in which each row is an image, and the plan that they become.

As `server/requests.py`, which it shares checks with, but each image can have its own seed and its
own truncation, and latents can be given instead of drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from server.encoding import ImageFormat, check_encoding
from server.requests import (
    Plan,
    Priority,
    checked_index,
    checked_truncation,
    consecutive_seeds,
    index_of_name,
)
from zoo.card import Card
from zoo.errors import InvalidRequest
from zoo.generator import Mixture
from zoo.latents import Truncation, TruncationMode


@dataclass(frozen=True, eq=False)
class Rows:
    """What somebody asks for, N images; shapes and types are right, nothing else was checked.

    Attributes:
        count: N.
        classes: [N], indices or names.
        class_weights: float32 [N, n_classes]; instead of `classes`.
        truncation: float32 [N].
        truncation_mode: what `truncation` means; THRESHOLD unless given.
        seed: uint64 [N].
        z: float32 [N, z_dim]; instead of `seed`.
        format: of the images.
        quality: of the images.
        priority: of the request.
    """

    count: int
    classes: Sequence[int | str] | None = None
    class_weights: NDArray[np.float32] | None = None
    truncation: NDArray[np.float32] | None = None
    truncation_mode: TruncationMode | None = None
    seed: NDArray[np.uint64] | None = None
    z: NDArray[np.float32] | None = None
    format: ImageFormat = ImageFormat.RAW
    quality: int | None = None
    priority: Priority = Priority.NORMAL


def plan_rows(rows: Rows, card: Card) -> Plan:
    """Checks rows against the model that they are for.

    Raises:
        InvalidRequest: names the first row that cannot be, its value and what is allowed.
    """
    return Plan(
        seeds=_seeds(rows),
        truncations=_truncations(rows),
        mixtures=_mixtures(rows, card),
        n_classes=len(card.class_names),
        encoding=check_encoding(rows.format, rows.quality),
        z=_latents(rows, card),
        priority=rows.priority,
    )


def _seeds(rows: Rows) -> Sequence[int]:
    if rows.z is not None:
        if rows.seed is not None:
            raise InvalidRequest("seed", "z is given, so nothing is left to draw; leave one out")
        return range(rows.count)
    if rows.seed is None:
        return consecutive_seeds(None, rows.count)
    seeds: list[int] = rows.seed.tolist()
    return seeds


def _truncations(rows: Rows) -> tuple[Truncation | None, ...]:
    mode = rows.truncation_mode
    if rows.truncation is None:
        if mode is not None:
            raise InvalidRequest("truncation_mode", f"{mode.name} needs a truncation beside it")
        return (None,)
    return tuple(
        checked_truncation(value, mode or TruncationMode.THRESHOLD, f"truncation[{i}]")
        for i, value in enumerate(rows.truncation.tolist())
    )


def _mixtures(rows: Rows, card: Card) -> Sequence[Mixture]:
    if rows.classes is not None and rows.class_weights is not None:
        raise InvalidRequest("class_weights", "class is given as well; leave one out")
    if rows.class_weights is not None:
        return _weighted(rows.class_weights)
    if rows.classes is not None:
        return tuple(
            ((_index(value, card, f"class[{i}]"), 1.0),) for i, value in enumerate(rows.classes)
        )
    if rows.z is not None and card.class_names:
        raise InvalidRequest("z", f"{card.reference} needs class or class_weights beside z")
    return ()


def _index(value: int | str, card: Card, field: str) -> int:
    if isinstance(value, str):
        return index_of_name(value, card, field, listed_by="ModelConfig")
    return checked_index(value, card, field)


class _Weighted(Sequence[Mixture]):
    """Mixtures of class weights float32 [N, n_classes], made when they are asked for.

    Written out, they take 28 times the memory of the array.
    """

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self._weights = weights

    def __len__(self) -> int:
        return len(self._weights)

    @overload
    def __getitem__(self, index: int) -> Mixture: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Mixture]: ...

    def __getitem__(self, index: int | slice) -> Mixture | Sequence[Mixture]:
        if isinstance(index, slice):
            return _Weighted(self._weights[index])
        row = self._weights[index]
        classes = np.flatnonzero(row)
        weights = row[classes].tolist()
        total = sum(weights)
        return tuple((c, w / total) for c, w in zip(classes.tolist(), weights, strict=True))


def _weighted(weights: NDArray[np.float32]) -> Sequence[Mixture]:
    wrong = np.argwhere(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InvalidRequest(
            f"class_weights[{row}, {column}]",
            f"{weights[row, column]} is not allowed; a finite number of at least 0",
        )
    empty = np.flatnonzero(~weights.any(axis=1))
    if len(empty):
        raise InvalidRequest(
            f"class_weights[{empty[0]}]", "the weights sum to 0; at least one must be positive"
        )
    return _Weighted(weights)


def _latents(rows: Rows, card: Card) -> NDArray[np.float32] | None:
    if rows.z is None:
        return None
    wrong = np.argwhere(~np.isfinite(rows.z))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise InvalidRequest(
            f"z[{row}, {column}]", f"{rows.z[row, column]} is not allowed; a finite number"
        )
    return rows.z
