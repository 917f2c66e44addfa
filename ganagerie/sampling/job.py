"""What a set of images is: everything that decides its bytes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from server.requests import ClassChoice, Condition, GenerationRequest, Plan, plan
from zoo.card import Card
from zoo.errors import InvalidRequest
from zoo.generator import Mixture
from zoo.latents import TruncationMode

MAX_COUNT = 10_000_000  # images in a set

Classes = Literal["none", "balanced", "prior", "one"]


class Job(BaseModel):
    """One set; two sets of equal jobs have the same bytes.

    Attributes:
        model: `name@version`.
        sha256: of the model's artifact.
        count: images; image `i` has seed `seed + i`.
        seed: of the first image.
        classes: `balanced`: image i is of class i modulo their number; `prior`: drawn from each
            image's seed; `one`: `class_name`; `none`: the model has no classes.
        class_name: of `one`.
        truncation: None for none.
        truncation_mode: what it means.
        layout: what the set looks like on disk.
        provider: onnxruntime's execution provider; a GPU's pixels may differ by a grey level.
        onnxruntime: its version; another one's pixels may differ, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    sha256: str
    count: int
    seed: int
    classes: Classes
    class_name: str | None
    truncation: float | None
    truncation_mode: Literal["threshold", "scale"]
    layout: Literal["folder", "zip", "shards"]
    provider: str
    onnxruntime: str


def classes_of(card: Card, class_name: str | None, prior: bool) -> Classes:
    """Which classes the images are of, unless told otherwise as many of each.

    Raises:
        InvalidRequest: a class is asked for where there are none, or in two ways.
    """
    if class_name is not None and prior:
        raise InvalidRequest("--class", "leave out --prior with it")
    if not card.class_names:
        for option, given in (("--class", class_name is not None), ("--prior", prior)):
            if given:
                raise InvalidRequest(option, f"{card.reference} has no classes; leave it out")
        return "none"
    return "one" if class_name is not None else "prior" if prior else "balanced"


def plan_of(job: Job, card: Card) -> Plan:
    """The images of a job, planned as the server plans a request.

    Raises:
        InvalidRequest: names the setting that cannot be, its value and what is allowed.
    """
    one = job.classes == "one"
    condition = Condition(choice=ClassChoice(name=job.class_name))
    request = GenerationRequest(
        model=job.model,
        count=job.count,
        conditions=(condition,) if one else (),
        truncation=job.truncation,
        truncation_mode=None if job.truncation is None else TruncationMode(job.truncation_mode),
        seed=job.seed,
    )
    planned = plan(request, card, MAX_COUNT)
    if job.classes == "balanced":
        planned = replace(planned, mixtures=_in_turn(len(card.class_names), job.count))
    return planned


def _in_turn(n_classes: int, count: int) -> Sequence[Mixture]:
    turn: tuple[Mixture, ...] = tuple(((index, 1.0),) for index in range(n_classes))
    return (turn * (-(-count // n_classes)))[:count]
