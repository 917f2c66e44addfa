"""Top singular values of every weight of a network, followed while it trains.

Of the raw parameters, as the BigGAN paper's figures have it (section 4.1): what a spectral norm
makes of them always has a largest singular value of 1. Nothing here reads a normalised weight, so
the state of spectral norm stays as it is.

Large matrices are followed by block power iteration (subspace iteration with QR): a few more
vectors than are read, warm from one tick to the next. Small ones are decomposed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

N_VALUES = 3
"""How many singular values are read: sigma0, sigma1, sigma2."""

_OVERSAMPLING = 5  # vectors beside those that are read: the read ones then converge sooner
_MOST_STEPS = 20  # a tick; cold vectors want them, warm ones two or three
_SETTLED = 5e-4  # relative change of the read values in a step, at which a tick is done
_EXACT_SIDE = 128  # of the shorter side: up to here a decomposition is cheap

_TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
_WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
_ENDINGS = (".parametrizations.weight.original", ".weight_orig", ".weight")

Values = list[float | None]
"""Up to three singular values in falling order; None where a weight holds NaN or infinity."""


@dataclass(frozen=True)
class Weight:
    """A weight as the linear map that it is.

    Attributes:
        parameter: as the network has it, before any spectral norm.
        transposed: whether outputs are its second axis, as in transposed convolutions.
    """

    parameter: nn.Parameter
    transposed: bool

    def view(self) -> Tensor:
        """The parameter itself, [out, in, …], without gradients."""
        value = self.parameter.detach()
        return value.transpose(0, 1) if self.transposed else value

    def matrix(self) -> Tensor:
        """float32 [out, in·kh·kw], without gradients; an embedding is [n_classes, dim]."""
        return self.view().flatten(1).float()


def named_weights(network: nn.Module) -> dict[str, Weight]:
    """Every parameter of two axes or more, by the name of its layer: `blocks.0.conv1`.

    A layer's parameter that is not called `weight` keeps its own name: `lstm.weight_ih_l0`. Biases
    and gains are no maps. What two layers share is there once.
    """
    transposed = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, _TRANSPOSED)
        for parameter in module.parameters()
    }
    return {
        layer_name(name): Weight(parameter, id(parameter) in transposed)
        for name, parameter in network.named_parameters()
        if parameter.ndim >= 2
    }


def layer_name(parameter_name: str) -> str:
    """Name of the layer that a parameter of `named_parameters` belongs to, as logs have it."""
    for wrapper in _WRAPPERS:
        parameter_name = parameter_name.removeprefix(wrapper)
    for ending in _ENDINGS:
        shortened = parameter_name.removesuffix(ending)
        if shortened != parameter_name:
            return shortened
    return parameter_name


class Spectra:
    """Follows the top singular values of a network's weights.

    Weights of one shape are iterated together.

    Args:
        network: its weights are read, never written.
    """

    def __init__(self, network: nn.Module) -> None:
        self._weights = named_weights(network)
        self._vectors: dict[str, Tensor] = {}
        shapes: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, weight in self._weights.items():
            shapes[tuple(weight.matrix().shape)].append(name)
        self._groups = dict(shapes)

    @torch.no_grad()
    def tick(self) -> dict[str, Values]:
        """Singular values of every weight, by layer, in the network's order.

        Within 1% of the true sigma0 and 3% of sigma1 and sigma2 while weights change at training's
        pace; exact where the shorter side has at most 128 entries.
        """
        found: dict[str, Values] = {}
        for (rows, columns), names in self._groups.items():
            matrices = torch.stack([self._weights[name].matrix() for name in names])
            finite = matrices.isfinite().all(dim=(1, 2))
            matrices = torch.where(finite[:, None, None], matrices, 0.0)
            if min(rows, columns) <= _EXACT_SIDE:
                values = torch.linalg.svdvals(matrices)
            else:
                values = self._iterate(f"{rows}x{columns}", matrices, finite)
            top = values[:, :N_VALUES].cpu().tolist()
            for name, row, usable in zip(names, top, finite.tolist(), strict=True):
                found[name] = list(row) if usable else [None] * len(row)
        return {name: found[name] for name in self._weights}

    @torch.no_grad()
    def exact(self) -> dict[str, Values]:
        """The same by a full decomposition of every weight; slow."""
        found: dict[str, Values] = {}
        for name, weight in self._weights.items():
            matrix = weight.matrix()
            if matrix.isfinite().all():
                found[name] = torch.linalg.svdvals(matrix)[:N_VALUES].tolist()
            else:
                found[name] = [None] * min(N_VALUES, *matrix.shape)
        return found

    def _iterate(self, key: str, matrices: Tensor, finite: Tensor) -> Tensor:
        """Estimates [L, k] of matrices [L, rows, columns]; keeps right vectors [L, columns, k].

        With Q an orthonormal basis of W V, the singular values of Qᵀ W are Ritz values: never above
        the true ones, and right to second order in the error of the subspace.
        """
        before = self._vectors.get(key)
        if before is None:
            before = _start(matrices)
        right, values = before, torch.zeros(())
        for _ in range(_MOST_STEPS):
            left: Tensor = torch.linalg.qr(matrices @ right)[0]
            right, small = torch.linalg.qr(matrices.mT @ left)
            previous, values = values, torch.linalg.svdvals(small)[:, :N_VALUES]
            if bool(((values - previous).abs() <= _SETTLED * values).all()):
                break
        # A weight that is not finite leaves the vectors where they were.
        self._vectors[key] = torch.where(finite[:, None, None], right, before)
        return values

    def state_dict(self) -> dict[str, Any]:
        """The vectors, so that a resumed run reads the very same values."""
        return {"vectors": dict(self._vectors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave; vectors of other shapes than the network's are let go.

        Those weights then start cold, which costs a moment and nothing else.
        """
        self._vectors = {}
        for (rows, columns), names in self._groups.items():
            saved = state["vectors"].get(f"{rows}x{columns}")
            if saved is not None and saved.shape[:2] == (len(names), columns):
                device = self._weights[names[0]].parameter.device
                self._vectors[f"{rows}x{columns}"] = saved.to(device)


def worst_errors(estimated: dict[str, Values], exact: dict[str, Values]) -> dict[str, float]:
    """Largest relative errors over all weights, by value: {"sigma0": …, "sigma1": …, "sigma2": …}.

    Values below 1e-6 of a weight's sigma0 are rounding, and left out.
    """
    worst: dict[str, float] = defaultdict(float)
    for name, truths in exact.items():
        for i, (guess, truth) in enumerate(zip(estimated[name], truths, strict=True)):
            if guess is None or truth is None or truth <= 1e-6 * (truths[0] or 0.0):
                continue
            worst[f"sigma{i}"] = max(worst[f"sigma{i}"], abs(guess - truth) / truth)
    return dict(worst)


def _start(matrices: Tensor) -> Tensor:
    """Orthonormal columns [L, columns, k] that depend on nothing but the shape."""
    count, rows, columns = matrices.shape
    k = min(N_VALUES + _OVERSAMPLING, rows, columns)
    drawn = torch.randn(columns, k, generator=torch.Generator().manual_seed(columns))
    basis: Tensor = torch.linalg.qr(drawn)[0]
    return basis.to(matrices.device).expand(count, -1, -1)
