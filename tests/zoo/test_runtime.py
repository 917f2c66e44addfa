"""Which providers a device means, and when CUDA's libraries are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

import zoo.runtime
from zoo.errors import BackendError
from zoo.runtime import CPU, CUDA, Device, providers_for


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
    ("available", "device", "providers", "loaded"),
    [
        ([CPU], "auto", [CPU], 0),
        ([CPU], "cpu", [CPU], 0),
        ([CUDA, CPU], "cpu", [CPU], 0),
        ([CUDA, CPU], "auto", [CUDA, CPU], 1),
        ([CUDA, CPU], "cuda", [CUDA, CPU], 1),
    ],
)
def test_libraries_are_loaded_for_cuda_alone_and_in_silence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    available: list[str],
    device: Device,
    providers: list[str],
    loaded: int,
) -> None:
    runtime = Runtime(available)
    monkeypatch.setattr(zoo.runtime, "load_runtime", lambda: runtime)
    assert providers_for(device) == providers
    assert runtime.loaded == loaded
    assert capsys.readouterr() == ("", "")


def test_cuda_without_its_build_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.runtime, "load_runtime", lambda: Runtime([CPU]))
    with pytest.raises(BackendError) as caught:
        providers_for("cuda")
    assert str(caught.value) == (
        "device cuda: this onnxruntime has only CPUExecutionProvider; install 'ganagerie[gpu]' "
        "in place of 'ganagerie[cpu]', or use --device cpu"
    )
