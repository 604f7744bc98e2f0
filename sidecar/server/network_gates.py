"""What network filters do to the bytes of a connection: look, change, keep back, give later.

They stand around ``recv`` and ``send`` of its transport.  What a filter keeps back is not there for who
reads: reading then is as if nothing had come.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.network import CLOSE, HELD, HOLD, NetworkFilter, NetworkSession

if TYPE_CHECKING:
    from sidecar.net.reactor import Transport

__all__ = ["ReadingGate", "change_output", "refusal"]

_READ_SIZE = 65536


def refusal(session: NetworkSession, received: int = 0) -> OSError:
    """What reading or writing meets once a filter has closed the connection, over so many bytes."""
    if received:
        session.connection.stream.bytes_received += received
    if session.details:
        session.connection.stream.connection_termination_details = session.details
    return OSError(errno.ECONNABORTED, "a network filter closed the connection")


class _FirstData:
    """What a connection sent first, while a filter thinks about it."""

    __slots__ = ("_data", "_session", "_transport", "_verdict", "asked")

    def __init__(self, session: NetworkSession, transport: Transport) -> None:
        self._session = session
        self._transport = transport
        self._data: bytes | None = None
        self._verdict = HOLD
        #: How many filters have seen it.
        self.asked = 0

    def keep(self, data: bytes) -> None:
        """Let ``data`` wait.  Raises: BlockingIOError, as if nothing had come."""
        self._data = data
        self._verdict = HOLD
        self._session.resume = self._resume
        raise BlockingIOError

    def take(self) -> bytes | None:
        """What may go on; None where nothing was kept.  Raises: BlockingIOError; OSError for a refusal."""
        data = self._data
        if data is None:
            return None
        if self._verdict == HOLD:
            error = 0
            if self._transport.hangup:
                error = self._transport.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:  # the client is gone, and does not wait for anything
                self._session.connection.stream.bytes_received += len(data)
                raise OSError(error, os.strerror(error))
            raise BlockingIOError
        self._data = None
        if self._verdict == CLOSE:
            raise refusal(self._session, len(data))
        return data

    def _resume(self, verdict: int) -> None:
        self._session.resume = None
        self._verdict = verdict
        transport = self._transport
        # What came meanwhile was not taken: its edge is gone.
        transport.ready = True
        strand, transport.reader = transport.reader, None
        if strand is not None:
            transport.reactor.make_ready(strand)


class ReadingGate:
    """Lets what is read pass through the filters; it stands in the place of ``recv``."""

    __slots__ = (
        "_ended", "_first", "_held", "_is_refused", "_is_told", "_passed", "_readers", "_receive", "_session",
        "_source_ended", "_transport",
    )  # fmt: skip

    def __init__(
        self,
        session: NetworkSession,
        transport: Transport,
        first: Sequence[NetworkFilter],
        readers: Sequence[NetworkFilter],
    ) -> None:
        self._session = session
        self._transport = transport
        self._receive = transport.recv
        self._first = first
        self._held = _FirstData(session, transport)
        self._readers = readers
        #: What passed all filters and was not read yet; whether the end is behind it.
        self._passed = b""
        self._ended = False
        #: The client has ended, and the filters know.
        self._source_ended = False
        self._is_refused = False
        #: Whether who reads has met the refusal.
        self._is_told = False
        if first:
            transport.recv = self._begin
        elif readers:
            transport.recv = self._read

    def _begin(self, size: int) -> bytes:
        """The first read: some filters look at that alone."""
        if self._is_refused:
            raise refusal(self._session)
        held = self._held
        data = held.take()
        if data is None:
            data = self._receive(size)
        for each in self._first[held.asked :]:
            held.asked += 1
            verdict = each.on_first_data(self._session, data)
            if verdict == HOLD:
                held.keep(data)
            if verdict == CLOSE:
                self._is_refused = True
                raise refusal(self._session, len(data))
        if not self._readers:
            self._transport.recv = self._receive
            return data
        self._transport.recv = self._read
        if not data:
            self._source_ended = True
        left = self._through(data, 0)
        self._count(len(data) - len(left))
        if left or (not data and left is not HELD):
            return left
        return self._read(size)

    def _read(self, size: int) -> bytes:
        while True:
            if self._passed:
                data, self._passed = self._passed[:size], self._passed[size:]
                # While it was full nothing was read: the edge of what came then is gone.
                self._transport.ready = True
                return data
            if self._ended:
                return b""
            if self._is_refused:
                if self._is_told:
                    return b""
                self._is_told = True
                raise refusal(self._session)
            if self._source_ended:
                raise BlockingIOError  # a filter keeps the end back
            if self._session.is_input_full:
                raise BlockingIOError  # what lets it go wakes the reader
            try:
                data = self._receive(size)
            except (BlockingIOError, InterruptedError):
                raise
            except OSError:
                self._session.is_broken = True
                raise
            if not data:
                self._source_ended = True
            left = self._through(data, 0)
            if len(left) != len(data):
                self._count(len(data) - len(left))
            if left:
                return left
            if not data and left is not HELD:
                self._ended = True

    def _through(self, data: bytes, start: int) -> bytes:
        """What the filters from number ``start`` on leave of ``data``."""
        size = len(data)
        for each in self._readers[start:]:
            left = each.on_data(self._session, data)
            if left is None:
                self._is_refused = self._is_told = True
                raise refusal(self._session, size)
            if (not left and data) or left is HELD:
                return left
            data = left
        return data

    def give(self, source: NetworkFilter, data: bytes, *, end_stream: bool) -> None:
        """Let bytes that a filter kept back go on to those behind it."""
        start = self._readers.index(source) + 1
        try:
            if data:
                passed = self._through(data, start)
                self._passed += passed
                self._count(-len(passed))
            if end_stream and self._through(b"", start) is not HELD:
                self._ended = True
        except OSError:
            self._is_told = False  # a filter closed it: whoever reads meets that
        self.wake()

    def _count(self, bytes_more: int) -> None:
        """Let logs say what the client sent, whatever filters made of it."""
        self._session.connection.stream.bytes_received += bytes_more

    def close(self) -> None:
        """Whoever reads or writes from now on meets an error."""
        self._is_refused = True
        self._passed = b""
        self._ended = False
        self.wake()

    def wake(self) -> None:
        """Let who waits for bytes look again."""
        transport = self._transport
        transport.ready = True
        strand = transport.reader
        if strand is not None:
            transport.reader = None
            transport.reactor.make_ready(strand)

    async def wait_for_first(self) -> None:
        """Until there is something to read, or nobody lets the connection wait any more.  Raises: OSError."""
        transport = self._transport
        while self._session.is_waiting:
            await transport.readable()
            self._look_for_first()
        transport.ready = True

    def _look_for_first(self) -> None:
        if not self._session.is_waiting:
            return  # a filter said so meanwhile
        try:
            data = self._transport.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        self._session.is_waiting = False
        self._passed = data + self._passed
        self._ended |= not data


def change_output(session: NetworkSession, transport: Transport, changers: Sequence[NetworkFilter]) -> None:
    """Let what is sent pass through the filters, which may put something else in its place.

    What the socket does not take at once is kept here: for the caller a piece is sent as a whole or not at
    all.  A half is closed when all has gone that filters let go at its end: until then that raises
    BlockingIOError, too.
    """
    send = transport.send
    ready = b""
    shown = 0
    has_ended = False

    def changed(data: bytes, *, end_stream: bool) -> bytes:
        size = len(data)
        for each in changers:
            data = each.on_output(session, data, end_stream=end_stream)
        if len(data) != size:
            session.connection.stream.bytes_sent += len(data) - size  # logs say what went to the client
        return data

    def flush() -> None:
        nonlocal ready
        while ready:
            ready = ready[send(ready) :]

    def write(data: Any) -> int:
        nonlocal ready, shown
        fresh = bytes(data[shown:])
        if fresh:
            if session.is_output_full:
                raise BlockingIOError
            shown = len(data)
            ready += changed(fresh, end_stream=False)
        flush()
        shown = 0
        return len(data)

    def end() -> None:
        nonlocal ready, has_ended
        if not has_ended:
            has_ended = True
            ready += changed(b"", end_stream=True)
        flush()

    transport.send = write
    transport.on_half_close = end
