"""Losses by hand, and who changes what in a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import tiny
from training.config import InitializerConfig
from training.data import ImageSet, to_range
from training.draws import BatchOrder, noise
from training.initializers import initialize
from training.losses import discriminator_loss, generator_loss
from training.state import TrainingState
from training.steps import Draw
from zoo.nets import dcgan

CPU = torch.device("cpu")
LN2, LN3 = math.log(2), math.log(3)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def first_convolution(network: nn.Module) -> nn.Module:
    return network.get_submodule("convolutions.0")


def draw_of(real: Tensor, z: Tensor) -> Draw:
    return Draw(0, [(real,)], [(z,)], [])


def batch(state: TrainingState, itr: int = 0) -> Draw:
    pixels = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(itr))
    return draw_of(pixels, noise(state.recipe.seed, itr, 16, 100))


def before(method: Callable[..., Any], look: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        look()
        return method(*arguments, **options)

    return wrapped


def test_discriminator_loss_by_hand() -> None:
    # σ(0) = 1/2 and σ(ln 3) = 3/4: each side is (ln 2 + ln 4/3) / 2.
    loss = discriminator_loss(torch.tensor([0.0, LN3]), torch.tensor([0.0, -LN3]))
    assert loss.item() == pytest.approx(math.log(8 / 3))
    uneven = discriminator_loss(torch.tensor([LN3]), torch.tensor([LN3, LN3, LN3, LN3]))
    assert uneven.item() == pytest.approx(math.log(4 / 3) + math.log(4))


def test_generator_loss_by_hand() -> None:
    loss = generator_loss(torch.tensor([0.0, -LN3]))
    assert loss.item() == pytest.approx((LN2 + math.log(4)) / 2)
    assert generator_loss(torch.tensor([LN3])).item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize(("real", "fake"), [(1e4, -1e4), (-1e4, 1e4), (0.0, 1e4), (-1e4, 0.0)])
def test_losses_are_stable(real: float, fake: float) -> None:
    reals = torch.full((4,), real, requires_grad=True)
    fakes = torch.full((4,), fake, requires_grad=True)

    def softplus(x: float) -> float:
        return max(x, 0.0) + math.log1p(math.exp(-abs(x)))

    of_d, of_g = discriminator_loss(reals, fakes), generator_loss(fakes)
    assert of_d.item() == pytest.approx(softplus(-real) + softplus(fake))
    assert of_g.item() == pytest.approx(softplus(-fake))
    gradients = torch.autograd.grad(of_d + of_g, [reals, fakes])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_each_update_changes_its_own_network_only() -> None:
    state = TrainingState(tiny(), CPU)
    g, d = state.generator, state.discriminator
    g_start, d_start = snapshot(g), snapshot(d)
    seen: dict[str, Any] = {}

    def at_update_of_d() -> None:
        assert all(parameter.grad is None for parameter in g.parameters())
        seen["d_grad"] = {k: v.grad.clone() for k, v in d.named_parameters() if v.grad is not None}

    def at_update_of_g() -> None:
        assert same(snapshot(g), g_start)
        seen["d"] = snapshot(d)

    of_d, of_g = state.d_optimizer, state.g_optimizer
    of_d.step = before(of_d.step, at_update_of_d)  # type: ignore[method-assign]  # to look on
    of_g.step = before(of_g.step, at_update_of_g)  # type: ignore[method-assign]  # to look on
    state.step(batch(state))

    assert seen["d_grad"].keys() == d_start.keys()
    assert any(not torch.equal(seen["d"][k], d_start[k]) for k in d_start)
    assert same(snapshot(d), seen["d"])
    after = {k: v.grad for k, v in d.named_parameters() if v.grad is not None}
    assert same(after, seen["d_grad"])
    assert not same(snapshot(g), g_start)
    assert all(parameter.requires_grad for parameter in d.parameters())
    assert all(parameter.requires_grad for parameter in g.parameters())


def test_no_gradient_is_carried_into_the_next_step() -> None:
    once, dirty = TrainingState(tiny(), CPU), TrainingState(tiny(), CPU)
    for network in (dirty.generator, dirty.discriminator):
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 1e3)
    for state in (once, dirty):
        state.step(batch(state))
    assert same(snapshot(once.generator), snapshot(dirty.generator))
    assert same(snapshot(once.discriminator), snapshot(dirty.discriminator))


def test_step_reports_the_losses_before_its_updates() -> None:
    state, other = TrainingState(tiny(), CPU), TrainingState(tiny(), CPU)
    draw = batch(state)
    ((real,),), ((z,),) = draw.real, draw.d_fake
    with torch.no_grad():
        real_logits = other.discriminator(real)
        fake_logits = other.discriminator(other.generator(z))
    outcome = state.step(draw)
    assert outcome.keys() == {"loss_d", "loss_g", "real", "fake"}
    assert all(value.shape == () and not value.requires_grad for value in outcome.values())
    torch.testing.assert_close(outcome["loss_d"], discriminator_loss(real_logits, fake_logits))
    torch.testing.assert_close(outcome["real"], real_logits.mean())
    torch.testing.assert_close(outcome["fake"], fake_logits.mean())


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32() -> None:
    state = TrainingState(tiny("precision=bf16"), CPU)
    types = set()
    for network in (state.generator, state.discriminator):
        first_convolution(network).register_forward_hook(lambda *a: types.add(a[2].dtype))
    for itr in range(5):
        outcome = state.step(batch(state, itr))
        assert all(value.isfinite() and value.dtype == torch.float32 for value in outcome.values())
    assert types == {torch.bfloat16}
    for network in (state.generator, state.discriminator):
        assert all(p.dtype == torch.float32 for p in network.parameters())
        assert all(p.isfinite().all() for p in network.parameters())


def test_fp32_computes_in_fp32() -> None:
    state = TrainingState(tiny(), CPU)
    types = set()
    first_convolution(state.generator).register_forward_hook(lambda *a: types.add(a[2].dtype))
    state.step(batch(state))
    assert types == {torch.float32}


def test_each_network_learns_while_the_other_stands_still(emnist: ImageSet) -> None:
    state = TrainingState(tiny("optimizer.d_lr=1e-3"), CPU)
    order = BatchOrder(len(emnist), 16, seed=1)

    def learn(itrs: range, d_lr: float, g_lr: float) -> list[dict[str, float]]:
        state.d_optimizer.param_groups[0]["lr"] = d_lr
        state.g_optimizer.param_groups[0]["lr"] = g_lr
        outcomes = []
        for itr in itrs:
            real = to_range(emnist.images[order.indices(itr)], (0.0, 1.0))
            outcome = state.step(draw_of(real, noise(1, itr, 16, 100)))
            outcomes.append({key: value.item() for key, value in outcome.items()})
        return outcomes

    of_d = learn(range(100), d_lr=1e-3, g_lr=0.0)
    assert of_d[0]["loss_d"] == pytest.approx(2 * LN2, abs=0.1)  # logits start near zero
    assert of_d[-1]["loss_d"] < 0.85 * of_d[0]["loss_d"]
    assert of_d[-1]["real"] > 0 > of_d[-1]["fake"]
    of_g = learn(range(100, 200), d_lr=0.0, g_lr=1e-3)
    assert of_g[-1]["loss_g"] < 0.85 * of_g[0]["loss_g"]
    assert of_g[-1]["fake"] > of_g[0]["fake"]


def test_weights_start_as_the_paper_says() -> None:
    torch.manual_seed(0)
    network = dcgan.Generator()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    initialize(network, InitializerConfig(std=0.05, batch_norm_std=0.05))
    biases = [value for name, value in network.named_parameters() if name.endswith("bias")]
    assert biases
    assert not any(bias.any() for bias in biases)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            assert layer.weight.std().item() == pytest.approx(0.05, rel=0.1)
            assert abs(layer.weight.mean().item()) < 0.005
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.03)
            assert layer.weight.std().item() == pytest.approx(0.05, rel=0.4)


def test_start_is_a_function_of_the_seed() -> None:
    one, again = TrainingState(tiny("seed=3"), CPU), TrainingState(tiny("seed=3"), CPU)
    other = TrainingState(tiny("seed=4"), CPU)
    assert same(snapshot(one.generator), snapshot(again.generator))
    assert same(snapshot(one.discriminator), snapshot(again.discriminator))
    assert not same(snapshot(one.generator), snapshot(other.generator))
