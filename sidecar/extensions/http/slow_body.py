"""A body that is given out at a rate."""

from __future__ import annotations

import time

from sidecar.api.message import Body
from sidecar.net.pause import pause

__all__ = ["SlowBody"]

#: A second has so many turns, as in Envoy's StreamRateLimiter.
_TURNS = 16


class SlowBody(Body):
    """Gives out at most a sixteenth of ``bytes_per_s`` in each sixteenth of a second."""

    __slots__ = ("_due_s", "_rest", "_share", "_source")

    def __init__(self, source: Body, bytes_per_s: int) -> None:
        super().__init__()
        self._source = source
        self._share = max(1, bytes_per_s // _TURNS)
        self._rest = b""
        self._due_s = time.monotonic() + 1 / _TURNS

    async def receive(self) -> bytes:
        if not self._rest:
            self._rest = await self._source.receive()
            if not self._rest:
                self.trailers = self._source.trailers
                self.ended = True
                return b""
        now = time.monotonic()
        if now < self._due_s:
            await pause(self._due_s - now)
        self._due_s = max(now, self._due_s) + 1 / _TURNS
        piece, self._rest = self._rest[: self._share], self._rest[self._share :]
        return piece
