"""The sample grids at the moments of a run that mattered."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.errors import RunError
from training.monitor.verdict import Health, Verdict
from training.monitor.views.observed import ObservedRun
from training.runlog import SAMPLES
from zoo.errors import one_line

_WIDTH = 520  # pixels that a grid is at most wide, and high
_LIGHT = 90_000  # bytes up to which a PNG stays one


@dataclass(frozen=True)
class Grid:
    """One picture of samples.

    Attributes:
        itr: when it was made.
        moments: what happened about then: `first`, `best proxy FID at 600`.
        uri: the picture itself, `data:image/…`.
        width: in pixels.
        height: in pixels.
    """

    itr: int
    moments: tuple[str, ...]
    uri: str
    width: int
    height: int


def grids(run: ObservedRun) -> list[Grid]:
    """The grids at the moments, or nearest to them; one of several moments comes once.

    Raises:
        RunError: a picture cannot be read.
    """
    found = sorted(
        (int(path.stem), path)
        for path in (run.path / SAMPLES).glob("*.png")
        if path.stem.isdecimal()
    )
    if not found:
        return []
    itrs = [itr for itr, _ in found]
    chosen: dict[int, list[str]] = {}
    for itr, moment in _moments(run, itrs):
        chosen.setdefault(itr, []).append(moment)
    paths = dict(found)
    return [_grid(itr, paths[itr], tuple(chosen[itr])) for itr in sorted(chosen)]


def _moments(run: ObservedRun, itrs: Sequence[int]) -> list[tuple[int, str]]:
    """Iterations of grids, with what happened near them."""
    moments = [(itrs[0], "first")]
    for key, name in (("proxy_fid", "proxy FID"), ("fid", "FID")):
        if lowest := run.spectra[key].lowest():
            nearest = min(itrs, key=lambda itr: abs(itr - lowest[0]))
            moments.append((nearest, f"best {name}, at {lowest[0]:,.0f}"))
    fall = _fall(run.changes)
    if fall:
        since = fall[0].since if fall[0].since is not None else fall[0].itr
        if calm := [itr for itr in itrs if itr <= since]:
            moments.append((calm[-1], f"last before the first sign, at {since:,}"))
        for verdict in [fall[0], *[v for v in fall[1:] if v.health is Health.collapsed]]:
            later = [itr for itr in itrs if itr >= verdict.itr]
            text = f"{verdict.health.value} from {verdict.itr:,}"
            moments.append((later[0] if later else itrs[-1], text))
    return [*moments, (itrs[-1], "last")]


def _fall(changes: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that led to the first collapse, or to the end; empty if all ended well."""
    fall: list[Verdict] = []
    for verdict in changes:
        fall = [] if verdict.health is Health.healthy else [*fall, verdict]
        if verdict.health is Health.collapsed:
            break
    return fall


def _grid(itr: int, path: Path, moments: tuple[str, ...]) -> Grid:
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {one_line(error)}") from error
    # With a row a class a grid may be a tower; its top shows what there is to see.
    picture = picture.crop((0, 0, picture.width, min(picture.height, picture.width)))
    picture.thumbnail((_WIDTH, _WIDTH))
    content, kind = _encoded(picture)
    text = base64.b64encode(content).decode("ascii")
    uri = f"data:image/{kind};base64,{text}"
    return Grid(itr, moments, uri, picture.width, picture.height)


def _encoded(picture: Image.Image) -> tuple[bytes, str]:
    grey = picture.convert("L")
    if grey.convert("RGB").tobytes() == picture.tobytes():
        picture = grey
    png = io.BytesIO()
    picture.save(png, "PNG", optimize=True)
    if png.tell() <= _LIGHT:
        return png.getvalue(), "png"
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue(), "jpeg"
