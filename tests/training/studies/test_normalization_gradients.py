"""The nets with a choice of norm, and the study of their gradients from the command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

from tests.training.conftest import Cli
from tests.training.pictures import picture, write_zip
from training.gradient_norms import mean_gradient_norms
from training.studies.normalised_nets import Head, Norm, PlainNet, ResidualNet, convolutions
from training.studies.normalization_curves import Curve, fit

NORMS: tuple[Norm, ...] = get_args(Norm)


def some_batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(8, 3, 32, 32), torch.arange(8) % 4


@pytest.mark.parametrize("norm", NORMS)
def test_layers(norm: Norm) -> None:
    plain, residual = PlainNet(norm, 4, width=64), ResidualNet(norm, 4, width=64)
    widths = [64] * 3 + [128] * 3 + [256] * 3
    assert [conv.out_channels for conv in convolutions(plain).values()] == widths
    main = {n: c for n, c in convolutions(residual).items() if not n.endswith("shortcut")}
    assert [c.out_channels for c in main.values()] == [64] * 7 + [128] * 8 + [256] * 12
    assert len(convolutions(residual)) - len(main) == 2
    for network in (plain, residual):
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.InstanceNorm2d)]
        assert bool(norms) == (norm != "spectral")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [PlainNet, ResidualNet])
def test_logits(kind: type[PlainNet | ResidualNet], norm: Norm) -> None:
    images, _ = some_batch()
    torch.manual_seed(0)
    network = kind(norm, 4, width=4)
    assert network(images).shape == (8, 4)
    if norm == "spectral":
        for conv in convolutions(network).values():
            sigma = torch.linalg.svdvals(conv.weight.detach().flatten(1))[0]
            assert sigma.item() == pytest.approx(1.0, abs=0.05)


def test_an_instance_norm_straight_before_the_mean_lets_no_gradient_pass() -> None:
    """The mean of a channel of mean zero and variance one is its shift, whatever the image."""
    images, labels = some_batch()
    norms = {}
    heads: tuple[Head, ...] = get_args(Head)
    for head in heads:
        torch.manual_seed(0)
        network = ResidualNet("instance", 4, width=4, head=head)
        found = mean_gradient_norms(network, [(images, labels)])
        norms[head] = [found[name] for name in convolutions(network)]
        if head == "norm":
            logits = network(images)
            assert torch.allclose(logits, logits[:1].expand_as(logits), atol=1e-5)
    assert min(norms["norm-relu"]) > 1e-4
    assert max(norms["norm"]) < 1e-6


def test_an_exponential_is_found() -> None:
    found = fit([3.0 * 1.5**layer for layer in range(6)])
    assert found.factor == pytest.approx(1.5)
    assert found.r2 == pytest.approx(1.0)
    assert fit([1.0, 5.0, 1.0, 5.0, 1.0, 5.0, 1.0]).r2 < 0.1


def test_levels_and_shortcuts() -> None:
    curve = Curve(("stem", "blocks.0.shortcut", "blocks.0.conv2"))
    ones = dict.fromkeys(curve.layers, 1.0)
    curve.add_gradients(ones, dict.fromkeys(curve.layers, 3.0))
    curve.add_gradients({"stem": 1.0, "blocks.0.shortcut": 2.0, "blocks.0.conv2": 4.0}, ones)
    assert curve.by_depth(1) == [1.0, 4.0]
    assert curve.growth() == pytest.approx(2.0)
    assert curve.scaled_level(0) == pytest.approx(3.0)


def shades(n: int) -> dict[str, bytes]:
    """Red and green pictures, a little different from each other."""
    files = {}
    for part, count in (("train", n), ("test", 128)):
        for i in range(count):
            colour = (200 - i % 50, i % 40, 0) if i % 2 else (i % 40, 200 - i % 50, 0)
            files[f"{part}/{'red' if i % 2 else 'green'}/{i}.png"] = picture(colour)
    return files


def test_the_study_from_the_command_line(cli: Cli, tmp_path: Path) -> None:
    data = write_zip(tmp_path / "shades.zip", shades(160))
    sizes = ("width=2", "epochs=2", "images=128", "test_images=128", "gradient_images=128")
    options = [part for size in (*sizes, "batch_size=64") for part in ("--set", size)]
    out = tmp_path / "out"
    command = ("study", "normalization-gradients", "--quick", "--device", "cpu")
    done = cli(*command, "--data", data, "--out", out, *options)
    assert done.code == 0, done.err
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["epochs"] == 2
    curves = results["numbers"]["curves"]
    assert sorted(curves) == sorted(
        f"{net}, {norm}" for net in ("plain", "residual") for norm in NORMS
    )
    for name, curve in curves.items():
        n_layers = 9 if name.startswith("plain") else 29
        assert len(curve["layers"]) == n_layers
        assert [len(norms) for norms in curve["gradient_norms"]] == [n_layers] * 3
        assert all(math.isfinite(v) and v > 0 for row in curve["gradient_norms"] for v in row)
        assert len(curve["accuracy"]) == len(curve["losses"]) == 2
    assert len(results["claims"]) == 6
    names = ["accuracy", "norms-by-layer", "norms-by-epoch", "residual-start"]
    assert [figure["name"] for figure in results["figures"]] == names
    assert sorted(path.stem for path in out.glob("*.png")) == sorted(names)


def test_data_without_classes_are_refused(cli: Cli, tmp_path: Path) -> None:
    data = write_zip(
        tmp_path / "plain.zip",
        {f"{part}/{i}.png": picture() for part in ("train", "test") for i in range(3)},
    )
    refused = cli("study", "normalization-gradients", "--data", data, "--out", tmp_path / "out")
    assert refused.code == 2
    assert refused.err.splitlines()[-1] == (
        f"error: {data}: the study needs images in classes, the same ones in both parts"
    )
