"""Transport sockets in front of others: the compilers of clusters open what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.http_11_proxy import compile_http_11_proxy
from sidecar.config.compile.proxy_protocol import compile_proxy_protocol

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.upstream.http_11_proxy_socket import Http11ProxySocket
    from sidecar.upstream.proxy_protocol_socket import ProxyProtocolSocket

__all__ = ["Http11ProxyFactory", "UpstreamProxyProtocolFactory"]


class Http11ProxyFactory:
    """A proxy of HTTP/1.1 in front of hosts."""

    name = "envoy.transport_sockets.http_11_proxy"
    category = "envoy.transport_sockets.upstream"
    config_type = "envoy.extensions.transport_sockets.http_11_proxy.v3.Http11ProxyUpstreamTransport"

    def compile(self, message: Any, context: FactoryContext) -> Http11ProxySocket:
        """The layer alone.  Raises: ConfigError."""
        return compile_http_11_proxy(message, context, is_secure=False)


class UpstreamProxyProtocolFactory:
    """The PROXY protocol in front of another transport socket."""

    name = "envoy.transport_sockets.upstream_proxy_protocol"
    category = "envoy.transport_sockets.upstream"
    config_type = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"

    def compile(self, message: Any, context: FactoryContext) -> ProxyProtocolSocket:
        """The layer alone.  Raises: ConfigError with a path from ``message``."""
        return compile_proxy_protocol(message, context)
