"""Proxies of HTTP/1.1 in front of hosts: ``Http11ProxyUpstreamTransport`` and what endpoints name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sidecar.config.compile.addresses import compile_address
from sidecar.config.messages import unpack
from sidecar.core.address import Address, is_ip
from sidecar.upstream.http_11_proxy_socket import Http11ProxySocket

if TYPE_CHECKING:
    from sidecar.api.context import FactoryContext

__all__ = ["compile_http_11_proxy", "compile_http_proxy"]

_KEY = "envoy.http11_proxy_transport_socket.proxy_address"
_ADDRESS = "envoy.config.core.v3.Address"


def compile_http_11_proxy(message: Any, context: FactoryContext, *, is_secure: bool) -> Http11ProxySocket:
    """The layer of a ``Http11ProxyUpstreamTransport``; ``is_secure``: TLS is in it.

    Raises: ConfigError with a path from the bootstrap's root.
    """
    address = None
    if message.HasField("default_proxy_address"):
        address = compile_address(message.default_proxy_address, context, "default_proxy_address")
    return Http11ProxySocket(address, is_secure=is_secure)


def compile_http_proxy(metadata: Any) -> Address | None:
    """The proxy that an endpoint's metadata names; what is no address counts for nothing."""
    packed = metadata.typed_filter_metadata.get(_KEY)
    if packed is None or packed.type_url.rpartition("/")[2] != _ADDRESS:
        return None
    found: Any = unpack(packed)
    if found is None or found.WhichOneof("address") != "socket_address":
        return None
    address = found.socket_address
    return Address.ip(address.address, address.port_value) if is_ip(address.address) else None
