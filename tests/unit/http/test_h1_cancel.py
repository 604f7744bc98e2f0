"""Cancel an HTTP/1 exchange at every place where it waits: nothing may leak."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Stream
from sidecar.http.upgrade import UpgradeConfig
from sidecar.router.route import CONNECT as CONNECT_KIND
from sidecar.router.route import PREFIX, ConnectConfig, Route
from sidecar.upstream.resources import CircuitBreakerLimits
from sidecar.upstream.tcp_pool import TcpPool
from tests.support.h1_lab import GET, OK, H1Lab, open_h1_lab, table_of
from tests.support.strands import Driven, settle

CHUNKED_POST = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n"


class CancelAt:
    """A coroutine that cancels its owner when it waits for the n-th time, or right after it began to."""

    def __init__(self, coroutine: Any, number: int, cancel: Callable[[], None], *, inside: bool) -> None:
        self._coroutine = coroutine
        self._number = number
        self._cancel = cancel
        self._inside = inside
        self.waits = 0

    def send(self, value: Any) -> Any:
        return self._count(self._coroutine.send(value))

    def throw(self, error: BaseException) -> Any:
        return self._count(self._coroutine.throw(error))

    def close(self) -> None:
        self._coroutine.close()

    def _count(self, trap: Any) -> Any:
        self.waits += 1
        if self.waits == self._number:
            if self._inside:
                self._cancel()
            else:
                trio.lowlevel.current_trio_token().run_sync_soon(self._cancel)
        return trap


class Waits(HttpFilter):
    """Has to wait in both hooks."""

    async def decode_headers(self, stream: Stream) -> LocalReply | None:
        await trio.lowlevel.checkpoint()
        return None

    async def encode_headers(self, stream: Stream) -> LocalReply | None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
        return None


class Conversation:
    """Both peers of one connection; whatever the proxy does, they play their part and never fail."""

    def __init__(self, lab: H1Lab, client: socket.socket) -> None:
        self.lab = lab
        self.client = client
        self.server: socket.socket | None = None

    async def tell(self, data: bytes) -> None:
        self._try(self.client.send, data)
        await settle()

    async def answer(self, data: bytes) -> None:
        if self.server is None:
            try:
                self.server = self.lab.upstream.accept()
            except BlockingIOError:
                return
        self.drain(self.server)
        self._try(self.server.send, data)
        await settle()

    def drain(self, sock: socket.socket | None) -> int:
        size = 0
        while sock is not None:
            data = self._try(sock.recv, 1 << 20)
            if not data:
                break
            size += len(data)
        return size

    @staticmethod
    def _try(call: Callable[..., Any], argument: Any) -> Any:
        try:
            return call(argument)
        except OSError:
            return None


async def plain(talk: Conversation) -> None:
    await talk.tell(GET)
    await talk.answer(OK)


async def keep_alive(talk: Conversation) -> None:
    for _ in range(3):
        await talk.tell(GET)
        await talk.answer(OK)


async def pipelined(talk: Conversation) -> None:
    await talk.tell(GET * 20)
    for _ in range(20):
        await talk.answer(OK)


async def streaming_request(talk: Conversation) -> None:
    await talk.tell(CHUNKED_POST)
    for _ in range(3):
        await talk.tell(b"3\r\nabc\r\n")
    await talk.tell(b"0\r\n\r\n")
    await talk.answer(OK)


async def answered_before_the_request_ended(talk: Conversation) -> None:
    await talk.tell(CHUNKED_POST)
    await talk.tell(b"3\r\nabc\r\n")
    await talk.answer(OK)


async def large_request_to_a_slow_upstream(talk: Conversation) -> None:
    await talk.tell(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2000000\r\n\r\n")
    for _ in range(40):
        await talk.tell(bytes(50_000))
    for _ in range(40):
        await talk.answer(b"")
        await talk.tell(bytes(50_000))
    await talk.answer(OK)


async def large_response_to_a_slow_client(talk: Conversation) -> None:
    await talk.tell(GET)
    await talk.answer(LONG)
    for _ in range(60):
        await talk.answer(bytes(50_000))
        talk.drain(talk.client)
        await settle()


async def response_in_pieces(talk: Conversation) -> None:
    await talk.tell(GET)
    await talk.answer(b"HTTP/1.1 200 OK\r\ntransfer-")
    await talk.answer(b"encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await talk.answer(b"3\r\ndef\r\n")
    await talk.answer(b"0\r\n\r\n")


async def tunnel(talk: Conversation) -> None:
    await talk.tell(UPGRADE + b"early")
    await talk.answer(SWITCHED + b"first")
    for _ in range(3):
        await talk.tell(b"ping")
        await talk.answer(b"pong")


async def tunnel_that_the_client_ends(talk: Conversation) -> None:
    await tunnel(talk)
    talk.client.close()
    await settle()


async def tunnel_that_the_upstream_ends(talk: Conversation) -> None:
    await tunnel(talk)
    if talk.server is not None:
        talk.server.close()
    await settle()


async def tunnel_of_slow_peers(talk: Conversation) -> None:
    await talk.tell(UPGRADE)
    await talk.answer(SWITCHED)
    for _ in range(40):
        talk._try(talk.client.send, bytes(50_000))
        if talk.server is not None:
            talk._try(talk.server.send, bytes(50_000))
        await settle()
    for _ in range(60):
        talk.drain(talk.client)
        talk.drain(talk.server)
        await settle()


async def upgrade_that_the_upstream_refuses(talk: Conversation) -> None:
    await talk.tell(UPGRADE + b"early")
    await talk.answer(b"HTTP/1.1 403 No\r\ncontent-length: 4\r\n\r\nbo")
    await talk.answer(b"dy")


async def upgrade_that_the_upstream_answers_with_200(talk: Conversation) -> None:
    await talk.tell(UPGRADE)
    await talk.answer(OK)


async def connect_that_ends_here(talk: Conversation) -> None:
    await talk.tell(CONNECT + b"early")
    for _ in range(3):
        await talk.tell(b"ping")
        await talk.answer(b"pong")


SCENES = [
    tunnel,
    tunnel_that_the_client_ends,
    tunnel_that_the_upstream_ends,
    tunnel_of_slow_peers,
    upgrade_that_the_upstream_refuses,
    upgrade_that_the_upstream_answers_with_200,
    connect_that_ends_here,
    plain,
    keep_alive,
    pipelined,
    streaming_request,
    answered_before_the_request_ended,
    large_request_to_a_slow_upstream,
    large_response_to_a_slow_client,
    response_in_pieces,
]


async def play(
    scene: Callable[[Conversation], Awaitable[None]], number: int, *, inside: bool, filters: bool
) -> int:
    """Play ``scene``, cancel at the given wait, check that all is as before; the waits that there were."""
    limits = CircuitBreakerLimits(max_connections=1, max_pending_requests=1)
    async with open_h1_lab(default_limits=limits) as lab:
        connect, plain = Route(CONNECT_KIND), Route(PREFIX, b"/")
        connect.cluster_name = plain.cluster_name = "up"
        connect.connect_config = ConnectConfig()
        lab.manager.route_table = table_of(connect, plain)
        lab.manager.upgrades = {b"websocket": UpgradeConfig(), b"connect": UpgradeConfig()}
        if filters:
            lab.manager.set_filters((Waits(),))
        wrapped: list[CancelAt] = []

        def wrap(coroutine: Any) -> CancelAt:
            wrapped.append(CancelAt(coroutine, number, lambda: driven.scope.cancel(), inside=inside))
            return wrapped[0]

        driven: Driven
        client, driven = lab.connect(wrap=wrap)
        talk = Conversation(lab, client)
        await scene(talk)
        waits = wrapped[0].waits
        driven.scope.cancel()
        await settle()
        assert driven.is_over
        assert driven.error is None, f"cancelled at {number}"
        where = f"{scene.__name__} cancelled at wait {number}"
        # No strand is left but those that belong to nobody's request: there are none.
        assert not lab.lab.reactor.strands, where
        active = lab.gauges()
        connections = active.pop("cluster.up.upstream_cx_active", 0)
        assert active == {}, where
        assert (lab.host.rq_active, lab.host.rq_pending_active) == (0, 0), where
        assert lab.host.cx_active == connections, where
        assert connections <= 1, where
        total = lab.counter("http.test.downstream_cx_total")
        assert lab.counter("http.test.downstream_cx_destroy") == total == 1, where
        # The pool has its slot back: with one connection allowed, the next request is served.
        second, _ = lab.connect()
        second.send(GET)
        await settle()
        server = talk.server
        if not connections or server is None or any(isinstance(each, TcpPool) for each in lab.host.pools):
            server = newest_connection(lab, talk.server)
        assert b"GET / HTTP/1.1" in server.recv(65536), where
        server.send(OK)
        await settle()
        assert second.recv(65536).endswith(b"ok"), where
        return waits


def newest_connection(lab: H1Lab, known: socket.socket | None) -> socket.socket:
    found = known
    while True:
        try:
            found = lab.upstream.accept()
        except BlockingIOError:
            assert found is not None
            return found


@pytest.mark.parametrize("filters", [False, True], ids=["plain", "filters"])
@pytest.mark.parametrize("inside", [True, False], ids=["inside", "after"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_exchange_cancelled_at_any_wait_leaks_nothing(
    scene: Callable[[Conversation], Awaitable[None]], inside: bool, filters: bool
) -> None:
    waits = await play(scene, 0, inside=inside, filters=filters)
    assert waits >= 2
    # Long relays wait many times in the same place: look at the first, the last and some between.
    numbers = list(range(1, min(waits, 30) + 1)) + list(range(31, waits + 1, max(1, waits // 10)))
    for number in numbers:
        await play(scene, number, inside=inside, filters=filters)
