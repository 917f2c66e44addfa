"""A real Ray Serve application on free ports, and its replicas' processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ganagerie import Client
from tests.conftest import REPOSITORY
from zoo.errors import GanagerieError

CONFIG = REPOSITORY / "deploy" / "ray" / "serve.yaml"
_START_S, _STOP_S = 180, 60


@dataclass(frozen=True)
class Application:
    """Where it listens, and what it runs in."""

    target: str
    process: subprocess.Popen[bytes]
    log: Path

    def replicas(self, deployment: str = "Replica") -> set[int]:
        """Processes of a deployment's replicas."""
        title = f"ray::ServeReplica:ganagerie:{deployment}"
        return {
            pid for pid in _descendants(self.process.pid) if _command_line(pid).startswith(title)
        }

    def wait_for_replicas(self, at_least: int, *, other_than: Set[int] = frozenset()) -> set[int]:
        """Waits until there are so many."""
        deadline_s = time.monotonic() + _START_S
        while len(found := self.replicas() - other_than) < at_least:
            assert time.monotonic() < deadline_s, self.log.read_text()[-4000:]
            time.sleep(0.2)
        return found


@contextmanager
def application(zoo: Path, **settings: Any) -> Iterator[Application]:
    """Runs `serve run` with the repository's file, of two replicas; stopped on leaving."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # socket paths are short
    config = yaml.safe_load(CONFIG.read_text())
    config["http_options"]["port"], config["grpc_options"]["port"] = _free_port(), _free_port()
    (app,) = config["applications"]
    app["args"] |= {"zoo": str(zoo), **settings}
    ingress, replica = app["deployments"]
    ingress["num_replicas"] = 1
    replica["autoscaling_config"] |= {"min_replicas": 2, "max_replicas": 2}
    replica["ray_actor_options"] = {"num_cpus": 0.1}  # also where a machine has one core
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    log = folder / "log"
    environment = os.environ | {
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [str(Path(sys.executable).with_name("serve")), "run", "--address", "local"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, str(folder / "serve.yaml")],
            cwd=REPOSITORY,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Application(f"127.0.0.1:{config['grpc_options']['port']}", process, log)
    try:
        _wait_for_answer(running)
        running.wait_for_replicas(2)
        yield running
    finally:
        processes = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        for pid in [process.pid, *processes]:  # those that SIGINT has not ended
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_answer(running: Application) -> None:
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            with Client(running.target) as client:
                client.models()
            return
        except GanagerieError:
            text = running.log.read_text()[-4000:]
            assert running.process.poll() is None, text
            assert time.monotonic() < deadline_s, text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int(
                (entry / "stat").read_text().rpartition(")")[2].split()[1]
            )
    found, before = {pid}, set[int]()
    while found != before:
        before = set(found)
        found |= {child for child, parent in parents.items() if parent in found}
    return found - {pid}


def _command_line(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
