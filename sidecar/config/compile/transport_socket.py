"""The transport socket of a filter chain, compiled by the factory of its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.errors import placed
from sidecar.config.compile.route_timeouts import duration_s
from sidecar.core.errors import ConfigError
from sidecar.net.tls_server import TlsServer

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.config.registry import Registry

__all__ = ["compile_transport_socket"]


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
    if not isinstance(compiled, TlsServer):
        return None  # raw_buffer
    compiled.timeout_s = duration_s(chain.transport_socket_connect_timeout)
    return compiled
