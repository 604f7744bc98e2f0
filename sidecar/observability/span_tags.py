"""The tags of a span that are read from a stream, and the moments in its life (``HttpTracerUtility``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sidecar.api.stream import flag_text
from sidecar.observability.stream_cluster import cluster_of

if TYPE_CHECKING:
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from sidecar.observability.span import Span

__all__ = [
    "Tag",
    "is_whole",
    "moments",
    "set_common_tags",
    "set_grpc_request_tags",
    "set_grpc_status",
    "set_upstream_tags",
]

#: Sets a custom tag of a span, or nothing where it has no value.
Tag = Callable[["Span", "Stream"], None]

_MOMENTS = (
    ("last_downstream_rx_byte_received", "request_last_rx_ns"),
    ("first_upstream_tx_byte_sent", "upstream_first_tx_ns"),
    ("last_upstream_tx_byte_sent", "upstream_last_tx_ns"),
    ("first_upstream_rx_byte_received", "upstream_first_rx_ns"),
    ("last_upstream_rx_byte_received", "upstream_last_rx_ns"),
    ("first_downstream_tx_byte_sent", "downstream_last_tx_ns"),
    ("last_downstream_tx_byte_sent", "downstream_last_tx_ns"),
)
_UPSTREAM_MOMENTS = _MOMENTS[1:5]
#: Statuses of gRPC that make the span of a client one that failed; those of a server.
_CLIENT_ERRORS = frozenset(range(1, 17))
_SERVER_ERRORS = frozenset((2, 4, 12, 13, 14, 15))


def set_common_tags(
    span: Span, stream: Stream, *, status: int, annotates: bool, is_upstream: bool = False
) -> None:
    """What the spans of both sides say."""
    tags = span.tags
    tags.append(("component", "proxy"))
    cluster = cluster_of(stream)
    if cluster is not None:
        tags.append(("upstream_cluster", cluster.name))
        tags.append(("upstream_cluster.name", cluster.config.alt_stat_name or cluster.name))
    span.set_tag("http.status_code", str(status))
    tags.append(("response_flags", flag_text(stream.flags)))
    if annotates:
        # The stream counts on the monotonic clock.
        offset = time.time_ns() - time.monotonic_ns()
        for name, when in moments(stream, is_upstream=is_upstream):
            span.events.append((name, when + offset))


def moments(stream: Stream, *, is_upstream: bool = False) -> Iterator[tuple[str, int]]:
    """When things happened, in ns of the monotonic clock; ``is_upstream``: at the upstream alone."""
    for name, attribute in _UPSTREAM_MOMENTS if is_upstream else _MOMENTS:
        when: int = getattr(stream, attribute)
        if not when and attribute == "upstream_last_rx_ns" and is_whole(stream):
            when = stream.upstream_first_rx_ns  # it came in one piece
        if when:
            yield name, when


def set_upstream_tags(span: Span, stream: Stream, protocol: str) -> None:
    """What the span of a try says besides."""
    host: Any = stream.upstream_host
    span.tags.append(("http.protocol", protocol or "-"))
    if host is not None:
        span.tags.append(("upstream_address", host.address))
        span.tags.append(("peer.address", host.address))


def set_grpc_request_tags(span: Span, headers: HeaderMap) -> None:
    """What a call of gRPC asks for."""
    for key, value in (
        ("grpc.path", getattr(headers, "path", None)),
        ("grpc.authority", getattr(headers, "authority", None)),
        ("grpc.content_type", headers.get(b"content-type")),
        ("grpc.timeout", headers.get(b"grpc-timeout")),
    ):
        if value is not None:
            span.tags.append((key, value.decode("utf-8", "replace")))


def set_grpc_status(span: Span, headers: HeaderMap | None, trailers: HeaderMap | None) -> None:
    """How a call of gRPC ended, where its head or its trailers say so."""
    for each in (headers, trailers):
        status = None if each is None else each.get(b"grpc-status")
        if status is None or each is None:
            continue
        text = status.decode("latin-1")
        span.tags.append(("grpc.status_code", text))
        message = each.get(b"grpc-message")
        if message is not None:
            span.tags.append(("grpc.message", message.decode("utf-8", "replace")))
        errors = _SERVER_ERRORS if span.kind == 2 else _CLIENT_ERRORS
        if text.isdigit() and int(text) in errors:
            span.is_error = True


def is_whole(stream: Stream) -> bool:
    """Whether the upstream's response came to its end."""
    response = stream.response
    if response is None or not stream.upstream_first_rx_ns:
        return False
    body = response.body
    return body is None or body.ended or body.whole is not None
