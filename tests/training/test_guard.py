"""What a collapse leads to: warning, stopping; and which checkpoints are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.conftest import LAST, Cli, itrs, sets, tiny
from tests.training.guarded import EVERY_TICK, checkpoints, events, lines, run
from training import checkpoint
from training.errors import CollapsedError, DivergedError, RecipeError, RunError
from training.launch import Outcome
from training.steps import Draw, SimultaneousStep


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
    assert events(tmp_path)[1:] == [{"itr": 20, "event": "resume"}]
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
