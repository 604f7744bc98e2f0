"""What the router needs from a pool of upstream connections, whatever the protocol.

A pool belongs to one host of one cluster (and one worker).  ``acquire`` gives a stream at once when it
can; else ``wait`` queues, as Envoy's pending requests do.  Failures are UpstreamError.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.api.stream import Flag
from sidecar.core.errors import UpstreamError

if TYPE_CHECKING:
    from sidecar.api.message import RequestMessage, ResponseMessage
    from sidecar.api.stream import Stream
    from sidecar.api.stream_metadata import StreamMetadata
    from sidecar.api.wire import WireBytes
    from sidecar.core.headers import HeaderMap

__all__ = [
    "INTERIM",
    "Pool",
    "UpstreamStream",
    "connect_failure",
    "connect_timeout",
    "connection_termination",
    "no_pool",
    "overflow",
    "protocol_error",
    "remote_reset",
]


#: The 1xx that Envoy knows (``HeaderUtility::isSpecial1xx``).
INTERIM = frozenset({100, 102, 103, 104})


class UpstreamStream(Protocol):
    """One request on one upstream connection."""

    connection_id: int
    local_address: str
    #: A :class:`sidecar.net.tls_facts.TlsFacts`; None without TLS.
    tls: Any
    #: ``HTTP/1.1`` or ``HTTP/2``.
    protocol: str

    def measure(self, wire: WireBytes) -> None:
        """Count into ``wire`` what the exchange takes; said before it starts, where somebody reads it."""
        ...

    def carry(self, metadata: StreamMetadata) -> None:
        """Take METADATA along, both ways; said before it starts, where the client's connection allows it."""
        ...

    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        """Send the head, and ``body`` behind it when it is the whole of it (None: pull it yourself).

        What could not be sent at once is sent by the awaitable.  Raises: UpstreamError.
        """
        ...

    async def send_data(self, data: bytes) -> None:
        """Send a piece of the body.  Raises: UpstreamError."""
        ...

    async def send_end(self, trailers: HeaderMap | None) -> None:
        """End the request.  Raises: UpstreamError."""
        ...

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        """The final response head, its body to be pulled; ``Router.take_interim`` gets 1xx before it.

        Raises: UpstreamError.
        """
        ...

    def start_tunnel(self, request: RequestMessage) -> Awaitable[None] | None:
        """Send the head of an upgrade or a CONNECT, the tunnel's bytes to follow.  Raises: UpstreamError."""
        ...

    async def tunnel_response(self, stream: Stream | None) -> ResponseMessage:
        """The answer to it; its body is the tunnel's where it accepts.  Raises: UpstreamError."""
        ...

    async def end_tunnel(self, trailers: HeaderMap | None) -> bool:
        """The client ended its side; False where that is the end of the tunnel.  Raises: UpstreamError."""
        ...

    def release(self) -> None:
        """The exchange is over: keep the connection if it can be used again."""
        ...

    def reset(self) -> None:
        """Abandon the exchange: nothing more is sent or read."""
        ...


class Pool(Protocol):
    """Connections to one host."""

    def acquire(self) -> UpstreamStream | None: ...

    async def wait(self) -> UpstreamStream:
        """A stream as soon as there is one.  Raises: UpstreamError."""
        ...

    def close(self) -> None: ...


def overflow() -> UpstreamError:
    """A circuit breaker is open: nobody has waited for anything."""
    error = UpstreamError("overflow", flag=Flag.UPSTREAM_OVERFLOW, details="overflow")
    error.is_immediate = True
    return error


def no_pool() -> UpstreamError:
    """There are as many pools as there may be (``max_connection_pools``): as if there were no host."""
    return UpstreamError("no healthy upstream", flag=Flag.NO_HEALTHY_UPSTREAM, details="no_healthy_upstream")


def connect_failure(reason: str, *, remote: bool = True) -> UpstreamError:
    """The connection could not be made."""
    kind = "remote connection failure" if remote else "local connection failure"
    return UpstreamError(
        kind,
        flag=Flag.UPSTREAM_CONNECTION_FAILURE,
        details=f"{kind}|{reason}" if reason else kind,
        retryable=True,
    )


def connect_timeout() -> UpstreamError:
    """The connection was not there in ``connect_timeout``."""
    return UpstreamError(
        "connection timeout",
        flag=Flag.UPSTREAM_CONNECTION_FAILURE,
        details="connection timeout",
        retryable=True,
    )


def caused(error: UpstreamError, cause: BaseException) -> UpstreamError:
    """``error`` with what led to it, which tells who ended a connection: compiled, ``from`` says nothing."""
    error.__cause__ = cause
    return error


def connection_termination() -> UpstreamError:
    """The upstream closed the connection under the request."""
    return UpstreamError(
        "connection termination", flag=Flag.UPSTREAM_CONNECTION_TERMINATION, details="connection termination"
    )


def remote_reset() -> UpstreamError:
    """The upstream reset the stream (HTTP/2 RST_STREAM)."""
    return UpstreamError("remote reset", flag=Flag.UPSTREAM_REMOTE_RESET, details="remote reset")


def protocol_error() -> UpstreamError:
    """The upstream sent something that is not HTTP, or broke off inside a message.

    What exactly was wrong is the exception's cause; Envoy keeps it out of the details.
    """
    return UpstreamError("protocol error", flag=Flag.UPSTREAM_PROTOCOL_ERROR, details="protocol error")
