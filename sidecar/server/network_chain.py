"""The filters of a chain in front of its terminal one, around the function that serves a connection.

A chain without them has its terminal filter's function as it is.  Connections are let in before a handshake
of TLS, bytes are looked at behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.api.network import CLOSE, CONTINUE, HOLD, NetworkFilter, NetworkSession
from sidecar.core.errors import DeadlineExceeded, Disconnected
from sidecar.net.reactor import Signal
from sidecar.server.network_gates import ReadingGate, change_output, refusal

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand, Transport
    from sidecar.server.filter_chain import Serve

__all__ = ["CountBytes", "admit_connections", "guard_bytes"]


def guard_bytes(filters: Sequence[NetworkFilter], serve: Serve) -> Serve:
    """``serve`` with the hooks of ``filters`` on the bytes that it reads and writes."""
    first = tuple(each for each in filters if _has(each, "on_first_data"))
    readers = tuple(each for each in filters if _has(each, "on_data"))
    writers = tuple(each for each in reversed(filters) if _has(each, "on_write"))
    changers = tuple(each for each in reversed(filters) if _has(each, "on_output"))
    established = tuple(each for each in filters if _has(each, "on_established"))
    if not (first or readers or writers or changers or established):
        return serve

    def guarded(connection: Any, transport: Transport, strand: Strand) -> Coroutine[Any, Any, None]:
        session: NetworkSession = connection.network_session
        for each in established:
            each.on_established(session)
        if first or readers:
            session.gates = ReadingGate(session, transport, first, readers)
        if writers:
            _watch_writing(session, transport, writers)
        if changers:
            change_output(session, transport, changers)
        if session.is_waiting:
            return _serve_later(session, connection, transport, strand)
        return serve(connection, transport, strand)

    async def _serve_later(
        session: NetworkSession, connection: Any, transport: Transport, strand: Strand
    ) -> None:
        try:
            await session.gates.wait_for_first()
        except OSError:
            return  # it is gone, or a filter closed it
        await serve(connection, transport, strand)

    return guarded


def admit_connections(
    filters: Sequence[NetworkFilter],
    serve: Serve,
    refuse: Callable[[Any], None] | None,
    *,
    buffer_limit_bytes: int,
    knows_halves: bool = False,
) -> Serve:
    """``serve`` for the connections that ``filters`` let in; ``refuse`` is told of the others.

    ``knows_halves``: what ends the chain goes on when a client has ended its half.  Filters that keep back
    more than ``buffer_limit_bytes`` get no more.
    """

    async def admitted(connection: Any, transport: Transport, strand: Strand) -> None:
        session = connection.network_session = NetworkSession(
            connection, knows_halves=knows_halves, buffer_limit_bytes=buffer_limit_bytes
        )
        begun = []
        try:
            for each in filters:
                begun.append(each)
                verdict = each.on_new_connection(session)
                if verdict == HOLD:
                    session.is_waiting = True
                elif verdict == CLOSE:
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
                    raise refusal(session)
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
