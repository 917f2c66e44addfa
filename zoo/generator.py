"""A generator that is ready to run: a card and an execution of its graph."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.artifact import read_artifact
from zoo.card import Card
from zoo.catalog import Entry
from zoo.errors import ArtifactError, BackendError
from zoo.execution import (
    SIZES,
    Devices,
    Execution,
    Feeds,
    Pooled,
    SingleThreaded,
    is_worth_help,
    open_session,
)
from zoo.latents import Truncation, latents
from zoo.runtime import CPU, CUDA, Device, providers_for
from zoo.trusted_graph import check_graph

if TYPE_CHECKING:
    import onnxruntime

Mixture = tuple[tuple[int, float], ...]
"""Classes of one image with their weights: (class index, weight) pairs; the weights sum to one."""


class Generator:
    """Makes images of one model.

    Attributes:
        card: what is known about the model.
        execution: runs its graph, in one or several lanes.
    """

    def __init__(self, card: Card, execution: Execution, inputs: Set[str]) -> None:
        self.card = card
        self.execution = execution
        self._inputs = inputs

    @property
    def provider(self) -> str:
        """The execution provider that runs it, e.g. `CPUExecutionProvider`."""
        return self.execution.provider

    def generate(
        self,
        seeds: Sequence[int],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
        lane: int = 0,
    ) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C] for N seeds; thread-safe.

        Args:
            seeds: one an image, 0 to 2**64 - 1.
            truncations: one an image; None for none.
            mixtures: one an image; None for a model without classes.
            lane: of the execution.
        """
        z = latents(seeds, truncations, self.card.latent.dim)
        return self.generate_from(z, truncations, mixtures, lane)

    def generate_from(
        self,
        z: NDArray[np.float32],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
        lane: int = 0,
    ) -> NDArray[np.uint8]:
        """The same from latents float32 [N, z_dim], which agree with the truncations."""
        feeds: Feeds = {"z": z}
        if mixtures is not None:
            feeds["class_weights"] = _dense(mixtures, len(self.card.class_names))
        if "truncation" in self._inputs:
            thresholds = [np.inf if t is None else t.equivalent_threshold for t in truncations]
            feeds["truncation"] = np.array(thresholds, np.float32)
        return self.execution.run(feeds, lane)


def load_generator(
    entry: Entry,
    device: Device = "auto",
    cores: int = 1,
    gpus: Sequence[int] = (0,),
    tf32: bool = False,
) -> Generator:
    """Verifies the artifact's checksum and opens an execution of it.

    Args:
        entry: the model, from a catalog.
        device: `auto` takes CUDA where it works and the CPU otherwise; `cuda` does not fall back.
        cores: lanes on a CPU, and how many threads may help with a lone image.
        gpus: CUDA devices by number, a lane each.
        tf32: whether they may multiply with 10 bits of a factor, which is faster.

    Raises:
        ArtifactError: the file is missing, altered, or not the graph that the card describes.
        BackendError: onnxruntime is not installed, or `cuda` is asked for and not available.
    """
    providers = providers_for(device, tf32)
    content = read_artifact(entry.folder, entry.card.artifact)
    check_graph(entry.folder / entry.card.artifact.file, content)
    if providers[0] == CPU:
        return _on_cpu(entry, content, cores)
    places = [[_on_gpu(providers[0], i), CPU] for i in gpus]
    firsts = [_open(entry, content, place, 1) for place in places]
    if all(session.get_providers()[0] == CUDA for session in firsts):
        inputs = _check_contract(entry.card, firsts[0])
        devices = [
            [first, *(_open(entry, content, place, 1) for _ in SIZES[1:])]
            for first, place in zip(firsts, places, strict=True)
        ]
        return Generator(entry.card, Devices(devices), inputs)
    if device == "cuda":
        raise BackendError(
            f"device cuda, GPU {', '.join(map(str, gpus))}: onnxruntime could not start its CUDA "
            "provider and would fall back to the CPU; check the driver and the CUDA and cuDNN "
            "libraries, or use --device cpu"
        )
    return _on_cpu(entry, content, cores)


def _on_cpu(entry: Entry, content: bytes, cores: int) -> Generator:
    session = _open(entry, content, [CPU], 1)
    inputs = _check_contract(entry.card, session)
    if cores == 1 or not is_worth_help(session):
        return Generator(entry.card, SingleThreaded(session, cores), inputs)
    del session  # before there is another copy of the weights
    return Generator(entry.card, Pooled(_open(entry, content, [CPU], cores), cores), inputs)


def _on_gpu(provider: Any, device_id: int) -> tuple[str, dict[str, str]]:
    name, options = (provider, {}) if isinstance(provider, str) else provider
    return name, {**options, "device_id": str(device_id)}


def _open(
    entry: Entry, content: bytes, providers: Sequence[Any], threads: int
) -> onnxruntime.InferenceSession:
    try:
        return open_session(content, providers, threads)
    except Exception as error:
        raise ArtifactError(
            f"{entry.folder / entry.card.artifact.file}: onnxruntime cannot load it: {error}"
        ) from error


def _dense(mixtures: Sequence[Mixture], n_classes: int) -> NDArray[np.float32]:
    weights = np.zeros((len(mixtures), n_classes), np.float32)
    for row, mixture in zip(weights, mixtures, strict=True):
        for index, weight in mixture:
            row[index] = weight
    return weights


def _check_contract(card: Card, session: onnxruntime.InferenceSession) -> frozenset[str]:
    """The graph's inputs and output are those that the card promises."""
    inputs = {node.name: _signature(node) for node in session.get_inputs()}
    expected = {"z": ("tensor(float)", ["N", card.latent.dim])}
    if card.classes is not None:
        expected["class_weights"] = ("tensor(float)", ["N", len(card.classes.names)])
    if "truncation" in inputs:
        expected["truncation"] = ("tensor(float)", ["N"])
    outputs = {node.name: _signature(node) for node in session.get_outputs()}
    image = card.image
    promised = {"images": ("tensor(uint8)", ["N", image.height, image.width, image.channels])}
    for kind, found, wanted in (("inputs", inputs, expected), ("outputs", outputs, promised)):
        if found != wanted:
            raise ArtifactError(
                f"{card.reference}: the graph's {kind} are {found}, the card promises {wanted}"
            )
    return frozenset(inputs)


def _signature(node: Any) -> tuple[str, list[str | int]]:
    """Type and shape of an input or output; N stands for any name of a dynamic batch."""
    batch, *rest = node.shape or [0]
    return node.type, [batch if isinstance(batch, int) else "N", *rest]
