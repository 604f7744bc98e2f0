"""Strands under test: socket pairs on a running reactor, and tasks that own a strand.

The peers of a test are plain sockets that the test itself reads and writes; :func:`settle` lets the proxy
do everything that it can do with what has been sent.  No time passes, so tests need no sleeps.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import trio
from trio.lowlevel import current_task
from trio.testing import wait_all_tasks_blocked

from sidecar.net.reactor import Reactor, Strand, Transport, drive, open_reactor

__all__ = ["Driven", "Lab", "in_reactor", "open_lab", "settle"]

Body = Callable[[Strand], Coroutine[Any, Any, Any]]

#: Returns when no task can run and no descriptor is ready.
settle = wait_all_tasks_blocked


def in_reactor() -> bool:
    """Whether the code that asks is being stepped by the reactor."""
    return current_task().name == "reactor"


class Driven:
    """A strand with its owner task: how it ended, and the scope to cancel it by."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.task: Any = None
        self.strand: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_over = False

    async def run(self, reactor: Reactor, body: Body) -> None:
        self.task = current_task()

        def remember(strand: Strand) -> Coroutine[Any, Any, Any]:
            self.strand = strand
            return body(strand)

        try:
            with self.scope:
                self.result = await drive(reactor, "test", remember)
        except Exception as error:
            self.error = error
        finally:
            self.is_over = True


class Lab:
    """A reactor, and what a test opened on it."""

    def __init__(self, reactor: Reactor, nursery: trio.Nursery) -> None:
        self.reactor = reactor
        self.nursery = nursery
        self._peers: list[socket.socket] = []

    def pair(self) -> tuple[Transport, socket.socket]:
        """A transport and the socket at its other end."""
        inner, outer = socket.socketpair()
        inner.setblocking(False)
        outer.setblocking(False)
        self._peers.append(outer)
        return Transport(inner, self.reactor), outer

    def keep(self, sock: socket.socket) -> socket.socket:
        """Have ``sock`` closed with the lab."""
        self._peers.append(sock)
        return sock

    def own(self, body: Body) -> Driven:
        """Drive ``body`` in a task of its own."""
        driven = Driven()
        self.nursery.start_soon(driven.run, self.reactor, body, name="owner")
        return driven

    def close_peers(self) -> None:
        for sock in self._peers:
            sock.close()


@contextlib.asynccontextmanager
async def open_lab(clock: Callable[[], float] | None = None) -> AsyncIterator[Lab]:
    """A lab whose reactor reads ``clock`` (default: trio's, so that MockClock moves deadlines)."""
    async with open_reactor(Reactor(clock or trio.current_time)) as reactor, trio.open_nursery() as nursery:
        lab = Lab(reactor, nursery)
        try:
            yield lab
        finally:
            nursery.cancel_scope.cancel()
            lab.close_peers()
