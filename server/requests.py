"""What may be asked for: a request as it comes in, and the plan it becomes once it is checked.

Nothing here knows gRPC: the service, the CLI and any later door share these checks and their texts.
"""

from __future__ import annotations

import difflib
import math
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from server.encoding import Encoding, ImageFormat, check_encoding
from zoo.card import Card
from zoo.errors import InvalidRequest, shown
from zoo.generator import Mixture
from zoo.latents import MAX_SEED, Truncation, TruncationMode, prior_class

MAX_SCALE = 1.0
_PAIR_BYTES = 112  # a class and its weight in a mixture, as Python objects
_COMPARED = 64  # characters of an unknown name: the time grows with them and the number of names
DRAWN_SEED_BITS = 48  # exact in every language's numbers, and rarely the same twice


class Priority(Enum):
    """Whose images are made first."""

    NORMAL = "normal"
    """In turns with all others of this priority."""

    BULK = "bulk"
    """What NORMAL requests leave of a batch; nothing while those have more images waiting."""


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """A class by name or by index, and its weight in a mixture."""

    name: str | None = None
    index: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What one image is to show: a class, or a mixture of classes; exactly one of the two."""

    choice: ClassChoice | None = None
    mixture: Collection[ClassChoice] | None = None


@dataclass(frozen=True)
class GenerationRequest:
    """What somebody asks for; nothing in it has been checked."""

    model: str
    count: int = 1
    conditions: Collection[Condition] = ()
    truncation: float | None = None
    truncation_mode: TruncationMode | None = None
    seed: int | None = None
    format: ImageFormat = ImageFormat.PNG
    quality: int | None = None
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, eq=False)
class Plan:
    """What will be made.

    Attributes:
        seeds: one an image; a range where they follow one another.
        truncations: one for all, or one an image; None is none.
        mixtures: empty (unconditional, or drawn from the prior), one for all, or one an image.
        n_classes: 0 for a model without classes.
        z: latents float32 [count, z_dim] in place of the seeds', which then mean nothing.
    """

    seeds: Sequence[int]
    truncations: tuple[Truncation | None, ...]
    mixtures: Sequence[Mixture]
    n_classes: int
    encoding: Encoding
    z: NDArray[np.float32] | None = None
    priority: Priority = Priority.NORMAL

    @property
    def nbytes(self) -> int:
        """About how much memory the arrays and mixtures take; the rest is small."""
        z_bytes = 0 if self.z is None else self.z.nbytes
        if isinstance(self.mixtures, tuple):
            return z_bytes + sum(map(len, self.mixtures)) * _PAIR_BYTES
        return z_bytes + 4 * self.n_classes * len(self.mixtures)

    @property
    def count(self) -> int:
        """How many images."""
        return len(self.seeds)

    def part(self, indices: Sequence[int]) -> Plan:
        """The plan of some of the images, in this order."""
        if len(indices) == self.count:
            return self
        alike = len(self.truncations) == 1
        return replace(
            self,
            seeds=[self.seeds[i] for i in indices],
            truncations=self.truncations if alike else tuple(self.truncations[i] for i in indices),
            mixtures=self.mixtures
            if len(self.mixtures) <= 1
            else tuple(self.mixtures[i] for i in indices),
            z=None if self.z is None else self.z[list(indices)],
        )

    def truncation(self, index: int) -> Truncation | None:
        """The truncation of image `index`."""
        return self.truncations[index if len(self.truncations) > 1 else 0]

    def mixture(self, index: int) -> Mixture | None:
        """The classes of image `index`; None for a model without classes."""
        if self.n_classes == 0:
            return None
        if not self.mixtures:
            return ((prior_class(self.seeds[index], self.n_classes), 1.0),)
        return self.mixtures[index if len(self.mixtures) > 1 else 0]


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """One image of a request, encoded."""

    index: int
    seed: int
    mixture: Mixture | None
    data: bytes

    def at(self, index: int) -> FinishedImage:
        """The same, as image `index` of a request."""
        return self if index == self.index else replace(self, index=index)


def plan(request: GenerationRequest, card: Card, max_count: int) -> Plan:
    """Checks a request against the model that it names.

    Args:
        request: what somebody asks for.
        card: the model's card.
        max_count: most images in a request.

    Raises:
        InvalidRequest: names the first field that cannot be, its value and what is allowed.
    """
    if not 1 <= request.count <= max_count:
        raise InvalidRequest("count", f"{shown(request.count)} is outside 1 to {max_count}")
    return Plan(
        seeds=consecutive_seeds(request.seed, request.count),
        truncations=(_truncation(request.truncation, request.truncation_mode),),
        mixtures=_mixtures(request, card),
        n_classes=len(card.class_names),
        encoding=check_encoding(request.format, request.quality),
        priority=request.priority,
    )


def consecutive_seeds(seed: int | None, count: int) -> range:
    """The seeds from `seed` on, or from one that is drawn.

    Raises:
        InvalidRequest: names `seed` and what is allowed.
    """
    if seed is None:
        seed = secrets.randbits(DRAWN_SEED_BITS)
    if not 0 <= seed <= MAX_SEED - (count - 1):
        raise InvalidRequest(
            "seed",
            f"{shown(seed)} is outside 0 to {MAX_SEED - (count - 1)} "
            f"(the seed of the last of {count} images must fit in 64 bits)",
        )
    return range(seed, seed + count)


def _truncation(value: float | None, mode: TruncationMode | None) -> Truncation | None:
    if value is None:
        if mode is not None:
            raise InvalidRequest("truncation_mode", f"{mode.name} needs a truncation beside it")
        return None
    return checked_truncation(value, mode or TruncationMode.THRESHOLD, "truncation")


def checked_truncation(value: float, mode: TruncationMode, field: str) -> Truncation:
    """A truncation that can be.

    Raises:
        InvalidRequest: names `field`, the value and what is allowed.
    """
    if not (math.isfinite(value) and value >= 0):
        raise InvalidRequest(
            field, f"{value} is not allowed; a finite number of at least 0, or unset"
        )
    if mode is TruncationMode.SCALE and value > MAX_SCALE:
        raise InvalidRequest(
            field, f"{value} is outside 0 to {MAX_SCALE:g} for truncation mode SCALE"
        )
    return Truncation(value, mode)


def _mixtures(request: GenerationRequest, card: Card) -> tuple[Mixture, ...]:
    conditions = request.conditions
    if conditions and not card.class_names:
        raise InvalidRequest(
            "conditions", f"{card.reference} has no classes; leave conditions empty"
        )
    if len(conditions) not in {0, 1, request.count}:
        allowed = "0 or 1" if request.count == 1 else f"0, 1 or {request.count} (the count)"
        raise InvalidRequest("conditions", f"{len(conditions)} given; allowed: {allowed}")
    return tuple(
        _mixture(condition, card, f"conditions[{i}]") for i, condition in enumerate(conditions)
    )


def _mixture(condition: Condition, card: Card, field: str) -> Mixture:
    if (condition.choice is None) == (condition.mixture is None):
        raise InvalidRequest(field, "must hold exactly one of class_name, class_index and mixture")
    if condition.choice is not None:
        return ((_class_index(condition.choice, card, field), 1.0),)
    choices = condition.mixture or ()
    weights: dict[int, float] = {}
    for i, choice in enumerate(choices):
        at = f"{field}.mixture.classes[{i}]"
        if not (math.isfinite(choice.weight) and choice.weight >= 0):
            raise InvalidRequest(
                f"{at}.weight", f"{choice.weight} is not allowed; a finite number of at least 0"
            )
        index = _class_index(choice, card, at)
        if index in weights:
            raise InvalidRequest(at, f"class {card.class_names[index]!r} is there twice")
        weights[index] = choice.weight
    total = sum(weights.values())
    if not 0 < total < math.inf:
        raise InvalidRequest(
            f"{field}.mixture", f"the weights sum to {total}; at least one must be positive"
        )
    return tuple((index, weight / total) for index, weight in weights.items() if weight > 0)


def _class_index(choice: ClassChoice, card: Card, field: str) -> int:
    if (choice.name is None) == (choice.index is None):
        what = "both given" if choice.name is not None else "neither given"
        raise InvalidRequest(field, f"class_name and class_index: {what}; give exactly one")
    if choice.index is not None:
        return checked_index(choice.index, card, f"{field}.class_index")
    return index_of_name(choice.name or "", card, f"{field}.class_name")


def checked_index(index: int, card: Card, field: str) -> int:
    """A class's index that can be.

    Raises:
        InvalidRequest: names `field`, the index and what is allowed.
    """
    last = len(card.class_names) - 1
    if not 0 <= index <= last:
        raise InvalidRequest(field, f"{shown(index)} is outside 0 to {last} of {card.reference}")
    return index


def index_of_name(name: str, card: Card, field: str, listed_by: str = "GetModel") -> int:
    """The index of the class of that name; `listed_by` is the call that lists all names.

    Raises:
        InvalidRequest: names `field`, the name and the nearest ones.
    """
    index = card.class_indices.get(name)
    if index is None:
        names = card.class_names
        raise InvalidRequest(
            field,
            f"{shown(name)} is not a class of {card.reference}; nearest: "
            f"{', '.join(_nearest(name, names))} ({listed_by} lists all {len(names)})",
        )
    return index


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    folded = {candidate.casefold(): candidate for candidate in reversed(names)}
    near = difflib.get_close_matches(name[:_COMPARED].casefold(), folded, n=3, cutoff=0.0)
    return [repr(folded[match]) for match in near]
