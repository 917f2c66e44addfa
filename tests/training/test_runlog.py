"""What a run leaves in its directory, and which directories are refused."""

from __future__ import annotations

import datetime
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]  # it ships no types

from tests.training.conftest import LAST, Cli, itrs, metrics, sets, tiny
from training.config import load_recipe
from training.errors import RunError
from training.runlog import RunLog

NAME = "dcgan-emnist"


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_config_is_the_resolved_recipe(reference_run: Path) -> None:
    assert load_recipe(str(reference_run / "config.yaml")) == tiny()
    assert (reference_run / "config.yaml").read_text() == tiny().to_yaml()


def test_provenance(reference_run: Path) -> None:
    note = json.loads((reference_run / "provenance.json").read_text())
    assert note.keys() == {"started", "commit", "command", "finished"}
    started, finished = (datetime.datetime.fromisoformat(note[k]) for k in ("started", "finished"))
    assert datetime.timedelta() <= finished - started < datetime.timedelta(minutes=10)
    assert started.utcoffset() == datetime.timedelta()
    assert note["command"][:3] == ["ganagerie", "train", NAME]
    repository = Path(__file__).resolve().parents[2]
    if (repository / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?", note["commit"])


def test_metrics(reference_run: Path) -> None:
    lines = metrics(reference_run)
    assert [line["itr"] for line in lines] == list(range(1, LAST + 1))
    assert [line["images_seen"] for line in lines] == [16 * itr for itr in range(1, LAST + 1)]
    for line in lines:
        assert line.keys() == {
            *("itr", "images_seen", "epoch", "loss", "logits", "images_per_s"),
        }
        assert line["images_per_s"] > 0
        assert all(map(math.isfinite, [*line["loss"].values(), *line["logits"].values()]))
    assert lines[0]["loss"]["d"] == pytest.approx(2 * math.log(2), abs=0.1)
    assert lines[0]["epoch"] == 0.0


def test_tensorboard_has_what_the_metrics_have(reference_run: Path) -> None:
    (events,) = reference_run.glob("events.out.tfevents.*")
    loss: dict[int, float] = {}
    tags = set()
    for event in EventFileLoader(str(events)).Load():
        for value in event.summary.value:
            tags.add(value.tag)
            if value.tag == "loss/d":
                loss[event.step] = value.tensor.float_val[0]
    assert tags >= {"loss/d", "loss/g", "logits/real", "logits/fake", "images_per_s", "samples"}
    assert "itr" not in tags
    assert loss == {
        line["itr"]: pytest.approx(line["loss"]["d"], rel=1e-6) for line in metrics(reference_run)
    }


def test_sample_grid_has_8_by_8_images(reference_run: Path) -> None:
    (path,) = (reference_run / "samples").iterdir()
    assert path.name == f"{LAST:08d}.png"
    with Image.open(path) as grid:
        assert grid.size == (8 * 30 + 2, 8 * 30 + 2)
        tiles = {
            grid.crop((x, y, x + 28, y + 28)).tobytes()
            for x in range(2, 242, 30)
            for y in range(2, 242, 30)
        }
    assert len(tiles) == 64


def test_grid_of_few_images(tmp_path: Path) -> None:
    with RunLog(tmp_path, tiny(), None) as log:
        log.samples(5, torch.full((4, 1, 28, 28), 1.0), columns=2)
    with Image.open(tmp_path / "samples" / "00000005.png") as grid:
        assert grid.size == (2 * 30 + 2, 2 * 30 + 2)
        assert grid.convert("L").getpixel((3, 3)) == 255
        assert grid.convert("L").getpixel((0, 0)) == 0


def test_tensorboard_keeps_the_step_that_a_run_goes_on_from(tmp_path: Path) -> None:
    with RunLog(tmp_path, tiny(), 5):
        pass
    (events,) = tmp_path.glob("events.out.tfevents.*")
    starts = [e.step for e in EventFileLoader(str(events)).Load() if e.HasField("session_log")]
    assert starts == [6]  # from which on earlier points are hidden


@pytest.mark.usefixtures("few_images")
def test_rhythm(cli: Cli, tmp_path: Path) -> None:
    options = sets("max_itr=11", "log_every=4", "sample_every=3", "checkpoint_every=5")
    assert cli("train", NAME, "--out", "run", *options).code == 0
    run = tmp_path / "run"
    assert itrs(run) == [4, 8, 11]
    assert sorted(int(p.stem) for p in run.glob("samples/*.png")) == [3, 6, 9, 11]
    assert sorted(int(p.stem[4:]) for p in run.glob("checkpoints/itr-*.pt")) == [5, 10, 11]


@pytest.mark.usefixtures("few_images")
def test_run_directory_has_a_name_by_default(cli: Cli, tmp_path: Path) -> None:
    ended = cli("train", NAME, *sets("max_itr=1"))
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"dcgan-emnist-\d{8}-\d{6}", run.name)
    assert last_line(ended.err) == f"finished after 1 iterations: runs/{run.name}"


@pytest.mark.usefixtures("few_images")
def test_folder_that_holds_a_run_is_refused(cli: Cli, tmp_path: Path) -> None:
    command = ("train", NAME, "--out", "run", *sets("max_itr=2"))
    assert cli(*command).code == 0
    before = content(tmp_path)
    ended = cli(*command, "--set", "seed=9")
    assert (ended.code, last_line(ended.err)) == (
        2,
        "error: run holds a run already; add --resume to go on with it, "
        "or name another folder with --out",
    )
    assert content(tmp_path) == before


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("folder", ["file/run", "file"])
def test_folder_that_cannot_be_written(cli: Cli, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    ended = cli("train", NAME, "--out", folder, *sets())
    assert ended.code == 2
    assert last_line(ended.err) == f"error: cannot write to {folder}: Not a directory"


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_resume_of_no_run(cli: Cli, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    ended = cli("train", NAME, "--out", folder, "--resume")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == f"error: {folder} holds no run: config.yaml is missing\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_resume_needs_a_folder(cli: Cli) -> None:
    ended = cli("train", NAME, "--resume")
    assert ended.code == 2
    assert ended.err == "error: --resume needs --out: the run directory to go on with\n"


def test_resume_of_another_recipe(cli: Cli, reference_run: Path, tmp_path: Path) -> None:
    shutil.copytree(reference_run, tmp_path / "run")
    (tmp_path / "mine.yaml").write_text("name: mine\nepochs: 1\n")
    before = content(tmp_path / "run")
    ended = cli("train", "mine.yaml", "--out", "run", "--resume")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: --resume: run is a run of 'dcgan-emnist', not of 'mine'\n"
    assert content(tmp_path / "run") == before


def test_dry_run_of_a_resume_writes_nothing(cli: Cli, reference_run: Path) -> None:
    before = content(reference_run)
    ended = cli("train", NAME, "--out", reference_run, "--resume", "--dry-run", "--set", "epochs=9")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == tiny("epochs=9").to_yaml()
    assert content(reference_run) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device_that_is_not_there(cli: Cli) -> None:
    ended = cli("train", NAME, "--device", "cuda", "--out", "run")
    assert ended.code == 2
    assert last_line(ended.err) == (
        "error: --device cuda: torch finds no CUDA device here; use --device cpu or auto"
    )


def test_lock_is_given_back(tmp_path: Path) -> None:
    with RunLog(tmp_path, tiny(), None), pytest.raises(RunError, match="is in use by another"):
        RunLog(tmp_path, tiny(), 0).__enter__()
    with RunLog(tmp_path, tiny(), 0):
        pass


def test_lines_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    lines: list[Any] = ['{"itr": 1}', '{"itr": 2}', '{"itr": 3}', '{"loss": 1}', "[]", '{"itr": 4']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with RunLog(tmp_path, tiny(), 2) as log:
        log.metrics({"itr": 3, "loss": {"d": 0.5}})
    assert metrics(tmp_path) == [{"itr": 1}, {"itr": 2}, {"itr": 3, "loss": {"d": 0.5}}]
