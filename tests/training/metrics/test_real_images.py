"""Which real images are compared: shares of classes, no image twice, limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.toys import write_toy
from tests.training.pictures import picture, write_folder
from training.data import ImageSet
from training.errors import DatasetError
from training.metrics.real_images import RealImages


def uneven(*counts: int) -> ImageSet:
    """As many images of each class, shuffled."""
    labels = torch.cat([torch.full((n,), index) for index, n in enumerate(counts)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    names = tuple("ABCDEFGH"[: len(counts)])
    return ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), labels, names)


def shares(data: ImageSet, chosen: Tensor) -> NDArray[np.int64]:
    return np.bincount(data.labels[chosen].numpy(), minlength=len(data.class_names))


REAL = RealImages(uneven(60, 30, 10), uneven(20, 20, 20), "uneven")


def test_equal_shares() -> None:
    drawn = REAL.draw(12, equal_shares=True)
    for data, chosen in (
        (REAL.train, drawn.reference),
        (REAL.train, drawn.real),
        (REAL.test, drawn.held_out),
    ):
        assert isinstance(data, ImageSet)
        assert shares(data, chosen).tolist() == [4, 4, 4]


def test_shares_of_the_training_images_in_both_splits() -> None:
    drawn = REAL.draw(20, equal_shares=False)
    assert isinstance(REAL.train, ImageSet)
    assert isinstance(REAL.test, ImageSet)
    assert shares(REAL.train, drawn.reference).tolist() == [12, 6, 2]
    assert shares(REAL.train, drawn.real).tolist() == [12, 6, 2]
    assert shares(REAL.test, drawn.held_out).tolist() == [12, 6, 2]


def test_no_image_is_drawn_twice_and_always_the_same_ones() -> None:
    drawn, again = (REAL.draw(50, equal_shares=False) for _ in range(2))
    training = torch.cat((drawn.reference, drawn.real)).tolist()
    assert len(set(training)) == len(training) == 100
    assert len(set(drawn.held_out.tolist())) == len(drawn.held_out)
    assert torch.equal(drawn.reference, again.reference)
    assert torch.equal(drawn.held_out, again.held_out)


def test_fewer_test_images_where_a_class_has_not_enough() -> None:
    # 60 % of them show A, of which there are 20.
    held_out = REAL.draw(50, equal_shares=False).held_out
    assert isinstance(REAL.test, ImageSet)
    assert len(held_out) == 33
    assert shares(REAL.test, held_out).tolist() == [20, 10, 3]


def test_samples_that_do_not_divide() -> None:
    drawn = REAL.draw(14, equal_shares=True)
    assert isinstance(REAL.train, ImageSet)
    assert sorted(shares(REAL.train, drawn.real).tolist()) == [4, 5, 5]


@pytest.mark.parametrize(("equal_shares", "most"), [(True, 15), (False, 50)])
def test_limits(equal_shares: bool, most: int) -> None:
    for inside in (4, most):
        assert len(REAL.draw(inside, equal_shares=equal_shares).reference) == inside
    for outside in (3, most + 1):
        with pytest.raises(DatasetError) as caught:
            REAL.draw(outside, equal_shares=equal_shares)
        assert str(caught.value) == (
            f"{outside} samples: must be 4 to {most}, because as many training images are "
            "compared with as many others of the same classes"
        )


@pytest.mark.parametrize("test", ["A", "ABC"])
def test_test_images_of_other_classes(tmp_path: Path, test: str) -> None:
    card = write_toy(tmp_path / "zoo", "letters", classes=("A", "B"), channels=3, side=8)
    files = [f"train/{name}/{n}.png" for name in "AB" for n in range(3)]
    files += [f"test/{name}/0.png" for name in test]
    folder = write_folder(tmp_path / "images", dict.fromkeys(files, picture()))
    with pytest.raises(DatasetError) as caught:
        RealImages.of(card, folder)
    assert str(caught.value) == (
        f"{folder}: other classes in the test images ({len(test)}) than in the training images "
        f"(2); only one of them has {'B' if test == 'A' else 'C'!r}"
    )
    (folder / "test" / "B").mkdir(exist_ok=True)
    (folder / "test" / "B" / "0.png").write_bytes(picture())
    if test == "A":
        assert RealImages.of(card, folder).test.class_names == ("A", "B")


def test_test_images_without_a_class() -> None:
    lacking = RealImages(uneven(20, 20), uneven(20, 0), "lacking")
    with pytest.raises(DatasetError, match=r"^the test images lack a class: 0 samples, not 4$"):
        lacking.draw(10, equal_shares=True)
