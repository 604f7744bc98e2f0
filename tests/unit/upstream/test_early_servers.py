"""Servers that speak, or leave, as soon as they are connected to: no edge of theirs is lost."""

from __future__ import annotations

import socket

import trio

from sidecar.codec.h2_types import H2Settings
from sidecar.http.upgrade import UpgradeConfig
from sidecar.router.route import CONNECT, ConnectConfig, Route
from sidecar.upstream.h2_pool import H2Pool
from tests.support.h1_lab import GET, H1Lab, open_h1_lab, table_of
from tests.support.h2_frames import GOAWAY, HEADERS, PING, SERVER_START, frame, parse
from tests.support.strands import settle


async def accept_at_once(lab: H1Lab) -> socket.socket:
    """The next connection, before the proxy has seen that it was made."""
    while True:
        try:
            return lab.upstream.accept()
        except BlockingIOError:
            await trio.lowlevel.checkpoint()


async def test_greeting_of_a_server_passes_a_tunnel_before_any_byte_of_the_client() -> None:
    async with open_h1_lab() as lab:
        route = Route(CONNECT)
        route.cluster_name = "up"
        route.connect_config = ConnectConfig()
        lab.manager.route_table = table_of(route)
        lab.manager.upgrades = {b"connect": UpgradeConfig()}
        client, _ = lab.connect()
        client.send(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n")
        server = await accept_at_once(lab)
        server.send(b"220 hello\r\n")
        await settle()
        assert client.recv(65536).endswith(b"\r\n\r\n220 hello\r\n")


async def test_server_that_leaves_at_once_is_an_answer_and_not_asked_again() -> None:
    async with open_h1_lab() as lab:
        client, _ = lab.connect()
        client.send(GET)
        (await accept_at_once(lab)).close()
        await settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert lab.counter("cluster.up.upstream_cx_total") == 1
        assert not lab.upstream.has_connection()


async def test_connection_that_nobody_wants_any_more_is_not_kept_when_its_server_has_left() -> None:
    async with open_h1_lab() as lab:
        client, driven = lab.connect()
        client.send(GET)
        server = await accept_at_once(lab)
        client.close()
        server.close()
        await settle()
        assert driven.is_over
        assert not lab.gauges()


# -- HTTP/2 ----------------------------------------------------------------------------------------
def use_http2(lab: H1Lab) -> None:
    lab.host.pool = H2Pool(lab.lab.reactor, lab.cluster, lab.host)


async def test_http2_server_that_leaves_at_once_is_an_answer_and_not_asked_again() -> None:
    async with open_h1_lab() as lab:
        use_http2(lab)
        clients = [lab.connect()[0] for _ in range(3)]
        for client in clients:
            client.send(GET)
        (await accept_at_once(lab)).close()
        await settle()
        for client in clients:
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert answer.endswith(b"reset reason: connection termination")
        assert lab.counter("cluster.up.upstream_cx_total") == 1
        assert not lab.upstream.has_connection()
        assert lab.host.cx_active == lab.host.rq_active == 0


async def test_http2_server_that_leaves_at_once_is_asked_again_by_the_next_request_alone() -> None:
    async with open_h1_lab(http2_settings=H2Settings(max_concurrent_streams=1)) as lab:
        use_http2(lab)
        clients = [lab.connect()[0] for _ in range(3)]
        for client in clients:
            client.send(GET)
        for _ in clients:
            (await accept_at_once(lab)).close()
            await settle()
        for client in clients:
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert lab.counter("cluster.up.upstream_cx_total") == 3
        assert not lab.upstream.has_connection()


async def test_http2_connection_that_nobody_wants_any_more_is_not_kept_when_its_server_has_left() -> None:
    async with open_h1_lab() as lab:
        use_http2(lab)
        client, driven = lab.connect()
        client.send(GET)
        server = await accept_at_once(lab)
        client.close()
        server.close()
        await settle()
        assert driven.is_over
        assert not lab.gauges()


async def test_what_an_http2_server_says_first_is_heard_at_once() -> None:
    async with open_h1_lab() as lab:
        use_http2(lab)
        client, _ = lab.connect()
        client.send(GET)
        server = await accept_at_once(lab)
        server.send(SERVER_START + frame(PING, 0, 0, b"12345678"))
        await settle()
        heard = parse(server.recv(65536))
        assert [kind for kind, flags, _, _ in heard if kind == HEADERS]
        assert (PING, 1, 0, b"12345678") in heard


async def test_http2_server_that_says_goaway_and_leaves_at_once_is_not_asked_again() -> None:
    async with open_h1_lab() as lab:
        use_http2(lab)
        client, _ = lab.connect()
        client.send(GET)
        server = await accept_at_once(lab)
        server.send(SERVER_START + frame(GOAWAY, 0, 0, bytes(8)))
        server.close()
        await settle()
        assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
        assert lab.counter("cluster.up.upstream_cx_total") == 1
        assert lab.host.cx_active == 0
