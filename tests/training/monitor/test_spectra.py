"""Singular values: whose, how exact, and that reading them changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import spectral_norm as old_spectral_norm

from tests.training.conftest import synthetic
from training.batches import BatchSource
from training.config import load_recipe
from training.monitor.spectra import Spectra, named_weights, worst_errors
from training.networks import pixel_range
from training.state import TrainingState

CPU = torch.device("cpu")


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(7, 5),
        nn.Conv2d(4, 6, 3),
        nn.ConvTranspose2d(4, 6, 2),
        nn.Embedding(9, 3),
        nn.BatchNorm2d(4),
        nn.LSTM(3, 4),
    )


def test_every_weight_is_there_as_the_map_that_it_is() -> None:
    shapes = {name: tuple(w.matrix().shape) for name, w in named_weights(layers()).items()}
    assert shapes == {
        "0": (5, 7),
        "1": (6, 4 * 3 * 3),
        "2": (6, 4 * 2 * 2),  # out x in·kh·kw, though the parameter is in x out
        "3": (9, 3),
        "5.weight_ih_l0": (16, 3),
        "5.weight_hh_l0": (16, 4),
    }


def test_transposed_convolution_has_the_singular_values_of_its_map() -> None:
    layer = nn.ConvTranspose2d(4, 6, 2, bias=False)
    expected = torch.linalg.svdvals(layer.weight.detach().permute(1, 0, 2, 3).reshape(6, 16))
    (found,) = Spectra(nn.Sequential(layer)).tick().values()
    assert found == pytest.approx(expected[:3].tolist(), rel=1e-5)


@pytest.mark.parametrize("apply", [parametrizations.spectral_norm, old_spectral_norm])
def test_values_are_of_the_raw_weight_and_its_norm_stays_as_it_is(apply: object) -> None:
    assert callable(apply)
    network = nn.Sequential(apply(nn.Linear(20, 30)), nn.Linear(30, 1)).train()
    raw = next(p for name, p in network.named_parameters() if "orig" in name and p.ndim == 2)
    with torch.no_grad():
        raw.mul_(10.0)
    before, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    spectra = Spectra(network)
    for _ in range(3):
        found = spectra.tick()["0"]
    assert found == pytest.approx(torch.linalg.svdvals(raw.detach())[:3].tolist(), rel=1e-5)
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(torch.get_rng_state(), random)


def test_names_do_without_what_wraps_a_network() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Sequential(nn.Linear(2, 2))

    assert list(named_weights(Wrapper())) == ["0"]
    assert list(named_weights(torch.compile(nn.Sequential(nn.Linear(2, 2))))) == ["0"]  # type: ignore[arg-type]


def test_few_singular_values_are_all_there_are() -> None:
    network = nn.Sequential(nn.Linear(9, 1), nn.Linear(2, 9))
    assert [len(values) for values in Spectra(network).tick().values()] == [1, 2]


@pytest.mark.parametrize("shape", [(128, 400), (129, 400), (400, 129), (200, 1000)])
def test_decomposed_up_to_a_side_of_128_and_followed_beyond(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(shape[1], shape[0], bias=False))
    spectra = Spectra(network)
    errors = worst_errors(spectra.tick(), spectra.exact())
    if min(shape) <= 128:
        assert max(errors.values()) < 1e-5
        assert spectra.state_dict() == {"vectors": {}}
    else:
        assert list(spectra.state_dict()["vectors"]) == [f"{shape[0]}x{shape[1]}"]
        assert errors["sigma0"] < 0.01


def test_within_bounds_at_every_tick_of_a_real_training() -> None:
    """Of weights that power iteration follows, while Adam moves them fast."""
    recipe = load_recipe(
        "dcgan-emnist",
        ["network.channels=[160,144,16]", "network.linear_features=192", "batch_size=8"],
    )
    state = TrainingState(recipe, CPU)
    source = BatchSource(recipe, synthetic(64), pixel_range(state.generator), CPU)
    followed = {name: Spectra(getattr(state, name)) for name in ("generator", "discriminator")}
    ticks = []
    for itr in range(60):
        state.step(source.draw(itr))
        if itr % 5 == 0:
            ticks.append([worst_errors(it.tick(), it.exact()) for it in followed.values()])
    assert all(len(spectra.state_dict()["vectors"]) >= 2 for spectra in followed.values())
    for tick in ticks[2:]:
        for errors in tick:
            assert errors["sigma0"] < 0.01
            assert errors["sigma1"] < 0.03
            assert errors["sigma2"] < 0.03


def test_layers_of_one_shape_are_told_apart() -> None:
    torch.manual_seed(2)
    network = nn.Sequential(*(nn.Linear(300, 200, bias=False) for _ in range(3)))
    with torch.no_grad():
        for factor, layer in enumerate(network, 1):
            next(layer.parameters()).mul_(factor)
    spectra = Spectra(network)
    found = spectra.tick()
    assert worst_errors(found, spectra.exact())["sigma0"] < 0.01
    first = [values[0] for values in found.values()]
    assert first == sorted(first, key=lambda value: value or 0.0)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_has_no_values_and_spoils_no_other(wrong: float) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(*(nn.Linear(300, 200, bias=False) for _ in range(2)), nn.Linear(3, 2))
    spectra = Spectra(network)
    good = spectra.tick()
    weight = next(network.parameters()).detach()
    kept = weight.clone()
    weight[5, 7] = wrong
    found = spectra.tick()
    assert found["0"] == [None, None, None]
    assert found["1"] == pytest.approx(good["1"], rel=1e-3)
    assert spectra.exact()["0"] == [None, None, None]
    weight.copy_(kept)
    assert spectra.tick()["0"] == pytest.approx(good["0"], rel=1e-3)


def test_a_resumed_follower_reads_the_very_same_values() -> None:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Linear(300, 200))
    first = Spectra(network)
    first.tick()
    saved = copy.deepcopy(first.state_dict())
    with torch.no_grad():
        next(network.parameters()).add_(0.01 * torch.randn(200, 300))
    second = Spectra(network)
    second.load_state_dict(saved)
    assert second.tick() == first.tick()


def test_vectors_of_another_network_are_let_go() -> None:
    first = Spectra(nn.Sequential(nn.Linear(300, 200)))
    first.tick()
    second = Spectra(nn.Sequential(nn.Linear(301, 200)))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == {"vectors": {}}
