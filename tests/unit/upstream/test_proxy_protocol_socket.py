"""Whose connection a host is told it gets."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.core.address import Address
from sidecar.net.peer_options import ClientEnds, PeerOptions
from sidecar.observability.stats import Counter, Store
from sidecar.upstream.host import Host
from sidecar.upstream.proxy_header import LOCAL_HEADER, write_tlvs
from sidecar.upstream.proxy_protocol_socket import ProxyProtocolSocket
from sidecar.upstream.transport_sockets import TransportSockets

CLIENT = ClientEnds("192.0.2.7:4711", "10.9.9.9:443", ((1, b"a"), (2, b"b")))


class _Transport:
    def __init__(self) -> None:
        self.sent = b""
        self.sock = SimpleNamespace(family=socket.AF_INET, getsockname=lambda: ("127.0.0.1", 5))

    async def send_all(self, data: bytes) -> None:
        self.sent += data


async def _sent(layer: ProxyProtocolSocket, client: ClientEnds | None, host: Host | None = None) -> bytes:
    transport: Any = _Transport()
    host = host or Host(Address.ip("127.0.0.1", 80))
    sent = Counter("sent")
    await layer.prepare(transport, host, PeerOptions(client=client), sent)
    assert sent.value == len(transport.sent)
    return bytes(transport.sent)


async def test_client_of_a_unix_socket_is_nobody_that_could_be_told() -> None:
    client = ClientEnds("/tmp/socket", "/tmp/socket")
    assert await _sent(ProxyProtocolSocket(1), client) == b"PROXY UNKNOWN\r\n"
    assert await _sent(ProxyProtocolSocket(2), client) == LOCAL_HEADER


async def test_connection_of_the_proxys_own_tells_its_ends_or_none() -> None:
    assert await _sent(ProxyProtocolSocket(1), None) == b"PROXY TCP4 127.0.0.1 127.0.0.1 5 80\r\n"
    assert await _sent(ProxyProtocolSocket(2, added=((9, b"x"),)), None) == LOCAL_HEADER


async def test_type_that_the_host_has_is_told_by_nobody_else() -> None:
    host = Host(Address.ip("127.0.0.1", 80))
    host.proxy_tlvs = ((1, b"host"),)
    sent = await _sent(ProxyProtocolSocket(2, passes=None, added=((1, b"x"), (3, b"y"))), CLIENT, host)
    tlvs, _ = write_tlvs(((1, b"host"), (3, b"y"), (2, b"b")))
    assert sent.endswith(tlvs)
    assert b"a" not in sent[28:]


async def test_tlv_without_room_is_left_out_and_counted() -> None:
    store = Store()
    layer = ProxyProtocolSocket(2, added=((1, b"x" * 40000), (2, b"y" * 40000), (3, b"z")))
    layer.set_scope(store.scope("cluster.app"))
    sent = await _sent(layer, CLIENT)
    assert sent.endswith(b"\x03\0\x01z")
    assert b"y" not in sent
    assert store.counter("cluster.app.upstream.proxyprotocol.v2_tlvs_exceed_max_length").value == 1


@pytest.mark.parametrize("remote", ["", "192.0.2.7:4711"])
def test_only_who_is_told_has_pools_by_client(remote: str) -> None:
    connection = SimpleNamespace(
        remote_address=remote, local_address="10.9.9.9:443", proxy_protocol_tlvs=CLIENT.tlvs
    )
    host = Host(Address.ip("127.0.0.1", 80))
    told = TransportSockets(None, layers=(ProxyProtocolSocket(2),)).client_ends(host, connection)
    assert (told is not None) is bool(remote)
    assert TransportSockets(None).client_ends(host, connection) is None


def test_tlvs_do_not_tell_two_clients_apart() -> None:
    other = ClientEnds(CLIENT.source, CLIENT.destination)
    assert other == CLIENT
    assert hash(other) == hash(CLIENT)
