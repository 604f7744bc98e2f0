"""Addresses that connections are made to, compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.core.address import Address, is_ip
from sidecar.core.errors import ConfigError

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_address"]


def compile_address(message: Any, context: FactoryContext, path: str) -> Address:
    """An ``envoy.config.core.v3.Address`` that needs no name service.  Raises: ConfigError."""
    kind = message.WhichOneof("address")
    if kind == "pipe":
        return Address.pipe(message.pipe.path)
    if kind != "socket_address":
        raise _error(context, path, f"{kind or 'an empty address'} is not supported here")
    socket_address = message.socket_address
    if socket_address.WhichOneof("port_specifier") == "named_port":
        raise _error(context, f"{path}.socket_address.named_port", "give the port_value instead")
    if not is_ip(socket_address.address):
        raise _error(
            context, f"{path}.socket_address.address", f"malformed IP address: {socket_address.address}"
        )
    return Address.ip(socket_address.address, socket_address.port_value)


def _error(context: FactoryContext, path: str, reason: str) -> ConfigError:
    return ConfigError(f"{context.path}.{path}" if context.path else path, reason)
