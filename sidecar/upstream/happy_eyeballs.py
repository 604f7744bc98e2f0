"""One connection to a host of several addresses: attempts that overtake each other (RFC 8305).

The next address is tried when an attempt fails, or when none has succeeded for a while; the first that is
there wins, and the last failure is everybody's (Envoy's ``HappyEyeballsConnectionImpl``).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from sidecar.core.address import Address
from sidecar.core.errors import Disconnected, UpstreamError
from sidecar.net.reactor import Reactor, Signal, Strand, Transport
from sidecar.net.timer import Timer, start_timer, stop_timer
from sidecar.upstream.pool import connect_failure

__all__ = ["connect_first", "sort_addresses"]

#: The next address is tried after so long.
ATTEMPT_DELAY_S = 0.3

Attempt = Callable[[Address], Coroutine[Any, Any, Transport]]


def sort_addresses(
    addresses: Sequence[Address], first_family: int = 0, first_count: int = 1
) -> list[Address]:
    """The two families in turn: ``first_count`` of the first, one of the other, each in their order."""
    family = first_family or addresses[0].family
    first = [address for address in addresses if address.family == family]
    others = [address for address in addresses if address.family != family]
    out: list[Address] = []
    while first or others:
        out += first[:first_count]
        del first[:first_count]
        out += others[:1]
        del others[:1]
    return out


class _Race:
    """The attempts of one connection."""

    def __init__(self, reactor: Reactor, name: str, attempt: Attempt) -> None:
        self._reactor = reactor
        self._name = name
        self._attempt = attempt
        self._running: set[Strand] = set()
        self._is_over = False
        self.changed = Signal(reactor)
        self.winner: Transport | None = None
        self.error: UpstreamError | None = None

    @property
    def is_running(self) -> bool:
        """Whether any attempt is under way."""
        return bool(self._running)

    def start(self, address: Address) -> None:
        """Try one more address."""

        async def body(strand: Strand) -> None:
            self._running.add(strand)
            try:
                transport = await self._attempt(address)
            except UpstreamError as error:
                self.error = error
            except BaseException as broken:
                if not self._is_over:
                    self.error = connect_failure(str(broken), remote=False)
                if not isinstance(broken, Disconnected):
                    raise
            else:
                if self._is_over or self.winner is not None:
                    transport.close()
                else:
                    self.winner = transport
            finally:
                self._running.discard(strand)
                self.changed.fire()

        self._reactor.spawn(f"{self._name} at {address.text}", body)

    def end(self) -> None:
        """Let go of every attempt that is still under way."""
        self._is_over = True
        for strand in list(self._running):
            strand.fail(Disconnected("another address was faster"))


async def connect_first(
    reactor: Reactor, name: str, strand: Strand, addresses: Sequence[Address], attempt: Attempt
) -> Transport:
    """The first connection that can be made to one of ``addresses``.

    Raises: UpstreamError, the last attempt's.  If cancelled: nothing is left open.
    """
    race = _Race(reactor, name, attempt)
    left = list(addresses)
    timer: Timer | None = None
    is_due = True

    def fire() -> None:
        nonlocal is_due
        is_due = True
        race.changed.fire()

    try:
        while True:
            if race.winner is not None:
                winner, race.winner = race.winner, None
                return winner
            if left and (is_due or race.error is not None):
                race.error, is_due = None, False
                if timer is not None:
                    stop_timer(strand, timer)
                race.start(left.pop(0))
                if left:
                    timer = start_timer(strand, reactor.clock() + ATTEMPT_DELAY_S, fire, "next address")
            elif not left and not race.is_running:
                raise race.error or connect_failure("the host has no address", remote=False)
            else:
                race.error = None if race.is_running else race.error
                await race.changed.wait()
    finally:
        if timer is not None:
            stop_timer(strand, timer)
        race.end()
        if race.winner is not None:
            race.winner.close()
