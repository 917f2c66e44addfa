"""Path-SGD: γ against enumerated paths, invariance to rescaling, what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.path_sgd import PathNetwork, PathSGD
from zoo.nets.classifier import Classifier

Edge = tuple[str, int]
"""A parameter's name and a flat index into it."""

START: tuple[list[Edge], float] = ([], 1.0)
"""A path without edges."""


def side(size: object) -> int:
    """Of a square."""
    first = size[0] if isinstance(size, tuple) else size
    assert isinstance(first, int)
    return first


class Wiring:
    """A network as edges between numbered units, each with a weight or a constant."""

    def __init__(self, network: nn.Sequential, shape: tuple[int, ...]) -> None:
        self.incoming: dict[int, list[tuple[int | None, list[Edge], float]]] = {}
        self._n = 0
        units = self._new(torch.Size(shape))
        self.inputs = set(units.flatten().tolist())
        for name, module in network.named_children():
            units = self._connect(name, module, units)
        self.outputs = units.flatten().tolist()

    def _new(self, shape: torch.Size) -> Tensor:
        units = torch.arange(self._n, self._n + shape.numel()).reshape(shape)
        self._n += shape.numel()
        return units

    def _connect(self, name: str, module: nn.Module, units: Tensor) -> Tensor:
        if isinstance(module, nn.Flatten):
            return units.flatten()
        if isinstance(module, nn.ReLU | nn.LeakyReLU | nn.Dropout):
            return units
        if isinstance(module, nn.Linear):
            out = self._new(torch.Size([module.out_features]))
            for row, unit in enumerate(out.tolist()):
                columns = enumerate(units.tolist())
                self.incoming[unit] = [
                    (source, [(f"{name}.weight", row * module.in_features + column)], 1.0)
                    for column, source in columns
                ]
                if module.bias is not None:
                    self.incoming[unit].append((None, [(f"{name}.bias", row)], 1.0))
            return out
        if isinstance(module, nn.BatchNorm2d):
            return self._batch_norm(name, module, units)
        return self._slide(name, module, units)

    def _batch_norm(self, name: str, norm: nn.BatchNorm2d, units: Tensor) -> Tensor:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        out = self._new(units.shape)
        for channel in range(len(units)):
            scale = float((norm.running_var[channel] + norm.eps) ** -0.5)
            mean = float(norm.running_mean[channel])
            gain = [(f"{name}.weight", channel)]
            for source, unit in zip(
                units[channel].flatten().tolist(), out[channel].flatten().tolist(), strict=True
            ):
                self.incoming[unit] = [
                    (source, gain, scale),
                    (None, gain, -mean * scale),
                    (None, [(f"{name}.bias", channel)], 1.0),
                ]
        return out

    def _slide(self, name: str, module: nn.Module, units: Tensor) -> Tensor:
        """Convolutions and pooling, by asking torch which pixels a window has."""
        assert isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
        k, stride, pad = map(side, (module.kernel_size, module.stride, module.padding))
        padded = F.pad(units + 1, (pad, pad, pad, pad)) - 1
        windows = padded.unfold(1, k, stride).unfold(2, k, stride)
        channels = module.out_channels if isinstance(module, nn.Conv2d) else len(units)
        out = self._new(torch.Size([channels, *windows.shape[1:3]]))
        for c, y, x in itertools.product(*map(range, out.shape)):
            into = self.incoming[int(out[c, y, x])] = []
            if not isinstance(module, nn.Conv2d):
                share = 1.0 / k**2 if isinstance(module, nn.AvgPool2d) else 1.0
                sources = [int(s) for s in windows[c, y, x].flatten() if s >= 0]
                into += [(source, [], share) for source in sources]
                continue
            per = module.in_channels // module.groups
            first = per * (c // (module.out_channels // module.groups))
            patch = windows[first : first + per, y, x].flatten().tolist()
            for place, source in enumerate(patch):
                if source >= 0:
                    into.append((source, [(f"{name}.weight", c * len(patch) + place)], 1.0))
            if module.bias is not None:
                into.append((None, [(f"{name}.bias", c)], 1.0))
        return out

    def paths(self, unit: int) -> Iterator[tuple[list[Edge], float]]:
        """Every path that ends in a unit: its edges with weights, and the product of constants."""
        if unit in self.inputs:
            yield START
            return
        for source, edges, constant in self.incoming[unit]:
            before = self.paths(source) if source is not None else iter([START])
            for along, product in before:
                yield along + edges, product * constant


def enumerated(
    network: nn.Sequential, shape: tuple[int, ...], p: int
) -> tuple[float, dict[str, Tensor]]:
    weights = {name: w.detach().flatten() for name, w in network.named_parameters()}
    sums = {name: torch.zeros_like(w) for name, w in weights.items()}
    total = 0.0
    wiring = Wiring(network, shape)
    for output in wiring.outputs:
        for edges, constant in wiring.paths(output):
            values = [abs(float(weights[name][index])) ** p for name, index in edges]
            constant = abs(constant) ** p
            product = constant
            for value in values:
                product *= value
            total += product
            for place, (name, index) in enumerate(edges):
                others = constant
                for value in values[:place] + values[place + 1 :]:
                    others *= value
                sums[name][index] += others
    gammas = {
        name: sums[name].pow(2 / p).reshape(w.shape) for name, w in network.named_parameters()
    }
    return total ** (1 / p), gammas


def linear() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.LeakyReLU(), nn.Linear(3, 2)
    )


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 2, 2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2, 2, 2, groups=2, stride=1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )


def pooled() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 2, 2, stride=2, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2, stride=1, padding=1),
        nn.Dropout(),
        nn.MaxPool2d(2, stride=1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def normalised() -> nn.Sequential:
    norm = nn.BatchNorm2d(2)
    norm.running_mean = torch.tensor([0.5, -0.25])
    norm.running_var = torch.tensor([4.0, 0.3])
    return nn.Sequential(nn.Conv2d(1, 2, 2), norm, nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(
    ("build", "shape"),
    [(linear, (3,)), (convolutional, (2, 3, 3)), (pooled, (1, 4, 4)), (normalised, (1, 3, 3))],
)
def test_gamma_and_norm_are_those_of_enumerated_paths(
    build: type[nn.Sequential], shape: tuple[int, ...], p: int
) -> None:
    torch.manual_seed(5)
    network = build().double()
    for weight in network.parameters():
        nn.init.normal_(weight)  # gains and biases of every size and sign
    paths = PathNetwork(network, shape)
    norm, gammas = enumerated(network, shape, p)
    assert paths.norm(p).item() == pytest.approx(norm, rel=1e-12)
    ours = paths.gammas(p)
    assert ours.keys() == gammas.keys()
    for name, gamma in gammas.items():
        assert gamma.min() > 0
        torch.testing.assert_close(ours[name], gamma, rtol=1e-12, atol=0)


def test_functions_and_skips_have_paths_too() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2, bias=False)
            self.last = nn.Linear(2, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            last: Tensor = self.last(x + F.relu(self.inner(x)))
            return last

    network = Skip()
    with torch.no_grad():
        network.inner.weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        network.last.weight.copy_(torch.tensor([[5.0, -6.0]]))
    paths = PathNetwork(network, (2,))
    # Units of the sum have 1 + 1 + 4 and 1 + 9 + 16 as sums of squares coming in.
    assert paths.norm().item() == pytest.approx((25 * 6 + 36 * 26) ** 0.5)
    gammas = paths.gammas()
    assert gammas["last.weight"].tolist() == [[6.0, 26.0]]
    assert gammas["inner.weight"].tolist() == [[25.0, 25.0], [36.0, 36.0]]


def test_a_real_network_has_finite_gammas_and_learns() -> None:
    torch.manual_seed(0)
    network = Classifier(3)
    images, labels = torch.rand(12, 1, 28, 28), torch.arange(12) % 3
    optimizer = PathSGD(network, (1, 28, 28), 1e-2)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
