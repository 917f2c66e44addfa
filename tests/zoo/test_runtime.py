"""Which providers a device means, and when CUDA's libraries are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnxruntime
import pytest

import zoo.runtime
from zoo.errors import BackendError
from zoo.runtime import CPU, CUDA, Device, load_runtime, providers_for


@dataclass
class Runtime:
    """An onnxruntime with these providers, which prints when it loads libraries."""

    available: list[str]
    loaded: int = field(default=0)

    def get_available_providers(self) -> list[str]:
        return self.available

    def preload_dlls(self) -> None:
        self.loaded += 1
        print("Failed to load libcublas.so.13")  # noqa: T201  as onnxruntime does


@pytest.mark.parametrize(
    ("available", "device", "are_cuda", "loaded"),
    [
        ([CPU], "auto", [False], 0),
        ([CPU], "cpu", [False], 0),
        ([CUDA, CPU], "cpu", [False], 0),
        ([CUDA, CPU], "auto", [True, False], 1),
        ([CUDA, CPU], "cuda", [True, False], 1),
    ],
)
def test_libraries_are_loaded_for_cuda_alone_and_in_silence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    available: list[str],
    device: Device,
    are_cuda: list[bool],
    loaded: int,
) -> None:
    runtime = Runtime(available)
    monkeypatch.setattr(zoo.runtime, "load_runtime", lambda: runtime)
    assert [CUDA in str(provider) for provider in providers_for(device)] == are_cuda
    assert runtime.loaded == loaded
    assert capsys.readouterr() == ("", "")


def test_onnxruntime_writes_errors_alone_into_the_log_of_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", asked.append)
    assert load_runtime() is onnxruntime
    assert asked == [3]


@pytest.mark.parametrize(("tf32", "option"), [(False, "0"), (True, "1")])
def test_tf32_is_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, tf32: bool, option: str
) -> None:
    monkeypatch.setattr(zoo.runtime, "load_runtime", lambda: Runtime([CUDA, CPU]))
    options = {
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "use_tf32": option,
    }
    assert providers_for("cuda", tf32) == [(CUDA, options), CPU]


def test_cuda_without_its_build_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.runtime, "load_runtime", lambda: Runtime([CPU]))
    with pytest.raises(BackendError) as caught:
        providers_for("cuda")
    assert str(caught.value) == (
        "device cuda: this onnxruntime has only CPUExecutionProvider; install 'ganagerie[gpu]' "
        "in place of 'ganagerie[cpu]', or use --device cpu"
    )
