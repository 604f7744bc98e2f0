"""Whom a connection through a proxy of HTTP/1.1 asks, and when."""

from __future__ import annotations

from sidecar.core.address import Address
from sidecar.upstream.host import Host
from sidecar.upstream.http_11_proxy_socket import Http11ProxySocket
from sidecar.upstream.proxy_protocol_socket import ProxyProtocolSocket
from sidecar.upstream.transport_sockets import TransportSockets

PROXY = Address.ip("127.0.0.1", 3128)
OTHER = Address.ip("127.0.0.2", 3128)


def test_proxy_of_the_endpoint_comes_before_that_of_the_configuration() -> None:
    host = Host(Address.ip("127.0.0.1", 80))
    sockets = TransportSockets(
        None, layers=(ProxyProtocolSocket(1), Http11ProxySocket(PROXY, is_secure=False))
    )
    assert sockets.address_of(host) == PROXY
    host.http_proxy = OTHER
    assert sockets.address_of(host) == OTHER


def test_without_a_proxy_the_host_is_connected() -> None:
    host = Host(Address.ip("127.0.0.1", 80))
    assert TransportSockets(None, layers=(Http11ProxySocket(None, is_secure=True),)).address_of(host) is None
    assert TransportSockets(None).address_of(host) is None
