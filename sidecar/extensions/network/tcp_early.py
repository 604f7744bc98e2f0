"""What a client sends before a TCP proxy has an upstream for it (``max_early_data_bytes``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.core.errors import Disconnected
from sidecar.net.reactor import Signal
from sidecar.net.splice import Broken

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport

__all__ = ["EarlyData"]

_READ_SIZE = 65536


class EarlyData:
    """Bytes that wait for the upstream, read in a strand of their own while it is looked for."""

    __slots__ = ("_count", "_data", "_limit", "_owner", "_reader", "_transport", "is_ended")

    def __init__(self, transport: Transport, owner: Strand, limit: int, count: Callable[[int], None]) -> None:
        self._transport = transport
        #: Who fails where the client's connection breaks.
        self._owner = owner
        #: Nothing more is read once there are so many bytes; the read that brings them may bring more.
        self._limit = limit
        #: Told of the size of each read.
        self._count = count
        self._data = bytearray()
        self._reader: Strand | None = None
        #: The client has ended its side.
        self.is_ended = False

    async def wait(self) -> None:
        """Wait until there is something.  A client that ends its side without a word waits for its timeouts.

        Raises: Broken.
        """
        await self._read()
        if self.is_ended:
            await Signal(self._owner.reactor).wait()

    def start(self) -> None:
        """Read on while others work."""
        if self.is_ended or (self._data and len(self._data) >= self._limit):
            return
        self._reader = self._owner.reactor.spawn(
            "early data", self._read_on, on_done=self._on_done, nursery=self._owner.nursery
        )

    def take(self) -> bytes:
        """Stop reading; what has come."""
        self.stop()
        data = bytes(self._data)
        self._data.clear()
        return data

    def stop(self) -> None:
        """Read no more."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.on_done = _ignore
            reader.fail(Disconnected("there is an upstream"))

    async def _read_on(self, _strand: Strand) -> None:
        while not self.is_ended and (not self._data or len(self._data) < self._limit):
            await self._read()

    async def _read(self) -> None:
        transport = self._transport
        try:
            data = await transport.receive(_READ_SIZE)
        except OSError as error:
            raise Broken(transport, error) from error
        if data:
            self._data += data
            self._count(len(data))
        else:
            self.is_ended = True

    def _on_done(self, error: BaseException | None) -> None:
        self._reader = None
        if error is not None:
            self._owner.fail(error)


def _ignore(error: BaseException | None) -> None:
    return
