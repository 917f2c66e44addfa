"""The study of the DCGAN from the command line, on synthetic images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.training.conftest import Cli, synthetic


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
    assert [(run["batch_norm"], run["seed"]) for run in runs] == [(True, 3), (False, 3)]
    for run in runs:
        assert run["series"]["proxy_fid"]["itr"] == [6, 12]
        assert run["verdicts"][-1]["itr"] == 12
        sigmas = [name for name in run["series"] if name.startswith("sigma0")]
        assert len(sigmas) == 2
        kind = "with" if run["batch_norm"] else "without"
        config = yaml.safe_load((out / "runs" / f"{kind}-3" / "config.yaml").read_text())
        assert config["network"]["linear_batch_norm"] == run["batch_norm"]
        assert config["monitor"]["on_collapse"] == "warn"
    assert sorted(path.name for path in out.glob("*.png")) == ["samples.png", "watched.png"]
