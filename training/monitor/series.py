"""Reads the recorded series of a run: ours, or somebody's CSV.

    spectra.jsonl, metrics.jsonl    one JSON object a line, with at least `itr`
    *.csv                           a header; `itr` or `step`, and any of `fid`, `proxy_fid`, `is`,
                                    `d_loss[_mean|_min|_max]`, `g_loss[…]`, `G_<layer>_sv<i>`,
                                    `D_<layer>_sv<i>`

Whatever else is there is passed over, and so are rows that cannot be read; they are counted.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.errors import RunError
from training.runlog import METRICS, SPECTRA
from zoo.errors import one_line

Record = dict[str, Any]

_ITR = ("itr", "step", "iteration")
_QUALITY = {"fid": "fid", "proxy_fid": "proxy_fid", "is": "inception_score"}
_LOSS = re.compile(r"([dg])_loss(?:_(mean|min|max))?")
_SPECTRUM = re.compile(r"([GD])_(.+)_sv(\d)")


@dataclass
class Series:
    """The rows of one file, in order, and what was wrong with others.

    Iterating reads the file; `unreadable` is complete when that is done.

    Attributes:
        path: of the file.
        unreadable: line number and reason of each row that was passed over.
    """

    path: Path
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Record]:
        self.unreadable = []
        newest = -math.inf
        try:
            with self.path.open(encoding="utf-8", errors="replace", newline="") as file:
                for line, row in _rows(file, is_csv=self.path.suffix == ".csv"):
                    problem = row if isinstance(row, str) else _problem(row, newest)
                    if problem or isinstance(row, str):
                        self.unreadable.append((line, problem))
                        continue
                    newest = row["itr"]
                    yield row
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read: {one_line(error)}") from error


def find_series(path: Path) -> Path:
    """The file to read: `path`, or of a run directory its `spectra.jsonl`, else `metrics.jsonl`.

    Raises:
        RunError: there is none.
    """
    if path.is_file():
        return path
    for name in (SPECTRA, METRICS):
        if (path / name).is_file():
            return path / name
    if path.is_dir():
        raise RunError(f"{path} holds no run: neither {SPECTRA} nor {METRICS} is there")
    raise RunError(f"{path}: there is no such file or run directory")


def _problem(row: Record, newest: float) -> str:
    itr = row.get("itr")
    if not isinstance(itr, int | float) or isinstance(itr, bool) or not math.isfinite(itr):
        return "no iteration"
    if itr <= newest:
        return f"iteration {itr:g} after {newest:g}"
    return ""


def _rows(lines: Iterable[str], *, is_csv: bool) -> Iterator[tuple[int, Record | str]]:
    """Line numbers with records, or with why there is none."""
    if is_csv:
        reader = csv.reader(line.replace("\0", "") for line in lines)
        header = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if cells:
                yield reader.line_num, _from_cells(header, cells)
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            yield number, "not JSON"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"


def _from_cells(header: list[str], cells: list[str]) -> Record | str:
    if len(cells) > len(header):
        return f"{len(cells)} cells under {len(header)} columns"
    row: Record = {}
    for name, cell in zip(header, cells, strict=False):
        if not cell.strip():
            continue
        try:
            value = float(cell)
        except ValueError:
            if name in _ITR:
                return f"{name} is {cell!r}"
            continue
        if name in _ITR and math.isfinite(value):
            row["itr"] = int(value) if value == int(value) else value
        elif name in _QUALITY:
            row[_QUALITY[name]] = value
        elif found := _LOSS.fullmatch(name):
            network, kind = found.groups()
            key = network if kind in {None, "mean"} else f"{network}_{kind}"
            row.setdefault("loss", {})[key] = value
        elif found := _SPECTRUM.fullmatch(name):
            network, layer, index = found.groups()
            values = row.setdefault(network, {}).setdefault(layer, [])
            values += [None] * (int(index) + 1 - len(values))
            values[int(index)] = value
    return row
