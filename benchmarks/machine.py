"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from ganagerie.doctor.machine import processor
from ganagerie.doctor.providers import installed

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "grpcio", "protobuf", "numpy", "pillow")


def describe() -> str:
    """One line: processor, cores, Python and the packages that matter."""
    packages = ", ".join(f"{name} {v}" for name, v in installed(*PACKAGES).items() if v)
    cores = len(os.sched_getaffinity(0))
    return f"{processor()}, {cores} cores, Python {platform.python_version()}, {packages}"


def resident_mib(pid: int) -> tuple[float, float]:
    """Resident memory of a process now and at its peak, MiB."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields[key] = value
    return tuple(int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))  # type: ignore[return-value]  # two keys


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
