"""What may be asked of a stream by name: Envoy's attributes, ``request.path``, ``connection.mtls`` and so on.

The page "Attributes" of Envoy's documentation lists them; CEL reads them (:mod:`sidecar.observability.cel`).
Texts are decoded with surrogate escapes, so that the bytes of a header come back by encoding them; what is
not there, or not yet, is None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.api.stream import Stream
from sidecar.core.address import split_address
from sidecar.observability.header_operators import response_grpc_number
from sidecar.observability.stream_cluster import cluster_of

__all__ = [
    "ATTRIBUTES",
    "HEADER_MAPS",
    "METADATA",
    "ROOTS",
    "Duration",
    "Read",
    "Timestamp",
    "Unsigned",
    "filter_state",
    "node_of",
]

Read = Callable[[Stream], Any]


class Timestamp(int):
    """Nanoseconds since the epoch."""

    __slots__ = ()


class Duration(int):
    """Nanoseconds."""

    __slots__ = ()


class Unsigned(int):
    """A number of CEL's type ``uint``."""

    __slots__ = ()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


# -- requests ------------------------------------------------------------------------------------------
def _header(name: bytes) -> Read:
    """The first of its values."""
    return lambda stream: _text(stream.request.headers.get(name))


def _url_path(stream: Stream) -> str | None:
    path = stream.request.headers.path
    return None if path is None else path.partition(b"?")[0].decode("utf-8", "surrogateescape")


def _query(stream: Stream) -> str | None:
    path = stream.request.headers.path
    if path is None:
        return None
    return path.partition(b"?")[2].partition(b"#")[0].decode("utf-8", "surrogateescape")


def _request_size(stream: Stream) -> int | None:
    """What the request says of its body, else what has come of it."""
    length = stream.request.headers.get(b"content-length")
    if length is None:
        return stream.bytes_received
    return int(length) if length.isdigit() else None


def _request_duration(stream: Stream) -> Duration | None:
    if not stream.downstream_last_tx_ns:
        return None
    return Duration(stream.downstream_last_tx_ns - (stream.first_start_ns or stream.start_ns))


# -- responses -----------------------------------------------------------------------------------------
def _head_size(stream: Stream) -> int:
    return 0 if stream.response is None else stream.response.headers.byte_size()


def _trailer_size(stream: Stream) -> int:
    return 0 if stream.response_trailers is None else stream.response_trailers.byte_size()


def _grpc_status(stream: Stream) -> int | None:
    return None if stream.response is None else response_grpc_number(stream)


def _backend_latency(stream: Stream) -> Duration | None:
    start, end = stream.upstream_first_tx_ns, stream.upstream_last_rx_ns
    if start and not end and stream.response is not None and stream.downstream_last_tx_ns:
        end = stream.upstream_first_rx_ns  # it came in one piece
    return Duration(end - start) if start and end else None


# -- both ends -----------------------------------------------------------------------------------------
def _remote(stream: Stream) -> str:
    return stream.remote_address or stream.connection.remote_address


def _port(address: str | None) -> int | None:
    return None if address is None else split_address(address)[1]


def _host(stream: Stream) -> str | None:
    return None if stream.upstream_host is None else stream.upstream_host.address


def _upstream_failure(stream: Stream) -> str | None:
    """Nothing before a host was chosen."""
    return None if stream.upstream_host is None else stream.upstream_transport_failure


def _tls(root: str, of: Callable[[Stream], Any]) -> dict[tuple[str, str], Read]:
    """What is told of a connection's TLS; nothing without it."""

    def on(read: Callable[[Any], Any]) -> Read:
        def value(stream: Stream) -> Any:
            tls = of(stream)
            return None if tls is None else read(tls)

        return value

    def text(side: str, name: str) -> Read:
        return on(lambda tls: "" if getattr(tls, side) is None else getattr(getattr(tls, side), name))

    def first(side: str, kind: str) -> Read:
        def read(tls: Any) -> str | None:
            certificate = getattr(tls, side)
            names = [] if certificate is None else certificate.sans(kind)
            return names[0] if names else None

        return on(read)

    def of_peer(name: str) -> Read:
        return on(lambda tls: None if tls.peer is None else getattr(tls.peer, name))

    return {
        (root, "tls_version"): on(lambda tls: tls.version),
        (root, "subject_local_certificate"): text("local", "subject"),
        (root, "subject_peer_certificate"): text("peer", "subject"),
        (root, "uri_san_local_certificate"): first("local", "URI"),
        (root, "uri_san_peer_certificate"): first("peer", "URI"),
        (root, "dns_san_local_certificate"): first("local", "DNS"),
        (root, "dns_san_peer_certificate"): first("peer", "DNS"),
        (root, "sha256_peer_certificate_digest"): of_peer("sha256"),
        (root, "peer_certificate"): of_peer("url_encoded_pem"),
    }


# -- configuration -------------------------------------------------------------------------------------
def _route(name: str) -> Read:
    def read(stream: Stream) -> Any:
        route = stream.find_route()
        return None if route is None else getattr(route, name)

    return read


def _cluster_name(stream: Stream) -> str | None:
    cluster = cluster_of(stream)
    return None if cluster is None else cluster.name


def _endpoints(stream: Stream) -> Unsigned | None:
    cluster = cluster_of(stream)
    return None if cluster is None else Unsigned(cluster.stats.membership_total.value)


def node_of(stream: Stream) -> Any:
    """:class:`sidecar.api.context.NodeInfo` of this proxy."""
    return getattr(getattr(stream.connection, "listener", None), "node", None)


_DIRECTIONS = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}


def _direction(stream: Stream) -> int | None:
    direction = getattr(stream.connection, "traffic_direction", None)
    return None if direction is None else _DIRECTIONS[direction]


def filter_state(stream: Stream, key: str) -> Any:
    """An object of the filter state: the stream's, else the connection's."""
    state = stream.filter_state
    value = None if state is None else state.get(key)
    if value is None and stream.connection.filter_state is not None:
        value = stream.connection.filter_state.get(key)
    return value


def _id(stream: Stream) -> Unsigned:
    return Unsigned(stream.connection.connection_id)


#: Names that stand at the beginning.
ROOTS = frozenset(
    (
        "request",
        "response",
        "connection",
        "upstream",
        "source",
        "destination",
        "metadata",
        "filter_state",
        "upstream_filter_state",
        "xds",
    )
)

#: Attributes of plain values, by their two names.
ATTRIBUTES: dict[tuple[str, str], Read] = {
    ("request", "path"): lambda stream: _text(stream.request.headers.path),
    ("request", "url_path"): _url_path,
    ("request", "query"): _query,
    ("request", "host"): lambda stream: _text(stream.request.headers.authority),
    ("request", "scheme"): lambda stream: _text(stream.request.headers.scheme),
    ("request", "method"): lambda stream: _text(stream.request.headers.method),
    ("request", "referer"): _header(b"referer"),
    ("request", "useragent"): _header(b"user-agent"),
    ("request", "id"): _header(b"x-request-id"),
    ("request", "protocol"): lambda stream: stream.protocol or None,
    ("request", "time"): lambda stream: Timestamp(int(stream.start_time * 1e6) * 1000),
    ("request", "duration"): _request_duration,
    ("request", "size"): _request_size,
    ("request", "headers_bytes"): lambda stream: stream.request.headers.byte_size(),
    ("request", "total_size"): lambda stream: stream.bytes_received + stream.request.headers.byte_size(),
    ("response", "code"): lambda stream: stream.response_code or None,
    ("response", "code_details"): lambda stream: stream.details or None,
    ("response", "flags"): lambda stream: int(stream.flags),
    ("response", "grpc_status"): _grpc_status,
    ("response", "size"): lambda stream: stream.bytes_sent,
    ("response", "headers_bytes"): _head_size,
    ("response", "total_size"): (
        lambda stream: stream.bytes_sent + _head_size(stream) + _trailer_size(stream)
    ),
    ("response", "backend_latency"): _backend_latency,
    ("source", "address"): _remote,
    ("source", "port"): lambda stream: _port(_remote(stream)),
    ("destination", "address"): lambda stream: stream.connection.local_address,
    ("destination", "port"): lambda stream: _port(stream.connection.local_address),
    ("connection", "id"): _id,
    ("connection", "mtls"): lambda stream: (
        stream.connection.tls is not None and stream.connection.tls.has_peer
    ),
    ("connection", "requested_server_name"): lambda stream: stream.connection.requested_server_name,
    ("connection", "termination_details"): lambda stream: stream.connection_termination_details or None,
    ("connection", "transport_failure_reason"): (
        lambda stream: stream.connection.transport_failure_reason or None
    ),
    **_tls("connection", lambda stream: stream.connection.tls),
    **_tls("upstream", lambda stream: stream.upstream_tls),
    ("upstream", "address"): _host,
    ("upstream", "port"): lambda stream: _port(_host(stream)),
    ("upstream", "local_address"): lambda stream: stream.upstream_local_address or None,
    ("upstream", "transport_failure_reason"): _upstream_failure,
    ("upstream", "request_attempt_count"): lambda stream: Unsigned(stream.attempt_count),
    ("upstream", "num_endpoints"): _endpoints,
    ("xds", "cluster_name"): _cluster_name,
    ("xds", "route_name"): _route("name"),
    ("xds", "virtual_host_name"): _route("virtual_host_name"),
    ("xds", "filter_chain_name"): lambda stream: stream.connection.filter_chain_name,
    ("xds", "listener_direction"): _direction,
}

#: Maps of headers; None where there are none.
HEADER_MAPS: dict[tuple[str, str], Read] = {
    ("request", "headers"): lambda stream: stream.request.headers,
    ("response", "headers"): lambda stream: stream.response_headers,
    ("response", "trailers"): lambda stream: stream.response_trailers,
}

#: Metadata, each a table by namespace; the stream's own has one name.
METADATA: dict[tuple[str, ...], Read] = {
    ("metadata",): lambda stream: stream.dynamic_metadata or {},
    ("xds", "route_metadata"): _route("metadata"),
    ("xds", "virtual_host_metadata"): _route("virtual_host_metadata"),
    ("xds", "cluster_metadata"): lambda stream: getattr(cluster_of(stream), "metadata", None),
    ("xds", "upstream_host_metadata"): lambda stream: getattr(stream.upstream_host, "metadata", None),
    ("xds", "listener_metadata"): lambda stream: getattr(stream.connection, "listener_metadata", None),
}
