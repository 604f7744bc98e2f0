"""The PROXY protocol towards hosts; :mod:`sidecar.config.compile.proxy_protocol` compiles its message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.proxy_protocol import compile_proxy_protocol

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.upstream.proxy_protocol_socket import ProxyProtocolSocket

__all__ = ["UpstreamProxyProtocolFactory"]


class UpstreamProxyProtocolFactory:
    """The PROXY protocol in front of another transport socket."""

    name = "envoy.transport_sockets.upstream_proxy_protocol"
    category = "envoy.transport_sockets.upstream"
    config_type = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

    def compile(self, message: Any, context: FactoryContext) -> ProxyProtocolSocket:
        """The layer alone.  Raises: ConfigError with a path from ``message``."""
        return compile_proxy_protocol(message, context)
