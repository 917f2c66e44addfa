"""Checkpoints that are whole or not there, and nothing but tensors and plain values."""

from __future__ import annotations

import itertools
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import Cli, itrs, sets, synthetic, tiny
from training import checkpoint
from training.config import Recipe
from training.errors import DivergedError, RunError
from training.launch import launch
from training.state import TrainingState
from training.steps import Draw, SimultaneousStep

CPU = torch.device("cpu")


class Secret:
    """Something that only a pickle can hold."""


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def save(folder: Path, itr: int, keep: int = 2) -> Path:
    return checkpoint.save(folder, itr, {"itr": itr, "w": torch.full((3,), float(itr))}, keep)


def test_round_trip(tmp_path: Path) -> None:
    path = save(tmp_path / "made", 7)
    assert path == tmp_path / "made" / "itr-00000007.pt"
    state = checkpoint.load(path)
    assert state["itr"] == 7
    assert torch.equal(state["w"], torch.full((3,), 7.0))


def test_newest_is_that_of_the_most_iterations(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    assert checkpoint.newest(tmp_path / "not-there") is None
    for itr in (1000, 5, 99_999_999):
        save(tmp_path, itr, keep=3)
    assert checkpoint.newest(tmp_path) == tmp_path / "itr-99999999.pt"


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_only_the_newest_are_kept(tmp_path: Path, keep: int) -> None:
    for itr in (10, 20, 30, 40):
        save(tmp_path, itr, keep)
    assert files(tmp_path) == [f"itr-{itr:08d}.pt" for itr in (10, 20, 30, 40)[-keep:]]


def test_crash_while_writing_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save(tmp_path, 10, keep=1)
    whole = torch.save

    def crash(_: Any, file: Any) -> None:
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 20, keep=1)
    assert checkpoint.newest(tmp_path) == old
    assert checkpoint.load(old)["itr"] == 10

    monkeypatch.setattr(torch, "save", whole)
    save(tmp_path, 20, keep=1)
    assert files(tmp_path) == ["itr-00000020.pt"]


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "itr-00000003.partial").write_bytes(b"half")
    save(tmp_path, 4)
    assert files(tmp_path) == ["itr-00000004.pt"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of a zip file"])
def test_corrupt_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "itr-00000001.pt"
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"^{path} is not a readable checkpoint: "):
        checkpoint.load(path)


def test_truncated_file(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RunError, match=rf"^{path} is not a readable checkpoint: "):
        checkpoint.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a readable checkpoint: "):
        checkpoint.load(tmp_path / "itr-00000001.pt")


@pytest.mark.parametrize("content", [torch.zeros(3), {"weights": torch.zeros(3)}, [1]])
def test_other_file_of_torch(tmp_path: Path, content: object) -> None:
    path = tmp_path / "itr-00000001.pt"
    torch.save(content, path)
    with pytest.raises(RunError, match=rf"^{path} is not a checkpoint of a training run$"):
        checkpoint.load(path)


def test_pickle_of_a_class_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "itr-00000001.pt"
    torch.save({"itr": 1, "secret": Secret()}, path)
    with pytest.raises(RunError, match=rf"^{path} is not a readable checkpoint: "):
        checkpoint.load(path)


def test_state_holds_what_the_design_asks_for() -> None:
    state = TrainingState(tiny(), CPU).state_dict()
    assert state.keys() == {
        *("itr", "images_seen", "recipe", "subject", "clamp", "generator", "discriminator", "ema"),
        *("g_optimizer", "d_optimizer", "rng"),
    }


def test_checkpoint_holds_the_resolved_recipe(reference_run: Path) -> None:
    newest = checkpoint.newest(reference_run / "checkpoints")
    assert newest is not None
    assert Recipe.model_validate(checkpoint.load(newest)["recipe"]) == tiny()


def test_random_numbers_of_torch_go_on() -> None:
    state = TrainingState(tiny(), CPU)
    torch.manual_seed(5)
    saved = state.state_dict()
    expected = torch.randn(3)
    state.load_state_dict(saved)
    assert torch.equal(torch.randn(3), expected)


def test_state_of_another_network_is_refused() -> None:
    state = TrainingState(tiny(), CPU).state_dict()
    wider = TrainingState(tiny("network.linear_features=33"), CPU)
    with pytest.raises(RunError, match=r"^the checkpoint does not fit this recipe: "):
        wider.load_state_dict(state)
    with pytest.raises(RunError, match=r"^the checkpoint does not fit this recipe: 'generator'"):
        wider.load_state_dict({"itr": 1})


def diverge_at(
    monkeypatch: pytest.MonkeyPatch, itr: int, network: str = "d", *, interrupt: bool = False
) -> None:
    """From the `itr`-th step of a run on, a loss is not a number and neither are weights."""
    step, calls = SimultaneousStep.__call__, itertools.count(1)

    def stepped(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        outcome = step(self, draw)
        if next(calls) >= itr:
            outcome[f"loss_{network}"] = torch.tensor(float("nan"))
            next(self._players.generator.parameters()).data.fill_(float("nan"))
            if interrupt:
                signal.raise_signal(signal.SIGINT)
        return outcome

    monkeypatch.setattr(SimultaneousStep, "__call__", stepped)


@pytest.mark.parametrize("network", ["d", "g"])
def test_divergence_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    diverge_at(monkeypatch, 12, network)
    message = (
        rf"^iteration 12: the run has collapsed: .*loss of {network} is NaN or infinite\. Later "
        r"checkpoints are set aside; \S+itr-00000010\.pt is from before it\. Go on from there with "
        r"--resume, and --on-collapse rollback or --set optimizer\.g_lr=0\.001$"
    )
    with pytest.raises(DivergedError, match=message):
        launch(tiny(), synthetic(64), tmp_path, resume=False, device=CPU, command=[])
    assert files(tmp_path / "checkpoints") == ["best.pt", "itr-00000010.pt"]
    assert itrs(tmp_path) == list(range(1, 12))


@pytest.mark.parametrize("log_every", [7, 50])
def test_divergence_between_log_lines_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    diverge_at(monkeypatch, 9)
    recipe = tiny("keep_checkpoints=1", "checkpoint_every=3", f"log_every={log_every}")
    with pytest.raises(DivergedError):
        launch(recipe, synthetic(64), tmp_path, resume=False, device=CPU, command=[])
    assert files(tmp_path / "checkpoints") == ["best.pt", "itr-00000006.pt"]


def test_divergence_is_not_saved_when_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_at(monkeypatch, 13, interrupt=True)
    recipe = tiny("log_every=50")
    with pytest.raises(DivergedError, match=r"^iteration 13: "):
        launch(recipe, synthetic(64), tmp_path, resume=False, device=CPU, command=[])
    assert files(tmp_path / "checkpoints") == ["best.pt", "itr-00000010.pt"]


def test_rate_that_is_far_too_high(cli: Cli, data_folder: Path, tmp_path: Path) -> None:
    ended = cli(
        *("train", "dcgan-emnist", "--data", data_folder, "--out", "run"),
        *sets("optimizer.g_lr=1e30", "log_every=1"),
    )
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: iteration ")
    assert "NaN" in ended.err
    assert itrs(tmp_path / "run") == list(range(1, len(itrs(tmp_path / "run")) + 1))
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_corrupt_checkpoint_is_told_in_one_line(
    cli: Cli, data_folder: Path, reference_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference_run, run)
    command = ("train", "dcgan-emnist", "--data", data_folder, "--out", run, "--resume")
    torch.save({"itr": 99, "secret": Secret()}, run / "checkpoints" / "itr-00000099.pt")
    foreign = cli(*command)
    (run / "checkpoints" / "itr-00000099.pt").unlink()
    reshaped = cli(*command, "--set", "network.linear_features=33")
    for ended, begin in (
        (foreign, f"error: {run}/checkpoints/itr-00000099.pt is not a readable checkpoint: "),
        (reshaped, "error: --resume: network cannot change during a run; it is "),
    ):
        assert ended.code == 2
        assert ended.err.splitlines()[1].startswith(begin)
        assert len(ended.err.splitlines()) == 2  # what is trained on what, and the error
