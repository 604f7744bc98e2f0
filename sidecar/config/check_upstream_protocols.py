"""Which protocols a cluster may speak: what no rule expresses.  Reasons are Envoy's words (1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name, unpack

__all__ = ["check_upstream_protocols"]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_RAW_BUFFER = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_QUIC = "envoy.extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
#: Transport sockets around another one, which says what the connection can.
_WRAPPERS = frozenset(
    (
        "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
        "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport",
        "envoy.extensions.transport_sockets.tcp_stats.v3.Config",
        "envoy.extensions.transport_sockets.tap.v3.Tap",
        "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
    )
)
_USE_CONFIGURED_PROTOCOL = 0


def _innermost(socket: Any) -> str:
    """The type of a transport socket, or of the one in it."""
    packed = socket.typed_config
    while type_name(packed.type_url) in _WRAPPERS:
        message: Any = unpack(packed)
        if message is None:
            return type_name(packed.type_url)
        packed = message.transport_socket.typed_config
    return type_name(packed.type_url)


def check_upstream_protocols(context: Context, path: Path, cluster: Any) -> None:
    """One ``envoy.config.cluster.v3.Cluster``."""
    packed = cluster.typed_extension_protocol_options.get(_HTTP_OPTIONS)
    if packed is None:
        if (
            cluster.protocol_selection == _USE_CONFIGURED_PROTOCOL
            and cluster.HasField("http_protocol_options")
            and cluster.HasField("http2_protocol_options")
        ):
            context.report.error(
                (*path, "http2_protocol_options"),
                "cluster: Both HTTP1 and HTTP2 options may only be configured with non-default "
                "'protocol_selection' values",
                "protocol_selection: USE_DOWNSTREAM_PROTOCOL takes both",
            )
        return
    options: Any = unpack(packed)
    kind = None if options is None else options.WhichOneof("upstream_protocol_options")
    if kind is None:
        return
    protocols = getattr(options, kind)
    socket = _innermost(cluster.transport_socket)
    here: Path = (*path, "typed_extension_protocol_options", _HTTP_OPTIONS, kind)
    http3: Path = (*here, "http3_protocol_options")
    has_http3 = protocols.HasField("http3_protocol_options")
    error = context.report.error
    if kind == "auto_config" and has_http3 and not protocols.HasField("alternate_protocols_cache_options"):
        error(http3, "alternate protocols cache must be configured when HTTP/3 is enabled with auto_config")
    elif kind == "auto_config" and socket in ("", _RAW_BUFFER):
        error(
            here,
            f"ALPN configured for cluster {cluster.name} which has a non-ALPN transport socket",
            "explicit_http_config names the protocol, use_downstream_protocol_config takes the client's",
        )
    elif has_http3 and socket != _QUIC:
        error(http3, f"HTTP3 requires a QuicUpstreamTransport transport socket: {cluster.name}")
