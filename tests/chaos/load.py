"""A bounded load: requests of several kinds at fixed times, whatever becomes of those before."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import trio

from tests.conformance.wire import Ended, Wire, read_response

__all__ = ["KINDS", "Kind", "Load", "Tally"]

#: A client that waits longer has found a request that nobody ends.
CLIENT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    #: The client leaves after so many seconds, without an answer.
    leaves_after_s: float | None = None


KINDS = tuple(
    kind
    for cluster in ("h1", "h2")
    for kind in (
        Kind(f"{cluster} GET", "GET", f"/{cluster}/plain/small"),
        Kind(f"{cluster} GET, retried", "GET", f"/{cluster}/retry/small"),
        Kind(f"{cluster} GET of 256 KiB, retried", "GET", f"/{cluster}/retry/large"),
        Kind(f"{cluster} POST of 4 KiB, retried", "POST", f"/{cluster}/retry/small", b"p" * 4096),
        Kind(f"{cluster} client leaves", "GET", f"/{cluster}/retry/leave", leaves_after_s=0.1),
    )
)


@dataclass(slots=True)
class Tally:
    """What became of the requests of one kind."""

    #: ``200``, ``503``, ``cut``, ``no answer``, ``hung``, ``left``.
    outcomes: Counter[str] = field(default_factory=Counter)
    #: Of each request: when it began, counted from the beginning of the load, and how long it took.
    began: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests that got something else than a whole answer with 200."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in ("200", "left"))


class Load:
    """The clients of one proxy."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Wire] = []
        self._begin = 0.0
        self.tallies = {kind.name: Tally() for kind in KINDS}

    async def run(self, seconds: float, per_second: float) -> None:
        """``per_second`` requests of each kind; ends when the last has its answer."""
        self._begin = begin = trio.current_time()
        # Turns over three upstreams must not fall together with the order of the kinds.
        order = random.Random(3)
        kinds = list(KINDS)
        async with trio.open_nursery() as nursery:
            for number in range(int(seconds * per_second)):
                await trio.sleep_until(begin + number / per_second)
                order.shuffle(kinds)
                for kind in kinds:
                    nursery.start_soon(self._request, kind)
        for wire in self._idle:
            wire.close()

    async def _request(self, kind: Kind) -> None:
        tally = self.tallies[kind.name]
        begin = trio.current_time()
        outcome = "hung"
        with trio.move_on_after(kind.leaves_after_s or CLIENT_TIMEOUT_S) as scope:
            outcome = await self._exchange(kind)
        if scope.cancelled_caught and kind.leaves_after_s:
            outcome = "left"
        tally.outcomes[outcome] += 1
        tally.ends.append(outcome)
        tally.began.append(begin - self._begin)
        tally.seconds.append(trio.current_time() - begin)

    async def _exchange(self, kind: Kind) -> str:
        wire = self._idle.pop() if self._idle else None
        try:
            if wire is None:
                wire = Wire(await trio.open_tcp_stream("127.0.0.1", self._port))
            length = f"content-length: {len(kind.body)}\r\n" if kind.body else ""
            head = f"{kind.method} {kind.path} HTTP/1.1\r\nhost: chaos\r\n{length}\r\n"
            await wire.send(head.encode() + kind.body)
            reply = await read_response(wire)
        except (Ended, OSError):
            outcome = "no answer"
        except trio.Cancelled:
            if wire is not None:
                wire.close()
            raise
        else:
            outcome = "cut" if reply.cut else reply.start_line.split(" ")[1]
            if not reply.cut and "close" not in reply.values("connection"):
                self._idle.append(wire)
                return outcome
        if wire is not None:
            wire.close()
        return outcome
