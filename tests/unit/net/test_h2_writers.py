"""Who sends how much when the output or the windows of an HTTP/2 connection are short."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from sidecar.codec.h2_connection import H2Connection
from sidecar.codec.h2_types import H2Settings
from sidecar.core.headers import HeaderMap
from sidecar.net.h2_wire import H2Body, H2Wire
from sidecar.observability.stats import Counter
from tests.support.h2_frames import (
    CLIENT_START,
    DATA,
    RESPONSE,
    Recorder,
    frame,
    parse,
    request,
    settings,
    u32,
)
from tests.support.strands import Lab, open_lab, settle

HUGE = 1 << 24


class Server:
    """A server's codec and wire, and the socket of its client."""

    def __init__(self, lab: Lab, streams: int, window: int) -> None:
        transport, self.client = lab.pair()
        self.lab = lab
        self.codec = H2Connection(Recorder(), client=False, settings=H2Settings())
        self.wire = H2Wire(lab.reactor, transport, self.codec, Counter("tx"))
        start = CLIENT_START + settings((4, HUGE))
        start += b"".join(request(2 * number + 1) for number in range(streams))
        self.codec.receive_data(start + self.more(window - 65535) if window > 65535 else start)
        self.sent: dict[int, bool] = {}
        #: Stream ids of the DATA frames that came, in their order, and their sizes.
        self.arrived: list[tuple[int, int]] = []
        #: Their payloads.
        self.bodies: list[bytes] = []
        self._buffer = b""

    @staticmethod
    def more(size: int) -> bytes:
        return frame(8, 0, 0, u32(size))

    def answer(self, stream_id: int, size: int) -> None:
        """Start a response of so many bytes."""
        self.codec.send_headers(stream_id, list(RESPONSE), False)

        async def send(_strand: object) -> None:
            self.sent[stream_id] = await self.wire.send_body(stream_id, bytes(size), True)

        self.lab.reactor.spawn(f"stream {stream_id}", send)

    async def read(self, *, window: int = 0) -> None:
        """The client reads what is there, and gives this much window."""
        with contextlib.suppress(BlockingIOError):
            self._buffer += self.client.recv(1 << 20)
        while len(self._buffer) >= 9:
            end = 9 + int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < end:
                break
            kind, _, stream_id, payload = parse(self._buffer[:end])[0]
            self._buffer = self._buffer[end:]
            if kind == DATA:
                self.arrived.append((stream_id, len(payload)))
                self.bodies.append(payload)
        if window:
            self.codec.receive_data(self.more(window))
            self.wire.on_window(0)
        await settle()

    def size(self, stream_id: int) -> int:
        return sum(size for number, size in self.arrived if number == stream_id)


@asynccontextmanager
async def open_server(streams: int, window: int) -> AsyncIterator[Server]:
    async with open_lab() as lab:
        yield Server(lab, streams, window)


async def test_small_response_is_not_starved_by_large_ones_on_a_short_window() -> None:
    async with open_server(5, 65535) as server:
        for stream_id in (1, 3, 5, 7):
            server.answer(stream_id, 4 << 20)
        await settle()
        server.answer(9, 1000)
        await server.read(window=65535)
        await server.read(window=65535)
        await server.read()
        assert server.sent.get(9), server.arrived


async def test_window_is_shared_out_between_those_that_wait() -> None:
    async with open_server(4, 65535) as server:
        for stream_id in (1, 3, 5, 7):
            server.answer(stream_id, 4 << 20)
        for _ in range(64):
            await server.read(window=65535)
        sizes = [server.size(stream_id) for stream_id in (1, 3, 5, 7)]
        assert max(sizes) < 1.5 * min(sizes), sizes


async def test_small_response_is_not_starved_by_large_ones_on_a_full_socket() -> None:
    async with open_server(9, 1 << 30) as server:
        for number in range(8):
            server.answer(2 * number + 1, 8 << 20)
        await settle()
        server.answer(17, 1000)
        while not server.sent.get(17):
            await server.read()
        while not server.size(17):
            await server.read()
        others = sum(size for stream_id, size in server.arrived if stream_id != 17)
        assert others < 2 << 20


async def test_whole_large_response_arrives_alone() -> None:
    async with open_server(1, 1 << 30) as server:
        server.answer(1, 3 << 20)
        with trio.fail_after(10):
            while server.size(1) < 3 << 20:
                await server.read()
        assert server.sent == {1: True}


async def test_chunks_are_forwarded_as_they_came_while_there_is_room() -> None:
    async with open_lab() as lab:
        server = Server(lab, streams=1, window=HUGE)
        server.codec.send_headers(1, list(RESPONSE), False)
        source = Server(lab, streams=1, window=HUGE)
        body = H2Body(source.wire, 1)
        for size in (8192, 16384, 100, 16384):
            body.push(bytes(size), False, size)
        assert await server.wire.forward(1, body) == 8192 + 16384
        # A short one is left to be joined with what comes behind it.
        assert await server.wire.forward(1, body) == 0
        assert len(await body.receive()) == 16484
        await settle()
        await server.read()
        assert server.arrived == [(1, 8192), (1, 16384)]


async def test_chunks_wait_for_the_socket_and_arrive_whole() -> None:
    async with open_lab() as lab:
        server = Server(lab, streams=1, window=HUGE)
        server.codec.send_headers(1, list(RESPONSE), False)
        body = H2Body(Server(lab, streams=1, window=HUGE).wire, 1)
        sent = b"".join(b"%08d" % number for number in range(128 * 1024))
        for at in range(0, len(sent), 8192):
            body.push(memoryview(sent)[at : at + 8192], False, 8192)

        async def forward(_strand: object) -> None:
            while await server.wire.forward(1, body):
                pass

        lab.reactor.spawn("forward", forward)
        await settle()
        assert server.wire.is_congested
        assert len(body.chunks) > 20
        while server.size(1) < len(sent):
            await server.read()
        assert b"".join(server.bodies) == sent
        # Two chunks fit into a frame.
        assert {size for _, size in server.arrived} == {16384}


async def test_chunks_go_in_turns_with_who_waits_beside_them() -> None:
    async with open_lab() as lab:
        server = Server(lab, streams=3, window=HUGE)
        body = H2Body(Server(lab, streams=1, window=HUGE).wire, 1)
        for stream_id in (1, 3, 5):
            server.codec.send_headers(stream_id, list(RESPONSE), False)
        for _ in range(64):
            body.push(bytes(16384), False, 16384)

        async def forward(_strand: object) -> None:
            while await server.wire.forward(1, body):
                pass

        server.answer(3, 1 << 20)
        server.answer(5, 1 << 20)
        lab.reactor.spawn("forward", forward)
        while server.size(1) < 1 << 20:
            await server.read()
        # Who came last got its share: the others are not done before it.
        order = [stream_id for stream_id, _ in server.arrived]
        assert order.index(1) < len(order) // 2


async def test_last_chunk_ends_the_stream_but_where_trailers_follow() -> None:
    async with open_lab() as lab:
        for trailers in (None, HeaderMap([(b"x-t", b"1")])):
            server = Server(lab, streams=1, window=HUGE)
            server.codec.send_headers(1, list(RESPONSE), False)
            body = H2Body(server.wire, 1)
            body.push(bytes(8192), trailers is None, 8192)
            if trailers is not None:
                body.end(trailers)
            await body.wait()
            assert await server.wire.forward(1, body) == 8192
            assert body.ended
            assert server.codec.send_window(1) == (0 if trailers is None else HUGE - 8192)


async def test_nothing_is_forwarded_on_a_closed_stream() -> None:
    async with open_lab() as lab:
        server = Server(lab, streams=1, window=HUGE)
        server.codec.reset_stream(1, 8)
        body = H2Body(server.wire, 1)
        body.push(bytes(8192), True, 8192)
        assert await server.wire.forward(1, body) == 0
