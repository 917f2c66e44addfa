"""The study of the DCGAN from the command line, on synthetic images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.training.conftest import Cli, synthetic
from training.errors import RunError, StudyStopped
from training.monitor.views.observed import ObservedRun
from training.studies.dcgan_batchnorm import run
from training.studies.dcgan_batchnorm_findings import Watched, claims
from training.studies.study import Setting


def test_the_study_from_the_command_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.load_emnist", lambda *_, **__: synthetic(256))
    out = tmp_path / "out"
    sizes = (
        *("channels=[8,8,4]", "linear_features=16", "batch_size=16", "max_itr=12"),
        *("look_every=6", "samples=64", "seeds=[3]"),
    )
    options = [part for size in sizes for part in ("--set", size)]
    done = cli("study", "dcgan-batchnorm", "--quick", "--device", "cpu", "--out", out, *options)
    assert done.code == 0, done.err
    runs = json.loads((out / "results.json").read_text())["numbers"]["runs"]
    assert [(one["batch_norm"], one["seed"]) for one in runs] == [(True, 3), (False, 3)]
    for one in runs:
        assert one["series"]["proxy_fid"]["itr"] == [6, 12]
        assert one["verdicts"][-1]["itr"] == 12
        sigmas = [name for name in one["series"] if name.startswith("sigma0")]
        assert len(sigmas) == 2
        kind = "with" if one["batch_norm"] else "without"
        config = yaml.safe_load((out / "runs" / f"{kind}-3" / "config.yaml").read_text())
        assert config["network"]["linear_batch_norm"] == one["batch_norm"]
        assert config["monitor"]["on_collapse"] == "warn"
    assert sorted(path.name for path in out.glob("*.png")) == ["samples.png", "watched.png"]


@pytest.mark.parametrize("stop_at", [0, 1])
def test_a_study_is_stopped_between_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    monkeypatch.setattr("training.data.load_emnist", lambda *_, **__: synthetic(64))
    said: list[str] = []
    sizes = ("channels=[8,8,4]", "linear_features=16", "batch_size=16", "max_itr=1", "samples=64")
    setting = Setting(
        quick=True,
        data=tmp_path,
        out=tmp_path,
        say=said.append,
        overrides=sizes,
        stop_requested=lambda: len(said) >= stop_at,
    )
    with pytest.raises(StudyStopped) as stopped:
        run(setting)
    left = f"the runs are in {tmp_path}/runs" if stop_at else "nothing was written"
    assert str(stopped.value) == f"stopped before there were results; {left}"
    assert len(said) == stop_at
    if stop_at:
        with pytest.raises(RunError) as refused:
            run(setting)
        assert str(refused.value) == (
            f"{tmp_path} holds runs of a study that did not end; name another folder with --out"
        )


def watched(folder: Path, *, batch_norm: bool, seed: int, ends: float) -> Watched:
    """A run whose samples begin varied, and end as varied as said."""
    one = folder / f"{batch_norm}-{seed}"
    one.mkdir()
    values = [0.9] * 8 + [ends] * 8
    lines = [
        json.dumps({"itr": 100 * i, "diversity": {"all": value}, "proxy_fid": 10.0 / value})
        for i, value in enumerate(values, 1)
    ]
    (one / "spectra.jsonl").write_text("\n".join(lines) + "\n")
    observed = ObservedRun(one)
    observed.poll()
    return Watched(batch_norm, seed, observed)


@pytest.mark.parametrize(
    ("with_it", "without", "agrees"),
    [
        ((0.9, 0.9), (0.01, 0.01), (True, True)),
        ((0.9, 0.9), (0.9, 0.9), (False, False)),
        ((0.9, 0.9), (0.9, 0.01), (None, False)),
        ((0.9, 0.01), (0.01, 0.01), (False, None)),
    ],
)
def test_claims_follow_the_verdicts(
    tmp_path: Path,
    with_it: tuple[float, float],
    without: tuple[float, float],
    agrees: tuple[bool | None, bool | None],
) -> None:
    runs = [
        watched(tmp_path, batch_norm=batch_norm, seed=seed, ends=ends)
        for batch_norm, both in ((True, with_it), (False, without))
        for seed, ends in enumerate(both, 1)
    ]
    for one in runs:
        assert one.collapsed == (one.run.spectra["diversity", "all"].newest == 0.01)
    assert tuple(claim.agrees for claim in claims(runs)) == agrees
