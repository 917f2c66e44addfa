"""A name with several addresses: the clients use them all, and lose nothing when one goes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from ganagerie import AsyncClient, Client
from tests.server.calls import Stubs, metric, until
from tests.serving import Running, server_in_thread


def _target(*servers: Running) -> str:
    """gRPC's own form for a name that leads to these."""
    return "ipv4:" + ",".join(server.grpc for server in servers)


def _served(server: Running) -> float:
    return metric(server.http, "ganagerie_requests_total", code="OK")


def test_calls_go_to_every_address(toy_zoo: Path) -> None:
    with (
        server_in_thread(toy_zoo) as one,
        server_in_thread(toy_zoo) as other,
        Client(_target(one, other)) as client,
    ):

        def both_have_served() -> bool:
            assert len(list(client.generate("plain", count=2, seed=1))) == 2
            return min(_served(one), _served(other)) >= 3

        until(both_have_served, "calls at both servers")


def test_calls_of_the_async_client_go_to_every_address(toy_zoo: Path) -> None:
    async def call(target: str) -> None:
        async with AsyncClient(target) as client:
            for _ in range(20):
                assert len(await client.generate("plain", count=2, seed=1)) == 2

    with server_in_thread(toy_zoo) as one, server_in_thread(toy_zoo) as other:

        def both_have_served() -> bool:
            asyncio.run(call(_target(one, other)))
            return min(_served(one), _served(other)) >= 3

        until(both_have_served, "calls at both servers")


def test_other_clients_ask_for_it(toy_zoo: Path) -> None:
    """As docs/operations.md says."""
    options = [("grpc.lb_policy_name", "round_robin")]
    with (
        server_in_thread(toy_zoo) as one,
        server_in_thread(toy_zoo) as other,
        grpc.insecure_channel(_target(one, other), options=options) as channel,
    ):

        def both_have_served() -> bool:
            assert len(Stubs(channel).generate("plain", seed=1)) == 1
            return min(_served(one), _served(other)) >= 3

        until(both_have_served, "calls at both servers")


@pytest.mark.parametrize("which", [0, 1])
def test_a_server_that_stops_takes_no_call_with_it(toy_zoo: Path, which: int) -> None:
    """One of two is drained while callers go on without a pause."""
    with ExitStack() as staying, ExitStack() as leaving:
        servers = [
            (leaving if index == which else staying).enter_context(server_in_thread(toy_zoo))
            for index in range(2)
        ]
        client = staying.enter_context(Client(_target(*servers)))
        over = threading.Event()

        def call() -> int:
            done = 0
            while not over.is_set():
                assert len(list(client.generate("plain", count=4))) == 4
                done += 1
            return done

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(call) for _ in range(4)]
            try:
                until(lambda: min(map(_served, servers)) >= 5, "calls at both servers")
                leaving.close()
                left = servers[1 - which]
                before = _served(left)
                until(lambda: _served(left) >= before + 20, "calls at the one that stays")
            finally:
                over.set()
            assert min(caller.result() for caller in callers) > 0
