"""What a study is, what it is given, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from training.errors import StudyError, StudyStopped
from zoo.errors import one_line, shown

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Claim(_Frozen):
    """What the original author says, held against a run.

    Attributes:
        author: the author's claim, in our words.
        found: what this run shows, with figures.
        agrees: None where it cannot be told from this run.
    """

    author: str
    found: str
    agrees: bool | None


class Figure(_Frozen):
    """A picture that the study has drawn, `NAME.png` in its folder."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    caption: str


class Findings(_Frozen):
    """What a study has found.

    Attributes:
        study: its name.
        quick: whether the sizes were those of a trial, which proves little.
        settings: the sizes and whatever else decided the outcome.
        numbers: everything measured; what is not finite is written as null.
        claims: of the original author, each held against the numbers.
        figures: in the order of the page.
        words: a paragraph: what was found.
    """

    study: str
    quick: bool
    settings: dict[str, JsonValue]
    numbers: dict[str, JsonValue]
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    words: str


def _plain(items: Iterable[Any], _description: str, _total: int | None) -> Iterator[Any]:
    yield from items


def _never() -> bool:
    return False


def _silent(_text: str) -> None: ...


@dataclass(frozen=True)
class Setting:
    """Where and how large a study runs.

    Attributes:
        quick: about a minute, to see that it works.
        data: folder of the data sets, or images; what `training.data.load_dataset` takes.
        out: folder of the results; it is there.
        download: fetch data that is missing.
        device: to train on.
        say: prints a line.
        full: the original sizes; otherwise, unless quick, sizes for a CPU.
        overrides: `KEY=VALUE` of sizes.
        tracker: shows the progress of an iteration.
        stop_requested: whether somebody asked to stop.
    """

    quick: bool
    data: Path
    out: Path
    download: bool = False
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable
    say: Callable[[str], None] = _silent
    full: bool = False
    overrides: tuple[str, ...] = ()
    tracker: Callable[[Iterable[Any], str, int | None], Iterator[Any]] = _plain
    stop_requested: Callable[[], bool] = _never

    def track(self, items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
        """Goes through `items` and shows how far it is.

        Raises:
            StudyStopped: somebody asked to stop.
        """
        for item in self.tracker(items, description, total):
            if self.stop_requested():
                raise StudyStopped("stopped before there were results: nothing was written")
            yield item

    def sizes(self, model: type[S], *, reduced: Mapping[str, Any], quick: Mapping[str, Any]) -> S:
        """The sizes of this run: full ones are the model's defaults, others change some of them.

        Args:
            model: a pydantic model that forbids extra keys, every field with a default.
            reduced: changes for a CPU.
            quick: changes for about a minute.

        Raises:
            StudyError: an unknown key, or a value that does not fit.
        """
        values = dict(quick if self.quick else {} if self.full else reduced)
        for override in self.overrides:
            key, separator, value = override.partition("=")
            if not separator or not key.strip():
                raise StudyError(f"--set {override!r}: must be key=value, e.g. epochs=2")
            try:
                values[key.strip()] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise StudyError(f"--set {override!r}: not YAML: {one_line(error)}") from error
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise StudyError(_explain(error, model)) from error


@dataclass(frozen=True)
class Study:
    """An experiment.

    Attributes:
        name: as the command line knows it.
        title: what it is about, in a line.
        question: what it asks.
        source: whose experiment it repeats.
        run: makes it; draws its figures into the setting's folder.
    """

    name: str
    title: str
    question: str
    source: str
    run: Callable[[Setting], Findings]


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    parts = []
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            parts.append(f"--set {key}: unknown; known: {', '.join(model.model_fields)}")
        else:
            parts.append(f"--set {key}={shown(problem['input'])}: {problem['msg']}")
    return "; ".join(parts)
