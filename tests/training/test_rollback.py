"""Going back after a collapse: to where, with what changed, and that nothing is lost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import LAST, itrs, metrics, tiny
from tests.training.guarded import CPU, EVERY_TICK, checkpoints, diverge_above, events, lines, run
from tests.training.small_biggan import shapes, small
from tests.training.test_several_processes import torchrun
from training import checkpoint
from training.errors import CollapsedError, DivergedError
from training.guard import Guard
from training.launch import Outcome, launch
from training.runlog import read_recipe
from training.state import images_seen


def test_a_rollback_lowers_the_rates_and_saves_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_above(monkeypatch, 33, 1e-3)
    recipe = tiny(
        *EVERY_TICK, "monitor.on_collapse=rollback", "keep_checkpoints=2", "sample_every=8"
    )
    assert run(tmp_path, recipe) == Outcome(LAST, LAST)
    (event,) = events(tmp_path)
    assert (event["event"], event["itr"], event["to_itr"]) == ("rollback", 33, 30)
    assert event["changed"] == {"optimizer.g_lr": 1e-3, "optimizer.d_lr": 1e-3}
    assert "loss of g is NaN or infinite" in event["reasons"]
    resolved = read_recipe(tmp_path, [])
    assert (resolved.optimizer.g_lr, resolved.optimizer.d_lr) == (1e-3, 1e-3)
    assert itrs(tmp_path) == list(range(1, LAST + 1))
    then = lines(tmp_path / "rollbacks/01/metrics.jsonl")
    assert [record["itr"] for record in then] == list(range(1, 33))
    assert read_recipe(tmp_path / "rollbacks" / "01", []) == recipe
    undone = (tmp_path / "rollbacks" / "01" / "samples").iterdir()
    assert [path.name for path in undone] == ["00000032.png"]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        f"{itr:08d}.png" for itr in range(8, LAST + 1, 8)
    ] + ["00000060.png"]
    saved = checkpoint.load(tmp_path / "checkpoints" / f"itr-{LAST:08d}.pt")
    assert saved["recipe"]["optimizer"]["g_lr"] == 1e-3
    assert saved["monitor"]["rollbacks"] == 1
    assert all(value.isfinite().all() for value in saved["generator"].values())
    # And a resumed run is still the remedied one.
    longer = read_recipe(tmp_path, ["max_itr=65"])
    assert run(tmp_path, longer, resume=True) == Outcome(65, 65)


@pytest.mark.parametrize(
    "place",
    [
        *("training.checkpoint.write", "shutil.copyfile"),
        *("training.runlog.write_text_atomically", "training.checkpoint.set_aside"),
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rollback_may_be_killed_at_any_moment(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    collapse_at: dict[str, int],
    place: str,
    moment: str,
) -> None:
    module, _, name = place.rpartition(".")
    real: Any = getattr(sys.modules[module], name)

    def killed(*arguments: Any) -> None:
        if moment == "after":
            real(*arguments)
        raise MemoryError

    def roll_back(self: Guard) -> int:
        with monkeypatch.context() as patch:
            patch.setattr(place, killed)
            return rolled_back(self)

    rolled_back = Guard.roll_back
    monkeypatch.setattr(Guard, "roll_back", roll_back)
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=rollback", "max_itr=40")
    with pytest.raises(MemoryError):
        run(tmp_path, recipe)
    newest = checkpoint.newest(tmp_path / "checkpoints")
    assert newest is not None
    then = read_recipe(tmp_path, [])
    if checkpoint.load(newest)["itr"] == 20:  # gone back: the remedy is not lost
        assert then.optimizer.g_lr == 1e-3
    collapse_at["collapsed"] = 10_000
    assert run(tmp_path, then, resume=True) == Outcome(40, 40)
    assert itrs(tmp_path) == list(range(1, 41))


def test_a_run_that_collapses_again_and_again_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_above(monkeypatch, 33, 0.0)
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=rollback", "monitor.max_rollbacks=2")
    with pytest.raises(DivergedError, match=r"^iteration 33: "):
        run(tmp_path, recipe)
    assert [event["event"] for event in events(tmp_path)] == ["rollback", "rollback", "stop"]
    assert read_recipe(tmp_path, []).optimizer.g_lr == pytest.approx(5e-4)
    assert sorted(p.name for p in (tmp_path / "rollbacks").iterdir()) == ["01", "02"]
    first, second, _ = events(tmp_path)
    looks = lines(tmp_path / "rollbacks" / "01" / "spectra.jsonl")
    best = min((r["proxy_fid"], r["itr"]) for r in looks if "proxy_fid" in r and r["itr"] <= 30)
    assert (first["to_itr"], second["to_itr"]) == (30, best[1])  # the second time from the best


def test_without_a_rollback_allowed_the_run_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_above(monkeypatch, 33, 0.0)
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=rollback", "monitor.max_rollbacks=0")
    with pytest.raises(DivergedError):
        run(tmp_path, recipe)
    assert [event["event"] for event in events(tmp_path)] == ["stop"]


def test_there_is_something_to_go_back_to_from_the_first_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_above(monkeypatch, 3, 1e-3)
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=rollback", "max_itr=8")
    assert run(tmp_path, recipe) == Outcome(8, 8)
    (event,) = events(tmp_path)
    assert (event["itr"], event["to_itr"]) == (3, 0)


def test_the_named_layer_is_clamped(tmp_path: Path, collapse_at: dict[str, int]) -> None:
    recipe = tiny(
        *EVERY_TICK,
        *("monitor.on_collapse=rollback", "monitor.remedies=[clamp-sigma0]", "max_itr=40"),
        "monitor.max_rollbacks=1",
    )
    with pytest.raises(CollapsedError):  # the scripted detector gives it up again
        run(tmp_path, recipe)
    first, *_ = events(tmp_path)
    assert first["to_itr"] == 20
    assert first["changed"] == {
        "penalties.sigma0_clamp.sigma_reg": None,
        "penalties.sigma0_clamp.ratio": 1.2,
        "penalties.sigma0_clamp.layers": ["linears.3"],
    }
    records = lines(tmp_path / "spectra.jsonl")
    sigma0, sigma1, _ = next(r for r in records if r["itr"] == 31)["G"]["linears.3"]
    assert sigma0 <= 1.2 * sigma1 * 1.01


def test_more_steps_of_d_count_from_the_rollback_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collapse_at: dict[str, int]
) -> None:
    collapse_at.update(suspect=5, collapsed=6)
    rolled_back = Guard.roll_back

    def roll_back(self: Guard) -> int:
        collapse_at.update(suspect=10_000, collapsed=10_000)
        return rolled_back(self)

    monkeypatch.setattr(Guard, "roll_back", roll_back)
    recipe = small(
        *("d_steps=2", "epochs=4", "checkpoint_every=2", "log_every=1", "monitor.every=1"),
        *("monitor.on_collapse=rollback", "monitor.remedies=[more-d-steps]"),
    )
    # 5 batches of 12 an epoch: 20 in all, of which 4 iterations took 8 and the others take 3 each.
    ended = launch(recipe, shapes(60), tmp_path, resume=False, device=CPU, command=[])
    assert ended == Outcome(8, 8)
    records = metrics(tmp_path)
    assert [r["images_seen"] // 12 for r in records] == [2, 4, 6, 8, 11, 14, 17, 20]
    assert [r["epoch"] for r in records[3:]] == [1.6, 2.2, 2.8, 3.4, 4.0]
    state = checkpoint.load(checkpoint.at(tmp_path / "checkpoints", 8))
    assert (state["images_seen"], images_seen(state)) == (240, 240)


def test_two_processes_go_back_together(data_folder: Path, tmp_path: Path) -> None:
    done = torchrun(
        *("train", "biggan-emnist", "--data", data_folder, "--device", "cpu"),
        *("--out", tmp_path / "run", "--on-collapse", "rollback"),
        *("--set", "network.ch=8", "--set", "network.z_dim=12", "--set", "batch_size=8"),
        *("--set", "optimizer.g_lr=1e30", "--set", "monitor.max_rollbacks=1"),
        *("--set", "max_itr=4", "--set", "d_steps=1", "--set", "precision=fp32"),
    )
    assert done.returncode != 0
    assert [e["event"] for e in events(tmp_path / "run")] == ["rollback", "stop"]
    assert read_recipe(tmp_path / "run", []).optimizer.g_lr == pytest.approx(5e29)
    assert checkpoints(tmp_path / "run") == ["itr-00000000.pt"]
    assert "error: iteration " in done.stderr
