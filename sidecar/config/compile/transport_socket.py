"""Transport sockets of filter chains and clusters, compiled by the factories of their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from sidecar.config.compile.errors import placed
from sidecar.config.compile.http_11_proxy import compile_http_11_proxy
from sidecar.config.compile.proxy_protocol import compile_proxy_protocol
from sidecar.config.compile.route_timeouts import duration_s
from sidecar.config.registry import resolve_any
from sidecar.core.errors import ConfigError
from sidecar.upstream.transport_sockets import Layer, RequestNames, SocketMatch, TransportSockets

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry
    from sidecar.net.tls_client import TlsClient
    from sidecar.net.tls_server import TlsServer

__all__ = ["compile_request_names", "compile_transport_socket", "compile_transport_sockets"]

_PROXY_PROTOCOL = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_HTTP_11_PROXY = "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"
_UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def compile_transport_socket(chain: Any, context: FactoryContext, registry: Registry) -> TlsServer | None:
    """Of ``envoy.config.listener.v3.FilterChain`` at the context's path; None for bytes as they are.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    if not chain.HasField("transport_socket") or not chain.transport_socket.typed_config.type_url:
        return None
    inside = context.at("transport_socket.typed_config")
    found = registry.find(chain.transport_socket.typed_config)
    if found is None:
        return None  # one that is still to come: the loader refused to serve it
    try:
        compiled = found[0].compile(found[1], inside)
    except ConfigError as error:
        raise placed(error, inside.path) from error
    from sidecar.net.tls_server import TlsServer

    if not isinstance(compiled, TlsServer):
        return None  # raw_buffer
    compiled.timeout_s = duration_s(chain.transport_socket_connect_timeout)
    return compiled


def compile_transport_sockets(cluster: Any, context: FactoryContext) -> TransportSockets | None:
    """Of ``envoy.config.cluster.v3.Cluster`` at the context's path; None where all bytes go as they are.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    default: TlsClient | None = None
    layers: tuple[Layer, ...] = ()
    if cluster.HasField("transport_socket"):
        default, layers = _client(cluster.transport_socket, context.at("transport_socket.typed_config"))
    matches = []
    for index, each in enumerate(cluster.transport_socket_matches):
        at = context.at(f"transport_socket_matches[{index}].transport_socket.typed_config")
        client, own = _client(each.transport_socket, at)
        matches.append(SocketMatch(each.name, json_format.MessageToDict(each.match), client, own))
    sockets = TransportSockets(default, matches, layers)
    return sockets if sockets.clients or sockets.has_layers else None


def _client(socket: Any, context: FactoryContext) -> tuple[TlsClient | None, tuple[Layer, ...]]:
    """The TLS of a transport socket, where it ends in TLS, and what is wrapped around."""
    name, found = resolve_any(socket.typed_config)
    message: Any = found
    try:
        if name == _UPSTREAM_TLS and message is not None:
            from sidecar.config.compile.tls import compile_upstream_tls

            return compile_upstream_tls(message, context), ()
        if name == _PROXY_PROTOCOL and message is not None:
            layer = compile_proxy_protocol(message, context)
            client, layers = _client(message.transport_socket, context.at("transport_socket.typed_config"))
            return client, (layer, *layers)
        if name == _HTTP_11_PROXY and message is not None:
            client, layers = _client(message.transport_socket, context.at("transport_socket.typed_config"))
            proxy = compile_http_11_proxy(message, context, is_secure=client is not None)
            return client, (proxy, *layers)
    except ConfigError as error:
        raise placed(error, context.path) from error
    return None, ()  # raw_buffer, or one that is still to come: the loader refused to serve it


def compile_request_names(message: Any) -> RequestNames | None:
    """``envoy.config.core.v3.UpstreamHttpProtocolOptions``; None where it asks for nothing."""
    if not message.auto_sni and not message.auto_san_validation:
        return None
    return RequestNames(
        message.auto_sni, message.auto_san_validation, message.override_auto_sni_header.lower().encode()
    )
