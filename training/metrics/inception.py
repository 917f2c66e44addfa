"""The Inception network of the usual FID, KID and Inception score, through torch-fidelity.

Its weights, converted from the original ones of TensorFlow, are not part of this package nor of
torch-fidelity: they are read from a file, or fetched into torch hub's cache.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import RunError
from zoo.errors import BackendError, one_line
from zoo.nets.classifier import probabilities

_FEATURES, _LOGITS = "2048", "logits_unbiased"  # of FID and KID, and of the Inception score
_BATCH = 25  # images; their maps at 299 px take 150 MB


class Inception:
    """Features and probabilities of images as they are published for natural images.

    Attributes:
        name: as it stands beside figures.
        class_names: none; Inception's 1,008 classes are not those of the data.
        test_accuracy: None, for the same reason.
    """

    name = "inception-v3"
    class_names: tuple[str, ...] = ()
    test_accuracy: float | None = None

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor

    @torch.no_grad()
    def describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Of images uint8 [N, C, H, W], grey or RGB, of any size.

        Returns:
            Features float32 [N, 2048], and probabilities float64 [N, 1008].
        """
        rgb = images.expand(-1, 3, -1, -1)
        parts = [self._extractor(part) for part in torch.split(rgb, _BATCH)]
        features, logits = (torch.cat(column) for column in zip(*parts, strict=True))
        return features, probabilities(logits)


def load_inception(weights: Path | None) -> Inception:
    """The network on the CPU, in evaluation mode.

    Args:
        weights: file with its state dict, as torch-fidelity distributes it; None looks in torch
            hub's cache, and downloads it there.

    Raises:
        BackendError: torch-fidelity is not installed.
        RunError: the weights cannot be had, or are not those of this network.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError as error:
        raise BackendError(
            "Inception features need torch-fidelity: pip install 'ganagerie[inception]'"
        ) from error
    if weights is not None:
        _check(weights)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extractor = fidelity.FeatureExtractorInceptionV3(
                Inception.name,
                [_FEATURES, _LOGITS],
                feature_extractor_weights_path=None if weights is None else str(weights),
            )
    except OSError as error:  # of which urllib's errors are
        raise RunError(
            f"Inception's weights could not be downloaded ({one_line(error)}): fetch "
            f"{fidelity.URL_INCEPTION_V3} elsewhere, and name the file with --inception-weights"
        ) from error
    except Exception as error:  # torch.load and load_state_dict document no set of errors
        place = weights or torch.hub.get_dir()
        raise RunError(f"{place}: not Inception's weights: {one_line(error)}") from error
    return Inception(extractor)


def _check(weights: Path) -> None:
    """Refuses what is not a file of tensors: torch-fidelity would unpickle anything."""
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"no Inception weights {weights}: there is no such file") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise RunError(f"{weights}: not Inception's weights: {one_line(error)}") from error
