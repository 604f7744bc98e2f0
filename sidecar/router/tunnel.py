"""The exchange of an upgrade or a CONNECT: an upstream that accepts, then bytes both ways.

A :class:`Tunnel` stands between the router and the upstream's stream.  The client's bytes are carried by a
pump that waits until the upstream has accepted; the upstream's are the response's body.  What an answer means
follows Envoy (``UpstreamCodecFilter``, ``TcpUpstream``).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import BegunBody, Body, LocalReply, RequestMessage, ResponseMessage
from sidecar.core.errors import Disconnected, StreamAborted, UpstreamError
from sidecar.net.reactor import Signal, turn
from sidecar.router.habits import EARLY_DATA
from sidecar.upstream.pool import connection_termination
from sidecar.upstream.proxy_header import proxy_header
from sidecar.upstream.tcp_pool import PrefacedPool, TcpPool

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap, RequestHeaders
    from sidecar.http.connection_manager import Responder
    from sidecar.net.reactor import Strand
    from sidecar.router.exchange import Router
    from sidecar.router.route import Route

__all__ = ["Tunnel", "choose_pool", "open_tunnel"]

_CONNECT = b"CONNECT"
_UNSUCCESSFUL = "websocket_handshake_unsuccessful"


def choose_pool(router: Router, route: Route, stream: Stream, headers: RequestHeaders, host: Any) -> Any:
    """The pool of ``host`` for a request: of the route's priority, and raw where a tunnel ends here.

    (``connect_config``.)
    """
    config = route.connect_config
    if config is None or not (
        headers.method == _CONNECT or (config.allow_post and headers.method == b"POST")
    ):
        return router.get_pool(stream.cluster, host, stream, route.priority)
    pool: TcpPool = router.get_pool(stream.cluster, host, stream, route.priority, raw=True)
    if config.proxy_protocol:
        connection = stream.connection
        head = proxy_header(connection.remote_address, connection.local_address, config.proxy_protocol)
        return PrefacedPool(pool, head)
    return pool


class Tunnel:
    """The upstream's side of a tunnel (:class:`sidecar.upstream.pool.UpstreamStream`)."""

    __slots__ = ("_gate", "_inner", "_is_websocket", "_strand", "_stream", "is_answered", "pump")

    def __init__(self, inner: Any, stream: Stream, strand: Strand) -> None:
        self._inner = inner
        self._stream = stream
        self._strand = strand
        self._gate = Signal(strand.reactor)
        #: What carries the client's bytes.
        self.pump: Strand | None = None
        self.is_answered = False
        upgrade = stream.upgrade
        self._is_websocket = upgrade is not None and upgrade.lower() == b"websocket"

    @property
    def connection_id(self) -> int:
        return self._inner.connection_id  # type: ignore[no-any-return]

    @property
    def local_address(self) -> str:
        return self._inner.local_address  # type: ignore[no-any-return]

    @property
    def protocol(self) -> str:
        return self._inner.protocol  # type: ignore[no-any-return]

    # -- the request --------------------------------------------------------------------------
    def start(self, request: RequestMessage, body: bytes | None) -> Awaitable[None] | None:
        return self._inner.start_tunnel(request)  # type: ignore[no-any-return]

    async def accepted(self) -> None:
        """Wait until the client's bytes may go to the upstream."""
        await self._gate.wait()

    async def send_data(self, data: bytes) -> None:
        await self._inner.send_data(data)

    async def send_end(self, trailers: HeaderMap | None) -> None:
        """The client has ended its side."""
        if not await self._inner.end_tunnel(trailers):
            self._strand.fail(connection_termination())

    # -- the response -------------------------------------------------------------------------
    async def response(self, stream: Stream) -> ResponseMessage:
        if not self._is_websocket:
            # The request lasts as long as the tunnel, and the route's timeout begins behind it.
            self._strand.deadline = 0.0
        response: ResponseMessage = await self._inner.tunnel_response(stream)
        self.is_answered = True
        status = response.headers.status
        if self._is_websocket:
            if status == 101 or self._inner.protocol != "HTTP/1.1":
                self._strand.deadline = 0.0
                self._gate.fire()
            elif status < 400:
                raise StreamAborted(
                    LocalReply(
                        status,
                        details="websocket_handshake_unsuccessful",
                        headers=list(response.headers.fields),
                    )
                )
        elif self._stream.upgrade != _CONNECT or 200 <= status < 300:
            self._gate.fire()
        await turn()  # what the client sent already goes first, whatever the upstream does next
        body = self._stream.request.body
        if body is None or body.ended or getattr(body, "is_complete", False):
            self._stream.pump = None  # to the router, a request that is complete
        return response

    # -- the end ------------------------------------------------------------------------------
    def release(self) -> None:
        self._stop()
        self._inner.release()

    def reset(self) -> None:
        self._stop()
        self._inner.reset()

    def _stop(self) -> None:
        pump = self.pump
        if pump is not None:
            pump.on_done = _ignore
            pump.fail(Disconnected("the tunnel is over"))


async def _reject_early_data(tunnel: Tunnel, stream: Stream, body: Body) -> None:
    """Wait for the first bytes of a CONNECT.  Raises: StreamAborted, where nobody has answered it yet."""
    first = await body.receive()
    if not first:
        return
    if not tunnel.is_answered:
        stream.bytes_received = len(first)
        raise StreamAborted(EARLY_DATA)
    stream.request.body = BegunBody(first, body)


def _ignore(error: BaseException | None) -> None:
    return


async def open_tunnel(
    router: Router, inner: Any, stream: Stream, responder: Responder, strand: Strand
) -> None:
    """Send the head, and let a strand carry what the client sends once the upstream has accepted."""
    tunnel = stream.upstream = Tunnel(inner, stream, strand)
    waiting = tunnel.start(stream.request, None)
    if waiting is not None:
        await waiting

    body = stream.request.body
    assert body is not None
    if body.whole == b"":
        await tunnel.send_end(None)
        return

    def done(error: BaseException | None) -> None:
        if error is None or isinstance(error, UpstreamError):
            return  # the response tells
        failure = Disconnected(str(error)) if isinstance(error, OSError) else error
        stream.pump_error = failure
        strand.fail(failure)

    habits = router.habits
    rejects_early_data = habits is not None and habits.rejects_early_data and stream.upgrade == _CONNECT

    async def pump(_strand: Strand) -> None:
        if rejects_early_data:
            await _reject_early_data(tunnel, stream, body)
        await tunnel.accepted()
        await router._pump_body(stream, strand)

    stream.pump = tunnel.pump = router.reactor.spawn("tunnel", pump, on_done=done, nursery=strand.nursery)
    if responder.is_client_gone():
        raise Disconnected("the client left")
