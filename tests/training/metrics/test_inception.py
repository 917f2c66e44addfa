"""Models of natural images in Inception's features; its weights here are random.

They are in a file like the one that torch-fidelity distributes: the state dict of its network.
"""

from __future__ import annotations

import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.toys import write_toy
from tests.training.conftest import Cli
from training.errors import RunError
from training.evaluate import Evaluation
from training.metrics.inception import load_inception
from zoo.errors import BackendError

_WHY = "the extra inception is not installed: pip install -e '.[inception]'"


@pytest.fixture(scope="module")
def fidelity() -> Any:
    return pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason=_WHY)


@pytest.fixture(scope="module")
def weights(fidelity: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        network = fidelity.FeatureExtractorInceptionV3("random", ["2048"])
    path: Path = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-0.pth"
    torch.save(network.state_dict(), path)
    return path


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(BackendError) as caught:
        load_inception(None)
    assert str(caught.value) == (
        "Inception features need torch-fidelity: pip install 'ganagerie[inception]'"
    )


def test_features_and_probabilities_are_torch_fidelitys(fidelity: Any, weights: Path) -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    features, said = load_inception(weights).describe(images)
    assert (features.dtype, features.shape) == (torch.float32, (3, 2048))
    assert (said.dtype, said.shape) == (torch.float64, (3, 1008))
    layers = ["2048", "logits_unbiased"]
    theirs = fidelity.FeatureExtractorInceptionV3("theirs", layers, str(weights))
    expected, logits = theirs(images)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(said, logits.double().softmax(1))
    assert features.std(0).mean() > 0


def test_grey_images_are_seen_as_rgb(weights: Path) -> None:
    grey = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    inception = load_inception(weights)
    one, other = (inception.describe(x)[0] for x in (grey, grey.repeat(1, 3, 1, 1)))
    assert torch.equal(one, other)


def test_weights_that_cannot_be_had(
    fidelity: Any, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.pth"
    with pytest.raises(RunError) as caught:
        load_inception(missing)
    assert str(caught.value) == f"no Inception weights {missing}: there is no such file"

    pickled = tmp_path / "pickled.pth"
    torch.save({"path": missing}, pickled)
    with pytest.raises(RunError, match=rf"^{pickled}: not Inception's weights: ") as caught:
        load_inception(pickled)
    assert "\n" not in str(caught.value)

    other = tmp_path / "other.pth"
    torch.save(dict(list(torch.load(weights).items())[:-1]), other)
    with pytest.raises(RunError, match=rf"^{other}: not Inception's weights: .*fc.bias") as caught:
        load_inception(other)
    assert "\n" not in str(caught.value)

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(fidelity, "load_state_dict_from_url", offline)
    with pytest.raises(RunError) as caught:
        load_inception(None)
    assert str(caught.value) == (
        "Inception's weights could not be downloaded (<urlopen error no network>): fetch "
        f"{fidelity.URL_INCEPTION_V3} elsewhere, and name the file with --inception-weights"
    )


def test_downloaded_weights_are_used(
    fidelity: Any, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: torch.load(weights))
    images = torch.randint(0, 256, (1, 3, 8, 8), dtype=torch.uint8)
    named, found = (load_inception(path).describe(images)[0] for path in (weights, None))
    assert torch.equal(named, found)


def picture_folder(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for split, n in (("train", 8), ("test", 4)):
        for name in ("blue", "red"):
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def test_command_measures_a_model_of_natural_images(
    cli: Cli, weights: Path, tmp_path: Path
) -> None:
    write_toy(tmp_path / "zoo", "colour", side=32, channels=3, classes=("blue", "red"))
    data = picture_folder(tmp_path / "pictures")
    common = ("--zoo", tmp_path / "zoo", "--samples", "6", "--thresholds", "none")
    ended = cli(
        "evaluate",
        "colour",
        *common,
        "--data",
        data,
        "--inception-weights",
        weights,
        "--write-card",
    )
    assert ended.code == 0, ended.err
    assert "features of inception-v3" in ended.out
    assert ended.out.endswith("compared with 6 training images\n")
    text = Path("evaluations/colour@1.0.0/evaluation.json").read_text()
    result = Evaluation.model_validate_json(text)
    assert (result.dataset, result.classifier) == ("images", "inception-v3")
    assert result.classifier_test_accuracy is None
    for point in (*result.curve, result.real, result.held_out):
        assert point.accuracy is None
        assert point.class_accuracy is None
        found = point.metrics().keys()
        assert found == {"fid", "kid", "score", "precision", "recall", "intra_class_distance"}
    card = (tmp_path / "zoo" / "colour" / "card.json").read_text()
    assert '"tool": "ganagerie evaluate, inception-v3"' in card


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"side": 32, "classes": ("a", "b")}, "images of 3 channels; plain@1.0.0 makes 1"),
        (
            {"side": 32, "channels": 3, "classes": ("red", "blue")},
            "other classes than those of plain@1.0.0: 2, not 2, or in another order",
        ),
    ],
)
def test_images_that_the_model_was_not_trained_on(
    cli: Cli, weights: Path, tmp_path: Path, model: dict[str, Any], message: str
) -> None:
    write_toy(tmp_path / "zoo", "plain", **model)
    data = picture_folder(tmp_path / "pictures")
    arguments = ("--zoo", tmp_path / "zoo", "--data", data, "--inception-weights", weights)
    ended = cli("evaluate", "plain", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: {data}: {message}\n"
