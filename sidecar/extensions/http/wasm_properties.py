"""Properties that guests read (``proxy_get_property``) and their serialized forms.

Paths are Envoy's attributes (reference: Envoy's "Attributes" page, proxy-wasm 0.2.1 "Properties"): text as
it is, numbers as 8 bytes little endian, bools as one byte, times as nanoseconds, maps in header-map form.
What does not exist, or not yet in this phase of the stream, is None.  Envoy 1.40 answers ``node``,
``cluster_name`` and the like only below ``xds``; so do we.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from wasm_abi.pairs import encode_pairs

if TYPE_CHECKING:
    from sidecar.api.context import NodeInfo
    from sidecar.api.stream import Stream
    from sidecar.core.headers import HeaderMap

__all__ = ["plugin_properties", "serialize", "stream_property"]

_DIRECTIONS = {"UNSPECIFIED": 0, "INBOUND": 1, "OUTBOUND": 2}
#: gRPC status for an HTTP status (gRPC's http-grpc-status-mapping); 2 (unknown) for the others.
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


class _Plain:
    """Metadata that is handed out as JSON text when a guest asks for a whole table."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def serialize(value: Any) -> bytes | None:
    """The wire form of one property."""
    if value is None:
        return None
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"\1" if value else b"\0"
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=value < 0)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, _Plain):
        return json.dumps(value.value, separators=(",", ":")).encode()
    if isinstance(value, Mapping):
        return bytes(encode_pairs([(_text(key), _text(item)) for key, item in value.items()]))
    if isinstance(value, list | tuple):
        return bytes(encode_pairs([(_text(item), b"") for item in value]))
    return None


def _text(value: Any) -> bytes:
    plain = serialize(value)
    return b"" if plain is None else plain


def plugin_properties(
    name: str, root_id: str, vm_id: str, node: NodeInfo, traffic_direction: str
) -> dict[tuple[bytes, ...], Any]:
    """What is the same for every stream of a plugin; node's metadata is walked by :func:`stream_property`."""
    return {
        (b"plugin_name",): name,
        (b"plugin_root_id",): root_id,
        (b"plugin_vm_id",): vm_id,
        (b"xds", b"node"): node.serialized,
        (b"xds", b"node", b"id"): node.id,
        (b"xds", b"node", b"cluster"): node.cluster,
        (b"xds", b"node", b"metadata"): node.metadata,
        (b"xds", b"listener_direction"): _DIRECTIONS.get(traffic_direction, 0),
    }


def stream_property(
    stream: Stream | None, fixed: Mapping[tuple[bytes, ...], Any], path: tuple[bytes, ...]
) -> bytes | None:
    """The property at ``path`` in its wire form; ``fixed`` are the plugin's own."""
    found = fixed.get(path)
    if found is not None:
        return serialize(found)
    if path[:3] == (b"xds", b"node", b"metadata"):
        return serialize(_walk(fixed[b"xds", b"node", b"metadata"], path[3:]))
    if stream is None:
        return None
    answer = _LEAVES.get(path[:2])
    if answer is not None:
        value = answer(stream)
        return serialize(_walk(value, path[2:]) if len(path) > 2 else value)
    answer = _ROOTS.get(path[0])
    return None if answer is None else serialize(_walk(answer(stream), path[1:]))


def _walk(value: Any, path: Iterable[bytes]) -> Any:
    """Down a tree of plain data; a table at the end is JSON text."""
    walked = False
    for segment in path:
        walked = True
        if isinstance(value, _HeaderView):
            value = value.headers.get_joined(segment.lower())
            continue
        if not isinstance(value, Mapping):
            return None
        value = value.get(segment.decode("utf-8", "replace"))
    return _Plain(value) if walked and isinstance(value, Mapping | list) else value


class _HeaderView(Mapping[str, str]):
    """A header map as a property."""

    __slots__ = ("headers",)

    def __init__(self, headers: HeaderMap) -> None:
        self.headers = headers

    def __getitem__(self, key: str) -> str:
        raise KeyError(key)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return len(self.headers)

    def items(self) -> Any:
        return list(self.headers)


def _view(headers: HeaderMap | None) -> _HeaderView | None:
    return None if headers is None else _HeaderView(headers)


def _is_over(stream: Stream) -> bool:
    return stream.response_code != 0 and stream.downstream_last_tx_ns != 0


def _duration(stream: Stream) -> int | None:
    return stream.downstream_last_tx_ns - stream.start_ns if _is_over(stream) else None


def _path_parts(stream: Stream) -> tuple[bytes, bytes]:
    path, _, query = (stream.request.headers.path or b"").partition(b"?")
    return path, query


def _port(address: str) -> int | None:
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else None


def _response_bytes(stream: Stream) -> int:
    return 0 if stream.response is None else stream.response.headers.byte_size()


def _grpc_status(stream: Stream) -> int | None:
    if stream.response is None:
        return None
    trailers = stream.response_trailers
    text = (trailers and trailers.get(b"grpc-status")) or stream.response.headers.get(b"grpc-status")
    if text is not None:
        return int(text) if text.isdigit() else 2
    return _GRPC_OF_HTTP.get(stream.response.headers.status, 2)


def _remote(stream: Stream) -> str:
    return stream.remote_address or stream.connection.remote_address


def _host(stream: Stream) -> str | None:
    return None if stream.upstream_host is None else stream.upstream_host.address


def _route(stream: Stream, attribute: str) -> Any:
    route = stream.find_route()
    return None if route is None else getattr(route, attribute)


def _route_metadata(stream: Stream, attribute: str) -> dict[str, Any]:
    return {"filter_metadata": _route(stream, attribute) or {}}


def _request(name: bytes) -> Callable[[Stream], Any]:
    return lambda stream: stream.request.headers.get(name)


def _tls_properties(
    root: bytes, tls_of: Callable[[Stream], Any]
) -> dict[tuple[bytes, ...], Callable[[Stream], Any]]:
    """What is told of a connection's TLS; nothing without it."""

    def on(read: Callable[[Any], Any]) -> Callable[[Stream], Any]:
        def of(stream: Stream) -> Any:
            tls = tls_of(stream)
            return None if tls is None else read(tls)

        return of

    def text(side: str, name: str) -> Callable[[Stream], Any]:
        return on(lambda tls: "" if getattr(tls, side) is None else getattr(getattr(tls, side), name))

    def first(side: str, kind: str) -> Callable[[Stream], Any]:
        def read(tls: Any) -> str | None:
            certificate = getattr(tls, side)
            names = [] if certificate is None else certificate.sans(kind)
            return names[0] if names else None

        return on(read)

    return {
        (root, b"tls_version"): on(lambda tls: tls.version),
        (root, b"subject_local_certificate"): text("local", "subject"),
        (root, b"subject_peer_certificate"): text("peer", "subject"),
        (root, b"uri_san_local_certificate"): first("local", "URI"),
        (root, b"uri_san_peer_certificate"): first("peer", "URI"),
        (root, b"dns_san_local_certificate"): first("local", "DNS"),
        (root, b"dns_san_peer_certificate"): first("peer", "DNS"),
        (root, b"sha256_peer_certificate_digest"): text("peer", "sha256"),
        (root, b"peer_certificate"): text("peer", "pem"),
    }


#: Two-segment paths.
_LEAVES: dict[tuple[bytes, ...], Callable[[Stream], Any]] = {
    (b"request", b"path"): lambda stream: stream.request.headers.path,
    (b"request", b"url_path"): lambda stream: _path_parts(stream)[0],
    (b"request", b"query"): lambda stream: _path_parts(stream)[1],
    (b"request", b"host"): lambda stream: stream.request.headers.authority,
    (b"request", b"scheme"): lambda stream: stream.request.headers.scheme,
    (b"request", b"method"): lambda stream: stream.request.headers.method,
    (b"request", b"referer"): _request(b"referer"),
    (b"request", b"useragent"): _request(b"user-agent"),
    (b"request", b"id"): _request(b"x-request-id"),
    (b"request", b"protocol"): lambda stream: stream.protocol,
    (b"request", b"headers"): lambda stream: _view(stream.request.headers),
    (b"request", b"time"): lambda stream: int(stream.start_time * 1e9),
    (b"request", b"duration"): _duration,
    (b"request", b"size"): lambda stream: stream.bytes_received,
    (b"request", b"headers_bytes"): lambda stream: stream.request.headers.byte_size(),
    (b"request", b"total_size"): lambda stream: stream.bytes_received + stream.request.headers.byte_size(),
    (b"response", b"code"): lambda stream: stream.response_code or None,
    (b"response", b"code_details"): lambda stream: stream.details or None,
    (b"response", b"flags"): lambda stream: int(stream.flags),
    (b"response", b"grpc_status"): _grpc_status,
    (b"response", b"headers"): lambda stream: _view(stream.response_headers),
    (b"response", b"trailers"): lambda stream: _view(stream.response_trailers),
    (b"response", b"size"): lambda stream: stream.bytes_sent,
    (b"response", b"headers_bytes"): _response_bytes,
    (b"response", b"total_size"): lambda stream: stream.bytes_sent + _response_bytes(stream),
    (b"source", b"address"): _remote,
    (b"source", b"port"): lambda stream: _port(_remote(stream)),
    (b"destination", b"address"): lambda stream: stream.connection.local_address,
    (b"destination", b"port"): lambda stream: _port(stream.connection.local_address),
    (b"connection", b"id"): lambda stream: stream.connection.connection_id,
    (b"connection", b"mtls"): lambda stream: (
        stream.connection.tls is not None and stream.connection.tls.has_peer
    ),
    **_tls_properties(b"connection", lambda stream: stream.connection.tls),
    **_tls_properties(b"upstream", lambda stream: stream.upstream_tls),
    (b"connection", b"transport_failure_reason"): (
        lambda stream: stream.connection.transport_failure_reason or None
    ),
    (b"connection", b"requested_server_name"): lambda stream: stream.connection.requested_server_name,
    (b"upstream", b"address"): _host,
    (b"upstream", b"port"): lambda stream: _port(_host(stream) or ""),
    (b"upstream", b"local_address"): lambda stream: stream.upstream_local_address or None,
    (b"upstream", b"transport_failure_reason"): lambda stream: stream.upstream_transport_failure or None,
    (b"upstream", b"request_attempt_count"): lambda stream: stream.attempt_count,
    (b"xds", b"cluster_name"): lambda stream: _route(stream, "cluster_name"),
    (b"xds", b"route_name"): lambda stream: _route(stream, "name"),
    (b"xds", b"route_metadata"): lambda stream: _route_metadata(stream, "metadata"),
    (b"xds", b"virtual_host_name"): lambda stream: _route(stream, "virtual_host_name"),
    (b"xds", b"virtual_host_metadata"): lambda stream: _route_metadata(stream, "virtual_host_metadata"),
    (b"xds", b"filter_chain_name"): lambda stream: stream.connection.filter_chain_name,
    (b"metadata", b"filter_metadata"): lambda stream: stream.dynamic_metadata or {},
}


def _filter_state(stream: Stream) -> dict[str, Any]:
    return stream.filter_state or {}


#: Roots with anything below them.
_ROOTS: dict[bytes, Callable[[Stream], Any]] = {
    b"filter_state": _filter_state,
    b"connection_id": lambda stream: stream.connection.connection_id,
}
