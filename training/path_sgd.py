"""Path-SGD (Neyshabur, Salakhutdinov, Srebro 2015): gradient descent that rescaling cannot change.

Multiplying what goes into a rectified unit by c > 0 and dividing what comes out of it by c leaves
the network's function as it was, but changes the steps of SGD. Path-SGD divides each gradient by

    γ_p(e) = (Σ over paths through e of Π over their other edges |w|^p)^(2/p)

which makes its steps change as the weights do. With q = |w|^p as weights and all inputs at one, the
outputs of a linear network sum up to Σ over paths Π q = φ_p^p, φ_p being the path norm. Its
derivative by one q is the inner sum of γ_p, so that one forward and one backward pass of a single
example give every γ. Which edges a module stands for is in `path_modules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import torch
from torch import Tensor, fx, nn

from training.path_modules import PathPass, trace


class PathNetwork:
    """The paths from inputs to outputs of a network, whose weights may change meanwhile.

    Args:
        network: of modules that are linear or positively homogeneous; see `path_modules`.
        input_shape: of one example, without the batch dimension.

    Raises:
        ValueError: a module or function that has no paths; it is named.
    """

    def __init__(self, network: nn.Module, input_shape: Sequence[int]) -> None:
        self._traced: fx.GraphModule = trace(network)
        self._shape = (1, *input_shape)
        self.parameters: dict[str, nn.Parameter] = dict(network.named_parameters())

    @torch.no_grad()
    def norm(self, p: int = 2) -> Tensor:
        """The path norm φ_p: (Σ over paths Π |w|^p)^(1/p), a scalar."""
        return self._sum(self._powers(p), p) ** (1.0 / p)

    @torch.enable_grad()
    def gammas(self, p: int = 2) -> dict[str, Tensor]:
        """γ_p of every edge, by the parameter's name and in its shape.

        A parameter that is shared by the positions of a convolution stands for several edges, over
        whose paths γ_p sums. It is 0 where no path has all its other weights different from 0.
        """
        powers = {name: q.requires_grad_() for name, q in self._powers(p).items()}
        total = self._sum(powers, p)
        sums = torch.autograd.grad(total, list(powers.values()), allow_unused=True)
        return {
            name: torch.zeros_like(q) if inner is None else inner.square() if p == 1 else inner
            for (name, q), inner in zip(powers.items(), sums, strict=True)
        }

    def _powers(self, p: int) -> dict[str, Tensor]:
        if p not in (1, 2):
            raise ValueError(f"p = {p}: must be 1 or 2")
        return {name: w.detach().abs().pow(p) for name, w in self.parameters.items()}

    def _sum(self, powers: dict[str, Tensor], p: int) -> Tensor:
        first = next(iter(powers.values()))
        ones = torch.ones(self._shape, dtype=first.dtype, device=first.device)
        outputs: Tensor = PathPass(self._traced, powers, p).run(ones)
        return outputs.sum()


class PathSGD(torch.optim.Optimizer):
    """w ← w - lr / γ_p(w) · gradient.

    An edge without paths keeps its weight: a unit without a way in or out is dead, and has no
    gradient either. Parameters without a gradient stay, and count as edges.

    Args:
        network: what is trained; see `PathNetwork`.
        input_shape: of one example, without the batch dimension.
        lr: the step size η; of another order than SGD's.
        p: 1 or 2, as in the paper's experiments.

    Raises:
        ValueError: a module that has no paths, or a value that cannot be.
    """

    def __init__(
        self, network: nn.Module, input_shape: Sequence[int], lr: float, p: int = 2
    ) -> None:
        if not lr > 0:
            raise ValueError(f"lr = {lr}: must be above 0")
        self._paths = PathNetwork(network, input_shape)
        self._paths.norm(p)  # a shape or p that does not fit is told now
        super().__init__(network.parameters(), {"lr": lr, "p": p})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Takes the network's parameters, once: γ is of the whole network."""
        if self.param_groups:
            raise ValueError("Path-SGD has one group of parameters: those of its network")
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update; `closure`, if any, computes the loss and its gradients anew."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        gammas = self._paths.gammas(group["p"])
        for name, weight in self._paths.parameters.items():
            if weight.grad is None:
                continue
            gamma = gammas[name]
            alive = gamma >= torch.finfo(gamma.dtype).tiny
            scaled = torch.where(alive, weight.grad / gamma, torch.zeros_like(gamma))
            weight.sub_(scaled, alpha=group["lr"])
        return loss
