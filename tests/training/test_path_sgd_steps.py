"""Path-SGD as an optimiser: invariance to rescaling, dead units, state, what is refused."""

from __future__ import annotations

import copy
import io
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.path_sgd import PathNetwork, PathSGD
from zoo.nets import dcgan
from zoo.nets.layers import spectral_norm

STEPS = 8


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3),
        nn.LeakyReLU(0.2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(5, 6),
        nn.ReLU(),
        nn.Linear(6, 3),
    ).double()


SHAPE = (1, 8, 8)


@torch.no_grad()
def rescaled(original: nn.Sequential) -> nn.Sequential:
    """The same function: every hidden unit's way in times c, its way out through c."""
    other = copy.deepcopy(original)
    layers = [layer for layer in other if isinstance(layer, nn.Conv2d | nn.Linear)]
    generator = torch.Generator().manual_seed(2)
    for before, after in itertools.pairwise(layers):
        n = len(before.weight)
        c = torch.empty(n, dtype=torch.float64).log_normal_(0.0, 2.0, generator=generator)
        before.weight.mul_(c.view(-1, *(1,) * (before.weight.dim() - 1)))
        assert before.bias is not None
        before.bias.mul_(c)
        after.weight.div_(c.view(1, n, *(1,) * (after.weight.dim() - 2)))
    return other


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """Losses of some steps."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(20, *SHAPE, dtype=torch.float64, generator=generator)
    labels = torch.arange(20) % 3
    losses = []
    for _ in range(STEPS):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("p", [1, 2])
def test_path_norm_and_trajectory_do_not_see_rescaling(p: int) -> None:
    one = network()
    other = rescaled(one)
    lr = 0.03 if p == 2 else 3.0
    path = PathNetwork(one, SHAPE), PathNetwork(other, SHAPE)
    assert path[1].norm(p).item() == pytest.approx(path[0].norm(p).item(), rel=1e-12)
    ours, theirs = (
        train(one, PathSGD(one, SHAPE, lr, p)),
        train(other, PathSGD(other, SHAPE, lr, p)),
    )
    assert ours[-1] < ours[0] - 0.004  # it learns
    assert theirs == pytest.approx(ours, rel=1e-10)
    assert path[1].norm(p).item() == pytest.approx(path[0].norm(p).item(), rel=1e-10)
    images = torch.randn(5, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(other(images), one(images), rtol=1e-10, atol=1e-10)
    # Weights too: they differ by the very factors they started with.
    for mine, its in zip(rescaled(one).parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(its, mine, rtol=1e-8, atol=1e-10)


def test_the_trajectory_of_sgd_does_see_it() -> None:
    one = network()
    other = rescaled(one)
    ours = train(one, torch.optim.SGD(one.parameters(), 0.05))
    theirs = train(other, torch.optim.SGD(other.parameters(), 0.05))
    assert theirs[0] == pytest.approx(ours[0], rel=1e-10)
    assert theirs[-1] != pytest.approx(ours[-1], rel=1e-2)


def test_a_step_is_the_gradient_over_gamma() -> None:
    model = network()
    before = {name: w.detach().clone() for name, w in model.named_parameters()}
    gammas = PathNetwork(model, SHAPE).gammas()
    model(torch.ones(2, *SHAPE, dtype=torch.float64)).square().sum().backward()
    PathSGD(model, SHAPE, 0.01).step()
    for name, w in model.named_parameters():
        assert w.grad is not None
        torch.testing.assert_close(w.detach(), before[name] - 0.01 * w.grad / gammas[name])


def dead() -> tuple[nn.Sequential, Tensor, Tensor]:
    """Of its three hidden units one has no way in, one no way out."""
    into, out = nn.Linear(2, 3, bias=False), nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        into.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]]))
        out.weight.copy_(torch.tensor([[1.0, 1.0, 0.0]]))
    return nn.Sequential(into, nn.ReLU(), out), into.weight, out.weight


def test_dead_units_do_not_make_infinities() -> None:
    model, into, out = dead()
    gammas = PathNetwork(model, (2,)).gammas()
    assert gammas["0.weight"].tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]
    assert gammas["2.weight"].tolist() == [[5.0, 0.0, 10.0]]
    model(torch.ones(4, 2)).sum().backward()
    PathSGD(model, (2,), 0.1).step()
    assert all(w.isfinite().all() for w in model.parameters())
    assert into[2].tolist() == [3.0, 1.0]
    assert out[0, 1] == 1.0
    assert out[0, 0] != 1.0


def test_a_parameter_without_gradient_stays_and_counts() -> None:
    model, into, out = dead()
    into.requires_grad_(False)
    model(torch.ones(4, 2)).sum().backward()
    PathSGD(model, (2,), 0.1).step()
    assert into.tolist() == [[1.0, 2.0], [0.0, 0.0], [3.0, 1.0]]
    assert out[0, 0].item() == pytest.approx(1.0 - 0.1 * 4 * 3 / 5)


def test_closure_and_learning_rate_schedule() -> None:
    model, _, _ = dead()
    optimizer = PathSGD(model, (2,), 0.02)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss: Tensor = model(torch.ones(4, 2)).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == pytest.approx(4 * 9.0)
    schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    assert optimizer.step(closure) < 4 * 9.0


def test_state_survives_a_file() -> None:
    one = network()
    optimizer = PathSGD(one, SHAPE, 3.0, p=1)
    train(one, optimizer)
    optimizer.param_groups[0]["lr"] = 1.5
    file = io.BytesIO()
    torch.save({"model": one.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = network()
    restored = PathSGD(other, SHAPE, 7.0)  # p = 2
    other.load_state_dict(saved["model"])
    restored.load_state_dict(saved["optimizer"])
    assert (restored.param_groups[0]["lr"], restored.param_groups[0]["p"]) == (1.5, 1)
    assert train(other, restored) == train(one, optimizer)


def test_values_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"^lr = 0\.0: must be above 0$"):
        PathSGD(network(), SHAPE, 0.0)
    with pytest.raises(ValueError, match=r"^p = 3: must be 1 or 2$"):
        PathSGD(network(), SHAPE, 0.1, p=3)
    optimizer = PathSGD(network(), SHAPE, 0.1)
    with pytest.raises(ValueError, match="has one group of parameters"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))]})


class Squashed(nn.Module):
    """Calls an activation that is not homogeneous."""

    def forward(self, x: Tensor) -> Tensor:
        """To (-1, 1)."""
        return torch.tanh(x)


class Shifted(nn.Module):
    """Adds a constant that is no edge."""

    def forward(self, x: Tensor) -> Tensor:
        """Adds one."""
        return x + 1.0


TIED = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2), nn.Sigmoid()), r"^1 \(Sigmoid\) is not known to be"),
        (nn.Sequential(nn.Linear(2, 2), nn.PReLU()), r"^1 \(PReLU\) is not known to be"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), r"^1 \(LayerNorm\) is not known"),
        (
            nn.Sequential(spectral_norm(nn.Linear(2, 2), True)),
            r"^0 \(ParametrizedLinear\) is not known",
        ),
        (nn.Sequential(nn.Linear(2, 2), Squashed()), "^function tanh is not known to be"),
        (nn.Sequential(nn.Linear(2, 2), Shifted()), "a constant is added; make it a bias"),
        (nn.Sequential(TIED, nn.ReLU(), TIED), "has a weight that .* has used before"),
        (dcgan.Generator(), r"^convolutions\.0 \(ConvTranspose2d\) is not known to be"),
        (
            nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)),
            r"^0 \(BatchNorm1d\) has no running statistics",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular")),
            r"^0 \(Conv2d\) has padding_mode = 'circular': must be 'zeros'$",
        ),
        (nn.Sequential(nn.MaxPool2d(2, dilation=2)), r"^0 \(MaxPool2d\) has dilation = 2"),
        (nn.Sequential(nn.AvgPool2d(2, ceil_mode=True)), r"^0 \(AvgPool2d\) averages over"),
    ],
)
def test_what_has_no_paths_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PathSGD(model, (2,), 0.1)
