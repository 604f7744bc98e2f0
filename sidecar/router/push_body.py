"""A body that is handed in by pieces: of the proxy's own calls, of copies, of tries that filters see."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.api.message import Body
from sidecar.net.reactor import Signal

if TYPE_CHECKING:
    from sidecar.core.headers import HeaderMap
    from sidecar.net.reactor import Reactor

__all__ = ["PushBody"]


class PushBody(Body):
    """A request body that is handed in by pieces; who hands it in waits where nobody takes it."""

    __slots__ = ("_chunks", "_filled", "_is_over", "_limit", "_room", "_size", "on_room")

    def __init__(self, reactor: Reactor, limit_bytes: int) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None
        self._limit = limit_bytes
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._is_over = False
        self._filled = Signal(reactor)
        self._room = Signal(reactor)
        #: Called when a piece was taken and there is room again.
        self.on_room: Callable[[], None] | None = None

    async def push(self, data: bytes) -> None:
        """Take a piece; returns once no more than the limit waits."""
        if self._is_over:
            return
        self._chunks.append(data)
        self._size += len(data)
        self._filled.fire()
        while self._size > self._limit and not self._is_over:
            await self._room.wait()

    def try_push(self, data: bytes) -> bool:
        """Take a piece if it fits; one that is longer than the limit, where nothing else waits."""
        if self._is_over or (self._size and self._size + len(data) > self._limit):
            return False
        self._chunks.append(data)
        self._size += len(data)
        self._filled.fire()
        return True

    def end(self, trailers: HeaderMap | None = None) -> None:
        """There is no more."""
        self.trailers = trailers
        self._is_over = True
        self._filled.fire()
        self._room.fire()

    def abandon(self) -> None:
        """Nobody takes it any more."""
        self._is_over = True
        self._chunks.clear()
        self._size = 0
        self._room.fire()

    async def receive(self) -> bytes:
        while not self._chunks:
            if self._is_over:
                self.ended = True
                return b""
            await self._filled.wait()
        data = self._chunks.popleft()
        self._size -= len(data)
        if self._size <= self._limit:
            self._room.fire()
            if self.on_room is not None:
                self.on_room()
        return data
