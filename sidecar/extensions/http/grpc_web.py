"""gRPC-Web: requests of browsers to gRPC and its answers back (``envoy.filters.http.grpc_web``).

A browser cannot read trailers, so the trailers of gRPC are a last frame of the body; and one that takes text
alone gets all of it in base64 (PROTOCOL-WEB.md of gRPC).  What is no gRPC answer, such as a local reply,
becomes one: its body is the ``grpc-message``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted
from sidecar.http.local_reply import grpc_status_of, is_grpc

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap, ResponseHeaders

__all__ = ["GrpcWeb"]

_TEXT = frozenset((b"application/grpc-web-text", b"application/grpc-web-text+proto"))
_TYPES = _TEXT | {b"application/grpc-web", b"application/grpc-web+proto"}
_TEXT_ANSWER = b"application/grpc-web-text+proto"
_BINARY_ANSWER = b"application/grpc-web+proto"
_BINARY_ANSWERS = frozenset((b"application/grpc-web", b"application/grpc-web+proto"))
#: Of an upstream's body, the part that goes into ``grpc-message``.
_MESSAGE_LIMIT = 16384
_BAD_BASE64 = b"Bad gRPC-web request, invalid base64 data."
#: Characters that stay as they are in a ``grpc-message``.
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_TRAILERS = 0x80


class GrpcWeb(HttpFilter):
    """The filter; it has no configuration."""

    uses_trio = False

    def decode_headers(self, stream: Stream) -> None:
        headers = stream.request.headers
        content_type = headers.get(b"content-type")
        if content_type not in _TYPES or headers.path is None:
            return
        headers.remove(b"content-length")
        headers.set(b"content-type", b"application/grpc")
        accept = headers.get(b"accept")
        headers.set(b"te", b"trailers")
        if b"grpc-accept-encoding" not in headers:
            headers.set(b"grpc-accept-encoding", b"identity")
        # To a local reply it is still no request of gRPC.
        stream.is_grpc = False
        stream.set_slot(self.slot, _Call(accept in _TEXT))
        if content_type in _TEXT:
            stream.request.pipe_body(_FromText(stream))

    def encode_headers(self, stream: Stream) -> Awaitable[None] | None:
        call: _Call | None = stream.get_slot(self.slot)
        response = stream.response
        if call is None or response is None:
            return None
        headers = response.headers
        self._charge(stream, headers)
        is_answer = _is_answer(headers, end_stream=response.body is None)
        headers.remove(b"content-length")
        headers.set(b"content-type", _TEXT_ANSWER if call.is_text else _BINARY_ANSWER)
        if response.body is None:
            return None
        if not is_answer:
            is_local = stream.details != "via_upstream"
            return self._transform(response, None if is_local else _MESSAGE_LIMIT)
        response.pipe_body(_ToWeb(self, stream, is_text=call.is_text))
        return None

    async def _transform(self, response: Any, limit: int | None) -> None:
        """Make an answer of another kind one of gRPC: its body, up to ``limit`` bytes, is the message."""
        body = response.body
        message = (await body.receive())[:limit]
        while data := await body.receive():
            message = (message + data)[:limit]
        headers: ResponseHeaders = response.headers
        headers.set(b"grpc-message", quote(message, safe=_PLAIN).encode())
        headers.set(b"grpc-status", b"%d" % grpc_status_of(headers.status))
        headers.set(b"content-length", b"0")
        response.body = None

    def _charge(self, stream: Stream, headers: HeaderMap) -> None:
        """``cluster.<name>.grpc-web.<service>.<method>.``: one call, and how it ended."""
        status = headers.get(b"grpc-status")
        cluster = stream.cluster
        if status is None or cluster is None:
            return
        parts = (stream.request.headers.path or b"").partition(b"?")[0].split(b"/")
        if len(parts) != 3 or parts[0] or not parts[1] or not parts[2]:
            return
        scope = cluster.stats.scope
        prefix = f"grpc-web.{parts[1].decode('latin-1')}.{parts[2].decode('latin-1')}"
        for name in (status.decode("latin-1"), "success" if status == b"0" else "failure", "total"):
            scope.counter(f"{prefix}.{name}").value += 1


@dataclass(frozen=True, slots=True)
class _Call:
    """What a gRPC-Web client asked for."""

    is_text: bool


def _is_answer(headers: ResponseHeaders, *, end_stream: bool) -> bool:
    """Whether a response is gRPC's, or gRPC-Web's already."""
    if end_stream:
        return b"grpc-status" in headers
    if headers.status != 200:
        return False
    content_type = headers.get(b"content-type")
    if content_type is None:
        return False
    return is_grpc(content_type) or content_type.partition(b";")[0].rstrip().lower() in _BINARY_ANSWERS


class _FromText:
    """A request body in base64, group by group (:class:`sidecar.api.message.BodyStage`)."""

    __slots__ = ("_rest", "_stream")

    def __init__(self, stream: Stream) -> None:
        self._rest = b""
        self._stream = stream

    def push(self, data: bytes, end_stream: bool) -> bytes:
        decoded = self._decode(data, end_stream)
        # What counts as received is what the client sent.
        self._stream.bytes_received += len(data) - len(decoded)
        return decoded

    def _decode(self, data: bytes, end_stream: bool) -> bytes:
        received = len(data)
        data = self._rest + data
        size = len(data) // 4 * 4
        if end_stream and size != len(data):
            raise self._broken("grpc_base_64_decode_failed_bad_size", received)
        self._rest = data[size:]
        if not size:
            return b""
        try:
            decoded = _decode(data[:size])
        except binascii.Error:
            decoded = b""
        if not decoded:
            raise self._broken("grpc_base_64_decode_failed", received)
        return decoded

    def _broken(self, details: str, received: int) -> StreamAborted:
        stream = self._stream
        stream.bytes_received += received
        is_closed = stream.protocol != "HTTP/2"
        return StreamAborted(LocalReply(400, _BAD_BASE64, details=details, close=is_closed))

    def end(self, trailers: HeaderMap) -> bytes:
        return b""


def _decode(data: bytes) -> bytes:
    """Groups of base64 as an encoder writes them.  Raises: binascii.Error."""
    decoded = base64.b64decode(data, validate=True)
    if base64.b64encode(decoded) != data:
        raise binascii.Error("bits behind the end")
    return decoded


class _ToWeb:
    """A response body of gRPC with its trailers behind it (:class:`sidecar.api.message.BodyStage`)."""

    __slots__ = ("_filter", "_is_text", "_rest", "_stream")

    def __init__(self, owner: GrpcWeb, stream: Stream, *, is_text: bool) -> None:
        self._filter = owner
        self._stream = stream
        self._is_text = is_text
        self._rest = bytearray()

    def push(self, data: bytes, end_stream: bool) -> bytes:
        return self._frames(data) if self._is_text else data

    def end(self, trailers: HeaderMap) -> bytes:
        self._filter._charge(self._stream, trailers)
        block = b"".join(b"%b:%b\r\n" % field for field in trailers.fields)
        trailers.replace_all(())
        frame = bytes((_TRAILERS,)) + len(block).to_bytes(4, "big") + block
        return base64.b64encode(frame) if self._is_text else frame

    def _frames(self, data: bytes) -> bytes:
        """Whole frames of gRPC, each in base64; the beginning of another is kept."""
        rest = self._rest
        rest += data
        out = []
        at = 0
        while len(rest) - at >= 5:
            end = at + 5 + int.from_bytes(rest[at + 1 : at + 5], "big")
            if end > len(rest):
                break
            out.append(base64.b64encode(rest[at:end]))
            at = end
        del rest[:at]
        return b"".join(out)
