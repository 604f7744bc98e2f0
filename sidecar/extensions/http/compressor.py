"""The filter ``envoy.filters.http.compressor``: bodies are compressed where both sides allow it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sidecar.api.filters import HttpFilter
from sidecar.core.dataclass import dataclass
from sidecar.extensions.http.accept_encoding import Decision, choose_encoding

if TYPE_CHECKING:
    from sidecar.api.message import LocalReply
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap, ResponseHeaders
    from sidecar.core.runtime import Switch
    from sidecar.extensions.http.compression import Coding, Compressor

__all__ = ["CompressorFilter", "Direction", "DirectionStats", "ResponseDirection", "RouteCompression"]

_ACCEPT_ENCODING = b"Accept-Encoding"
_STATUS = b"x-envoy-compression-status"
_KNOWN_CODINGS = frozenset((b"gzip", b"deflate", b"br", b"zstd"))


class DirectionStats:
    """``http.<prefix>.compressor.<library>.<coding>.[request.|response.]``."""

    __slots__ = (
        "compressed",
        "content_length_too_small",
        "not_compressed",
        "total_compressed_bytes",
        "total_uncompressed_bytes",
    )

    def __init__(self, scope: Any) -> None:
        self.compressed = scope.counter("compressed")
        self.not_compressed = scope.counter("not_compressed")
        self.content_length_too_small = scope.counter("content_length_too_small")
        self.total_compressed_bytes = scope.counter("total_compressed_bytes")
        self.total_uncompressed_bytes = scope.counter("total_uncompressed_bytes")


@dataclass(frozen=True, slots=True)
class Direction:
    """What of one direction is compressed (``CommonDirectionConfig``)."""

    enabled: Switch
    min_content_length: int
    #: Whether a media type is one of those meant.
    is_type_meant: Callable[[bytes], bool]
    stats: DirectionStats

    def is_long_enough(self, headers: HeaderMap) -> bool:
        """A body of a length that nobody says is."""
        length = headers.index().get(b"content-length")
        if length is None or (length.isdigit() and int(length) >= self.min_content_length):
            return True
        self.stats.content_length_too_small.value += 1
        return False

    def has_type(self, headers: HeaderMap) -> bool:
        """A body without a type counts as one of those meant."""
        value = headers.get(b"content-type")
        return value is None or self.is_type_meant(value.partition(b";")[0].strip())


@dataclass(frozen=True, slots=True)
class ResponseDirection:
    """What is there for responses alone (``ResponseDirectionConfig``)."""

    disable_on_etag_header: bool = False
    remove_accept_encoding_header: bool = False
    uncompressible_response_codes: frozenset[int] = frozenset()
    status_header_enabled: bool = False
    weaken_etag_on_compress: bool = False


@dataclass(frozen=True, slots=True)
class RouteCompression:
    """``CompressorPerRoute``; None is left to the filter."""

    is_enabled: bool | None = None
    remove_accept_encoding_header: bool | None = None
    coding: Coding | None = None


_NO_ROUTE = RouteCompression()


class CompressorFilter(HttpFilter):
    """Compresses with one library; others in the chain leave to it what it is best for."""

    uses_trio = False

    def __init__(
        self,
        coding: Coding,
        request: Direction,
        response: Direction,
        options: ResponseDirection,
        stats: Any,
        *,
        chooses_first: bool,
    ) -> None:
        """``stats``: the scope ``http.<prefix>.compressor.<library>.<coding>.``."""
        self.coding = coding
        self.response = response
        self._request = request
        self._options = options
        self.chooses_first = chooses_first
        self._no_accept_header = stats.counter("no_accept_header")
        self._by = {
            "used": stats.counter("header_compressor_used"),
            "overshadowed": stats.counter("header_compressor_overshadowed"),
            "wildcard": stats.counter("header_wildcard"),
            "identity": stats.counter("header_identity"),
            "not_valid": stats.counter("header_not_valid"),
        }
        self._not_compressed_etag = stats.counter("not_compressed_etag")

    # -- requests -----------------------------------------------------------------------------
    def decode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        headers = stream.request.headers
        if b"accept-encoding" in headers.index():
            stream.set_slot(self.slot, headers.get(b"accept-encoding"))
            route = self._of_route(stream.find_route())
            removes = route.remove_accept_encoding_header
            if removes is None:
                removes = self._options.remove_accept_encoding_header
            if removes and self._is_enabled(route):
                headers.remove(b"accept-encoding")
        if self._request.enabled.value:
            self._compress_request(stream, self._of_route(stream.find_route()))
        return None

    def _compress_request(self, stream: Stream, route: RouteCompression) -> None:
        request = self._request
        headers = stream.request.headers
        if route.is_enabled is False:
            return
        if (
            stream.request.body is not None
            and request.is_long_enough(headers)
            and request.has_type(headers)
            and b"content-encoding" not in headers
            and _has_plain_transfer(headers)
            and stream.upgrade is None
        ):
            headers.remove(b"content-length")
            headers.set(b"content-encoding", self.coding.token)
            request.stats.compressed.value += 1
            stream.request.pipe_body(_Stage(self.coding.make(), request.stats))
        else:
            request.stats.not_compressed.value += 1

    # -- responses ----------------------------------------------------------------------------
    def encode_headers(self, stream: Stream) -> LocalReply | Awaitable[LocalReply | None] | None:
        response = stream.response
        assert response is not None
        headers = response.headers
        found = stream.route
        route = _NO_ROUTE
        if found is not None and found.per_filter_config:
            route = found.per_filter_config.get(self.config_name, _NO_ROUTE)
        direction, options = self.response, self._options
        is_enabled = route.is_enabled
        if is_enabled is None:
            is_enabled = direction.enabled.value
        tells = options.status_header_enabled
        is_possible = is_enabled and direction.is_long_enough(headers)
        if not is_possible and not tells:
            direction.stats.not_compressed.value += 1
            return None
        coding = route.coding or self.coding
        reason = self._obstacle(headers) if is_possible and stream.upgrade is None else b""
        is_compressible = reason is None
        if (
            response.body is not None
            and (is_compressible if tells else is_possible)
            and self._is_accepted(stream, headers, coding.token)
            and is_compressible
            and _has_plain_transfer(headers)
        ):
            length = headers.get(b"content-length") or b""
            if tells:
                _insert_vary(headers)
            _sanitize_etag(headers, weaken=options.weaken_etag_on_compress)
            headers.remove(b"content-length")
            headers.set(b"content-encoding", coding.token)
            if tells:
                self._tell(headers, coding, b"Compressed;OriginalLength=" + length)
            direction.stats.compressed.value += 1
            response.pipe_body(_Stage(coding.make(), direction.stats))
        else:
            direction.stats.not_compressed.value += 1
            if tells and is_enabled:
                if not is_possible:
                    direction.stats.content_length_too_small.value += 1  # looked at twice, as in Envoy
                    reason = b"ContentLengthTooSmall"
                if reason:
                    self._tell(headers, coding, reason)
        if is_compressible:
            # Caches have to know, also of an answer that this client did not want compressed.
            _insert_vary(headers)
        return None

    def _obstacle(self, headers: ResponseHeaders) -> bytes | None:
        """What keeps this response from being compressed, as the status header has it; None for nothing."""
        if not self.response.has_type(headers):
            return b"ContentTypeNotAllowed"
        if _has_token(headers.get(b"cache-control"), b"no-transform"):
            return b""
        if self._options.disable_on_etag_header and b"etag" in headers:
            self._not_compressed_etag.value += 1
            return b"EtagNotAllowed"
        if b"content-encoding" in headers:
            return b""
        if headers.status in self._options.uncompressible_response_codes:
            return b"StatusCodeNotAllowed"
        return None

    @staticmethod
    def _tell(headers: HeaderMap, coding: Coding, what: bytes) -> None:
        headers.set(_STATUS, coding.token + b";" + what)

    def _of_route(self, route: Any) -> RouteCompression:
        if route is None:
            return _NO_ROUTE
        found: RouteCompression = route.per_filter_config.get(self.config_name, _NO_ROUTE)
        return found

    def _is_enabled(self, route: RouteCompression) -> bool:
        return self.response.enabled.value if route.is_enabled is None else route.is_enabled

    def coding_of(self, route: Any) -> Coding:
        """What this filter makes on a route."""
        return self._of_route(route).coding or self.coding

    def _is_accepted(self, stream: Stream, headers: HeaderMap, token: bytes) -> bool:
        accepts: bytes | None = stream.get_slot(self.slot)
        if accepts is None:
            self._no_accept_header.value += 1
            return False
        decision = self._decide(stream, headers, accepts)
        is_ours = decision.encoding == token
        self._by["overshadowed" if decision.by == "used" and not is_ours else decision.by].value += 1
        return is_ours

    def _decide(self, stream: Stream, headers: HeaderMap, accepts: bytes) -> Decision:
        """The decision that all compressors of the chain come to."""
        # Those on the way to an upstream decide by themselves, as in Envoy.
        filters = stream.chain if stream.is_try else stream.hcm.filters
        allowed: dict[bytes, bool] = {}
        for each in (each for each in filters if isinstance(each, CompressorFilter)):
            if each.response.has_type(headers):
                allowed.setdefault(each.coding_of(stream.route).token, each.chooses_first)
        return choose_encoding(accepts, allowed)


class _Stage:
    """Compresses one body."""

    __slots__ = ("_compressor", "_stats")

    def __init__(self, compressor: Compressor, stats: DirectionStats) -> None:
        self._compressor = compressor
        self._stats = stats

    def push(self, data: bytes, end_stream: bool) -> bytes:
        self._stats.total_uncompressed_bytes.value += len(data)
        out = self._compressor.compress(data) if data and not end_stream else b""
        if end_stream:
            out = self._compressor.finish() if not data else self._last(data)
        self._stats.total_compressed_bytes.value += len(out)
        return out

    def end(self, trailers: HeaderMap) -> bytes:
        out = self._compressor.finish()
        self._stats.total_compressed_bytes.value += len(out)
        return out

    def _last(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.finish()


def _has_token(value: bytes | None, token: bytes) -> bool:
    return value is not None and any(each.strip().lower() == token for each in value.split(b","))


def _has_plain_transfer(headers: HeaderMap) -> bool:
    value = headers.get(b"transfer-encoding")
    return value is None or all(each.strip().lower() not in _KNOWN_CODINGS for each in value.split(b","))


def _insert_vary(headers: HeaderMap) -> None:
    value = headers.get(b"vary")
    if value is None:
        headers.set(b"vary", _ACCEPT_ENCODING)
    elif all(each.strip() != _ACCEPT_ENCODING for each in value.split(b",")):  # in this case alone
        headers.set(b"vary", value + b", " + _ACCEPT_ENCODING)


def _sanitize_etag(headers: HeaderMap, *, weaken: bool) -> None:
    """A strong validator is not true of the compressed body."""
    value = headers.get(b"etag")
    if value is None or value[:2].lower() == b"w/":
        return
    if weaken:
        headers.set(b"etag", b"W/" + value)
    else:
        headers.remove(b"etag")
