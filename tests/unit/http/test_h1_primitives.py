"""What a plain exchange costs in trio's primitives: nothing (DESIGN §2.5)."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from sidecar.net import reactor as reactor_module
from sidecar.net.reactor import Strand
from tests.support.h1_lab import GET, OK, open_h1_lab
from tests.support.strands import settle


class Count(trio.abc.Instrument):
    """Counts what trio does for every task but the reactor's and the test's own."""

    def __init__(self, ignored: set[str]) -> None:
        self.ignored = ignored
        self.spawned = 0
        self.steps: dict[str, int] = {}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.spawned += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name not in self.ignored:
            self.steps[task.name] = self.steps.get(task.name, 0) + 1


@pytest.mark.parametrize("requests", [1, 50])
async def test_plain_get_spawns_no_task_wakes_none_and_opens_no_scope(
    requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_h1_lab() as lab:
        client, driven = lab.connect()
        client.send(GET)
        await settle()
        server = lab.upstream.accept()
        server.recv(65536)
        server.send(OK)
        await settle()
        client.recv(65536)

        scopes = checkpoints = waits = 0
        enter = trio.CancelScope.__enter__

        def count_enter(scope: trio.CancelScope) -> trio.CancelScope:
            nonlocal scopes
            scopes += 1
            return enter(scope)

        async def count_checkpoint() -> None:
            nonlocal checkpoints
            checkpoints += 1
            await trio.lowlevel.checkpoint()

        async def count_wait(fd: Any) -> None:
            nonlocal waits
            waits += 1
            await trio.lowlevel.wait_readable(fd)

        monkeypatch.setattr(trio.CancelScope, "__enter__", count_enter)
        monkeypatch.setattr(reactor_module, "checkpoint", count_checkpoint)
        monkeypatch.setattr(reactor_module, "wait_readable", count_wait)
        me = trio.lowlevel.current_task().name
        count = Count({"reactor", "deadline sweep", me})
        trio.lowlevel.add_instrument(count)

        # Both peers live on the same reactor, so that nobody else needs trio either.
        done = 0
        near, far = lab.lab.reactor, []

        async def ask(strand: Strand) -> None:
            nonlocal done
            transport = reactor_module.Transport(client.dup(), near)
            far.append(transport)
            for _ in range(requests):
                transport.try_send(GET)
                await transport.receive()
                done += 1

        async def answer(strand: Strand) -> None:
            transport = reactor_module.Transport(server.dup(), near)
            far.append(transport)
            for _ in range(requests):
                await transport.receive()
                transport.try_send(OK)

        near.spawn("upstream", answer)
        near.spawn("client", ask)
        await settle()
        trio.lowlevel.remove_instrument(count)
        assert done == requests
        assert lab.counter("http.test.downstream_rq_2xx") == requests + 1
        assert not driven.is_over
        assert count.spawned == 0
        assert count.steps == {}
        assert checkpoints == 0
        # settle() itself opens none; the sweep's sleeps may open one each.
        assert scopes <= 2
        # The reactor's own wait: one a pass, and a pass serves whatever is ready.
        assert waits <= 4 * requests + 2
        for transport in far:
            transport.close()
