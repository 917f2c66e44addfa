"""The BigGAN step: who is updated when, on what, and with which penalties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.small_biggan import CLASSES, shapes, small
from training.batches import BatchSource, one_hot
from training.config import Recipe, Sigma0ClampConfig, load_recipe
from training.errors import RecipeError
from training.networks import Subject
from training.regularizers import (
    Sigma0Clamp,
    add_orthogonal_gradient,
    add_r1_gradient,
    map_weights,
)
from training.state import TrainingState

CPU = torch.device("cpu")


def state_of(recipe: Recipe) -> TrainingState:
    return TrainingState(recipe, CPU, Subject(CLASSES, 1))


def run(recipe: Recipe, itrs: int) -> tuple[TrainingState, list[dict[str, Tensor]]]:
    state = state_of(recipe)
    source = BatchSource(recipe, shapes(), (-1.0, 1.0), CPU)
    return state, [state.step(source.draw(itr)) for itr in range(itrs)]


def weights(state: TrainingState) -> dict[str, Tensor]:
    return {
        f"{of}.{name}": value.detach().clone()
        for of in ("generator", "discriminator")
        for name, value in getattr(state, of).named_parameters()
    }


def noted(updates: list[str], name: str, step: Callable[[], None]) -> Callable[[], None]:
    def wrapped() -> None:
        updates.append(name)
        step()

    return wrapped


def test_an_iteration_updates_d_as_often_as_the_recipe_says_and_g_once() -> None:
    recipe = small("d_steps=3")
    state = state_of(recipe)
    updates: list[str] = []
    for name in ("g", "d"):
        optimizer: Any = getattr(state, f"{name}_optimizer")
        optimizer.step = noted(updates, name, optimizer.step)
    state.step(BatchSource(recipe, shapes(), (-1.0, 1.0), CPU).draw(0))
    assert updates == ["d", "d", "d", "g"]


def test_first_outcome_is_the_hinge_loss_of_the_networks_at_the_start() -> None:
    recipe = small("d_steps=1")
    state, other = state_of(recipe), state_of(recipe)
    draw = BatchSource(recipe, shapes(), (-1.0, 1.0), CPU).draw(0)
    outcome = state.step(draw)
    (real,), (fake,) = draw.real, draw.d_fake
    with torch.no_grad():
        images = other.generator(*fake)
        both = other.discriminator(torch.cat((real[0], images)), torch.cat((real[1], fake[1])))
    loss = F.relu(1 - both[:12]).mean() + F.relu(1 + both[12:]).mean()
    torch.testing.assert_close(outcome["loss_d"], loss)
    torch.testing.assert_close(outcome["real"], both[:12].mean())
    torch.testing.assert_close(outcome["fake"], both[12:].mean())
    assert all(value.shape == () and not value.requires_grad for value in outcome.values())


def test_accumulated_gradients_of_d_are_those_of_the_whole_batch() -> None:
    # G's batch norm sees the parts, so D is compared on fakes that do not depend on the batch.
    whole, parts = (small("d_steps=1", f"accumulations={n}") for n in (1, 3))
    gradients = []
    for recipe in (whole, parts):
        state = state_of(recipe)
        state.generator.forward = lambda z, _: z[:, :1, None, None].expand(-1, 1, 28, 28) / 4
        draw = BatchSource(recipe, shapes(), (-1.0, 1.0), CPU).draw(0)
        state.discriminator.eval()  # spectral norms of one moment
        state.step._update_d(0, draw.real, draw.d_fake)  # type: ignore[attr-defined]  # half a step
        gradients.append([p.grad for p in state.discriminator.parameters()])
    assert len(gradients[0]) > 10
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_classes_matter_to_both_networks() -> None:
    state = state_of(small())
    z, images = torch.randn(3, 12), torch.rand(3, 1, 28, 28)
    same, turned = one_hot(torch.tensor([0, 1, 2]), 3), one_hot(torch.tensor([1, 2, 0]), 3)
    with torch.no_grad():
        assert not torch.allclose(state.generator(z, same), state.generator(z, turned))
        assert not torch.allclose(
            state.discriminator(images, same), state.discriminator(images, turned)
        )


def test_bf16_stays_near_fp32_and_keeps_weights_and_statistics_in_fp32() -> None:
    full, of_full = run(small(), 3)
    half, of_half = run(small("precision=bf16"), 3)
    for one, other in zip(of_full, of_half, strict=True):
        assert one["loss_d"].item() == pytest.approx(other["loss_d"].item(), abs=0.1)
    for network in (half.generator, half.discriminator):
        for value in network.state_dict().values():
            assert value.dtype in (torch.float32, torch.int64)
            assert value.isfinite().all()
    assert any(
        not torch.equal(a, b)
        for a, b in zip(weights(full).values(), weights(half).values(), strict=True)
    )


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 3, 3, 3)])
def test_orthogonal_gradient_is_that_of_the_penalty(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    w = weight.flatten(1)
    gram = w @ w.t()
    penalty = (gram * (1 - torch.eye(len(w), dtype=torch.float64))).square().sum()
    (expected,) = torch.autograd.grad(0.5 * 0.01 * penalty, weight)
    weight.grad = torch.ones_like(weight)
    add_orthogonal_gradient([weight], 0.01)
    torch.testing.assert_close(weight.grad, 1 + expected)


def test_orthogonal_gradient_is_for_linear_maps_and_convolutions_only() -> None:
    generator = state_of(small()).generator
    chosen = {id(weight) for weight in map_weights(generator)}
    names = {name for name, value in generator.named_parameters() if id(value) in chosen}
    assert "linear.parametrizations.weight.original" in names
    assert "blocks.0.conv1.parametrizations.weight.original" in names
    assert "blocks.0.norm1.gain.parametrizations.weight.original" in names
    assert not {name for name in names if "bias" in name.split(".")[-1]}
    assert "embedding.weight" not in names
    assert "norm.weight" not in names


def test_r1_gradient_is_that_of_the_penalty() -> None:
    discriminator = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(4, 1), torch.nn.Flatten(0)
    )
    linear = discriminator[1]
    assert isinstance(linear, torch.nn.Linear)
    for parameter in discriminator.parameters():
        parameter.grad = torch.zeros_like(parameter)
    add_r1_gradient(discriminator, [(torch.rand(5, 1, 2, 2),), (torch.rand(5, 1, 2, 2),)], 3.0)
    # D is linear, so its gradient at every image is w: γ/2·||w||² has the gradient γw.
    torch.testing.assert_close(linear.weight.grad, 3.0 * linear.weight.detach())
    torch.testing.assert_close(linear.bias.grad, torch.zeros(1))


def test_r1_is_lazy_and_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    monkeypatch.setattr(
        "training.state.add_r1_gradient", lambda d, real, gamma: calls.append(gamma)
    )
    run(small("penalties.r1_gamma=0.5", "penalties.r1_every=2", "d_steps=1"), 5)
    assert calls == [1.0, 1.0, 1.0]  # iterations 0, 2 and 4


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 4, 3, 3)])
def test_clamp_brings_sigma0_to_a_fixed_bound_and_leaves_the_rest(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    weight = torch.randn(shape)
    before = torch.linalg.svdvals(weight.flatten(1))
    bound = float(before[0] + before[1]) / 2
    clamp = Sigma0Clamp([weight], Sigma0ClampConfig(sigma_reg=bound))
    for _ in range(100):
        clamp()
    after = torch.linalg.svdvals(weight.flatten(1))
    assert after[0].item() == pytest.approx(bound, rel=1e-3)
    torch.testing.assert_close(after[1:], before[1:], rtol=1e-2, atol=1e-2)


def test_clamp_to_a_ratio_of_sigma1() -> None:
    torch.manual_seed(2)
    weight = torch.randn(10, 30).to(torch.float32)
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    s[0] *= 3
    weight.copy_(u @ torch.diag(s) @ vh)
    clamp = Sigma0Clamp([weight], Sigma0ClampConfig(ratio=1.2))
    for _ in range(100):
        clamp()
    after = torch.linalg.svdvals(weight)
    assert (after[0] / after[1]).item() == pytest.approx(1.2, rel=1e-2)


def test_clamp_leaves_what_is_below_the_bound() -> None:
    weight = torch.randn(5, 7)
    before = weight.clone()
    Sigma0Clamp([weight], Sigma0ClampConfig(sigma_reg=100.0))()
    assert torch.equal(weight, before)


def test_clamp_works_on_channels_last_weights() -> None:
    weight = (10 * torch.randn(8, 8, 3, 3)).to(memory_format=torch.channels_last)
    clamp = Sigma0Clamp([weight], Sigma0ClampConfig(sigma_reg=1.0))
    for _ in range(300):
        clamp()
    assert torch.linalg.svdvals(weight.flatten(1))[0].item() < 1.1


@pytest.mark.parametrize("values", [{}, {"sigma_reg": 1.0, "ratio": 1.0}])
def test_clamp_needs_one_bound(values: dict[str, float]) -> None:
    overrides = [f"penalties.sigma0_clamp.{key}={value}" for key, value in values.items()]
    with pytest.raises(RecipeError, match="give one of sigma_reg and ratio"):
        small(*(overrides or ["penalties.sigma0_clamp={}"]))


def test_a_clamped_run_resumes_to_the_very_same_weights() -> None:
    recipe = small("penalties.sigma0_clamp.ratio=1.05")
    source = BatchSource(recipe, shapes(), (-1.0, 1.0), CPU)
    whole, _ = run(recipe, 4)
    first, _ = run(recipe, 2)
    second = state_of(recipe)
    second.load_state_dict(first.state_dict())
    for itr in (2, 3):
        second.step(source.draw(itr))
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(whole).values(), weights(second).values(), strict=True)
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "d_steps=2",
            "network dcgan updates D and G once each on the same fakes: d_steps must stay 1",
        ),
        ("accumulations=2", "accumulations must stay 1"),
        ("penalties.orthogonal=1e-4", "network dcgan takes no penalty but penalties.sigma0_clamp"),
        ("penalties.r1_gamma=1", "network dcgan takes no penalty but penalties.sigma0_clamp"),
    ],
)
def test_dcgan_refuses_what_only_alternating_updates_have(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("dcgan-emnist", [override])


def test_compile_and_r1_do_not_go_together() -> None:
    with pytest.raises(RecipeError, match=r"compile does not go with penalties\.r1_gamma"):
        small("compile=true", "penalties.r1_gamma=1")
