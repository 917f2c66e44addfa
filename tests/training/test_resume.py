"""A run that was killed goes on as if nothing had happened, bit by bit."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import LAST, Start, itrs, metrics, sets, synthetic, tiny
from training import checkpoint
from training.config import Recipe, load_recipe
from training.errors import RunError
from training.launch import Outcome, launch
from training.loop import restore
from training.state import TrainingState
from training.steps import Draw, SimultaneousStep

CPU = torch.device("cpu")


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two trees of tensors and plain values are not the same to the last bit."""
    if type(one) is not type(other):
        return [path]
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [path]
        return [d for key in one for d in differences(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [path]
        pairs = enumerate(zip(one, other, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{path}/{i}")]
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and torch.equal(one, other)
    else:
        alike = one == other
    return [] if alike else [path]


def saved(run: Path, itr: int) -> dict[str, Any]:
    """A checkpoint without the recipe."""
    state = checkpoint.load(run / "checkpoints" / f"itr-{itr:08d}.pt")
    del state["recipe"]
    return state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest_itr(run: Path) -> int:
    path = checkpoint.newest(run / "checkpoints")
    return int(path.stem.removeprefix("itr-")) if path else 0


def computed(run: Path) -> list[dict[str, Any]]:
    """What a run logged, without its speed."""
    return [{k: v for k, v in line.items() if k != "images_per_s"} for line in metrics(run)]


def run_to(last: int, run: Path, *overrides: str, resume: bool = False, n: int = 50) -> Outcome:
    recipe = tiny(f"max_itr={last}", *overrides)
    return launch(recipe, synthetic(n), run, resume=resume, device=CPU, command=[])


def test_interrupted_run_equals_an_uninterrupted_one(
    reference_run: Path, data_folder: Path, tmp_path: Path, start: Start
) -> None:
    run, options = tmp_path / "run", ("--data", data_folder, "--out", "run")
    # A grid after each iteration takes time and changes nothing: signals come midway.
    killed = start(tmp_path, *options, *sets("sample_every=1"))
    killed.wait_until(lambda: 0 < newest_itr(run) < max(itrs(run), default=0))
    killed.process.kill()
    assert killed.finish().code == -signal.SIGKILL
    kill_point = newest_itr(run)
    assert 10 <= kill_point < LAST - 10
    assert "finished" not in (run / "provenance.json").read_text()
    # What a kill in the middle of writing would have left behind.
    (run / "checkpoints" / f"itr-{LAST - 1:08d}.partial").write_bytes(b"half")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f'{{"itr": {itrs(run)[-1] + 1}, "images_se')

    terminated = start(tmp_path, *options, "--resume")
    terminated.wait_until(lambda: (run / "metrics.jsonl").read_text().endswith("\n"))
    terminated.process.terminate()
    ended = terminated.finish()
    assert ended.code == 0, ended.err
    assert kill_point < newest_itr(run) == itrs(run)[-1] < LAST
    assert f"stopped at iteration {newest_itr(run)} of {LAST}, saved. Go on with:\n" in ended.err
    assert not list(run.rglob("*.partial"))

    last = start(tmp_path, *options, "--resume", "--set", "sample_every=500").finish()
    assert last.code == 0, last.err
    assert last.err.endswith(f"finished after {LAST} iterations: run\n")
    assert differences(saved(run, LAST), saved(reference_run, LAST)) == []
    assert itrs(run) == list(range(1, LAST + 1))
    assert computed(run) == computed(reference_run)
    assert not list(run.rglob("*.partial"))
    assert load_recipe(str(run / "config.yaml")) == tiny()


def test_comparison_can_fail(reference_run: Path) -> None:
    late, early = saved(reference_run, LAST), saved(reference_run, LAST - 10)
    assert differences(late, late) == []
    places = differences(late, early)
    for part in ("generator", "discriminator", "ema", "g_optimizer", "d_optimizer"):
        assert any(place.startswith(f"/{part}/") for place in places)
    assert differences(late["ema"], late["generator"])
    assert late["g_optimizer"]["state"][0]["step"] == LAST
    assert late["g_optimizer"]["state"][0]["exp_avg"].any()


@pytest.mark.parametrize("stop_at", [2, 3, 7])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_in_the_middle_and_at_the_border_of_an_epoch(
    tmp_path: Path, precision: str, stop_at: int
) -> None:
    options = (f"precision={precision}", "network.z_dim=7")
    run_to(9, tmp_path / "whole", *options)  # three batches an epoch
    run_to(stop_at, tmp_path / "parts", *options)
    outcome = run_to(9, tmp_path / "parts", *options, resume=True)
    assert (outcome.itr, outcome.finished) == (9, True)
    assert differences(saved(tmp_path / "parts", 9), saved(tmp_path / "whole", 9)) == []
    assert computed(tmp_path / "parts") == computed(tmp_path / "whole")


def test_run_that_crashed_before_its_first_checkpoint_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to(6, tmp_path / "whole")
    step = SimultaneousStep.__call__

    def crash(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        if itrs(tmp_path / "parts")[-1:] == [3]:
            raise MemoryError
        return step(self, draw)

    monkeypatch.setattr(SimultaneousStep, "__call__", crash)
    with pytest.raises(MemoryError):
        run_to(6, tmp_path / "parts")
    assert newest_itr(tmp_path / "parts") == 0
    monkeypatch.setattr(SimultaneousStep, "__call__", step)
    run_to(6, tmp_path / "parts", resume=True)
    assert differences(saved(tmp_path / "parts", 6), saved(tmp_path / "whole", 6)) == []
    assert computed(tmp_path / "parts") == computed(tmp_path / "whole")


def test_finished_run_stays_as_it_is(
    reference_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reference_run, run)
    kept = ("metrics.jsonl", "config.yaml", "provenance.json")
    before = {name: (run / name).read_text() for name in kept}
    checkpoints = names(run / "checkpoints")
    monkeypatch.setattr("training.provenance.now", lambda: "2999-01-01T00:00:00+00:00")
    outcome = run_to(LAST, run, resume=True, n=64 * LAST)
    assert (outcome.itr, outcome.finished) == (LAST, True)
    assert names(run / "checkpoints") == checkpoints
    assert {name: (run / name).read_text() for name in kept} == before


def test_run_that_is_extended_finishes_at_its_new_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_to(2, tmp_path)
    monkeypatch.setattr("training.provenance.now", lambda: "2999-01-01T00:00:00+00:00")
    run_to(4, tmp_path, resume=True)
    note = json.loads((tmp_path / "provenance.json").read_text())
    assert note["finished"] == "2999-01-01T00:00:00+00:00"
    assert note["started"] < note["finished"]


def test_grids_of_iterations_that_are_not_kept_are_removed(tmp_path: Path) -> None:
    run_to(6, tmp_path, "sample_every=2", "checkpoint_every=4")
    checkpoint.at(tmp_path / "checkpoints", 6).unlink()  # as after a kill
    (tmp_path / "samples" / "notes.png").touch()
    run_to(5, tmp_path, resume=True)
    assert names(tmp_path / "samples") == [*(f"{n:08d}.png" for n in (2, 4, 5)), "notes.png"]


def test_a_checkpoint_of_a_machine_with_two_gpus_is_read_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = TrainingState(tiny(), CPU)
    older = state.state_dict()
    assert older["rng"].keys() == {"torch"}
    older["rng"]["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * 2  # what they once held
    older["itr"] = 7
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    state.load_state_dict(older)
    assert state.itr == 7


def test_a_step_back_keeps_the_vectors_of_a_clamp() -> None:
    state = TrainingState(tiny("penalties.sigma0_clamp.ratio=1.01"), CPU)
    assert state.clamp is not None
    state.clamp()
    then = state.state_dict()
    then["clamp"]["vectors"] = [-vectors for vectors in state.clamp.vectors]
    restore(state, then, None)
    assert differences(state.clamp.vectors, then["clamp"]["vectors"]) == []


def test_resume_with_more_iterations_keeps_when_the_run_was_started(tmp_path: Path) -> None:
    run_to(2, tmp_path)
    before = json.loads((tmp_path / "provenance.json").read_text())
    run_to(4, tmp_path, resume=True)
    after = json.loads((tmp_path / "provenance.json").read_text())
    for key in ("started", "commit", "command"):
        assert after[key] == before[key]
    assert itrs(tmp_path) == [1, 2, 3, 4]


def test_a_run_from_before_the_discriminator_had_a_choice_goes_on(tmp_path: Path) -> None:
    run_to(4, tmp_path / "new")
    run_to(3, tmp_path / "old")
    (path,) = (tmp_path / "old" / "checkpoints").glob("itr-*3.pt")
    state = checkpoint.load(path)
    del state["recipe"]["network"]["discriminator_norm"], state["images_seen"]
    checkpoint.write(path, state)
    config = tmp_path / "old" / "config.yaml"
    config.write_text(
        "".join(
            line for line in config.read_text().splitlines(True) if "discriminator_norm" not in line
        )
    )
    assert run_to(4, tmp_path / "old", resume=True) == Outcome(4, 4)
    assert differences(saved(tmp_path / "old", 4), saved(tmp_path / "new", 4)) == []


@pytest.mark.parametrize("norm", ["spectral", "instance", "none"])
def test_a_run_with_another_normalisation_goes_on_bit_by_bit(tmp_path: Path, norm: str) -> None:
    override = f"network.discriminator_norm={norm}"
    run_to(4, tmp_path / "whole", override)
    run_to(2, tmp_path / "halved", override)
    run_to(4, tmp_path / "halved", override, resume=True)
    assert differences(saved(tmp_path / "halved", 4), saved(tmp_path / "whole", 4)) == []
    with pytest.raises(RunError, match=r"^--resume: network cannot change during a run; it is "):
        run_to(5, tmp_path / "halved", resume=True)


@pytest.mark.parametrize(
    "override", ["optimizer.g_lr=1e-5", "optimizer.betas=[0.25, 0.75]", "optimizer.eps=0.5"]
)
def test_resume_at_other_rates(tmp_path: Path, override: str) -> None:
    recipe: Recipe = tiny(override)
    run_to(2, tmp_path)
    run_to(3, tmp_path, override, resume=True)
    group = saved(tmp_path, 3)["g_optimizer"]["param_groups"][0]
    wanted = recipe.optimizer
    assert (group["lr"], group["betas"], group["eps"]) == (wanted.g_lr, wanted.betas, wanted.eps)


@pytest.mark.parametrize("change", ["batch_size=8", "seed=2", "network.z_dim=3"])
def test_what_done_iterations_depend_on_cannot_change(tmp_path: Path, change: str) -> None:
    run_to(3, tmp_path)
    key = change.partition("=")[0].partition(".")[0]
    with pytest.raises(RunError, match=rf"^--resume: {key} cannot change during a run; it is "):
        run_to(4, tmp_path, change, resume=True)
    assert itrs(tmp_path) == [1, 2, 3]


def test_a_checkpoint_from_before_a_key_of_the_recipe_goes_on(tmp_path: Path) -> None:
    run_to(3, tmp_path)
    path = checkpoint.at(tmp_path / "checkpoints", 3)
    older = checkpoint.load(path)
    del older["recipe"]["initializer"]["linear"], older["recipe"]["network"]["linear_batch_norm"]
    checkpoint.write(path, older)
    run_to(4, tmp_path, resume=True)
    assert itrs(tmp_path) == [1, 2, 3, 4]
