"""A look at samples: how far from real images, how various, and what D thinks of unseen images.

The samples are of one fixed batch of latents and classes, made by the generator as it trains (not
its average), with batch-norm statistics of the batch, as D sees them. Nothing of either network
changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from torch import Tensor, nn

from training.batches import one_hot
from training.data import Images, to_range
from training.draws import noise
from training.metrics.frechet import Gaussian, frechet_distance
from training.monitor.proxy_features import Extractor, ProxySpace
from training.networks import pixel_range
from training.steps import Inputs
from zoo.nets.layers import normalised_weights, own_statistics

FEWEST_IMAGES = 48
"""Of a data set that samples can be compared with."""

_FIXED = 2**61  # iteration of the noise of the fixed batch
_SAMPLES_A_CLASS = 8
_PART = 128
_SEED = 5


class Look:
    """Compares samples with real images; every figure is a function of the weights alone.

    Args:
        train: the training images.
        held_out: images that D has not seen; None where there are none. Left out where both
            networks are told classes and theirs are others.
        extract: the feature space.
        z_dim: length of z.
        conditional: whether both networks are told classes.
        samples: how many are made; fewer where `train` has less than three times as many.
    """

    def __init__(
        self,
        train: Images,
        held_out: Images | None,
        extract: Extractor,
        *,
        z_dim: int,
        conditional: bool,
        samples: int,
    ) -> None:
        self._n_classes = len(train.class_names) if conditional else 0
        shown = self._shown_classes(samples)
        known = _of_classes(train.labels, shown)
        if len(known) < FEWEST_IMAGES:
            known = torch.arange(len(train))
        n = min(samples, len(known) // 3)
        # The noise does not depend on the run's seed: runs compare.
        self._z = noise(_SEED, _FIXED, n, z_dim)
        self._labels = shown[torch.arange(n) % len(shown)]
        reference, probe = known[: 2 * n], known[2 * n : 3 * n]
        self._space = ProxySpace(extract, _unit(train.batch(reference)))
        self._reference = Gaussian.fit(self._space(_unit(train.batch(reference))))
        self._seen = train.batch(probe), train.labels[probe]
        self._unseen = None
        if held_out is not None and self._n_classes:
            held_out = held_out if held_out.class_names == train.class_names else None
        if held_out is not None and len(held_out) >= 2:
            fresh = _of_classes(held_out.labels, shown)[:n]
            self._unseen = held_out.batch(fresh), held_out.labels[fresh]
        real = self._space(_unit(self._seen[0]))
        self.real_proxy_fid = frechet_distance(Gaussian.fit(real), self._reference)
        """Of as many real images: what perfect samples would have."""
        self._real_spread = _spread(real, self._classes_of(self._seen[1]))

    def __call__(self, generator: nn.Module, discriminator: nn.Module) -> dict[str, Any]:
        """Looks once.

        Returns:
            `proxy_fid`: Fréchet distance of samples to real images in the feature space, and
            `proxy_fid_real`, the same of as many real ones; `diversity`: mean distance between
            two samples, over that of real images: `within` a class and `between` classes, or `all`
            without classes; `accuracy`: share of images that D judges rightly: `train` and
            `held_out` real ones, `fake`. Where samples are not finite the first two are left out.
        """
        device = next(generator.parameters()).device
        low, high = pixel_range(generator)
        fakes = self._pass(generator, self._z, self._labels, device)
        found: dict[str, Any] = {}
        if bool(fakes.isfinite().all()):
            features = self._space((fakes.cpu() - low) / (high - low))
            spread = _spread(features, self._classes_of(self._labels))
            found["proxy_fid"] = frechet_distance(Gaussian.fit(features), self._reference)
            found["proxy_fid_real"] = self.real_proxy_fid
            found["diversity"] = {
                kind: spread[kind] / self._real_spread[kind]
                for kind in spread.keys() & self._real_spread.keys()
            }
        found["accuracy"] = self._judge(discriminator, fakes, (low, high), device)
        return found

    def _judge(
        self,
        discriminator: nn.Module,
        fakes: Tensor,
        span: tuple[float, float],
        device: torch.device,
    ) -> dict[str, float]:
        sets = {"train": self._seen, "held_out": self._unseen}
        shares = {}
        for name, images in sets.items():
            if images is not None:
                logits = self._pass(discriminator, to_range(images[0], span), images[1], device)
                shares[name] = float((logits > 0).float().mean())
        logits = self._pass(discriminator, fakes, self._labels, device)
        shares["fake"] = float((logits < 0).float().mean())
        return shares

    @torch.no_grad()
    def _pass(
        self, network: nn.Module, first: Tensor, labels: Tensor, device: torch.device
    ) -> Tensor:
        """Outputs of a network in training mode, in parts."""
        parts = []
        with unchanged(network), own_statistics(network), normalised_weights(network):
            network.train()
            for rows in _parts(len(first)):
                inputs: Inputs = (first[rows].to(device),)
                if self._n_classes:
                    inputs += (one_hot(labels[rows], self._n_classes).to(device),)
                parts.append(network(*inputs))
        return torch.cat(parts)

    def _shown_classes(self, samples: int) -> Tensor:
        """Of many classes only so many that each has several samples."""
        n = min(self._n_classes, max(1, samples // _SAMPLES_A_CLASS))
        if not n:
            return torch.zeros(1, dtype=torch.int64)
        return torch.linspace(0, self._n_classes - 1, n).round().long()

    def _classes_of(self, labels: Tensor) -> NDArray[np.int64] | None:
        return labels.numpy() if self._n_classes else None


@contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Puts back the buffers (batch norm, spectral norm) and the mode that `network` has now."""
    mode, buffers = network.training, [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        network.train(mode)
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)


def _of_classes(labels: Tensor, shown: Tensor) -> Tensor:
    """Indices of images of these classes, in an order that is random and always the same."""
    everything = torch.arange(len(labels))
    if len(shown) > 1:
        everything = everything[torch.isin(labels, shown)]
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(_SEED))
    return everything[order]


def _parts(n: int) -> Iterator[slice]:
    """Parts of at least two rows, which batch norm needs."""
    starts: Sequence[int] = list(range(0, n - 1, _PART)) or [0]
    for i, start in enumerate(starts):
        yield slice(start, starts[i + 1] if i + 1 < len(starts) else n)


def _unit(images: Tensor) -> Tensor:
    return to_range(images, (0.0, 1.0))


def _spread(features: NDArray[np.float64], classes: NDArray[np.int64] | None) -> dict[str, float]:
    """Mean distances between two samples; kinds without a pair are left out."""
    distances = pdist(features)
    if classes is None:
        return {"all": float(distances.mean())}
    one, other = np.triu_indices(len(classes), 1)  # in the order of pdist
    together = classes[one] == classes[other]
    kinds = {"within": distances[together], "between": distances[~together]}
    return {kind: float(values.mean()) for kind, values in kinds.items() if len(values)}
