"""The averaged generator, by hand, and its batch-norm statistics."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.training.conftest import synthetic, tiny
from training import checkpoint
from training.config import EmaConfig
from training.ema import Ema, standing_statistics
from training.launch import launch
from zoo.nets.dcgan import Generator


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def perturb(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))


def parameters(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_average_by_hand() -> None:
    source = small()
    average = Ema(source, EmaConfig(decay=0.9, start_itr=0))
    expected = parameters(source)
    for itr in range(1, 6):
        perturb(source)
        average.update(itr)
        expected = [0.9 * e + 0.1 * s for e, s in zip(expected, parameters(source), strict=True)]
    for mine, wanted in zip(parameters(average.module), expected, strict=True):
        torch.testing.assert_close(mine, wanted)


def test_until_start_itr_it_is_a_copy() -> None:
    source = small()
    average = Ema(source, EmaConfig(decay=0.9, start_itr=3))
    for itr in (1, 2, 3):
        perturb(source)
        average.update(itr)
        for mine, theirs in zip(parameters(average.module), parameters(source), strict=True):
            assert torch.equal(mine, theirs)
    before = parameters(source)
    perturb(source)
    average.update(4)
    for mine, old, new in zip(parameters(average.module), before, parameters(source), strict=True):
        torch.testing.assert_close(mine, 0.9 * old + 0.1 * new)


def test_no_decay_is_a_copy() -> None:
    source = small()
    average = Ema(source, EmaConfig(decay=0.0, start_itr=0))
    perturb(source)
    average.update(1)
    for mine, theirs in zip(parameters(average.module), parameters(source), strict=True):
        assert torch.equal(mine, theirs)


def test_buffers_are_copied() -> None:
    source = small()
    average = Ema(source, EmaConfig(decay=0.9, start_itr=0))
    source(torch.randn(8, 3))
    average.update(1)
    buffers = dict(average.module.named_buffers())
    assert int(buffers["1.num_batches_tracked"]) == 1
    for name, theirs in source.named_buffers():
        assert torch.equal(buffers[name], theirs)


def test_average_shares_nothing_with_its_source_and_takes_no_gradients() -> None:
    source = small()
    average = Ema(source, EmaConfig(decay=0.9, start_itr=0))
    before = parameters(average.module)
    perturb(source)
    assert all(map(torch.equal, parameters(average.module), before))
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())
    assert not average.module.training
    assert source.training


def test_standing_statistics_by_hand() -> None:
    network = small()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm1d)
    norm.momentum = 0.37
    for _ in range(3):
        network(5 + torch.randn(8, 3))  # statistics that must be forgotten
    batches = [torch.randn(16, 3) * (i + 1) + i for i in range(4)]
    with torch.no_grad():
        hidden = [network[0](z) for z in batches]

    standing_statistics(network, [(z,) for z in batches])

    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([h.var(0) for h in hidden]).mean(0))
    assert norm.momentum == 0.37
    assert not any(module.training for module in network.modules())


def test_standing_statistics_are_those_of_evaluation() -> None:
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3))
    batch = torch.randn(16, 3)
    standing_statistics(network, [(batch,)])
    torch.testing.assert_close(dict(network.named_buffers())["1.running_mean"], batch.mean(0))


def test_standing_statistics_do_not_depend_on_the_mode_before() -> None:
    batches = [torch.randn(16, 3) for _ in range(2)]
    one, other = small().train(), small().eval()
    standing_statistics(one, [(z,) for z in batches])
    standing_statistics(other, [(z,) for z in batches])
    for mine, theirs in zip(one.buffers(), other.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("linear_batch_norm", [True, False])
def test_standing_statistics_normalise_every_layer_of_dcgan(*, linear_batch_norm: bool) -> None:
    torch.manual_seed(0)
    network = Generator(10, (16, 8, 4), 32, linear_batch_norm)
    inputs: dict[str, list[Tensor]] = {}
    norms = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    }
    assert len(norms) == (4 if linear_batch_norm else 2)
    for name, norm in norms.items():
        norm.register_forward_hook(
            lambda _, given, __, name=name: inputs.setdefault(name, []).append(given[0])
        )
    weights = parameters(network)
    standing_statistics(network, [(torch.randn(64, 10),) for _ in range(3)])
    for name, norm in norms.items():
        dims = [0, 2, 3] if inputs[name][0].dim() == 4 else [0]
        means = torch.stack([given.mean(dims) for given in inputs[name]])
        assert len(means) == 3
        torch.testing.assert_close(norm.running_mean, means.mean(0))
    assert all(map(torch.equal, parameters(network), weights))


def test_evaluation_after_standing_statistics_matches_the_batches() -> None:
    network = small()
    batch = torch.randn(512, 3)
    standing_statistics(network, [(batch,)])
    with torch.no_grad():
        out = network(batch)
    torch.testing.assert_close(out.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(0), torch.ones(4), atol=1e-3, rtol=0)


def test_average_of_a_run_starts_when_the_recipe_says(tmp_path: Path) -> None:
    recipe = tiny("max_itr=4", "ema.start_itr=3", "checkpoint_every=1")
    launch(recipe, synthetic(64), tmp_path, resume=False, device=torch.device("cpu"), command=[])
    for itr in (3, 4):
        state = checkpoint.load(tmp_path / "checkpoints" / f"itr-{itr:08d}.pt")
        differing = {
            name
            for name, value in state["ema"].items()
            if not torch.equal(value, state["generator"][name])
        }
        trained = {name for name, _ in Generator(100, (16, 8, 4), 32).named_parameters()}
        assert differing == (trained if itr == 4 else set())
