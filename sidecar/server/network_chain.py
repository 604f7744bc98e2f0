"""The filters of a chain in front of its terminal one, around the function that serves a connection.

A chain without them has its terminal filter's function as it is.  Connections are let in before a handshake
of TLS, bytes are looked at behind it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.network import CLOSE, CONTINUE, HOLD, NetworkFilter, NetworkSession
from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.reactor import Signal

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport
    from sidecar.server.filter_chain import Serve

__all__ = ["CountBytes", "admit_connections", "guard_bytes"]


def guard_bytes(filters: Sequence[NetworkFilter], serve: Serve) -> Serve:
    """``serve`` with the hooks of ``filters`` on the bytes that it reads and writes."""
    first = tuple(each for each in filters if _has(each, "on_first_data"))
    readers = tuple(each for each in filters if _has(each, "on_data"))
    writers = tuple(each for each in reversed(filters) if _has(each, "on_write"))
    established = tuple(each for each in filters if _has(each, "on_established"))
    if not (first or readers or writers or established):
        return serve

    def guarded(connection: Any, transport: Transport, strand: Strand) -> Coroutine[Any, Any, None]:
        session: NetworkSession = connection.network_session
        for each in established:
            each.on_established(session)
        if first or readers:
            _watch_reading(session, transport, first, readers)
        if writers:
            _watch_writing(session, transport, writers)
        return serve(connection, transport, strand)

    return guarded


def admit_connections(
    filters: Sequence[NetworkFilter], serve: Serve, refuse: Callable[[Any], None] | None
) -> Serve:
    """``serve`` for the connections that ``filters`` let in; ``refuse`` is told of the others."""

    async def admitted(connection: Any, transport: Transport, strand: Strand) -> None:
        session = connection.network_session = NetworkSession(connection)
        begun = []
        try:
            for each in filters:
                begun.append(each)
                if each.on_new_connection(session) == CLOSE:
                    if refuse is not None:
                        refuse(connection)
                    await _linger(session, transport, strand)
                    return
            await serve(connection, transport, strand)
            await _linger(session, transport, strand)
        finally:
            for each in begun:
                each.on_close(session)

    return admitted


def _has(each: NetworkFilter, hook: str) -> bool:
    return getattr(type(each), hook) is not getattr(NetworkFilter, hook)


async def _linger(session: NetworkSession, transport: Transport, strand: Strand) -> None:
    """Keep a connection that was closed by a filter open for its delay, or until the client leaves."""
    if session.details:
        session.connection.stream.connection_termination_details = session.details
    if not session.delay_s or transport.hangup:
        return
    transport.watcher = strand
    strand.deadline = strand.reactor.clock() + session.delay_s
    try:
        await Signal(strand.reactor).wait()
    except (DeadlineExceeded, Disconnected):
        return
    finally:
        strand.deadline = 0.0


def _refuse(session: NetworkSession, received: int = 0) -> OSError:
    """What reading or writing meets once a filter has closed the connection, over so many bytes."""
    if received:
        session.connection.stream.bytes_received += received
    if session.details:
        session.connection.stream.connection_termination_details = session.details
    return OSError(errno.ECONNABORTED, "a network filter closed the connection")


def _watch_reading(
    session: NetworkSession,
    transport: Transport,
    first: Sequence[NetworkFilter],
    readers: Sequence[NetworkFilter],
) -> None:
    """Let what is read pass through the filters."""
    receive = transport.recv
    is_refused = False

    def passed(data: bytes) -> bytes:
        nonlocal is_refused
        left: bytes | None = data
        for each in readers:
            left = each.on_data(session, left or b"")
            if left is None:
                is_refused = True
                raise _refuse(session, len(data))
        return left or b""

    def later(size: int) -> bytes:
        while True:
            if is_refused:
                return b""
            data = receive(size)
            left = passed(data)
            if left or not data:
                return left

    read = later if readers else receive

    held = _Held(session, transport)

    def begin(size: int) -> bytes:
        nonlocal is_refused
        if is_refused:
            raise _refuse(session)
        data = held.take()
        if data is None:
            data = receive(size)
        for each in first[held.asked :]:
            held.asked += 1
            verdict = each.on_first_data(session, data)
            if verdict == HOLD:
                held.keep(data)
            if verdict == CLOSE:
                is_refused = True
                raise _refuse(session, len(data))
        transport.recv = read
        if not readers:
            return data
        return passed(data) or (later(size) if data else b"")

    transport.recv = begin if first else read


class _Held:
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
            raise _refuse(self._session, len(data))
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


def _watch_writing(session: NetworkSession, transport: Transport, writers: Sequence[NetworkFilter]) -> None:
    """Show what is sent to the filters; what the socket did not take comes again, and is not shown again."""
    send = transport.send
    shown = 0

    def write(data: Any) -> int:
        nonlocal shown
        fresh = bytes(data[shown:])
        if fresh:
            for each in writers:
                if each.on_write(session, fresh) == CLOSE:
                    raise _refuse(session)
            shown = len(data)
        sent = send(data)
        shown -= sent
        return sent

    transport.send = write


class CountBytes(NetworkFilter):
    """Counts the bytes of a connection for its listener's access log, where what ends the chain does not."""

    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        session.connection.stream.bytes_received += len(data)
        return data

    def on_write(self, session: NetworkSession, data: bytes) -> int:
        session.connection.stream.bytes_sent += len(data)
        return CONTINUE
