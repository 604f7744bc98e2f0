"""How a call of gRPC counts for its host: by ``grpc-status``, which may come last of all.

HTTP says 200 when the head of the answer comes; whether the call was good is known from the trailers, or from
the head where nothing else follows (Envoy's router, ``grpcRqSuccessDeferred``).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.message import RequestMessage, ResponseMessage
from sidecar.api.stream import Flag
from sidecar.http.local_reply import is_grpc

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["GrpcCall", "is_grpc_request"]

#: Statuses that stand for a server's error (Envoy's ``grpcToHttpStatus`` makes 5xx of them).
_FAILURES = frozenset((b"2", b"4", b"12", b"13", b"14", b"15"))
_KNOWN = frozenset(b"%d" % number for number in range(17))
_BROKEN_OFF = Flag.UPSTREAM_CONNECTION_TERMINATION | Flag.UPSTREAM_REMOTE_RESET | Flag.UPSTREAM_PROTOCOL_ERROR


def is_grpc_request(request: RequestMessage) -> bool:
    """Whether a request with a body is a call of gRPC."""
    content_type = request.headers.get(b"content-type")
    return content_type is not None and is_grpc(content_type)


class GrpcCall:
    """The upstream's stream of a call (:class:`sidecar.upstream.pool.UpstreamStream`), begun already."""

    __slots__ = ("_head", "_inner", "_stream")

    def __init__(self, inner: Any, stream: Stream) -> None:
        self._inner = inner
        self._stream = stream
        #: The head of an answer whose goodness is still to be told.
        self._head: HeaderMap | None = None

    def send_data(self, data: bytes) -> Awaitable[None]:
        return self._inner.send_data(data)  # type: ignore[no-any-return]

    def send_end(self, trailers: HeaderMap | None) -> Awaitable[None]:
        return self._inner.send_end(trailers)  # type: ignore[no-any-return]

    async def response(self, stream: Stream | None = None) -> ResponseMessage:
        response: ResponseMessage = await self._inner.response(stream)
        if response.headers.status < 500:
            self._head = response.headers
            host: Any = self._stream.upstream_host
            host.rq_success -= 1  # the router counts it by its status
        return response

    def release(self) -> None:
        self._settle()
        self._inner.release()

    def reset(self) -> None:
        self._settle()
        self._inner.reset()

    def _settle(self) -> None:
        head, self._head = self._head, None
        if head is None:
            return
        host: Any = self._stream.upstream_host
        if self._inner.is_answered:
            status = self._inner.grpc_status or head.get(b"grpc-status")
            if status in _KNOWN and status not in _FAILURES:
                host.rq_success += 1
            else:
                host.rq_error += 1
        elif self._stream.flags & _BROKEN_OFF:
            host.rq_error += 1
