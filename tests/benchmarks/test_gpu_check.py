"""`make gpu-check`: what it runs, where, and what it writes; without a GPU as far as that goes."""

from __future__ import annotations

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from benchmarks.gpu_check import section
from tests.conftest import REPOSITORY


def _check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_dry_run_names_the_commands() -> None:
    done = _check("--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "GANAGERIE_DEVICE=cuda python -m ganagerie.cli doctor --device cuda\n"
        "GANAGERIE_DEVICE=cuda python -m pytest -q tests/gpu\n"
        "GANAGERIE_DEVICE=cuda python -m benchmarks.cuda\n"
        "GANAGERIE_DEVICE=cuda python -m benchmarks.serving --rounds 3 --seconds 4\n"
        "GANAGERIE_DEVICE=cuda python -m benchmarks.latency --rounds 3 --seconds 4\n"
        "GANAGERIE_DEVICE=cuda python -m benchmarks.training_step --device cuda --compile\n"
        "GANAGERIE_DEVICE=cuda python -m benchmarks.monitor --device cuda\n"
    )


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="needs no CUDA"
)
def test_what_fails_ends_it_with_its_code(tmp_path: Path) -> None:
    out = tmp_path / "record.md"
    done = _check("--out", str(out))
    assert done.returncode == 1
    assert "PROBLEM: CUDAExecutionProvider does not load" in done.stderr
    assert done.stderr.endswith("failed: ganagerie.cli doctor --device cuda\n")
    assert not out.exists()


def test_the_record_names_the_card() -> None:
    gpu = {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "driver": "550.54.15"}
    report = {"machine": {"processor": "A CPU", "gpus": [gpu]}}
    told = {"Doctor": "all is well\n", "Serving": "versions\n| a |\n|---|\n| 1 |\nmedians\n"}
    today = datetime.date.today()
    assert section(report, told, "cuda", quick=False) == (
        f"## NVIDIA H100 80GB HBM3 ({today})\n\n"
        "`make gpu-check ARGS='--device cuda'`\n\n"
        "### Doctor\n\n```\nall is well\n```\n\n"
        "### Serving\n\n```\nversions\nmedians\n```\n\n"
        "| a |\n|---|\n| 1 |\n"
    )
    short = section(report, told, "cpu", quick=True)
    assert short.startswith(
        f"## A CPU ({today})\n\n`make gpu-check ARGS='--device cpu --quick'`\n\n"
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize(("gpu", "environment"), [(False, "venv"), (True, "venv-gpu")])
def test_make_takes_the_environment_that_fits(tmp_path: Path, gpu: bool, environment: str) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("make", "awk", "sh"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    if gpu:
        smi = tmp_path / "bin/nvidia-smi"
        smi.write_text("#!/bin/sh\n")
        smi.chmod(0o755)
    # Inside `make test` a make would tell of the directories that it enters.
    ours = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "-n", "gpu-check", "ARGS=--dry-run", f"VENV={tmp_path}/venv"],
        cwd=REPOSITORY,
        env={**ours, "PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    extras = "gpu,train,dev" if gpu else "cpu,train,dev"
    assert f"--editable '.[{extras}]'" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last == f"{tmp_path}/{environment}/bin/python -m benchmarks.gpu_check --dry-run"
