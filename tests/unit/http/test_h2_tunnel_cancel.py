"""Cancel a connection with HTTP/2 tunnels whenever one of its strands waits: nothing may leak."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Stream
from sidecar.codec.h2_types import H2Settings
from sidecar.http.upgrade import UpgradeConfig
from sidecar.net.reactor import Reactor
from sidecar.router.route import CONNECT as CONNECT_KIND
from sidecar.router.route import PREFIX, ConnectConfig, Route
from sidecar.upstream.h2_pool import H2Pool
from sidecar.upstream.resources import CircuitBreakerLimits
from tests.support.h1_lab import GET, OK, H1Lab, open_h1_lab, table_of
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    RST,
    frame,
    headers,
    request,
    settings,
    u32,
)
from tests.support.strands import Driven, settle

WINDOW_UPDATE = 8
WEBSOCKET = (
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":authority", b"a"),
    (b":path", b"/"),
)
CONNECT = ((b":method", b"CONNECT"), (b":authority", b"a:1"))
SWITCHED = b"HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
#: ENABLE_CONNECT_PROTOCOL.
SERVER_START = settings((8, 1))
ACCEPTED = ((b":status", b"200"),)


class Countdown:
    """Cancels when it is told of the n-th wait, or right after."""

    def __init__(self, number: int, *, inside: bool) -> None:
        self._number = number
        self._inside = inside
        self.cancel: Callable[[], object] = int
        self.waits = 0

    def count(self, trap: Any) -> Any:
        self.waits += 1
        if self.waits == self._number:
            if self._inside:
                self.cancel()
            else:
                trio.lowlevel.current_trio_token().run_sync_soon(self.cancel)
        return trap


class Counted:
    """A coroutine whose waits are counted."""

    def __init__(self, coroutine: Any, countdown: Countdown) -> None:
        self._coroutine = coroutine
        self._countdown = countdown

    def send(self, value: Any) -> Any:
        return self._countdown.count(self._coroutine.send(value))

    def throw(self, error: BaseException) -> Any:
        return self._countdown.count(self._coroutine.throw(error))

    def close(self) -> None:
        self._coroutine.close()


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

    def __init__(self, lab: H1Lab, client: socket.socket, *, http2: bool) -> None:
        self.lab = lab
        self.client = client
        self.servers: list[socket.socket] = []
        #: Whether the upstream speaks HTTP/2.
        self.http2 = http2

    async def tell(self, *data: bytes) -> None:
        _attempt(self.client.send, b"".join(data))
        await settle()
        drain(self.client)

    async def open(self, stream_id: int = 1, *more: bytes, head: Any = WEBSOCKET) -> None:
        """Ask for a tunnel."""
        start = CLIENT_START if stream_id == 1 else b""
        await self.tell(start, headers(stream_id, *head, flags=END_HEADERS), *more)
        try:
            self.servers.append(self.lab.upstream.accept())
        except BlockingIOError:
            return
        if self.http2:
            await self.answer(SERVER_START)

    async def accept(self, more: bytes = b"", *, stream_id: int = 1) -> None:
        if self.http2:
            data = frame(DATA, 0, stream_id, more) if more else b""
            await self.answer(headers(stream_id, *ACCEPTED, flags=END_HEADERS) + data)
        else:
            await self.answer(SWITCHED + more)

    async def say(self, data: bytes, *, stream_id: int = 1) -> None:
        await self.answer(frame(DATA, 0, stream_id, data) if self.http2 else data)

    async def answer(self, data: bytes) -> None:
        if self.servers:
            drain(self.servers[-1])
            _attempt(self.servers[-1].send, data)
            await settle()


def _attempt(call: Callable[..., Any], argument: Any) -> Any:
    try:
        return call(argument)
    except OSError:
        return None


def drain(sock: socket.socket) -> None:
    while _attempt(sock.recv, 1 << 20):
        pass


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


async def tunnel(talk: Conversation) -> None:
    await talk.open(1, data(1, b"early"))
    await talk.accept(b"first")
    for _ in range(3):
        await talk.tell(data(1, b"ping"))
        await talk.say(b"pong")


async def tunnel_that_the_client_ends(talk: Conversation) -> None:
    await tunnel(talk)
    await talk.tell(data(1, b"last", end=True))
    await talk.say(b"last")


async def tunnel_that_the_client_resets(talk: Conversation) -> None:
    await tunnel(talk)
    await talk.tell(frame(RST, 0, 1, u32(8)))


async def tunnel_whose_client_goes(talk: Conversation) -> None:
    await tunnel(talk)
    talk.client.close()
    await settle()


async def tunnel_that_the_upstream_ends(talk: Conversation) -> None:
    await tunnel(talk)
    if talk.http2:
        await talk.answer(frame(DATA, END_STREAM, 1, b"last"))
        await talk.tell(data(1, b"", end=True))
    elif talk.servers:
        talk.servers[-1].close()
        await settle()


async def tunnel_that_the_upstream_resets(talk: Conversation) -> None:
    await tunnel(talk)
    if talk.http2:
        await talk.answer(frame(RST, 0, 1, u32(8)))
    elif talk.servers:
        talk.servers[-1].close()
        await settle()


async def tunnel_of_slow_peers(talk: Conversation) -> None:
    await talk.open()
    await talk.accept()
    for _ in range(20):
        _attempt(talk.client.send, data(1, bytes(16_000)))
        if talk.servers:
            part = bytes(16_000)
            _attempt(talk.servers[-1].send, data(1, part) if talk.http2 else part)
        await settle()
    for _ in range(20):
        update = b"".join(frame(WINDOW_UPDATE, 0, number, u32(20_000)) for number in (0, 1))
        await talk.tell(update)
        await talk.answer(update if talk.http2 else b"")


async def upgrade_that_the_upstream_refuses(talk: Conversation) -> None:
    await talk.open(1, data(1, b"early"))
    if talk.http2:
        await talk.answer(headers(1, (b":status", b"403"), flags=END_HEADERS) + data(1, b"bo"))
        await talk.answer(frame(DATA, END_STREAM, 1, b"dy"))
    else:
        await talk.answer(b"HTTP/1.1 403 No\r\ncontent-length: 4\r\n\r\nbo")
        await talk.answer(b"dy")


async def connect_that_ends_here(talk: Conversation) -> None:
    talk.http2 = False  # the bytes themselves
    await talk.open(1, data(1, b"early"), head=CONNECT)
    for _ in range(3):
        await talk.tell(data(1, b"ping"))
        await talk.answer(b"pong")
    if talk.servers:
        talk.servers[-1].close()
        await settle()


async def several_tunnels(talk: Conversation) -> None:
    for stream_id in (1, 3, 5):
        await talk.open(stream_id, data(stream_id, b"early"))
        await talk.accept(b"first", stream_id=stream_id)
    await talk.tell(request(7))
    await talk.tell(data(3, b"ping"), frame(RST, 0, 1, u32(8)), data(5, b"last", end=True))
    await talk.say(b"pong", stream_id=5)


SCENES = [
    tunnel,
    tunnel_that_the_client_ends,
    tunnel_that_the_client_resets,
    tunnel_whose_client_goes,
    tunnel_that_the_upstream_ends,
    tunnel_that_the_upstream_resets,
    tunnel_of_slow_peers,
    upgrade_that_the_upstream_refuses,
    connect_that_ends_here,
    several_tunnels,
]


async def play(
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[Conversation], Awaitable[None]],
    number: int,
    *,
    inside: bool,
    http2: bool,
    filters: bool,
) -> int:
    """Play ``scene``, cancel at the given wait, check that all is as before; the waits that there were."""
    limits = CircuitBreakerLimits(max_connections=4, max_pending_requests=4)
    window = H2Settings(
        allow_connect=True, initial_stream_window_size=65535, initial_connection_window_size=65535
    )
    async with open_h1_lab(default_limits=limits, http2_settings=window) as lab:
        reactor = lab.lab.reactor
        if http2:
            lab.host.pool = H2Pool(reactor, lab.cluster, lab.host)
        connect, plain = Route(CONNECT_KIND), Route(PREFIX, b"/")
        connect.cluster_name = plain.cluster_name = "up"
        connect.connect_config = ConnectConfig()
        lab.manager.route_table = table_of(connect, plain)
        lab.manager.upgrades = {b"websocket": UpgradeConfig(), b"connect": UpgradeConfig()}
        lab.manager.http2_settings = window
        if filters:
            lab.manager.set_filters((Waits(),))
        countdown = Countdown(number, inside=inside)
        spawn = Reactor.spawn

        def wrap(coroutine: Any) -> Any:
            return Counted(coroutine, countdown)

        def counted(reactor: Reactor, name: str, body: Any, **options: Any) -> Any:
            if name.startswith("read from"):  # outlives the client
                return spawn(reactor, name, body, **options)
            return spawn(reactor, name, lambda strand: wrap(body(strand)), **options)

        driven: Driven
        with monkeypatch.context() as patch:
            patch.setattr(Reactor, "spawn", counted)
            client, driven = lab.connect(wrap=wrap)
            countdown.cancel = driven.scope.cancel
            talk = Conversation(lab, client, http2=http2)
            await scene(talk)
            waits = countdown.waits
            driven.scope.cancel()
            await settle()
        where = f"{scene.__name__} cancelled at wait {number}"
        assert driven.is_over, where
        assert driven.error is None, where
        names = [strand.name for strand in reactor.strands]
        assert all(http2 and name.startswith("read from") for name in names), (where, names)
        active = lab.gauges()
        connections = active.pop("cluster.up.upstream_cx_active", 0)
        assert active == {}, where
        assert (lab.host.rq_active, lab.host.rq_pending_active) == (0, 0), where
        assert lab.host.cx_active == connections, where
        assert connections <= 4, where
        # The next request is served.
        second, _ = lab.connect()
        second.send(GET)
        await settle()
        await serve_next(lab, talk, http2=http2)
        assert b"ok" in second.recv(65536), where
        return waits


async def serve_next(lab: H1Lab, talk: Conversation, *, http2: bool) -> None:
    """Answer the request that waits on one of the connections."""
    while True:
        try:
            talk.servers.append(lab.upstream.accept())
        except BlockingIOError:
            break
    for server in talk.servers:
        received = _attempt(server.recv, 1 << 20) or b""
        if not http2 and received.startswith(b"GET / HTTP/1.1\r\n"):
            _attempt(server.send, OK)
        elif http2 and received:
            stream_id = last_request(received)
            if stream_id:
                answer = headers(stream_id, (b":status", b"200"), flags=END_HEADERS)
                _attempt(server.send, SERVER_START + answer + data(stream_id, b"ok", end=True))
    await settle()


def last_request(received: bytes) -> int:
    """The last stream that was begun and ended by one HEADERS frame, or 0."""
    found = 0
    at = received.find(b"PRI ") + 24 if b"PRI " in received else 0
    while at + 9 <= len(received):
        kind, flags = received[at + 3], received[at + 4]
        if kind == HEADERS and flags & END_STREAM:
            found = int.from_bytes(received[at + 5 : at + 9], "big")
        at += 9 + int.from_bytes(received[at : at + 3], "big")
    return found


@pytest.mark.parametrize(
    ("inside", "filters"), [(True, False), (False, True)], ids=["inside, plain", "after, filters"]
)
@pytest.mark.parametrize("http2", [False, True], ids=["to HTTP/1", "to HTTP/2"])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_tunnel_cancelled_at_any_wait_leaks_nothing(
    monkeypatch: pytest.MonkeyPatch,
    scene: Callable[[Conversation], Awaitable[None]],
    inside: bool,
    http2: bool,
    filters: bool,
) -> None:
    waits = await play(monkeypatch, scene, 0, inside=inside, http2=http2, filters=filters)
    assert waits >= 4
    numbers = list(range(1, min(waits, 24) + 1)) + list(range(25, waits + 1, max(1, waits // 8)))
    for number in numbers:
        await play(monkeypatch, scene, number, inside=inside, http2=http2, filters=filters)
