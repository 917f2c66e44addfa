"""Reading series: ours and other people's, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.errors import RunError
from training.monitor.series import Series, find_series


def written(tmp_path: Path, text: str, name: str = "run.csv") -> Series:
    path = tmp_path / name
    path.write_text(text)
    return Series(path)


def test_csv_of_losses_and_distances(tmp_path: Path) -> None:
    series = written(
        tmp_path,
        "step,fid,is,d_loss_mean,d_loss_max,g_loss,notes\n"
        "2000,45.5,6.25,1.5,2.0,-0.5,good\n"
        "4000,,7,,,,\n",
    )
    assert list(series) == [
        {
            "itr": 2000,
            "fid": 45.5,
            "inception_score": 6.25,
            "loss": {"d": 1.5, "d_max": 2.0, "g": -0.5},
        },
        {"itr": 4000, "inception_score": 7.0},
    ]
    assert series.unreadable == []


def test_csv_of_singular_values(tmp_path: Path) -> None:
    series = written(
        tmp_path, "itr,G_linear_sv0,G_linear_sv2,D_blocks.0.conv_1_sv0\n1e3,9.7,3.5,2\n"
    )
    assert list(series) == [
        {"itr": 1000, "G": {"linear": [9.7, None, 3.5]}, "D": {"blocks.0.conv_1": [2.0]}}
    ]


def test_rows_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    series = written(
        tmp_path,
        "step,fid\n10,5\nten,5\n20,x\n,7\n15,8\n30,9,9,9\nnan,1\n\n40,4\n",
    )
    assert [row["itr"] for row in series] == [10, 20, 40]
    assert series.unreadable == [
        (3, "step is 'ten'"),
        (5, "no iteration"),
        (6, "iteration 15 after 20"),
        (7, "4 cells under 2 columns"),
        (8, "no iteration"),
    ]


def test_json_lines(tmp_path: Path) -> None:
    rows: list[Any] = [{"itr": 1, "loss": {"d": 1.0}}, {"itr": 2, "G": {"linear": [1, 2, 3]}}]
    text = "\n".join([json.dumps(rows[0]), "", "[1]", "7", json.dumps(rows[1])])
    series = written(tmp_path, text + '\n{"itr": 3, "lo', "spectra.jsonl")
    assert list(series) == rows
    assert series.unreadable == [
        (3, "not a JSON object"),
        (4, "not a JSON object"),
        (6, "not JSON"),
    ]


@pytest.mark.parametrize("itr", ["true", '"7"', "null", "[1]"])
def test_an_iteration_is_a_number(tmp_path: Path, itr: str) -> None:
    series = written(tmp_path, f'{{"itr": {itr}}}\n', "spectra.jsonl")
    assert list(series) == []
    assert series.unreadable == [(1, "no iteration")]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_bytes(b"step,fid\n1,2\n\xff\xfe\x00,\x00\n2,3\n")
    series = Series(tmp_path / "run.csv")
    assert [row["itr"] for row in series] == [1, 2]
    assert len(series.unreadable) == 1


@pytest.mark.parametrize("text", ["", "step,fid\n", "\n\n"])
def test_nothing_in_it(tmp_path: Path, text: str) -> None:
    assert list(written(tmp_path, text)) == []


def test_which_file_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no such file or run directory$"):
        find_series(tmp_path / "not-there")
    with pytest.raises(RunError, match=r"neither spectra\.jsonl nor metrics\.jsonl is there$"):
        find_series(tmp_path)
    (tmp_path / "metrics.jsonl").touch()
    assert find_series(tmp_path) == tmp_path / "metrics.jsonl"
    (tmp_path / "spectra.jsonl").touch()
    assert find_series(tmp_path) == tmp_path / "spectra.jsonl"
    assert find_series(tmp_path / "metrics.jsonl") == tmp_path / "metrics.jsonl"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        list(Series(tmp_path / "gone.csv"))
