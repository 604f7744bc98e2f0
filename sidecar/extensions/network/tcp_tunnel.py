"""The upstream's side of a TCP proxy that tunnels: a CONNECT, or a POST, to a host that speaks HTTP.

``TcpProxy.TunnelingConfig``.  What is asked and what counts as an answer follows Envoy's ``HttpUpstream``:
any 2xx on HTTP/1.1, 200 alone on HTTP/2.  Behind a CONNECT over HTTP/1.1 there are plain bytes, which the TCP
proxy carries as it does without a tunnel; all else is bodies.  A tunnel over HTTP/1.1 knows no half: it ends
with either side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import Body, RequestMessage
from sidecar.api.stream import Flag
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import RemoteProtocolError, UpstreamError
from sidecar.core.headers import RequestHeaders
from sidecar.observability.metadata_operators import StateMessage
from sidecar.upstream.h1_tunnel import RawBody
from sidecar.upstream.pool import connection_termination

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.net.reactor import Transport
    from sidecar.router.header_mutation import HeaderMutations

__all__ = ["DISABLED_STATE", "HttpTunnel", "TunnelingConfig", "open_tunnel"]

#: Names in the filter state of a connection: what turns tunnels off for it, and where answers are kept.
DISABLED_STATE = "envoy.tcp_proxy.disable_tunneling"
_HEADERS_STATE = "envoy.tcp_proxy.propagate_response_headers"
_TRAILERS_STATE = "envoy.tcp_proxy.propagate_response_trailers"
_METADATA = "envoy.filters.network.tcp_proxy"


@dataclass(frozen=True, slots=True)
class RequestId:
    """``request_id_extension`` with its two companions."""

    make: Callable[[], bytes]
    header: bytes = b"x-request-id"
    metadata_key: str = "tunnel_request_id"


@dataclass(frozen=True, slots=True)
class TunnelingConfig:
    """``TcpProxy.TunnelingConfig``, compiled."""

    hostname: Callable[[Stream], str]
    headers: HeaderMutations
    use_post: bool = False
    post_path: bytes = b"/"
    propagate_response_headers: bool = False
    propagate_response_trailers: bool = False
    request_id: RequestId | None = None

    def request(self, stream: Stream, *, is_secure: bool) -> RequestMessage:
        """What asks for the tunnel of this connection."""
        authority = self.hostname(stream).encode("utf-8", "surrogateescape")
        if self.use_post:
            scheme = b"https" if is_secure else b"http"
            headers = RequestHeaders(b"POST", self.post_path, authority, scheme)
        else:
            headers = RequestHeaders(b"CONNECT", None, authority)
        if self.request_id is not None:
            value = self.request_id.make()
            headers.set(self.request_id.header, value)
            stream.metadata_namespace(_METADATA)[self.request_id.metadata_key] = value.decode()
        self.headers.apply(headers, stream)
        return RequestMessage(headers, _Bytes())


class _Bytes(Body):
    """The body of a request for a tunnel: it has one, which is not pulled."""

    def __init__(self) -> None:
        self.whole = None
        self.ended = False
        self.trailers = None


class HttpTunnel:
    """A tunnel that the upstream has accepted (what a TCP proxy sees of its upstream)."""

    def __init__(self, config: TunnelingConfig, stream: Stream, upstream: Any, body: Body) -> None:
        self._config = config
        self._stream = stream
        self._upstream = upstream
        self._body = body
        self._is_h1 = upstream.protocol == "HTTP/1.1"
        #: The plain bytes of a CONNECT over HTTP/1.1; None where bodies carry them.
        self.transport: Transport | None = None
        #: Those that came with the answer.
        self.early = b""
        if isinstance(body, RawBody):
            self.transport, self.early = body.take_over()
        elif not self._is_h1:
            upstream.become_tunnel()

    @property
    def has_halves(self) -> bool:
        """Whether the other direction goes on when one has ended."""
        return not self._is_h1

    async def receive(self) -> bytes:
        """Bytes from the upstream, nothing at their end.  Raises: UpstreamError."""
        try:
            data = await self._body.receive()
        except (OSError, RemoteProtocolError) as error:
            raise connection_termination() from error
        if not data and self._body.trailers is not None and self._config.propagate_response_trailers:
            _keep(self._stream, _TRAILERS_STATE, list(self._body.trailers.fields))
        return data

    async def send(self, data: bytes) -> None:
        """Send bytes.  Raises: UpstreamError."""
        await self._upstream.send_data(data)

    async def send_end(self) -> None:
        """The client sends no more.  Raises: UpstreamError."""
        await self._upstream.send_end(None)

    async def broken(self) -> None:
        """The upstream has ended its side: wait until it resets the other.  Raises: UpstreamError, always."""
        await self._upstream.broken()

    def end(self, *, local: bool) -> None:
        """The tunnel is over; ``local`` says that the upstream's connection did not break."""
        upstream = self._upstream
        if not self._is_h1:
            upstream.release()
        else:
            upstream.end(local=local)


async def open_tunnel(
    config: TunnelingConfig, pool: Any, stream: Stream, attach: Callable[[Any], None]
) -> HttpTunnel:
    """Ask a host of ``pool`` for a tunnel; ``attach`` is told of the stream that asks.

    Raises: UpstreamError, when the host cannot be asked, does not answer or refuses.
    If cancelled: the stream is abandoned.
    """
    upstream = pool.acquire()
    if upstream is None:
        upstream = await pool.wait()
    attach(upstream)
    try:
        return HttpTunnel(config, stream, upstream, await _ask(config, upstream, stream))
    except UpstreamError as error:
        if upstream.protocol == "HTTP/1.1":
            upstream.end(local=not isinstance(error.__cause__, OSError))
        else:
            upstream.release()
        if isinstance(error, _Refused):
            raise
        raise _Refused() from error
    except BaseException:
        # To Envoy that is a failure of the upstream, whoever gave up.
        if not stream.flags & Flag.UPSTREAM_CONNECTION_FAILURE:
            stream.flags |= Flag.TUNNEL_GIVEN_UP
        upstream.reset()
        raise


async def _ask(config: TunnelingConfig, upstream: Any, stream: Stream) -> Body:
    """Ask for the tunnel; the body of an answer that accepts.  Raises: UpstreamError."""
    sockets = stream.cluster.config.transport_sockets
    is_secure = sockets is not None and sockets.default is not None
    request = config.request(stream, is_secure=is_secure)
    waiting = upstream.start(request, None) if config.use_post else upstream.start_tunnel(request)
    if waiting is not None:
        await waiting
    response = await (upstream.response() if config.use_post else upstream.tunnel_response(None))
    headers = response.headers
    status = headers.status
    if config.propagate_response_headers:
        _keep(stream, _HEADERS_STATE, [(b":status", b"%d" % status), *headers.fields])
    body: Body | None = response.body
    is_accepted = 200 <= status < 300 if upstream.protocol == "HTTP/1.1" else status == 200
    if not is_accepted or body is None:
        raise _Refused(f"tunnel_response:{status}")
    return body


class _Refused(UpstreamError):
    """There is no tunnel, as when there is no connection."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            reason,
            flag=Flag.UPSTREAM_CONNECTION_FAILURE,
            details=f"remote connection failure|{reason}",
            retryable=True,
        )


def _keep(stream: Stream, name: str, fields: list[tuple[bytes, bytes]]) -> None:
    """Put fields into the filter state of the connection, as what they are in Envoy: a message."""
    connection: Any = stream.connection
    if connection.filter_state is None:
        connection.filter_state = {}
    listed = [
        {"key": key.decode("latin-1"), "value": value.decode("utf-8", "surrogateescape")}
        for key, value in fields
    ]
    connection.filter_state[name] = StateMessage({"headers": listed})
