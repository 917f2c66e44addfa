"""How image files say which class they are of: by their folder, or in StyleGAN's dataset.json.

    CLASS/FILE      one folder a class; class names in alphabetical order
    FILE            no classes
    dataset.json    {"labels": [[FILE, class index or null], …]}, or {"labels": null}; FILE may be
                    in folders, which mean nothing; classes are called "0", "1", …

The first two may be below train/ and test/ (or val/).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from training.errors import DatasetError
from zoo.errors import one_line, shown

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
DATASET_JSON = "dataset.json"
_TRAIN, _HELD_OUT = ("train",), ("test", "val")


@dataclass(frozen=True)
class Layout:
    """Files in the order of their indices.

    Attributes:
        names: relative to the folder or zip, with "/" between folders.
        labels: one a file, indices into `class_names`; 0 where there are no classes.
        class_names: empty without classes.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    class_names: tuple[str, ...]


def is_image(name: str) -> bool:
    """Whether a path is of an image, going by its suffix, and not hidden."""
    return name.lower().endswith(SUFFIXES) and all(map(is_visible, name.split("/")))


def is_visible(part: str) -> bool:
    """Whether a file or folder is the user's: no dotfile, and nothing that macOS adds to a zip."""
    return not part.startswith(".") and part != "__MACOSX"


def arrange(
    where: str, names: Iterable[str], *, train: bool, dataset_json: bytes | None = None
) -> Layout:
    """Finds the classes of images.

    Args:
        where: the folder or zip, for messages.
        names: relative paths of images.
        train: which part is meant, where there are parts.
        dataset_json: content of this file, if there is one.

    Raises:
        DatasetError: no images, images where none may be, or labels that do not fit them.
    """
    split = sorted(tuple(name.split("/")) for name in names)
    if not split:
        raise DatasetError(
            f"{where}: no images; looked for {', '.join(SUFFIXES)} in CLASS/ and directly inside"
        )
    tops = {parts[0] if len(parts) > 1 else "" for parts in split}
    if dataset_json is None and tops <= {*_TRAIN, *_HELD_OUT}:
        part = _choose_part(where, tops, train)
        chosen = [parts[1:] for parts in split if parts[0] == part]
        return _by_folder(f"{where}/{part}", chosen, f"{part}/")
    if not train:
        raise DatasetError(
            f"{where}: no held-out images; put the images in train/CLASS/FILE and test/CLASS/FILE"
        )
    if dataset_json is not None:
        return _by_labels(where, ["/".join(parts) for parts in split], dataset_json)
    return _by_folder(where, split, "")


def _choose_part(where: str, tops: set[str], train: bool) -> str:
    wanted = _TRAIN if train else _HELD_OUT
    for part in wanted:
        if part in tops:
            return part
    there = " and ".join(f"{top}/" for top in sorted(tops))
    missing = " or ".join(f"{part}/" for part in wanted)
    raise DatasetError(f"{where}: no images in {missing}, only in {there}; add {wanted[0]}/")


def _by_folder(where: str, split: Sequence[tuple[str, ...]], prefix: str) -> Layout:
    flat, classed, deeper = (
        [parts for parts in split if low <= len(parts) <= high]
        for low, high in ((1, 1), (2, 2), (3, 99))
    )
    if deeper or (flat and classed):
        found = [
            f"{_images(len(some))} {place} ({'/'.join(some[0])})"
            for some, place in (
                (flat, "directly inside"),
                (classed, "in folders"),
                (deeper, "in folders of folders"),
            )
            if some
        ]
        raise DatasetError(
            f"{where}: {', '.join(found)}. All must be CLASS/FILE, one folder a class, or all "
            "directly inside, without classes: move the others, or name the folder that holds the "
            "classes with --data"
        )
    names = tuple(prefix + "/".join(parts) for parts in split)
    if flat:
        return Layout(names, (0,) * len(names), ())
    class_names = sorted({parts[0] for parts in split})
    index = {name: i for i, name in enumerate(class_names)}
    return Layout(names, tuple(index[parts[0]] for parts in split), tuple(class_names))


def _by_labels(where: str, names: Sequence[str], content: bytes) -> Layout:
    table = _read_labels(where, content)
    if all(label is None for label in table.values()):
        return Layout(tuple(names), (0,) * len(names), ())
    here = f"{where}: {DATASET_JSON}"
    absent = sorted(set(table) - set(names))
    if absent:
        raise DatasetError(
            f"{here} labels files that are not there: {len(absent):,}, first {absent[0]}"
        )
    bare = [name for name in names if table.get(name) is None]
    if bare:
        raise DatasetError(
            f"{here} has no class for {_images(len(bare))} of {len(names):,} ({bare[0]}); "
            "label all or none"
        )
    labels = tuple(label for name in names if (label := table[name]) is not None)
    used, n_classes = set(labels), max(labels) + 1
    gap = next(index for index in count() if index not in used)
    if gap < n_classes:
        raise DatasetError(
            f"{here}: no image has class {gap}, the largest is {n_classes - 1}; "
            "number the classes from 0 without a gap"
        )
    return Layout(tuple(names), labels, tuple(map(str, range(n_classes))))


def _read_labels(where: str, content: bytes) -> dict[str, int | None]:
    form = 'must be {"labels": [[FILE, class index or null], …]}'
    try:
        entries = json.loads(content)["labels"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{where}: {DATASET_JSON} {form}: {one_line(error)}") from error
    table: dict[str, int | None] = {}
    for entry in [] if entries is None else entries:
        match entry:
            case [str(name), None]:
                table[name.replace("\\", "/")] = None
            case [str(name), int(label)] if label >= 0 and not isinstance(label, bool):
                table[name.replace("\\", "/")] = label
            case _:
                raise DatasetError(f"{where}: {DATASET_JSON} {form}, not {shown(entry)}")
    return table


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"
