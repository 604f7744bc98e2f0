"""The gRPC bridge of HTTP/1 (``envoy.filters.http.grpc_http1_bridge``): unary calls without trailers.

The answer is kept until its trailers are here; ``grpc-status`` and ``grpc-message`` become headers, and a
status that is not 0 a 503.  With ``upgrade_protobuf_to_grpc`` a request of protobuf alone becomes a message
of gRPC, and the answer's message loses its prefix.  Requests over HTTP/2 pass.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.api.message import FixedBody, LocalReply
from sidecar.core.errors import StreamAborted
from sidecar.http.local_reply import is_grpc

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["GrpcHttp1Bridge"]

_GRPC = b"application/grpc"
_PROTOBUF = b"application/x-protobuf"
_PREFIX_SIZE = 5
_TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")
_ANSWER_TOO_LARGE = LocalReply(500, b"Internal Server Error", details="response_payload_too_large")


class GrpcHttp1Bridge(HttpFilter):
    """The filter.  What it keeps of a stream: whether its messages are framed here."""

    uses_trio = False

    def __init__(self, *, upgrade_protobuf: bool = False, ignore_query_parameters: bool = False) -> None:
        self._upgrade_protobuf = upgrade_protobuf
        self._ignore_query_parameters = ignore_query_parameters

    def decode_headers(self, stream: Stream) -> None:
        request = stream.request
        headers = request.headers
        content_type = headers.get(b"content-type")
        if content_type is None:
            return
        is_framed = self._upgrade_protobuf and content_type == _PROTOBUF
        if is_framed:
            stream.is_grpc = False  # to a local reply it is what it was
            headers.set(b"content-type", _GRPC)
            headers.remove(b"content-length")
            if self._ignore_query_parameters and headers.path is not None:
                headers.path = headers.path.partition(b"?")[0]
            stream.clear_route_cache()
        elif not is_grpc(content_type):
            return
        if stream.protocol == "HTTP/2":
            return
        stream.set_slot(self.slot, is_framed)
        if is_framed:
            request.pipe_body(_Framed(stream.hcm.buffer_limit_bytes))

    def encode_headers(self, stream: Stream) -> Awaitable[None] | None:
        is_framed = stream.get_slot(self.slot)
        response = stream.response
        if is_framed is None or response is None or response.body is None:
            return None
        return self._bridge(response, stream.hcm.buffer_limit_bytes, is_framed=is_framed)

    async def _bridge(self, response: Any, limit: int, *, is_framed: bool) -> None:
        """Keep the answer until it is whole, and let its trailers be headers."""
        body = response.body
        if body.whole is not None:
            return
        data = await response.buffer_body(limit, _ANSWER_TOO_LARGE)
        trailers = response.body.trailers
        if trailers is None:
            return
        headers = response.headers
        status = trailers.get(b"grpc-status")
        if status is not None:
            if not status.isdigit() or int(status):
                headers.status = 503
            headers.set(b"grpc-status", status)
        message = trailers.get(b"grpc-message")
        if message is not None:
            headers.set(b"grpc-message", message)
        if is_framed:
            data = data[_PREFIX_SIZE:]
        headers.set(b"content-length", b"%d" % len(data))
        response.body = FixedBody(data)


class _Framed:
    """A request body as one message of gRPC (:class:`sidecar.api.message.BodyStage`)."""

    __slots__ = ("_chunks", "_limit", "_size")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._chunks: list[bytes] = []

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._size += len(data)
        if self._size > self._limit:
            raise StreamAborted(_TOO_LARGE)
        self._chunks.append(data)
        return self._message() if end_stream else b""

    def end(self, trailers: HeaderMap) -> bytes:
        return self._message()

    def _message(self) -> bytes:
        return b"\x00" + self._size.to_bytes(4, "big") + b"".join(self._chunks)
