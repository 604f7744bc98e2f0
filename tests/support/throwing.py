"""Throw an error into strands at each of their waits in turn, and look at what is left.

An operation runs on a lab's reactor; every wait of every strand that it starts counts.  At the n-th the error
is thrown into the strand that waits there, for n = 1, 2, … until the operation has fewer waits than that.
After each run nothing may be left: :func:`assert_nothing_left` knows what that means for a cluster and its
host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sidecar.net.reactor import Reactor, Strand
from tests.support.h1_lab import H1Lab
from tests.support.strands import settle

__all__ = ["Throws", "assert_nothing_left", "throw_at_every_wait"]

_MOST_WAITS = 300

Operation = Callable[["Throws"], Awaitable[None]]


class _Counted:
    """A coroutine whose waits are counted."""

    def __init__(self, coroutine: Any, strand: Strand, throws: Throws) -> None:
        self._coroutine = coroutine
        self._strand = strand
        self._throws = throws

    def send(self, value: Any) -> Any:
        return self._count(self._coroutine.send(value))

    def throw(self, error: BaseException) -> Any:
        return self._count(self._coroutine.throw(error))

    def close(self) -> None:
        self._coroutine.close()

    def _count(self, trap: Any) -> Any:
        self._throws.on_wait(self._strand)
        return trap


class Throws:
    """One run: counts waits and throws at one of them."""

    def __init__(self, reactor: Reactor, number: int, error: Callable[[], BaseException], match: str) -> None:
        self.waits = 0
        #: The name of the strand that was thrown into.
        self.where = ""
        self._reactor = reactor
        self._number = number
        self._error = error
        self._match = match

    def on_wait(self, strand: Strand) -> None:
        """A strand waits."""
        if self._match not in strand.name:
            return
        self.waits += 1
        if self.waits == self._number:
            self.where = strand.name
            strand.fail(self._error())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Count the waits of strands that are started inside the block."""
        reactor: Any = self._reactor
        spawn = reactor.spawn

        def counted(name: str, body: Any, **options: Any) -> Any:
            return spawn(name, lambda strand: _Counted(body(strand), strand, self), **options)

        reactor.spawn = counted
        try:
            yield
        finally:
            del reactor.spawn


async def throw_at_every_wait(
    open_run: Callable[[], Any],
    operation: Callable[[Any, Throws], Awaitable[None]],
    check: Callable[[Any, str], Awaitable[None]],
    *,
    error: Callable[[], BaseException],
    match: str = "",
) -> int:
    """Run ``operation(lab, throws)`` in a fresh ``open_run()`` each time; how many waits it has.

    ``check(lab, where)`` is called after each run.  ``match`` picks strands by a part of their names.
    """
    for number in range(1, _MOST_WAITS):
        async with open_run() as lab:
            throws = Throws(lab.lab.reactor, number, error, match)
            async with throws.watching():
                await operation(lab, throws)
            await settle()
            await check(lab, f"{throws.where or 'nowhere'}, wait {number}")
        if throws.waits < number:
            return throws.waits
    raise AssertionError("the operation does not end")


def assert_nothing_left(lab: H1Lab, where: str, *, connections: int = 0) -> None:
    """No slot, no count, no strand and no socket but those of ``connections`` that are kept."""
    gauges = lab.gauges()
    active = gauges.pop("cluster.up.upstream_cx_active", 0)
    assert gauges == {}, where
    assert active == lab.host.cx_active == connections, where
    assert (lab.host.rq_active, lab.host.rq_pending_active) == (0, 0), where
    for resources in lab.cluster.resources:
        assert (resources.pending, resources.requests, resources.retries.active) == (0, 0, 0), where
    assert sum(each.connections for each in lab.cluster.resources) == connections, where
    assert lab.cluster.resources[0].pools == (1 if connections else 0), where
    for pool in lab.host.pools:
        assert not pool._pending, where
        assert pool._connecting == 0, where
        if not connections:
            assert not pool.has_connections(), where
    readers = [each for each in lab.lab.reactor.strands if not each.name.startswith("read from")]
    assert not readers, where
    # The reactor's own, and those that are kept.
    assert len(lab.lab.reactor._transports) == connections, where
