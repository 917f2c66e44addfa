"""Penalties on gradients and weights: what they add to gradients, or take off weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.config import Sigma0ClampConfig
from training.errors import RecipeError
from training.monitor.spectra import named_weights
from training.steps import Inputs

_COLD_STEPS = 20
_VECTORS = 4  # that power iteration follows: two are read, the rest make it converge sooner


def map_weights(network: nn.Module) -> list[Tensor]:
    """The weights of every linear map and convolution, before spectral norm.

    No biases, no gains, and not the class embedding, which is a table and not a map.
    """
    tables = {
        id(p) for m in network.modules() if isinstance(m, nn.Embedding) for p in m.parameters()
    }
    return [p for p in network.parameters() if p.ndim >= 2 and id(p) not in tables]


def clamped_weights(network: nn.Module, layers: Sequence[str]) -> list[Tensor]:
    """What a `Sigma0Clamp` of these layers changes: weights [out, in, …]; no names: all maps.

    Raises:
        RecipeError: the network has no such layer.
    """
    weights = named_weights(network)
    unknown = [name for name in layers if name not in weights]
    if unknown:
        raise RecipeError(
            f"penalties.sigma0_clamp.layers: no layer {unknown[0]!r} in the generator; "
            f"there are {', '.join(weights)}"
        )
    if layers:
        return [weights[name].view() for name in layers]
    maps = {id(parameter) for parameter in map_weights(network)}
    return [weight.view() for weight in weights.values() if id(weight.parameter) in maps]


@torch.no_grad()
def add_orthogonal_gradient(weights: Sequence[Tensor], strength: float) -> None:
    """Adds the gradient of strength/2 · ||W Wᵀ ⊙ (1 - I)||² (BigGAN, section 3.1, equation 3).

    That is 2·strength·(W Wᵀ ⊙ (1 - I)) W, W being out x (in·kh·kw). The diagonal is taken off
    afterwards, which allows W (Wᵀ W) where that is the smaller product.
    """
    for weight in weights:
        if weight.grad is None:
            continue
        w = weight.flatten(1)
        product = (w @ w.t()) @ w if w.shape[0] <= w.shape[1] else w @ (w.t() @ w)
        product -= w * w.square().sum(1, keepdim=True)
        weight.grad.add_(product.view_as(weight), alpha=2.0 * strength)


def add_r1_gradient(discriminator: nn.Module, real: Sequence[Inputs], gamma: float) -> None:
    """Adds the gradient of γ/2 · E||∇ₓD(x)||² at real images (Mescheder et al. 2018, equation 9).

    In fp32, whatever the step's precision. The mean is over all parts.
    """
    for images, *classes in real:
        leaf = images.detach().requires_grad_(True)
        logits = discriminator(leaf, *classes)
        (gradient,) = torch.autograd.grad(logits.sum(), leaf, create_graph=True)
        penalty = gradient.square().sum((1, 2, 3)).mean() * (0.5 * gamma / len(real))
        penalty.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped


class Sigma0Clamp:
    """Keeps top singular values σ0 below a bound (BigGAN, appendix D).

    W ← W - max(0, σ0 - σ_clamp) u0 v0ᵀ, where σ_clamp is fixed or a multiple of σ1. Singular
    vectors are followed by block power iteration, one step a call, warm from call to call.

    Args:
        weights: [out, in, …], changed in place.
        config: the bound.
    """

    def __init__(self, weights: Sequence[Tensor], config: Sigma0ClampConfig) -> None:
        self._weights = weights
        self._config = config
        self.restart()

    def restart(self) -> None:
        """Finds the singular vectors anew, as after other weights were loaded."""
        self.vectors = [_start(weight) for weight in self._weights]
        for _ in range(_COLD_STEPS):  # too small a σ1 would clamp too much
            for i in range(len(self._weights)):
                self._iterate(i)

    @torch.no_grad()
    def __call__(self) -> None:
        """Clamps every weight that is finite; others are for the monitor to find."""
        for i, weight in enumerate(self._weights):
            left, small = self._iterate(i)
            if not small.isfinite().all():  # of which torch has no SVD
                continue
            # left · small · vectorsᵀ is W on the subspace; its SVD is that of the small matrix.
            u, sigma, vh = torch.linalg.svd(small)
            bound = self._config.sigma_reg
            if bound is None:
                second = sigma[1] if len(sigma) > 1 else sigma[0]
                bound = (self._config.ratio or 1.0) * float(second)
            excess = float(sigma[0]) - bound
            if excess > 0:
                top = (left @ u[:, :1]) @ (vh[:1] @ self.vectors[i].t())
                weight.sub_(top.view_as(weight), alpha=excess)

    @torch.no_grad()
    def _iterate(self, i: int) -> tuple[Tensor, Tensor]:
        """One step: left vectors [out, k], and W between the left and the right ones [k, k]."""
        w = self._weights[i].flatten(1)
        left: Tensor = torch.linalg.qr(w @ self.vectors[i])[0]
        self.vectors[i], small = torch.linalg.qr(w.t() @ left)
        return left, small.t()

    def state_dict(self) -> dict[str, Any]:
        """The singular vectors, so that a resumed run goes on to the very same weights."""
        return {"layers": list(self._config.layers), "vectors": self.vectors}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restores what `state_dict` gave; starts anew where other layers were clamped, or none."""
        if state is None or state.get("layers", []) != list(self._config.layers):
            self.restart()
            return
        self.vectors = [
            saved.to(mine.device)
            for saved, mine in zip(state["vectors"], self.vectors, strict=True)
        ]


def _start(weight: Tensor) -> Tensor:
    """Orthonormal columns [in, k] that depend on nothing but the shape."""
    columns = weight.flatten(1).shape[1]
    k = min(_VECTORS, *weight.flatten(1).shape)
    drawn = torch.randn(columns, k, generator=torch.Generator().manual_seed(columns))
    columns_of: Tensor = torch.linalg.qr(drawn)[0]
    return columns_of.to(weight.device)
