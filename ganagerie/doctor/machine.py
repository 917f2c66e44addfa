"""What this process may use of the machine it runs on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ganagerie.doctor.report import Gpu, Machine

_MIB = 1024 * 1024
_QUERY = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
_SMI_TIMEOUT_S = 20


def look(root: Path = Path("/")) -> Machine:
    """The machine; `root` is where /proc and /sys are."""
    cores = [cores for folder in _groups(root, "cpu") for cores in _core_limit(folder)]
    limits = [limit for folder in _groups(root, "memory") for limit in _memory_limit(folder)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = min(limits, default=memory)
    return Machine(
        processor=processor(root),
        cores=len(os.sched_getaffinity(0)),
        core_limit=min(cores, default=None),
        memory_mib=memory // _MIB,
        memory_limit_mib=limit // _MIB if limit < memory else None,
        gpus=tuple(gpus()),
    )


def gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi lists; none where it is missing or does not work."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603  the one that PATH names, without a shell
            [smi, *_QUERY], capture_output=True, text=True, timeout=_SMI_TIMEOUT_S, check=True
        )
        rows = (line.rsplit(", ", 2) for line in done.stdout.splitlines() if line)
        return [
            Gpu(name=name, memory_mib=int(mib) if mib.isdigit() else None, driver=driver)
            for name, mib, driver in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def processor(root: Path = Path("/")) -> str:
    """The processor's name, else its architecture; `root` is where /proc is."""
    for line in _lines(root / "proc/cpuinfo"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control group and all above it, of version 2 or 1."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            top = root / "sys/fs/cgroup" / controllers
        else:
            continue
        # In a container the path may be the host's, and only the top is to be seen.
        folder = top / path.strip("/")
        yield from (f for f in (folder, *folder.parents) if f.is_relative_to(top) and f.is_dir())


def _core_limit(folder: Path) -> Iterator[float]:
    for line in _lines(folder / "cpu.max"):
        quota, period = line.split()
        if quota != "max":
            yield int(quota) / int(period)
    quota_us, period_us = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota_us is not None and period_us and quota_us > 0:
        yield quota_us / period_us


def _memory_limit(folder: Path) -> Iterator[int]:
    for name in ("memory.max", "memory.limit_in_bytes"):
        limit = _number(folder / name)
        if limit is not None:
            yield limit


def _number(path: Path) -> int | None:
    text = "".join(_lines(path))
    return int(text) if text.lstrip("-").isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
