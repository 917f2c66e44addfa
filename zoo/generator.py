"""A generator that is ready to run: a card and an onnxruntime session.

One session serves several calling threads: onnxruntime's `run` is thread-safe, releases the GIL,
and shares the weights. Sessions are single-threaded, so two busy callers fill two cores, and an
image's pixels do not depend on how its batch was split.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from zoo.artifact import read_artifact
from zoo.card import Card
from zoo.catalog import Entry
from zoo.errors import ArtifactError, BackendError
from zoo.latents import Truncation, latents
from zoo.runtime import CUDA, Device, load_runtime, providers_for
from zoo.trusted_graph import check_graph

if TYPE_CHECKING:
    import onnxruntime

Mixture = tuple[tuple[int, float], ...]
"""Classes of one image with their weights: (class index, weight) pairs; the weights sum to one."""


class Generator:
    """Makes images of one model.

    Attributes:
        card: what is known about the model.
        provider: the execution provider that runs it, e.g. `CPUExecutionProvider`.
    """

    def __init__(self, card: Card, session: onnxruntime.InferenceSession) -> None:
        self.card = card
        self.provider: str = session.get_providers()[0]
        self._session = session
        self._inputs = _check_contract(card, session)

    def generate(
        self,
        seeds: Sequence[int],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
    ) -> NDArray[np.uint8]:
        """Images uint8 [N, H, W, C] for N seeds; thread-safe.

        Args:
            seeds: one an image, 0 to 2**64 - 1.
            truncations: one an image; None for none.
            mixtures: one an image; None for a model without classes.
        """
        z = latents(seeds, truncations, self.card.latent.dim)
        return self.generate_from(z, truncations, mixtures)

    def generate_from(
        self,
        z: NDArray[np.float32],
        truncations: Sequence[Truncation | None],
        mixtures: Sequence[Mixture] | None = None,
    ) -> NDArray[np.uint8]:
        """The same from latents float32 [N, z_dim], which agree with the truncations."""
        feeds: dict[str, Any] = {"z": z}
        if mixtures is not None:
            feeds["class_weights"] = _dense(mixtures, len(self.card.class_names))
        if "truncation" in self._inputs:
            thresholds = [np.inf if t is None else t.equivalent_threshold for t in truncations]
            feeds["truncation"] = np.array(thresholds, np.float32)
        images: NDArray[np.uint8] = self._session.run(["images"], feeds)[0]
        return images


def load_generator(entry: Entry, device: Device = "auto") -> Generator:
    """Verifies the artifact's checksum and opens a session on it.

    Args:
        entry: the model, from a catalog.
        device: `auto` takes CUDA where it works and the CPU otherwise; `cuda` does not fall back.

    Raises:
        ArtifactError: the file is missing, altered, or not the graph that the card describes.
        BackendError: onnxruntime is not installed, or `cuda` is asked for and not available.
    """
    runtime, providers = load_runtime(), providers_for(device)
    content = read_artifact(entry.folder, entry.card.artifact)
    check_graph(entry.folder / entry.card.artifact.file, content)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A plan of the memory for every size of batch that comes along would be kept.
    options.enable_mem_pattern = False
    # A graph may name other files for its weights; none of those was checked.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    options.log_severity_level = 3  # errors; warnings about graph details are not for operators
    try:
        session = runtime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        raise ArtifactError(
            f"{entry.folder / entry.card.artifact.file}: onnxruntime cannot load it: {error}"
        ) from error
    if device == "cuda" and session.get_providers()[0] != CUDA:
        raise BackendError(
            "device cuda: onnxruntime could not start its CUDA provider and would fall back to the "
            "CPU; check the driver and the CUDA and cuDNN libraries, or use --device cpu"
        )
    return Generator(entry.card, session)


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
