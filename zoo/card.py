"""The model card: what is known about one exported generator, as `card.json`.

`null` means "not measured". Tools fill these fields; nobody types a metric by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from zoo.errors import CardError
from zoo.regular_file import read_regular_file

CARD = "card.json"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
VERSION_PATTERN = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"
_MAX_CARD_BYTES = 4 * 1024 * 1024

Positive = Annotated[int, Field(gt=0, lt=2**31, strict=True)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Artifact(_Frozen):
    """The ONNX file beside the card."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\.onnx$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    opset: Positive
    weights: Literal["fp32", "fp16"] = Field(description="how weights are stored; they run in fp32")


class Latent(_Frozen):
    """The latent vector z."""

    dim: Positive
    distribution: Literal["normal"]


class Classes(_Frozen):
    """The classes of a conditional model, in order of index."""

    names: tuple[str, ...] = Field(min_length=1)

    @cached_property
    def indices(self) -> Mapping[str, int]:
        """The index of each class by its name."""
        return {name: i for i, name in enumerate(self.names)}

    @field_validator("names")
    @classmethod
    def _unique(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted(name for name, times in Counter(names).items() if times > 1)
        if repeated or "" in names:
            raise ValueError(f"names must be unique and not empty; repeated: {repeated}")
        return names


class Image(_Frozen):
    """Size of the images in pixels; 1 channel is grey, 3 are RGB."""

    height: Positive
    width: Positive
    channels: Literal[1, 3]


class TruncationPoint(_Frozen):
    """Quality at one threshold."""

    threshold: float | None = Field(ge=0)
    metrics: dict[str, float]


class TruncationAdvice(_Frozen):
    """What the model's authors recommend; never applied by itself."""

    default: float | None = Field(ge=0)
    mode: Literal["threshold", "scale"]
    curve: tuple[TruncationPoint, ...] | None


class Provenance(_Frozen):
    """How the weights came to be."""

    recipe: str | None
    dataset: str | None
    images_seen: int | None = Field(ge=0)
    commit: str | None
    started: str | None
    finished: str | None


class Metric(_Frozen):
    """One measured figure, with how many samples it was measured on and by what."""

    name: str
    value: float
    samples: Positive
    tool: str


class Parity(_Frozen):
    """Largest difference between the file's images and torch's, in grey levels of 255."""

    max_abs_error: int = Field(ge=0, le=255)
    differing_pixels: float = Field(ge=0, le=1, description="share of pixels that differ at all")
    seeds: Positive = Field(description="how many seeds were compared, from 0")
    batch_sizes: tuple[Positive, ...]


class Card(_Frozen):
    """One model."""

    name: str = Field(pattern=NAME_PATTERN)
    version: str = Field(pattern=VERSION_PATTERN)
    architecture: str
    license: str
    artifact: Artifact
    latent: Latent
    classes: Classes | None
    image: Image
    truncation: TruncationAdvice
    provenance: Provenance
    quality: tuple[Metric, ...] | None
    parity: Parity | None
    limits: str

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Empty for a model without classes."""
        return self.classes.names if self.classes else ()

    @property
    def class_indices(self) -> Mapping[str, int]:
        """The index of each class by its name; empty for a model without classes."""
        return self.classes.indices if self.classes else {}

    def to_json(self) -> str:
        """As it stands in `card.json`."""
        return self.model_dump_json(indent=2) + "\n"


def version_key(version: str) -> tuple[int, ...]:
    """Orders versions: 1.10.0 is newer than 1.9.0."""
    return tuple(int(part) for part in version.split("."))


def read_card(path: Path) -> Card:
    """Reads and validates a `card.json`.

    Raises:
        CardError: it is missing, too large, not JSON, or says something that cannot be.
    """
    try:
        text = read_regular_file(path, _MAX_CARD_BYTES)
    except OSError as error:
        raise CardError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > _MAX_CARD_BYTES:
        raise CardError(f"{path}: larger than {_MAX_CARD_BYTES:,} bytes")
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'card'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise CardError(f"{path}: {problems}") from error


def parse_reference(reference: str) -> tuple[str, str | None]:
    """Splits `name` or `name@version`; the version is None where it is not given."""
    name, separator, version = reference.partition("@")
    return name, version if separator else None
