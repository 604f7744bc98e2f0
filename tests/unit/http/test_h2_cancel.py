"""Cancel, reset or cut off HTTP/2 exchanges at every place where they wait: nothing may leak."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from sidecar.api.filters import HttpFilter
from sidecar.api.message import LocalReply
from sidecar.api.stream import Stream
from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import ErrorCode, H2ConnectionError, H2Settings
from sidecar.core.errors import DeadlineExceeded, Disconnected, RemoteProtocolError, StreamAborted
from sidecar.router.exchange import Router
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.h2_pool import H2Pool
from sidecar.upstream.host import Host
from sidecar.upstream.pool import connection_termination
from tests.support.h1_lab import H1Lab, open_h1_lab
from tests.support.h2_frames import POST, REQUEST, RESPONSE, Recorder
from tests.support.strands import Driven, settle

BIG = bytes(300_000)


class End:
    """A peer of the proxy: a codec on a socket, which reads when it is told to and never fails."""

    def __init__(self, sock: socket.socket, *, client: bool) -> None:
        self.sock = sock
        self.recorder = Recorder()
        self.codec = H2Connection(
            self.recorder,
            client=client,
            settings=H2Settings(initial_stream_window_size=65535, initial_connection_window_size=65535),
        )
        self._rest = b""
        self._read = 0

    def pump(self, *, consume: bool = True) -> None:
        """Read what is there, send what is due."""
        with contextlib.suppress(OSError, H2ConnectionError):
            while data := self.sock.recv(1 << 20):
                self.codec.receive_data(data)
        calls = self.recorder.calls
        for call in calls[self._read :]:
            if call[0] == "data" and consume:
                self.codec.consume(call[1], call[4])
        self._read = len(calls)
        self._rest += self.codec.take_output()
        with contextlib.suppress(OSError):
            while self._rest:
                self._rest = self._rest[self.sock.send(self._rest) :]

    def streams(self) -> list[int]:
        return [call[1] for call in self.recorder.calls if call[0] == "headers"]

    def is_open(self, stream_id: int) -> bool:
        return not self.codec.is_closed(stream_id)

    def say(self, stream_id: int, data: bytes, *, end: bool) -> None:
        """As much of the data as the window takes; the rest is forgotten."""
        if self.is_open(stream_id):
            data = data[: self.codec.send_window(stream_id)]
            if data or end:
                self.codec.send_data(stream_id, data, end)
        self.pump()


class Talk:
    """Both ends of the proxy; whatever the proxy does, they play their part."""

    def __init__(self, lab: H1Lab, client: socket.socket) -> None:
        self.lab = lab
        self.client = End(client, client=True)
        self.server: End | None = None
        self.counter: Counter

    async def ask(self, *fields: tuple[bytes, bytes], end: bool = True) -> int:
        if not self.client.codec.can_open:
            return 0
        stream_id = self.client.codec.open_stream()
        self.client.codec.send_headers(stream_id, list(fields or REQUEST), end)
        await self.go()
        return stream_id

    async def go(self) -> None:
        """Let everybody do what they can."""
        for _ in range(3):
            self.client.pump()
            await settle()
            if self.server is None:
                with contextlib.suppress(BlockingIOError):
                    self.server = End(self.lab.upstream.accept(), client=False)
            if self.server is not None:
                self.server.pump()
            await settle()
        self.client.pump()

    async def answer(self, body: bytes = b"ok", *, end: bool = True, trailers: bool = False) -> None:
        """Answer the streams that have no answer yet."""
        server = self.server
        if server is not None:
            for stream_id in server.streams():
                if server.is_open(stream_id):
                    with contextlib.suppress(Exception):
                        server.codec.send_headers(
                            stream_id, list(RESPONSE), end and not body and not trailers
                        )
                    server.say(stream_id, body, end=end and not trailers)
                    if trailers and server.is_open(stream_id):
                        server.codec.send_trailers(stream_id, [(b"x-trailer", b"1")])
        await self.go()


async def plain(talk: Talk) -> None:
    await talk.ask()
    await talk.answer()


async def three_at_once(talk: Talk) -> None:
    for _ in range(3):
        await talk.ask()
    await talk.answer()


async def streaming_request(talk: Talk) -> None:
    stream_id = await talk.ask(*POST, end=False)
    for number in range(3):
        talk.client.say(stream_id, b"abc", end=number == 2)
        await talk.go()
    await talk.answer()


async def answered_before_the_request_ended(talk: Talk) -> None:
    stream_id = await talk.ask(*POST, end=False)
    talk.client.say(stream_id, b"abc", end=False)
    await talk.go()
    await talk.answer()


async def request_larger_than_the_window(talk: Talk) -> None:
    stream_id = await talk.ask(*POST, end=False)
    for number in range(6):
        talk.client.say(stream_id, BIG, end=number == 5)
        await talk.go()
    await talk.answer()


async def response_larger_than_the_window(talk: Talk) -> None:
    stream_id = await talk.ask()
    await talk.answer(BIG, end=False)
    for number in range(6):
        if talk.server is not None and stream_id in talk.server.streams():
            talk.server.say(stream_id, BIG, end=number == 5)
        await talk.go()


async def trailers(talk: Talk) -> None:
    await talk.ask()
    await talk.answer(trailers=True)


SCENES = [
    plain,
    three_at_once,
    streaming_request,
    answered_before_the_request_ended,
    request_larger_than_the_window,
    response_larger_than_the_window,
    trailers,
]


class Waits(HttpFilter):
    """Has to wait in both hooks: its streams get owners."""

    async def decode_headers(self, stream: Stream) -> LocalReply | None:
        await trio.lowlevel.checkpoint()
        return None

    async def encode_headers(self, stream: Stream) -> LocalReply | None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
        return None


class At:
    """A coroutine that does something when it waits for the n-th time (of all that share the count)."""

    def __init__(self, coroutine: Any, counter: Counter, strand: Callable[[], Any]) -> None:
        self._coroutine = coroutine
        self._counter = counter
        self._strand = strand

    def send(self, value: Any) -> Any:
        return self._counter.count(self._coroutine.send(value), self._strand)

    def throw(self, error: BaseException) -> Any:
        return self._counter.count(self._coroutine.throw(error), self._strand)

    def close(self) -> None:
        self._coroutine.close()


class Counter:
    """Waits of all strands of the proxy, and what happens at one of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.waits = 0
        self.action: Callable[[], None] = lambda: None
        #: The strand of the wait where something happens.
        self.strand: Any = None

    def count(self, trap: Any, strand: Callable[[], Any]) -> Any:
        self.waits += 1
        if self.waits == self.number:
            self.strand = strand()
            trio.lowlevel.current_trio_token().run_sync_soon(self.action)
        return trap


def cancel_connection(_talk: Talk, driven: Driven) -> None:
    driven.scope.cancel()


def reset_streams(talk: Talk, _driven: Driven) -> None:
    codec = talk.client.codec
    for stream_id in range(1, 20, 2):
        codec.reset_stream(stream_id, ErrorCode.CANCEL)
    talk.client.pump()


def client_leaves(talk: Talk, _driven: Driven) -> None:
    with contextlib.suppress(OSError):
        talk.client.sock.shutdown(socket.SHUT_RDWR)


def server_leaves(talk: Talk, _driven: Driven) -> None:
    if talk.server is not None:
        with contextlib.suppress(OSError):
            talk.server.sock.shutdown(socket.SHUT_RDWR)


def server_resets(talk: Talk, _driven: Driven) -> None:
    if talk.server is not None:
        for stream_id in talk.server.streams():
            talk.server.codec.reset_stream(stream_id, ErrorCode.INTERNAL_ERROR)
        talk.server.pump()


def server_goes_away(talk: Talk, _driven: Driven) -> None:
    if talk.server is not None:
        talk.server.codec.goaway(ErrorCode.NO_ERROR)
        talk.server.pump()


def fails_with(name: str, make_error: Callable[[], Exception]) -> Callable[[Talk, Driven], None]:
    """Throw an error into the strand that waits, whichever it is."""

    def fail(talk: Talk, driven: Driven) -> None:
        strand = talk.counter.strand
        if strand is driven.strand and name in ("aborted", "upstream_error", "protocol_error"):
            return  # errors of streams: nobody throws them at a connection
        strand.fail(make_error())

    fail.__name__ = f"fails_with_{name}"
    return fail


ACTIONS = [
    fails_with("timeout", lambda: DeadlineExceeded("total")),
    fails_with("idle", lambda: DeadlineExceeded("idle")),
    fails_with("aborted", lambda: StreamAborted(LocalReply(504, b"late", details="max_duration_timeout"))),
    fails_with("disconnected", lambda: Disconnected("gone")),
    fails_with("upstream_error", connection_termination),
    fails_with("protocol_error", lambda: RemoteProtocolError("nonsense")),
    cancel_connection,
    reset_streams,
    client_leaves,
    server_leaves,
    server_resets,
    server_goes_away,
]


def over_http2(lab: H1Lab) -> None:
    """Let the lab's router use HTTP/2 to the upstream."""

    def pool_of(cluster: Cluster, host: Host, _protocol: str) -> H2Pool:
        if host.pool is None:
            host.pool = H2Pool(lab.lab.reactor, cluster, host)
        pool: H2Pool = host.pool
        return pool

    lab.manager.router = Router(lab.lab.reactor, {"up": lab.cluster}.get, pool_of)


async def play(
    scene: Callable[[Talk], Awaitable[None]],
    number: int,
    action: Callable[[Talk, Driven], None],
    *,
    filters: bool,
) -> int:
    """Play ``scene``, act at the given wait, check that all is as before; the waits that there were."""
    async with open_h1_lab(http2=True) as lab:
        over_http2(lab)
        if filters:
            lab.manager.set_filters((Waits(),))
        counter = Counter(number)
        reactor: Any = lab.lab.reactor
        spawn = reactor.spawn

        def counted(name: str, body: Any, **options: Any) -> Any:
            return spawn(name, lambda strand: At(body(strand), counter, lambda: strand), **options)

        reactor.spawn = counted
        client, driven = lab.connect(wrap=lambda coroutine: At(coroutine, counter, lambda: driven.strand))
        talk = Talk(lab, client)
        talk.counter = counter
        counter.action = lambda: action(talk, driven)
        await scene(talk)
        waits = counter.waits
        counter.number = 0
        reactor.spawn = spawn
        driven.scope.cancel()
        await settle()
        where = f"{scene.__name__}: {action.__name__} at wait {number}"
        assert driven.is_over, where
        assert driven.error is None, where
        # No strand is left but the readers of the pool's connections.
        left = [strand.name for strand in reactor.strands if not strand.name.startswith("read from")]
        assert not left, where
        active = lab.gauges()
        connections = active.pop("cluster.up.upstream_cx_active", 0)
        assert active == {}, where
        assert (lab.host.rq_active, lab.host.rq_pending_active) == (0, 0), where
        assert lab.host.cx_active == connections, where
        total = lab.counter("http.test.downstream_cx_total")
        assert lab.counter("http.test.downstream_cx_destroy") == total == 1, where
        # And the next client is served, over the old connection to the upstream or a new one.
        second, _ = lab.connect()
        again = Talk(lab, second)
        again.server = talk.server if connections else None
        known = [] if again.server is None else again.server.streams()
        await again.ask()
        assert again.server is not None, where
        if again.server.streams() == known:
            again.server = End(lab.upstream.accept(), client=False)
            await again.go()
        await again.answer()
        assert [call[0] for call in again.client.recorder.messages()] == ["headers", "data"], where
        return waits


@pytest.mark.parametrize("filters", [False, True], ids=["plain", "filters"])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_http2_exchange_that_is_disturbed_at_any_wait_leaks_nothing(
    scene: Callable[[Talk], Awaitable[None]], action: Callable[[Talk, Driven], None], filters: bool
) -> None:
    waits = await play(scene, 0, action, filters=filters)
    assert waits >= 3
    # Long relays wait many times in the same place: look at the first, the last and some between.
    numbers = list(range(1, min(waits, 12) + 1)) + list(range(13, waits + 1, max(1, waits // 4)))
    for number in numbers:
        await play(scene, number, action, filters=filters)
