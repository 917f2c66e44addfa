"""What a collapse leads to: warning, stopping, going back; and which checkpoints are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import LAST, Cli, itrs, sets, synthetic, tiny
from tests.training.test_alternating_step import torchrun
from training import checkpoint
from training.config import Recipe
from training.errors import CollapsedError, DivergedError, RecipeError, RunError
from training.guard import Guard
from training.launch import Outcome, launch
from training.monitor.collapse import Detector
from training.monitor.verdict import Health, Reason, Verdict
from training.runlog import read_recipe
from training.steps import Draw, SimultaneousStep

CPU = torch.device("cpu")
EVERY_TICK = ("monitor.every=1", "monitor.look_every=5", "checkpoint_every=5")


def run(folder: Path, recipe: Recipe, *, resume: bool = False) -> Outcome:
    return launch(recipe, synthetic(64), folder, resume=resume, device=CPU, command=[])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("*"))


def events(folder: Path) -> list[dict[str, Any]]:
    path = folder / "events.jsonl"
    return lines(path) if path.exists() else []


@pytest.fixture
def collapse_at(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The detector suspects a run from one iteration on, and gives it up at another."""
    at = {"suspect": 23, "collapsed": 31}

    def observe(self: Detector, record: dict[str, Any]) -> Verdict:
        itr = record["itr"]
        reasons = (Reason("sigma0", "G.linears.3", "as the test says"),)
        self.verdict = Verdict(itr)
        if itr >= at["suspect"]:
            health = Health.collapsed if itr >= at["collapsed"] else Health.suspect
            self._before = at["suspect"] - 1
            self.verdict = Verdict(itr, health, reasons, at["suspect"] - 1)
        return self.verdict

    monkeypatch.setattr(Detector, "observe", observe)
    return at


def diverge_above(monkeypatch: pytest.MonkeyPatch, itr: int, g_lr: float) -> None:
    """From an iteration on, weights are not finite while the rate of G is above a bound."""
    step = SimultaneousStep.__call__

    def stepped(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        outcome = step(self, draw)
        optimizer = self._players.g_optimizer
        if draw.itr + 1 >= itr and optimizer.param_groups[0]["lr"] > g_lr:
            next(self._players.generator.parameters()).data.fill_(float("nan"))
            outcome["loss_g"] = torch.tensor(float("nan"))
        return outcome

    monkeypatch.setattr(SimultaneousStep, "__call__", stepped)


@pytest.mark.usefixtures("collapse_at")
def test_a_stopped_run_keeps_everything_and_goes_on_from_before(tmp_path: Path) -> None:
    with pytest.raises(CollapsedError) as caught:
        run(tmp_path, tiny(*EVERY_TICK, "keep_checkpoints=1"))
    assert str(caught.value) == (
        "iteration 31: the run has collapsed: as the test says. Later checkpoints are set "
        f"aside; {tmp_path}/checkpoints/itr-00000020.pt is from before it. Go on from there with "
        "--resume, and --on-collapse rollback or --set optimizer.g_lr=0.001"
    )
    assert checkpoints(tmp_path) == ["best.pt", "itr-00000020.pt", "suspect-itr-00000030.pt"]
    assert events(tmp_path) == [
        {"itr": 31, "verdict": "collapsed", "reasons": ["as the test says"], "event": "stop"}
    ]
    warned = tiny(*EVERY_TICK, "monitor.on_collapse=warn", "max_itr=40")
    assert run(tmp_path, warned, resume=True) == Outcome(40, 40)
    assert itrs(tmp_path) == list(range(1, 41))


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


@pytest.mark.parametrize("checkpoint_every", [5, 1000])
def test_a_run_that_collapsed_before_its_first_checkpoint_keeps_its_record(
    tmp_path: Path, collapse_at: dict[str, int], checkpoint_every: int
) -> None:
    collapse_at.update(suspect=3, collapsed=8)
    recipe = tiny("monitor.every=1", f"checkpoint_every={checkpoint_every}")
    with pytest.raises(CollapsedError) as caught:
        run(tmp_path, recipe)
    assert str(caught.value) == (
        "iteration 8: the run has collapsed: as the test says. No checkpoint is from before it. "
        "Start a new run: another folder with --out, and --set optimizer.g_lr=0.001"
    )
    kept = ["suspect-itr-00000005.pt"] if checkpoint_every == 5 else []
    assert [name for name in checkpoints(tmp_path) if name != "best.pt"] == kept
    with pytest.raises(RunError) as refused:
        run(tmp_path, recipe, resume=True)
    assert str(refused.value) == (
        f"--resume: the run in {tmp_path} has collapsed, and no checkpoint is from before it. "
        "Start a new run: another folder with --out"
    )
    assert itrs(tmp_path) == list(range(1, 8))
    assert len(lines(tmp_path / "spectra.jsonl")) == 8


def test_a_suspicion_keeps_the_checkpoint_from_before_it(
    tmp_path: Path, collapse_at: dict[str, int]
) -> None:
    collapse_at["collapsed"] = 10_000
    run(tmp_path, tiny(*EVERY_TICK, "keep_checkpoints=2"))
    assert checkpoints(tmp_path) == [
        "best.pt",
        *("itr-00000020.pt", "itr-00000055.pt", f"itr-{LAST:08d}.pt"),
    ]


def test_a_sign_that_makes_no_suspicion_keeps_the_checkpoint_from_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far from real images, but not far enough for a suspicion, until it is ten times as far.
    distances = iter([1.0] * 4 + [1.9] * 6 + [10.0] * 2)

    class Drifting:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __call__(self, *_: object) -> dict[str, float]:
            return {"proxy_fid": next(distances, 1.0)}

    monkeypatch.setattr("training.guard.Look", Drifting)
    recipe = tiny(
        *("monitor.every=1000", "monitor.look_every=5", "checkpoint_every=5"),
        *("keep_checkpoints=2", "monitor.on_collapse=rollback"),
    )
    assert run(tmp_path, recipe) == Outcome(LAST, LAST)
    (event,) = events(tmp_path)
    assert (event["event"], event["itr"], event["to_itr"]) == ("rollback", 60, 25)


@pytest.mark.usefixtures("collapse_at")
def test_a_warning_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=warn")
    assert run(tmp_path, recipe) == Outcome(LAST, LAST)
    said = capsys.readouterr().err
    assert "iteration 23: suspect: as the test says" in said
    assert "iteration 31: collapsed: as the test says" in said
    assert events(tmp_path) == []


def test_a_rollback_lowers_the_rates_and_saves_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_above(monkeypatch, 33, 1e-3)
    recipe = tiny(*EVERY_TICK, "monitor.on_collapse=rollback", "keep_checkpoints=2")
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
    saved = checkpoint.load(tmp_path / "checkpoints" / f"itr-{LAST:08d}.pt")
    assert saved["recipe"]["optimizer"]["g_lr"] == 1e-3
    assert saved["monitor"]["rollbacks"] == 1
    assert all(value.isfinite().all() for value in saved["generator"].values())
    # And a resumed run is still the remedied one.
    longer = read_recipe(tmp_path, ["max_itr=65"])
    assert run(tmp_path, longer, resume=True) == Outcome(65, 65)


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


def test_a_clamped_run_that_diverges_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="NaN or infinite"):
        run(tmp_path, tiny("penalties.sigma0_clamp.ratio=1.2", "optimizer.g_lr=1e30"))
    assert [event["event"] for event in events(tmp_path)] == ["stop"]


def test_a_layer_that_is_not_there_cannot_be_clamped(tmp_path: Path) -> None:
    recipe = tiny("penalties.sigma0_clamp.ratio=1.2", "penalties.sigma0_clamp.layers=[linear]")
    with pytest.raises(RecipeError, match=r"no layer 'linear' in the generator; there are linears"):
        run(tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_finite_are_not_saved_whatever_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = SimultaneousStep.__call__

    def stepped(self: SimultaneousStep, draw: Draw) -> dict[str, torch.Tensor]:
        outcome = step(self, draw)
        if draw.itr == 13:
            list(self._players.generator.parameters())[-1].data.fill_(float("inf"))
        return outcome | {"loss_g": torch.tensor(1.0), "loss_d": torch.tensor(1.0)}

    monkeypatch.setattr(SimultaneousStep, "__call__", stepped)
    with pytest.raises(DivergedError, match=r"^iteration 15: .* of G's numbers are NaN or inf"):
        run(tmp_path, tiny("checkpoint_every=5", "monitor.every=50"))
    assert checkpoints(tmp_path) == ["best.pt", "itr-00000005.pt", "itr-00000010.pt"]


def test_the_best_checkpoint_is_that_of_the_lowest_distance(tmp_path: Path) -> None:
    run(tmp_path, tiny(*EVERY_TICK, "keep_checkpoints=1", "monitor.on_collapse=warn"))
    records = lines(tmp_path / "spectra.jsonl")
    looks = {r["itr"]: r["proxy_fid"] for r in records if "proxy_fid" in r}
    assert list(looks) == list(range(5, LAST + 1, 5))
    saved = checkpoint.load(tmp_path / "checkpoints" / "best.pt")
    assert saved["itr"] == min(looks, key=lambda itr: looks[itr])
    assert saved["monitor"]["best"] == pytest.approx(min(looks.values()))


def test_features_of_a_classifier_for_other_data(tmp_path: Path) -> None:
    recipe = tiny("monitor.features=classifier", "dataset=images")
    with pytest.raises(RecipeError, match=r"^monitor\.features = classifier: there is one of emn"):
        run(tmp_path, recipe)


@pytest.mark.usefixtures("few_images", "collapse_at")
def test_the_command_line_says_what_to_do(cli: Cli) -> None:
    ended = cli(
        *("train", "dcgan-emnist", "--out", "run", "--on-collapse", "stop"),
        *sets("monitor.every=1"),
    )
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("error: iteration 31: the run has collapsed: ")
    ended = cli("train", "dcgan-emnist", "--out", "run", "--resume", "--on-collapse", "warn")
    assert ended.code == 0
    assert "finished after" in ended.err


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
