"""The filter ``envoy.filters.http.buffer``: a request goes on when all of it is here."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.core.dataclass import dataclass
from sidecar.core.errors import StreamAborted

if TYPE_CHECKING:
    from sidecar.api.stream import Stream

__all__ = ["BufferFilter", "BufferLimit"]

_TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")


@dataclass(frozen=True, slots=True)
class BufferLimit:
    """``max_request_bytes``; None where a route turns the filter off."""

    max_request_bytes: int | None


class BufferFilter(HttpFilter):
    """Requests that have a body."""

    uses_trio = False

    def __init__(self, limit: BufferLimit) -> None:
        self._limit = limit

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        if stream.request.body is None:
            return None
        limit = self._limit
        route = stream.find_route()
        if route is not None:
            limit = route.per_filter_config.get(self.config_name, limit)
        if limit.max_request_bytes is None:
            return None
        return self._buffer(stream, limit.max_request_bytes)

    async def _buffer(self, stream: Stream, limit: int) -> None:
        request = stream.request
        try:
            data = await request.buffer_body(limit, _TOO_LARGE)
        except StreamAborted as error:
            stream.bytes_received += error.received
            raise
        if b"content-length" not in request.headers:
            request.headers.append(b"content-length", b"%d" % len(data))
