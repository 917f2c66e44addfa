"""What a process may use of its machine: control groups of both versions, and nvidia-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganagerie.doctor import examine
from ganagerie.doctor.machine import gpus, look


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_narrowest_limit_of_version_2(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: A Processor @ 2 GHz\n",
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/pod/box/memory.max": f"{64 * 2**20}\n",
            "sys/fs/cgroup/pod/memory.max": "max\n",
        },
    )
    here = look(root)
    assert here.processor == "A Processor @ 2 GHz"
    assert (here.core_limit, here.memory_limit_mib) == (1.5, 64)
    assert here.memory_mib > 64


def test_version_1(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu,cpuacct:/box\n2:memory:/not/to/be/seen\n1:pids:/\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**20}\n",
        },
    )
    here = look(root)
    assert (here.core_limit, here.memory_limit_mib) == (0.5, 1)


def test_no_limits(tmp_path: Path) -> None:
    unlimited = {
        "proc/self/cgroup": "2:memory:/\n0::/\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/cpu.max": "max 100000\n",
    }
    for root in (_tree(tmp_path, unlimited), tmp_path / "nothing"):
        here = look(root)
        assert (here.core_limit, here.memory_limit_mib) == (None, None)


def test_a_limit_below_the_cores_is_noted(tmp_path: Path) -> None:
    here = look(tmp_path).model_copy(update={"cores": 16, "core_limit": 2.5})
    assert examine._notes(here) == [
        "16 cores are visible, but the control group allows the time of 2.5: "
        "ganagerie serve --runners 2"
    ]
    assert examine._notes(here.model_copy(update={"core_limit": 16.0})) == []


def test_gpus_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA H100, 81559, 550.5'\necho 'NVIDIA GB10, [N/A], 580.1'\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(gpu.name, gpu.memory_mib, gpu.driver) for gpu in gpus()] == [
        ("NVIDIA H100", 81559, "550.5"),
        ("NVIDIA GB10", None, "580.1"),
    ]


@pytest.mark.parametrize("script", ["exit 9", "echo NVIDIA-SMI has failed", "echo x, 1", "echo"])
def test_an_nvidia_smi_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus() == []
