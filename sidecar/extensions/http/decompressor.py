"""The filter ``envoy.filters.http.decompressor``: bodies that came compressed go on as they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.compression import DecodingFailed, Decompressor

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply, Message
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.core.runtime import Switch

__all__ = ["DecompressorFilter", "DecompressorStats", "Directions"]


class DecompressorStats:
    """``http.<prefix>.decompressor.<library>.<coding>.request.`` or ``.response.``."""

    __slots__ = ("decompressed", "not_decompressed", "total_compressed_bytes", "total_uncompressed_bytes")

    def __init__(self, scope: Any) -> None:
        self.decompressed = scope.counter("decompressed")
        self.not_decompressed = scope.counter("not_decompressed")
        self.total_compressed_bytes = scope.counter("total_compressed_bytes")
        self.total_uncompressed_bytes = scope.counter("total_uncompressed_bytes")


@dataclass(frozen=True, slots=True)
class Directions:
    """What is decompressed, and what is said of it."""

    requests: Switch
    responses: Switch
    advertises: bool
    request_ignores_no_transform: bool = False
    response_ignores_no_transform: bool = False


class DecompressorFilter(HttpFilter):
    """Decodes bodies of one content coding."""

    uses_trio = False

    def __init__(
        self,
        token: bytes,
        counters: tuple[str, ...],
        make: Callable[[], Decompressor],
        directions: Directions,
        stats: Any,
    ) -> None:
        """``stats``: ``http.<prefix>.decompressor.<name>.<coding>.``; ``counters``: the library's."""
        self._token = token
        self._counters = counters
        self._stats = stats
        #: Made with the first body.
        self._library: dict[str, Any] | None = None
        self._make = make
        self._directions = directions
        self._request_stats = DecompressorStats(stats.scope("request"))
        self._response_stats = DecompressorStats(stats.scope("response"))

    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        directions = self._directions
        headers = stream.request.headers
        if directions.advertises and directions.requests.value:
            # What the client says of this coding was about an answer to it.
            tokens = [each.strip() for each in (headers.get(b"accept-encoding") or b"").split(b",")]
            others = [each for each in tokens if each and each.partition(b";")[0].strip() != self._token]
            headers.set(b"accept-encoding", b",".join([*others, self._token]))
        if directions.requests.value:
            ignores = directions.request_ignores_no_transform
            self._decode(stream.request, headers, self._request_stats, ignores=ignores)
        return None

    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        response = stream.response
        assert response is not None
        if self._directions.responses.value:
            ignores = self._directions.response_ignores_no_transform
            self._decode(response, response.headers, self._response_stats, ignores=ignores)
        return None

    def _decode(
        self, message: Message, headers: HeaderMap, stats: DecompressorStats, *, ignores: bool
    ) -> None:
        if message.body is None:
            return
        coding = headers.get(b"content-encoding")
        if coding is None:
            stats.not_decompressed.value += 1
            return
        # The first that is named, as in Envoy, where RFC 9110 §8.4 has the last that was applied last.
        named = coding.partition(b",")[0].strip().lower()
        control = headers.get(b"cache-control") or b""
        forbids = any(each.strip().lower() == b"no-transform" for each in control.split(b","))
        if named != self._token or (forbids and not ignores):
            stats.not_decompressed.value += 1
            return
        stats.decompressed.value += 1
        headers.remove(b"content-length")
        rest = coding.partition(b",")[2].strip()
        if rest:
            headers.set(b"content-encoding", rest)
        else:
            headers.remove(b"content-encoding")
        if self._library is None:
            scope = self._stats.scope("decompressor_library")
            self._library = {name: scope.counter(name) for name in self._counters}
        message.pipe_body(_Stage(self._make(), stats, self._library))


class _Stage:
    """Decodes one body; from where it cannot be decoded on, nothing more comes of it."""

    __slots__ = ("_decompressor", "_is_broken", "_library", "_stats")

    def __init__(self, decompressor: Decompressor, stats: DecompressorStats, library: dict[str, Any]) -> None:
        self._decompressor = decompressor
        self._library = library
        self._stats = stats
        self._is_broken = False

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._stats.total_compressed_bytes.value += len(data)
        out = b""
        if data and not self._is_broken:
            try:
                out = self._decompressor.decompress(data)
            except DecodingFailed as failure:
                self._is_broken = True
                out = failure.found
                for name in failure.counters:
                    self._library[name].value += 1
        self._stats.total_uncompressed_bytes.value += len(out)
        return out

    def end(self, trailers: HeaderMap) -> bytes:
        return b""
