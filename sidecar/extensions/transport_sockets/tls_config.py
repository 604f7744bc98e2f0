"""``envoy.transport_sockets.tls``: its messages, compiled by :mod:`sidecar.config.compile.tls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.tls import compile_downstream_tls, compile_upstream_tls

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.net.tls_client import TlsClient
    from sidecar.net.tls_server import TlsServer

__all__ = ["DownstreamTlsFactory", "RawBufferFactory", "UpstreamTlsFactory"]

_TLS = "envoy.extensions.transport_sockets.tls.v3"


class DownstreamTlsFactory:
    """TLS towards clients."""

    name = "envoy.transport_sockets.tls"
    category = "envoy.transport_sockets.downstream"
    config_type = f"{_TLS}.DownstreamTlsContext"

    def compile(self, message: Any, context: FactoryContext) -> TlsServer:
        """Raises: ConfigError with a path from ``message``."""
        return compile_downstream_tls(message, context)


class UpstreamTlsFactory:
    """TLS towards upstreams."""

    name = "envoy.transport_sockets.tls"
    category = "envoy.transport_sockets.upstream"
    config_type = f"{_TLS}.UpstreamTlsContext"

    def compile(self, message: Any, context: FactoryContext) -> TlsClient:
        """Raises: ConfigError with a path from ``message``."""
        return compile_upstream_tls(message, context)


class RawBufferFactory:
    """Bytes as they are, said aloud; either way."""

    name = "envoy.transport_sockets.raw_buffer"
    category = "envoy.transport_sockets.downstream"
    config_type = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"

    def compile(self, message: Any, context: FactoryContext) -> None:
        return None
