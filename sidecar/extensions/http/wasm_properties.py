"""Properties that guests read (``proxy_get_property``): the table of Envoy's attributes, and its ways.

Paths are Envoy's attributes (reference: Envoy's "Attributes" page, proxy-wasm 0.2.1 "Properties"), a few of
the plugin, and what guests have set.  What does not exist, or not yet in this phase, is None; headers are
there as long as the guest may read their map.  Envoy 1.40 answers ``node``, ``cluster_name`` and the like
only below ``xds``; so do we.  Serialized forms: :mod:`sidecar.extensions.http.wasm_values`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sidecar.core.message_values import locality_value, metadata_value
from sidecar.extensions.http.wasm_values import WHOLE, HeaderView, Table, serialize, step

if TYPE_CHECKING:
    from sidecar.api.context import NodeInfo
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap
    from wasm_abi import Status

__all__ = ["LEAVES", "NO_MAPS", "ROOTS", "PluginFacts", "find_property", "find_value"]

#: What a guest may read of headers now, by MapType: of the request, its trailers, the response, its trailers.
Maps = Sequence["HeaderMap | None"]
NO_MAPS: Maps = (None, None, None, None)
Attribute = Callable[["Stream", Maps, "PluginFacts"], Any]

_DIRECTIONS = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}
#: gRPC status for an HTTP status (gRPC's http-grpc-status-mapping); 2 (unknown) for the others.
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


class PluginFacts:
    """What is the same for every stream of a plugin, and where clusters are looked up."""

    __slots__ = ("find_cluster", "node", "own")

    def __init__(
        self, name: str, root_id: str, vm_id: str, node: NodeInfo, find_cluster: Callable[[str], Any]
    ) -> None:
        self.own = {b"plugin_name": name, b"plugin_root_id": root_id, b"plugin_vm_id": vm_id}
        self.node = node.message
        self.find_cluster = find_cluster


def find_property(
    stream: Stream | None, maps: Maps, facts: PluginFacts, path: tuple[bytes, ...]
) -> bytes | Status | None:
    """The property at ``path`` in its wire form; None where there is none."""
    return serialize(find_value(stream, maps, facts, path))


def find_value(stream: Stream | None, maps: Maps, facts: PluginFacts, path: tuple[bytes, ...]) -> Any:
    """The same as it is kept here."""
    if len(path) > 1 and (leaf := LEAVES.get(path[:2])) is not None:
        if stream is None:
            if path[:2] != _NODE:
                return None
            value = facts.node
        else:
            value = leaf(stream, maps, facts)
        rest = path[2:]
    else:
        value = _find_root(stream, facts, path[0])
        rest = path[1:]
    for segment in rest:
        value = step(value, segment)
    return value


def _find_root(stream: Stream | None, facts: PluginFacts, name: bytes) -> Any:
    if stream is None:
        return WHOLE if name == b"xds" else facts.own.get(name)
    root = ROOTS.get(name)
    if root is not None:
        return root(stream)
    own = facts.own.get(name)
    if own is None:
        own = _state(stream).get(b"wasm." + name)
    return own


def _state(stream: Stream) -> Table:
    return Table(stream.filter_state, stream.connection.filter_state)


def _is_over(stream: Stream) -> bool:
    return stream.response_code != 0 and stream.downstream_last_tx_ns != 0


def _duration(stream: Stream) -> int | None:
    return stream.downstream_last_tx_ns - stream.start_ns if _is_over(stream) else None


def _path_parts(maps: Maps) -> tuple[bytes | None, bytes | None]:
    if maps[0] is None:
        return None, None
    path, _, query = (maps[0].get(b":path") or b"").partition(b"?")
    return path, query.partition(b"#")[0]


def _size(headers: HeaderMap | None) -> int:
    return 0 if headers is None else headers.byte_size()


def _request_size(stream: Stream, maps: Maps) -> int | None:
    said = None if maps[0] is None else maps[0].get(b"content-length")
    if said is None:
        return stream.bytes_received
    return int(said) if said.isdigit() else None


def _port(address: str) -> int | None:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else None


def _grpc_status(stream: Stream, maps: Maps) -> int | None:
    for headers in (maps[3], maps[2]):
        text = None if headers is None else headers.get(b"grpc-status")
        if text is not None:
            return int(text) if text.isdigit() else 2
    code = stream.response_code or (0 if stream.response is None else stream.response.headers.status)
    return _GRPC_OF_HTTP.get(code, 2) if code else None


def _response_code(stream: Stream) -> int | None:
    if stream.is_try:  # what it is answered with is for the router to say
        return None
    if stream.response_code:
        return stream.response_code
    return None if stream.response is None else stream.response.headers.status


def _latency(stream: Stream) -> int | None:
    first, last = stream.upstream_first_tx_ns, stream.upstream_last_rx_ns
    if not last and (_is_over(stream) or (stream.response is not None and stream.response.body is None)):
        last = stream.upstream_first_rx_ns  # it came in one piece
    return last - first if first and last else None


def _pool_time(stream: Stream) -> int | None:
    """Until there was a connection for it, from where the stream began: when it was asked for is not kept."""
    return max(stream.upstream_first_tx_ns - stream.start_ns, 0) if stream.upstream_local_address else None


def _remote(stream: Stream) -> str:
    return stream.remote_address or stream.connection.remote_address


def _host(stream: Stream) -> str | None:
    return None if stream.upstream_host is None else stream.upstream_host.address


def _of_host(read: Callable[[Any], Any]) -> Attribute:
    return lambda stream, _maps, _facts: None if stream.upstream_host is None else read(stream.upstream_host)


def _of_route(read: Callable[[Any], Any]) -> Attribute:
    def of(stream: Stream, _maps: Maps, _facts: PluginFacts) -> Any:
        # That of a connection is no route of HTTP.
        route = None if stream.hcm is None else stream.find_route()
        return None if route is None else read(route)

    return of


def _of_virtual_host(read: Callable[[Any], Any]) -> Attribute:
    """Of the virtual host; where none of its routes matched it is known all the same."""

    def of(stream: Stream, _maps: Maps, _facts: PluginFacts) -> Any:
        if stream.hcm is None:
            return None
        route = stream.find_route()
        if route is None:
            found = stream.hcm.route_table.find_virtual_host(stream.request.headers.authority)
            route = found.routes[0] if found is not None and found.routes else None
        return None if route is None else read(route)

    return of


def _of_cluster(read: Callable[[Any], Any]) -> Attribute:
    """Of the cluster in use, or of that which the route leads to."""

    def of(stream: Stream, _maps: Maps, facts: PluginFacts) -> Any:
        cluster = stream.cluster
        if cluster is None:
            route = stream.find_route()
            name = "" if route is None else route.cluster_name
            cluster = facts.find_cluster(name) if name else None
        return None if cluster is None else read(cluster)

    return of


def _is_upstream_known(stream: Stream) -> bool:
    """Whether there is what Envoy keeps of upstreams: from the router on, and of connections at once."""
    return stream.cluster is not None or stream.hcm is None


def _listener_metadata(stream: Stream, _maps: Maps, _facts: PluginFacts) -> Any:
    return metadata_value(stream.connection.listener_metadata)


def _metadata(stream: Stream) -> Any:
    return metadata_value(stream.dynamic_metadata or {})


def _of(read: Callable[[Stream], Any]) -> Attribute:
    return lambda stream, _maps, _facts: read(stream)


def _request(name: bytes) -> Attribute:
    return lambda _stream, maps, _facts: None if maps[0] is None else maps[0].get(name)


def _view(number: int) -> Attribute:
    return lambda _stream, maps, _facts: HeaderView(maps[number])


def _tls_properties(root: bytes, tls_of: Callable[[Stream], Any]) -> dict[tuple[bytes, ...], Attribute]:
    """What is told of a connection's TLS; nothing without it."""

    def on(read: Callable[[Any], Any]) -> Attribute:
        def of(stream: Stream, _maps: Maps, _facts: PluginFacts) -> Any:
            tls = tls_of(stream)
            return None if tls is None else read(tls)

        return of

    def text(side: str, name: str, otherwise: str | None = None) -> Attribute:
        return on(lambda tls: otherwise if getattr(tls, side) is None else getattr(getattr(tls, side), name))

    def first(side: str, kind: str) -> Attribute:
        def read(tls: Any) -> str | None:
            certificate = getattr(tls, side)
            names = [] if certificate is None else certificate.sans(kind)
            return names[0] if names else None

        return on(read)

    return {
        (root, b"tls_version"): on(lambda tls: tls.version),
        (root, b"subject_local_certificate"): text("local", "subject", ""),
        (root, b"subject_peer_certificate"): text("peer", "subject", ""),
        (root, b"uri_san_local_certificate"): first("local", "URI"),
        (root, b"uri_san_peer_certificate"): first("peer", "URI"),
        (root, b"dns_san_local_certificate"): first("local", "DNS"),
        (root, b"dns_san_peer_certificate"): first("peer", "DNS"),
        (root, b"sha256_peer_certificate_digest"): text("peer", "sha256"),
        (root, b"peer_certificate"): text("peer", "pem"),
    }


_NODE = (b"xds", b"node")
#: Two-segment paths.
LEAVES: dict[tuple[bytes, ...], Attribute] = {
    (b"request", b"path"): _request(b":path"),
    (b"request", b"url_path"): lambda _stream, maps, _facts: _path_parts(maps)[0],
    (b"request", b"query"): lambda _stream, maps, _facts: _path_parts(maps)[1],
    (b"request", b"host"): _request(b":authority"),
    (b"request", b"scheme"): _request(b":scheme"),
    (b"request", b"method"): _request(b":method"),
    (b"request", b"referer"): _request(b"referer"),
    (b"request", b"useragent"): _request(b"user-agent"),
    (b"request", b"id"): _request(b"x-request-id"),
    (b"request", b"protocol"): _of(lambda stream: stream.protocol or None),
    (b"request", b"headers"): _view(0),
    (b"request", b"time"): _of(lambda stream: int(stream.start_time * 1e9)),
    (b"request", b"duration"): _of(_duration),
    (b"request", b"size"): lambda stream, maps, _facts: _request_size(stream, maps),
    (b"request", b"headers_bytes"): lambda _stream, maps, _facts: _size(maps[0]),
    (b"request", b"total_size"): lambda stream, maps, _facts: stream.bytes_received + _size(maps[0]),
    (b"response", b"code"): _of(_response_code),
    (b"response", b"code_details"): _of(lambda stream: stream.details or None),
    (b"response", b"flags"): _of(lambda stream: int(stream.flags)),
    (b"response", b"grpc_status"): lambda stream, maps, _facts: _grpc_status(stream, maps),
    (b"response", b"headers"): _view(2),
    (b"response", b"trailers"): _view(3),
    (b"response", b"size"): _of(lambda stream: stream.bytes_sent),
    (b"response", b"headers_bytes"): lambda _stream, maps, _facts: _size(maps[2]),
    (b"response", b"total_size"): (
        lambda stream, maps, _facts: stream.bytes_sent + _size(maps[2]) + _size(maps[3])
    ),
    (b"response", b"backend_latency"): _of(_latency),
    (b"source", b"address"): _of(_remote),
    (b"source", b"port"): _of(lambda stream: _port(_remote(stream))),
    (b"destination", b"address"): _of(lambda stream: stream.connection.local_address),
    (b"destination", b"port"): _of(lambda stream: _port(stream.connection.local_address)),
    (b"connection", b"id"): _of(lambda stream: stream.connection.connection_id),
    (b"connection", b"mtls"): _of(
        lambda stream: stream.connection.tls is not None and stream.connection.tls.has_peer
    ),
    **_tls_properties(b"connection", lambda stream: stream.connection.tls),
    **_tls_properties(b"upstream", lambda stream: stream.upstream_tls),
    (b"connection", b"transport_failure_reason"): _of(
        lambda stream: stream.connection.transport_failure_reason or None
    ),
    (b"connection", b"requested_server_name"): _of(lambda stream: stream.connection.requested_server_name),
    (b"connection", b"termination_details"): _of(
        lambda stream: stream.connection_termination_details or None
    ),
    (b"upstream", b"address"): _of(_host),
    (b"upstream", b"port"): _of(lambda stream: _port(_host(stream) or "")),
    (b"upstream", b"local_address"): _of(lambda stream: stream.upstream_local_address or None),
    (b"upstream", b"locality"): _of_host(
        lambda host: locality_value(host.locality.region, host.locality.zone, host.locality.sub_zone)
    ),
    (b"upstream", b"cx_pool_ready_duration"): _of(_pool_time),
    (b"upstream", b"transport_failure_reason"): _of(
        lambda stream: stream.upstream_transport_failure if _is_upstream_known(stream) else None
    ),
    (b"upstream", b"request_attempt_count"): _of(lambda stream: stream.attempt_count),
    (b"upstream", b"num_endpoints"): _of_cluster(lambda cluster: len(cluster.hosts)),
    _NODE: lambda _stream, _maps, facts: facts.node,
    (b"xds", b"cluster_name"): _of_cluster(lambda cluster: cluster.name),
    (b"xds", b"cluster_metadata"): _of_cluster(lambda cluster: metadata_value(cluster.metadata)),
    (b"xds", b"route_name"): _of_route(lambda route: route.name),
    (b"xds", b"route_metadata"): _of_route(
        lambda route: metadata_value(route.metadata, route.typed_metadata)
    ),
    (b"xds", b"virtual_host_name"): _of_virtual_host(lambda route: route.virtual_host_name),
    (b"xds", b"virtual_host_metadata"): _of_virtual_host(
        lambda route: metadata_value(route.virtual_host_metadata)
    ),
    (b"xds", b"upstream_host_metadata"): _of_host(
        lambda host: metadata_value(host.metadata) if host.metadata else WHOLE
    ),
    (b"xds", b"upstream_host_locality_metadata"): _of_host(
        lambda host: metadata_value(host.locality_metadata) if host.locality_metadata else WHOLE
    ),
    (b"xds", b"filter_chain_name"): _of(lambda stream: stream.connection.filter_chain_name),
    (b"xds", b"listener_metadata"): _listener_metadata,
    (b"xds", b"listener_direction"): _of(lambda stream: _DIRECTIONS[stream.connection.traffic_direction]),
}
#: What stands at the head of a path.
ROOTS: dict[bytes, Callable[[Stream], Any]] = {
    **{
        name: lambda _stream: WHOLE
        for name in (b"request", b"response", b"connection", b"upstream", b"source", b"destination", b"xds")
    },
    b"metadata": _metadata,
    b"filter_state": _state,
    # What is shared with upstreams (`shared_with_upstream`) is not kept apart: there is none.
    b"upstream_filter_state": lambda stream: WHOLE if stream.upstream_local_address else None,
    b"connection_id": lambda stream: stream.connection.connection_id,
}
