"""Health checks and scrapes all along, and what a server process holds, from outside."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.machine import resident_mib
from benchmarks.soak.client import HUNG_S, OPTIONS, Spec
from benchmarks.soak.report import Report
from protos.v1 import ganagerie_pb2 as pb
from protos.v1 import ganagerie_pb2_grpc as pb_grpc

_SERVING = health_pb2.HealthCheckResponse.SERVING


class Sample(NamedTuple):
    """What a process holds at a time, in seconds since the load began."""

    time_s: float
    memory_mib: float
    threads: int
    descriptors: int


def sample(pid: int, time_s: float) -> Sample:
    """Of a process, now."""
    process = Path(f"/proc/{pid}")
    threads, descriptors = (len(list((process / of).iterdir())) for of in ("task", "fd"))
    return Sample(time_s, resident_mib(pid)[0], threads, descriptors)


class Sampler:
    """Samples a process, from a thread, until `stop`."""

    def __init__(self, pid: int, every_s: float) -> None:
        self.samples: list[Sample] = []
        self._pid, self._every_s = pid, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        start_s = time.monotonic()
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended: others will notice
            while not self._stop.wait(self._every_s):
                self.samples.append(sample(self._pid, time.monotonic() - start_s))

    def stop(self) -> list[Sample]:
        """All samples."""
        self._stop.set()
        self._thread.join()
        return self.samples


def fetch(address: str, path: str) -> tuple[int, str]:
    """Status and body."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=HUNG_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def counted(address: str) -> Counter[str]:
    """The server's own count of requests, by "METHOD CODE"."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(fetch(address, "/metrics")[1]):
        for one in family.samples:
            if one.name == "ganagerie_requests_total":
                found[f"{one.labels['method']} {one.labels['code']}"] += int(one.value)
    return found


def live(address: str) -> dict[str, float]:
    """Gauges of what is on its way: zero when nothing is."""
    return {
        f"{one.name} {one.labels}": one.value
        for family in text_string_to_metric_families(fetch(address, "/metrics")[1])
        if family.type == "gauge" and ("queue" in family.name or "in_flight" in family.name)
        for one in family.samples
    }


def watcher(spec: Spec) -> Report:
    """Asks for health, lists and metrics in turn; none of them may fail, or be late."""
    report = Report()
    end_s = time.monotonic() + spec.seconds
    with grpc.insecure_channel(spec.grpc, options=OPTIONS) as channel:
        health, zoo = health_pb2_grpc.HealthStub(channel), pb_grpc.ZooStub(channel)
        states: list[Any] = []
        watch = health.Watch(health_pb2.HealthCheckRequest())

        def follow() -> None:
            with suppress(grpc.RpcError):
                states.extend(answer.status for answer in watch)

        following = threading.Thread(target=follow)
        following.start()
        while time.monotonic() < end_s:
            try:
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=HUNG_S)
                if answer.status != _SERVING:
                    report.complain(f"health is {answer.status}")
                zoo.ListModels(pb.ListModelsRequest(), timeout=HUNG_S, metadata=spec.metadata)
                report.answered["ListModels OK"] += 1
            except grpc.RpcError as error:
                report.complain(f"health or list: {error.code().name} {error.details()}")
            for path in ("/healthz", "/readyz", "/metrics"):
                status, body = fetch(spec.http, path)
                if status != 200 or not body:
                    report.complain(f"{path} is {status}")
                report.beside[path] += 1
            time.sleep(0.1)
        watch.cancel()
        following.join()
    if states != [_SERVING]:
        report.complain(f"a watcher of the health heard {states}")
    return report
