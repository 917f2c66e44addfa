"""`ganagerie doctor`: what it sees, what it calls a problem, and its exit code."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from ganagerie.doctor import models, providers
from tests.ganagerie.conftest import Cli, Outcome
from tests.toys import write_toy

CUDA = "CUDAExecutionProvider"
REAL = onnxruntime.InferenceSession


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One small model, on a machine without nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(models, "_EACH_S", 0.01)
    write_toy(tmp_path / "zoo", "letters", classes=("A", "B"))
    return tmp_path / "zoo"


def _has_gpu(tmp_path: Path) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 550.54.15'\n")
    smi.chmod(0o755)


class _OnCuda:
    """A session that claims CUDA, and whose images are `off` grey levels brighter or darker."""

    def __init__(self, content: bytes, options: Any, off: int) -> None:
        self._session = REAL(content, options, providers=["CPUExecutionProvider"])
        self._off = off

    def get_providers(self) -> list[str]:
        return [CUDA, "CPUExecutionProvider"]

    def run_with_iobinding(self, binding: Any) -> None:
        self._session.run_with_iobinding(binding)

    def io_binding(self) -> Any:
        binding = self._session.io_binding()
        real = binding.copy_outputs_to_cpu

        def off() -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
            (images,) = real()
            return [np.where(images < 128, images + self._off, images - self._off).astype("u1")]

        binding.copy_outputs_to_cpu = off
        return binding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _with_cuda(monkeypatch: pytest.MonkeyPatch, off: int) -> None:
    def session(content: bytes, options: Any, providers: list[Any]) -> Any:
        first = providers[0] if isinstance(providers[0], str) else providers[0][0]
        return _OnCuda(content, options, off) if first == CUDA else REAL(content, options)

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)


def _problems(done: Outcome) -> list[dict[str, str]]:
    report = json.loads(done.out)
    assert report["ok"] is (not report["problems"])
    assert done.code == (1 if report["problems"] else 0)
    found: list[dict[str, str]] = report["problems"]
    return found


def test_all_is_well(cli: Cli, zoo: Path) -> None:
    done = cli("doctor", "--zoo", zoo, "--json")
    assert _problems(done) == []
    report = json.loads(done.out)
    assert report["packages"]["onnxruntime"] == onnxruntime.__version__
    assert report["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert report["machine"]["memory_mib"] > 0
    assert report["machine"]["gpus"] == report["agreement"] == []
    assert report["providers"] == [
        {"name": "CPUExecutionProvider", "loads": True, "reason": None},
        {"name": CUDA, "loads": False, "reason": "this onnxruntime was built without it"},
    ]
    (check,) = report["models"]
    assert (check["model"], check["device"]) == ("letters@1.0.0", "cpu")
    assert (check["provider"], check["error"]) == ("CPUExecutionProvider", None)
    assert 0 <= check["levels"][0] < check["levels"][1] <= 255
    assert list(check["images_per_s"]) == ["1", "4", "16", "64"]
    assert min(check["images_per_s"].values()) > 0
    assert check["load_ms"] > 0


def test_a_person_reads_a_table(cli: Cli, zoo: Path) -> None:
    done = cli("doctor", "--zoo", zoo)
    assert (done.code, done.err) == (0, "")
    assert f"{CUDA}  does not load: this onnxruntime was built without it" in done.out
    assert "letters@1.0.0   cpu " in done.out
    assert done.out.endswith("all is well\n")


def test_cuda_that_is_asked_for_and_not_there(cli: Cli, zoo: Path) -> None:
    done = cli("doctor", "--zoo", zoo, "--device", "cuda")
    assert done.code == 1
    assert done.out.endswith(
        f"PROBLEM: {CUDA} does not load: this onnxruntime was built without it\n"
        "    fix: nvidia-smi shows no GPU: check the driver (in a container: --gpus all); "
        "or use --device cpu\n"
    )


def test_a_gpu_that_is_not_used(cli: Cli, zoo: Path, tmp_path: Path) -> None:
    _has_gpu(tmp_path)
    done = cli("doctor", "--zoo", zoo, "--json")
    assert json.loads(done.out)["machine"]["gpus"] == [
        {"name": "NVIDIA H100 80GB HBM3", "memory_mib": 81559, "driver": "550.54.15"}
    ]
    assert _problems(done) == [
        {
            "problem": "there is a GPU (NVIDIA H100 80GB HBM3) that is not used: "
            f"{CUDA} does not load: this onnxruntime was built without it",
            "fix": "pip uninstall onnxruntime onnxruntime-gpu, then pip install "
            "'ganagerie[gpu]'; or use --device cpu",
        }
    ]
    assert _problems(cli("doctor", "--zoo", zoo, "--json", "--device", "cpu")) == []


def test_why_cuda_does_not_load_is_what_onnxruntime_says(
    cli: Cli, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def falls_back(content: bytes, options: Any, providers: list[Any]) -> Any:
        if providers[0][0] == CUDA:
            sys.stdout.write("fell back\n")  # as onnxruntime does; it must not get into the JSON
            os.write(
                2, b"\x1b[1;31m2026 [E:x.cc:1 f()] : FAIL : Failed to load library lib.so with "
            )
            os.write(2, b"error: libcublasLt.so.12: cannot open\x1b[m\n\x1b[0;93m[W] later\x1b[m\n")
        return REAL(content, options, providers=["CPUExecutionProvider"])

    _has_gpu(tmp_path)
    built = [CUDA, "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    (problem,) = _problems(cli("doctor", "--zoo", zoo, "--json", "--device", "cuda"))
    assert problem == {
        "problem": f"{CUDA} does not load: "
        "Failed to load library lib.so with error: libcublasLt.so.12: cannot open",
        "fix": "install the CUDA and cuDNN libraries that this onnxruntime asks for; "
        "or use --device cpu",
    }


@pytest.mark.parametrize(("off", "expected"), [(0, False), (2, False), (3, True)])
def test_a_gpu_must_agree_with_the_cpu(
    cli: Cli, zoo: Path, monkeypatch: pytest.MonkeyPatch, off: int, expected: bool
) -> None:
    _with_cuda(monkeypatch, off)
    done = cli("doctor", "--zoo", zoo, "--json")
    report = json.loads(done.out)
    assert [(c["device"], c["provider"]) for c in report["models"]] == [
        ("cpu", "CPUExecutionProvider"),
        ("cuda", CUDA),
    ]
    (pair,) = report["agreement"]
    assert pair == {
        "model": "letters@1.0.0",
        "images": 64,
        "largest_difference": off,
        "differing_pixels": 1.0 if off else 0.0,
    }
    told = "letters@1.0.0: cuda and cpu are 3 grey levels apart, at most 2 are expected"
    problems = [{"problem": told, "fix": "serve it with --device cpu"}] if expected else []
    assert _problems(done) == problems
    text = cli("doctor", "--zoo", zoo).out
    assert f"cuda and cpu at most {off} grey levels apart in 64 images" in text


def test_models_that_do_not_work_stop_no_other(cli: Cli, zoo: Path) -> None:
    for name in ("altered", "black"):
        write_toy(zoo, name)
    with (zoo / "altered/generator.onnx").open("ab") as file:
        file.write(b"\0")
    graph = onnx.load(zoo / "black/generator.onnx")
    (scale,) = (w for w in graph.graph.initializer if w.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), "scale"))
    content = graph.SerializeToString()
    (zoo / "black/generator.onnx").write_bytes(content)
    card = json.loads((zoo / "black/card.json").read_text())
    card["artifact"]["sha256"] = hashlib.sha256(content).hexdigest()
    (zoo / "black/card.json").write_text(json.dumps(card))
    (zoo / "none").mkdir()
    done = cli("doctor", "--zoo", zoo, "--json")
    no_card, altered, black = _problems(done)
    assert no_card["problem"].endswith("none/card.json: cannot be read: No such file or directory")
    assert altered["problem"].startswith("altered@1.0.0 on cpu: ")
    assert "sha256 is" in altered["problem"]
    assert black["problem"] == "black@1.0.0 on cpu: the image of seed 0 is all 0"
    assert [c["error"] is None for c in json.loads(done.out)["models"]] == [False, False, True]
    assert cli("doctor", "--zoo", zoo).code == 1


def test_a_zoo_without_models(cli: Cli, zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert _problems(cli("doctor", "--zoo", tmp_path / "empty", "--json")) == [
        {
            "problem": f"zoo {tmp_path}/empty: holds no model that can be used",
            "fix": "name another --zoo",
        }
    ]
    assert _problems(cli("doctor", "--zoo", tmp_path / "no", "--json")) == [
        {
            "problem": f"zoo {tmp_path}/no: cannot be read: No such file or directory",
            "fix": "name a zoo's folder with --zoo",
        }
    ]


def test_onnxruntime_missing_or_there_twice(
    cli: Cli, zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(providers, "version", lambda _: "1.2.3")
        (twice,) = _problems(cli("doctor", "--zoo", zoo, "--json"))
    assert twice == {
        "problem": "onnxruntime and onnxruntime-gpu are both installed: one module",
        "fix": "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'ganagerie[cpu]'",
    }
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert _problems(cli("doctor", "--zoo", zoo, "--json")) == [
        {
            "problem": "onnxruntime is not installed",
            "fix": "pip install 'ganagerie[cpu]', or 'ganagerie[gpu]' for CUDA",
        }
    ]
