"""A slow peer of a tunnel stops the other one: what is under way has a limit."""

from __future__ import annotations

import socket

import pytest

from sidecar.http.upgrade import UpgradeConfig
from tests.support.h1_lab import open_h1_lab
from tests.support.strands import settle

UPGRADE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
#: Buffers of four sockets and a chunk in the proxy.
LIMIT = 4 << 20


async def fill(sender: socket.socket) -> int:
    """Send until nothing goes any more; how much went."""
    size = 0
    while size < 8 * LIMIT:
        try:
            size += sender.send(bytes(65536))
        except BlockingIOError:
            before = size
            await settle()
            try:
                size += sender.send(bytes(65536))
            except BlockingIOError:
                if size == before:
                    return size
    return size


async def drain(receiver: socket.socket) -> int:
    """Receive until nothing comes any more; how much came."""
    size = 0
    while True:
        try:
            data = receiver.recv(1 << 20)
        except BlockingIOError:
            await settle()
            try:
                data = receiver.recv(1 << 20)
            except BlockingIOError:
                return size
        size += len(data)


@pytest.mark.parametrize("towards", ["upstream", "client"])
async def test_slow_peer_of_a_tunnel_stops_the_other_and_gets_all(towards: str) -> None:
    async with open_h1_lab() as lab:
        lab.manager.upgrades = {b"websocket": UpgradeConfig()}
        client, driven = lab.connect()
        client.send(UPGRADE)
        await settle()
        server = lab.upstream.accept()
        assert server.recv(65536).endswith(b"\r\n\r\n")
        server.send(SWITCHED)
        await settle()
        assert client.recv(65536).endswith(b"\r\n\r\n")
        sender, receiver = (client, server) if towards == "upstream" else (server, client)
        sent = await fill(sender)
        assert 0 < sent < LIMIT
        # The other direction is not held up.
        receiver.send(b"here")
        await settle()
        assert sender.recv(65536) == b"here"
        assert await drain(receiver) == sent
        assert not driven.is_over
        client.close()
        await settle()
        assert driven.is_over
        assert not lab.gauges()
