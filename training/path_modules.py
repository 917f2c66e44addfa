"""What each module of a network means for its paths from inputs to outputs.

Weights and biases are edges, biases from a unit that is always one; a convolution's edges share
their weights. Positively homogeneous activations, f(cx) = c f(x) for c > 0, pass everything on.
Max pooling passes on each of its inputs, average pooling each with weight 1 / n. Batch norm is
folded with its running statistics: an edge of weight gain / σ, and constants -μ and its bias.
Dropout is left out. Anything else is an error: it is not homogeneous, or not known to be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

_PASSING: Final = (nn.Identity, nn.ReLU, nn.LeakyReLU, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_RESHAPING: Final = (nn.Flatten, nn.Unflatten)
_WEIGHTED: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
_POOLING: Final = (nn.MaxPool2d, nn.AvgPool2d)
_KNOWN: Final = (*_WEIGHTED, *_POOLING, *_PASSING, *_RESHAPING)

_FUNCTIONS: Final[Mapping[Any, Callable[..., Any]]] = {
    operator.add: operator.add,
    torch.add: operator.add,
    torch.flatten: torch.flatten,
    F.relu: lambda x, **_: x,
    torch.relu: lambda x: x,
    F.leaky_relu: lambda x, *_, **__: x,
}
_METHODS: Final = ("flatten", "view", "reshape", "squeeze", "size", "contiguous")
_PASSING_METHODS: Final = ("float", "double", "relu")  # powers keep the weights' own type


def trace(network: nn.Module) -> fx.GraphModule:
    """The network as a graph of modules and functions that all have paths.

    Raises:
        ValueError: something without paths, or a weight that one path could pass twice.
    """
    try:
        traced = fx.symbolic_trace(network)
    except (fx.proxy.TraceError, TypeError) as error:
        raise ValueError(f"{type(network).__name__} cannot be traced: {error}") from error
    seen: dict[int, str] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            module = traced.get_submodule(node.target)
            _check_module(module, node.target)
            for parameter in module.parameters():
                if id(parameter) in seen:
                    raise ValueError(
                        f"{node.target} has a weight that {seen[id(parameter)]} has used before: "
                        "a path may pass it only once"
                    )
                seen[id(parameter)] = node.target
        else:
            _check_node(node)
    return traced


class PathPass(fx.Interpreter):
    """Runs a traced network with the weights q = |w|^p, as a linear one.

    Args:
        traced: by `trace`.
        powers: q of every parameter, by name.
        p: the power; constants, as 1 / n of average pooling, are raised to it as well.
    """

    def __init__(self, traced: fx.GraphModule, powers: Mapping[str, Tensor], p: int) -> None:
        super().__init__(traced)
        self._powers, self._p = powers, p

    def call_module(self, target: Any, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        """Stands in for the module called `target`."""
        module, (x,) = self.fetch_attr(target), args
        weight, bias = (self._powers.get(f"{target}.{name}") for name in ("weight", "bias"))
        if isinstance(module, _BatchNorm):
            return self._batch_norm(module, x, weight, bias)
        if isinstance(module, nn.MaxPool2d):
            return _sum_pool(module, x)
        if isinstance(module, nn.AvgPool2d):
            return _sum_pool(module, x) / _window(module) ** self._p
        if isinstance(module, _RESHAPING):
            return module(x)
        if weight is None:
            return x
        if isinstance(module, nn.Linear):
            return F.linear(x, weight, bias)
        convolve = F.conv1d if isinstance(module, nn.Conv1d) else F.conv2d
        return convolve(
            x, weight, bias, module.stride, module.padding, module.dilation, module.groups
        )

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stands in for a function."""
        return _FUNCTIONS[target](*args, **kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Stands in for a method of tensors."""
        return args[0] if target in _PASSING_METHODS else super().call_method(target, args, kwargs)

    def _batch_norm(
        self, norm: _BatchNorm, x: Tensor, gain: Tensor | None, bias: Tensor | None
    ) -> Tensor:
        if norm.running_mean is None or norm.running_var is None:
            raise RuntimeError("trace() lets no batch norm without running statistics pass")
        shape = (1, -1, *(1,) * (x.dim() - 2))
        mean = norm.running_mean.abs() ** self._p
        scale = (norm.running_var + norm.eps) ** (-self._p / 2)
        x = (x + mean.view(shape)) * scale.view(shape)
        if gain is None or bias is None:
            return x
        return x * gain.view(shape) + bias.view(shape)


def _sum_pool(pool: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> Tensor:
    return F.avg_pool2d(
        x, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode, divisor_override=1
    )


def _window(pool: nn.AvgPool2d) -> int:
    """How many pixels the mean is over."""
    sides = pool.kernel_size
    n = sides**2 if isinstance(sides, int) else math.prod(sides)
    return pool.divisor_override or n


def _check_module(module: nn.Module, name: str) -> None:
    kind = f"{name} ({type(module).__name__})"
    if type(module) not in _KNOWN:  # exactly: a subclass may do anything
        known = ", ".join(known.__name__ for known in _KNOWN)
        raise ValueError(
            f"{kind} is not known to be linear or positively homogeneous, as Path-SGD needs; "
            f"known: {known}"
        )
    if getattr(module, "padding_mode", "zeros") != "zeros":
        raise ValueError(f"{kind} has padding_mode = {module.padding_mode!r}: must be 'zeros'")
    if isinstance(module, _BatchNorm) and module.running_var is None:
        raise ValueError(f"{kind} has no running statistics: set track_running_stats=True")
    if isinstance(module, nn.MaxPool2d) and (module.dilation not in (1, (1, 1))):
        raise ValueError(f"{kind} has dilation = {module.dilation}: must be 1")
    if isinstance(module, nn.AvgPool2d):
        padded = module.padding not in (0, (0, 0)) and not module.count_include_pad
        if module.ceil_mode or padded:
            raise ValueError(
                f"{kind} averages over windows of several sizes: ceil_mode must be False, and "
                "count_include_pad True where there is padding"
            )


def _check_node(node: fx.Node) -> None:
    if node.op == "call_function":
        if node.target not in _FUNCTIONS:
            name = getattr(node.target, "__name__", str(node.target))
            raise ValueError(
                f"function {name} is not known to be linear or positively homogeneous, as Path-SGD "
                "needs; where it is one, call it as a module"
            )
        if _FUNCTIONS[node.target] is operator.add and not (
            len(node.args) == 2 and all(isinstance(part, fx.Node) for part in node.args)
        ):
            raise ValueError("Path-SGD: a constant is added; make it a bias, which is an edge")
    elif node.op == "call_method" and node.target not in (*_METHODS, *_PASSING_METHODS):
        raise ValueError(
            f"method {node.target} is not known to be linear or positively homogeneous, as "
            "Path-SGD needs"
        )
    elif node.op == "get_attr":
        raise ValueError(f"{node.target} is used outside of the modules that Path-SGD knows")
