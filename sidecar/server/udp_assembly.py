"""From the message of a UDP listener to its filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.api.udp import UdpFilter, UdpFilterRecipe
from sidecar.config.compile.udp_socket import compile_udp_socket
from sidecar.server.listener_filter_factory import compile_entry

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext
    from sidecar.api.network import ServerParts
    from sidecar.config.registry import Registry
    from sidecar.net.datagrams import DatagramSettings

__all__ = ["compile_downstream_socket", "compile_udp_filters"]


def compile_udp_filters(
    listener: Any, context: FactoryContext, registry: Registry, parts: ServerParts
) -> list[UdpFilter]:
    """The ``listener_filters`` of a UDP listener.  Raises: ConfigError."""
    filters: list[UdpFilter] = []
    for index, message in enumerate(listener.listener_filters):
        at = context.at(f"listener_filters[{index}].typed_config")
        compiled = compile_entry(message, at, registry, UdpFilterRecipe, "filter of UDP listeners")
        if compiled is not None:
            filters.append(compiled.build_udp(parts))
    return filters


def compile_downstream_socket(listener: Any) -> DatagramSettings:
    """``udp_listener_config.downstream_socket_config``."""
    return compile_udp_socket(listener.udp_listener_config.downstream_socket_config, prefer_gro=False)
