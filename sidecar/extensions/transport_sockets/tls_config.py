"""``envoy.transport_sockets.tls``: its messages, compiled by :mod:`sidecar.config.compile.tls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.tls import compile_downstream_tls

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.net.tls_server import TlsServer

__all__ = ["DownstreamTlsFactory"]

_TLS = "envoy.extensions.transport_sockets.tls.v3"


class DownstreamTlsFactory:
    """TLS towards clients."""

    name = "envoy.transport_sockets.tls"
    category = "envoy.transport_sockets.downstream"
    config_type = f"{_TLS}.DownstreamTlsContext"

    def compile(self, message: Any, context: FactoryContext) -> TlsServer:
        """Raises: ConfigError with a path from ``message``."""
        return compile_downstream_tls(message, context)
