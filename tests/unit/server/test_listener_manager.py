"""Listeners that take the place of others, of which some connections go on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sidecar.config.messages import message_class
from sidecar.core.options import Options
from sidecar.observability.stats import Store
from sidecar.server.draining import DrainManager
from sidecar.server.listener_manager import ListenerManager


class Chain:
    """One without a connection manager."""

    manager = None


class Listener:
    """One that has a connection until it is told that it ended."""

    name = "main"
    wanted = ("127.0.0.1:0",)
    bind_to_port = True
    stats_prefix = ""

    def __init__(self, message: Any) -> None:
        self.jobs: list[Any] = []
        self.active = 0
        chains = [Chain() for _ in message.filter_chains]
        self.chains = SimpleNamespace(all=chains, terminals=())
        self.stopped = trio.Event()
        self.left = trio.Event()

    def open(self) -> None:
        self.adopt(self)

    def adopt(self, other: Listener) -> None:
        self.sockets = ()

    def begin(self) -> None:
        assert not self.stopped.is_set()

    def stop_accepting(self) -> None:
        self.stopped.set()

    def close(self) -> None:
        self.stopped.set()

    def end_chain(self, chain: Any) -> None:
        assert chain in self.chains.all

    async def run(self) -> None:
        await self.stopped.wait()
        await self.left.wait()


class Assembly:
    """Makes them."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.made: list[Listener] = []
        self.ended: list[Listener] = []
        self.role = SimpleNamespace(sockets=SimpleNamespace(workers=0))

    def make_listener(self, message: Any, path: str) -> Listener:
        self.made.append(Listener(message))
        return self.made[-1]

    def end_listener(self, listener: Listener) -> None:
        self.ended.append(listener)


def _listener(*chains: str) -> Any:
    cls: Any = message_class("envoy.config.listener.v3.Listener")
    message = cls(name="main")
    for name in chains:
        message.filter_chains.add(name=name)
    return message


async def test_listeners_whose_connections_have_ended_are_not_kept(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    assembly: Any = Assembly()
    manager = ListenerManager(assembly, Store(), DrainManager(Options(), trio.current_time), 1)
    manager.start(nursery)
    for number in range(20):
        # One chain stays; the others come and go.
        assert manager.update(_listener("stays", f"chain {number}"), "", str(number))
        await wait_all_tasks_blocked()
        if number != 3:
            assembly.made[-1].left.set()
    await trio.sleep(2)
    assert assembly.listeners == [assembly.made[-1]]
    assert manager.draining() == [assembly.made[3]]  # a connection of its chain that stays goes on
    assembly.made[3].left.set()
    await wait_all_tasks_blocked()
    assert manager.draining() == []
    assert assembly.ended == [each for each in assembly.made[:-1] if each is not assembly.made[3]] + [
        assembly.made[3]
    ]
    nursery.cancel_scope.cancel()
