"""Calls of gRPC against frames made by hand: how they end, what waits, and that nothing is left of them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from sidecar.codec.grpc_frames import frame as grpc_frame
from sidecar.net.reactor import Strand
from sidecar.router.grpc_client import GrpcClient, GrpcStream, GrpcUnaryCall
from sidecar.router.grpc_service import GrpcService
from sidecar.router.grpc_status import (
    CANCELLED,
    INTERNAL,
    OK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNKNOWN,
    GrpcStatus,
)
from sidecar.router.http_client import HttpClient
from tests.support import h2_frames as h2
from tests.support.h1_lab import H1Lab, open_h1_lab, skewed_clock
from tests.support.strands import Driven, settle

PATH = b"/pkg.Service/Method"
HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
GOOD = ((b"grpc-status", b"0"),)


def client_of(lab: H1Lab, **fields: Any) -> GrpcClient:
    router = lab.manager.router
    client = HttpClient(lab.lab.reactor, router.find_cluster, router.get_pool, lab.store)
    return GrpcClient(client, GrpcService(fields.pop("cluster", "up"), **fields))


class Server:
    """The other end of the first connection."""

    def __init__(self, lab: H1Lab) -> None:
        self.sock: socket.socket = lab.upstream.accept()
        self.sock.send(h2.SERVER_START)
        self.seen: list[tuple[int, int, int, bytes]] = []

    def read(self) -> list[tuple[int, int, int, bytes]]:
        """The frames that came since the last time, but for those of the connection."""
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return []
        return [each for each in h2.parse(data) if each[2]]

    def send(self, *frames: bytes) -> None:
        self.sock.send(b"".join(frames))


def answer(*messages: bytes, end: tuple[tuple[bytes, bytes], ...] | None = GOOD, stream_id: int = 1) -> bytes:
    out = h2.headers(stream_id, *HEAD, flags=h2.END_HEADERS)
    out += b"".join(h2.frame(h2.DATA, 0, stream_id, grpc_frame(each)) for each in messages)
    return out + (h2.headers(stream_id, *end) if end is not None else b"")


async def unary(lab: H1Lab, wire: bytes, **fields: Any) -> GrpcUnaryCall:
    """A call that is answered with ``wire``."""
    call = client_of(lab, **fields).call(PATH, b"ask")
    await settle()
    server = Server(lab)
    await settle()
    server.send(wire)
    await settle()
    server.sock.close()
    await settle()
    assert call.is_done
    assert lab.gauges() == {}
    return call


async def test_call_sends_one_message_and_gets_one() -> None:
    async with open_h1_lab(http2=True) as lab:
        call = client_of(lab).call(PATH, b"ask")
        ended: list[Any] = []
        call.on_done = ended.append
        await settle()
        server = Server(lab)
        await settle()
        (head, data) = server.read()
        assert head[0] == h2.HEADERS
        assert (data[0], data[1] & h2.END_STREAM, data[3]) == (h2.DATA, 1, grpc_frame(b"ask"))
        server.send(answer(b"told"))
        await settle()
        assert (call.status, call.message) == (GrpcStatus(OK), b"told")
        assert ended == [call]
        assert lab.counter("cluster.up.upstream_rq_200") == 1
        assert lab.host.rq_success == 1
        server.sock.close()
        await settle()
        assert lab.gauges() == {}


WITH_ENCODING = (*HEAD, (b"grpc-encoding", b"gzip"))
ENDS: list[tuple[str, bytes, GrpcStatus, bytes | None]] = [
    ("several messages", answer(b"a", b"b"), GrpcStatus(OK), b"b"),
    ("nothing at all", answer(), GrpcStatus(INTERNAL), None),
    ("an error", answer(end=((b"grpc-status", b"7"), (b"grpc-message", b"no"))), GrpcStatus(7, b"no"), None),
    ("a message and an error", answer(b"a", end=((b"grpc-status", b"7"),)), GrpcStatus(7), b"a"),
    ("a head alone", h2.headers(1, *HEAD, (b"grpc-status", b"5")), GrpcStatus(5), None),
    ("a head without a status", h2.headers(1, *HEAD), GrpcStatus(UNKNOWN), None),
    ("503 alone", h2.headers(1, (b":status", b"503")), GrpcStatus(UNAVAILABLE), None),
    ("403 with a status", h2.headers(1, (b":status", b"403"), (b"grpc-status", b"9")), GrpcStatus(9), None),
    (
        "403 with a body",
        h2.headers(1, (b":status", b"403"), (b"grpc-status", b"9"), flags=h2.END_HEADERS)
        + h2.frame(h2.DATA, h2.END_STREAM, 1, b"no"),
        GrpcStatus(7),
        None,
    ),
    ("trailers without a status", answer(b"a", end=((b"x", b"y"),)), GrpcStatus(UNKNOWN), b"a"),
    (
        "no trailers",
        answer(end=None) + h2.frame(h2.DATA, h2.END_STREAM, 1, grpc_frame(b"a")),
        GrpcStatus(UNKNOWN),
        b"a",
    ),
    (
        "a compressed message",
        answer(end=None) + h2.frame(h2.DATA, 0, 1, b"\1\0\0\0\1a"),
        GrpcStatus(INTERNAL, b"a message is compressed, which was not offered"),
        None,
    ),
    (
        "a message that is too long",
        answer(end=None) + h2.frame(h2.DATA, 0, 1, b"\0\0\0\0\x65"),
        GrpcStatus(RESOURCE_EXHAUSTED, b"a message of 101 bytes is longer than 100"),
        None,
    ),
    (
        "a reset behind the head",
        answer(end=None) + h2.frame(h2.RST, 0, 1, h2.u32(2)),
        GrpcStatus(INTERNAL),
        None,
    ),
    (
        "a reset before the head",
        h2.frame(h2.RST, 0, 1, h2.u32(2)),
        GrpcStatus(
            UNAVAILABLE,
            b"upstream connect error or disconnect/reset before headers. reset reason: remote reset",
        ),
        None,
    ),
    (
        "the end of the connection",
        b"",
        GrpcStatus(
            UNAVAILABLE,
            b"upstream connect error or disconnect/reset before headers. "
            b"reset reason: connection termination",
        ),
        None,
    ),
]


@pytest.mark.parametrize(("wire", "status", "message"), [each[1:] for each in ENDS], ids=[e[0] for e in ENDS])
async def test_call_ends(wire: bytes, status: GrpcStatus, message: bytes | None) -> None:
    async with open_h1_lab(http2=True) as lab:
        call = await unary(lab, wire, max_receive_message_length=100)
        assert (call.status, call.message) == (status, message)


async def test_cluster_that_is_not_there() -> None:
    async with open_h1_lab(http2=True) as lab:
        call = client_of(lab, cluster="nobody").call(PATH, b"ask")
        await settle()
        assert call.status == GrpcStatus(UNAVAILABLE, b"Cluster not available")
        assert call.is_done
        assert lab.counter("http.async-client.no_cluster") == 0


async def test_cluster_without_hosts() -> None:
    async with open_h1_lab(http2=True) as lab:
        lab.cluster.set_hosts([])
        call = client_of(lab).call(PATH, b"ask")
        await settle()
        assert call.status == GrpcStatus(UNAVAILABLE, b"no healthy upstream")


async def test_call_ends_with_its_timeout(autojump_clock: object) -> None:
    async with open_h1_lab(http2=True, clock=skewed_clock()) as lab:
        call = client_of(lab, timeout_s=5.0).call(PATH, b"ask")
        await trio.sleep(4.5)
        assert not call.is_done
        await trio.sleep(1.0)
        assert call.status == GrpcStatus(UNAVAILABLE, b"upstream request timeout")
        assert not lab.gauges().get("cluster.up.upstream_rq_active")


async def test_cancelled_call_resets_its_stream() -> None:
    async with open_h1_lab(http2=True) as lab:
        call = client_of(lab).call(PATH, b"ask")
        await settle()
        server = Server(lab)
        await settle()
        server.read()
        call.cancel()
        await settle()
        assert call.status == GrpcStatus(CANCELLED, b"the call was cancelled")
        assert [each[0] for each in server.read()] == [h2.RST]
        server.sock.close()
        await settle()
        assert lab.gauges() == {}


async def test_headers_of_envoys_are_left_out_where_that_is_asked_for() -> None:
    async with open_h1_lab(http2=True) as lab:
        for skip in (False, True):
            call = client_of(lab, skip_envoy_headers=skip).call(PATH, b"ask")
            assert (b"x-envoy-internal" in call.stream.request.headers) is not skip
            assert (b"x-forwarded-for" in call.stream.request.headers) is not skip
            call.cancel()
        await settle()


# -- streams -----------------------------------------------------------------------------------------
async def a_stream(lab: H1Lab, **fields: Any) -> tuple[GrpcStream, Server]:
    stream = client_of(lab).stream(PATH, **fields)
    await settle()
    server = Server(lab)
    await settle()
    return stream, server


def in_strand(lab: H1Lab, wait: Callable[[], Any]) -> Driven:
    async def body(_strand: Strand) -> Any:
        return await wait()

    return lab.lab.own(body)


async def test_messages_go_both_ways_and_the_end_has_a_status() -> None:
    async with open_h1_lab(http2=True) as lab:
        stream, server = await a_stream(lab)
        assert [each[0] for each in server.read()] == [h2.HEADERS]
        server.send(answer(b"first", end=None))
        first = in_strand(lab, stream.receive)
        await settle()
        assert first.result == b"first"
        second = in_strand(lab, stream.receive)
        assert stream.try_send(b"said")
        await settle()
        assert not second.is_over
        assert server.read() == [(h2.DATA, 0, 1, grpc_frame(b"said"))]
        server.send(h2.frame(h2.DATA, 0, 1, grpc_frame(b"second")))
        await settle()
        assert second.result == b"second"
        stream.end()
        await settle()
        assert server.read() == [(h2.DATA, h2.END_STREAM, 1, b"")]
        server.send(h2.headers(1, (b"grpc-status", b"0"), (b"x-last", b"1")))
        last = in_strand(lab, stream.receive)
        await settle()
        assert (last.result, last.is_over, stream.status) == (None, True, GrpcStatus(OK))
        assert stream.trailers is not None
        assert stream.trailers.get(b"x-last") == b"1"
        server.sock.close()
        await settle()
        assert lab.gauges() == {}


async def test_full_buffer_says_no_and_there_is_room_again() -> None:
    async with open_h1_lab(http2=True) as lab:
        stream = client_of(lab).stream(PATH, buffer_bytes=20)
        told: list[GrpcStream] = []
        stream.on_event = told.append
        assert stream.try_send(b"x" * 50)  # alone, a message may be longer than the buffer
        assert not stream.try_send(b"y")
        await settle()
        server = Server(lab)
        await settle()
        assert told
        assert stream.try_send(b"y")
        assert stream.try_send(b"z")
        await settle()
        frames = [each for each in server.read() if each[0] == h2.DATA]
        assert b"".join(each[3] for each in frames) == grpc_frame(b"x" * 50) + grpc_frame(b"y") + grpc_frame(
            b"z"
        )
        stream.cancel()
        await settle()
        assert not stream.try_send(b"late")


async def test_who_sends_waits_for_the_window_of_the_peer() -> None:
    async with open_h1_lab(http2=True) as lab:
        stream, server = await a_stream(lab, buffer_bytes=1000)
        sent: list[int] = []

        async def send() -> None:
            for number in range(10):
                await stream.send(b"m" * 20_000)
                sent.append(number)

        driven = in_strand(lab, send)
        await settle()
        before = len(sent)
        assert before < 5  # 65535 bytes of window
        server.read()
        server.send(
            h2.frame(h2.WINDOW_UPDATE, 0, 0, h2.u32(1 << 20)),
            h2.frame(h2.WINDOW_UPDATE, 0, 1, h2.u32(1 << 20)),
        )
        await settle()
        assert driven.is_over
        assert len(sent) == 10
        stream.cancel()
        await settle()


async def test_slow_reader_closes_the_window_of_the_peer() -> None:
    async with open_h1_lab(http2=True) as lab:
        stream, server = await a_stream(lab, buffer_bytes=1000)
        server.read()
        server.send(answer(*[b"m" * 900] * 20, end=None))
        await settle()
        waiting = 0
        while stream.take_message() is not None:
            waiting += 1
        assert 0 < waiting < 5
        for _ in range(20):
            await settle()
            while stream.take_message() is not None:
                waiting += 1
        assert waiting == 20
        stream.cancel()
        await settle()
        server.sock.close()
        await settle()
        assert lab.gauges() == {}


@pytest.mark.parametrize("code", [0, 2])
async def test_goaway_lets_a_stream_end(code: int) -> None:
    async with open_h1_lab(http2=True) as lab:
        stream, server = await a_stream(lab)
        server.send(answer(b"a", end=None), h2.frame(h2.GOAWAY, 0, 0, h2.u32(1) + h2.u32(code)))
        await settle()
        server.send(h2.frame(h2.DATA, 0, 1, grpc_frame(b"b")), h2.headers(1, *GOOD))
        await settle()
        assert [stream.take_message(), stream.take_message(), stream.take_message()] == [b"a", b"b", None]
        assert stream.status == GrpcStatus(OK)
        server.sock.close()
        await settle()
        assert lab.gauges() == {}


async def test_stream_that_is_cancelled_leaves_nothing() -> None:
    async with open_h1_lab(http2=True) as lab:
        stream, server = await a_stream(lab)
        waiting = in_strand(lab, stream.receive)
        await settle()
        stream.cancel()
        await settle()
        assert waiting.is_over
        assert waiting.result is None
        assert [each[0] for each in server.read()] == [h2.HEADERS, h2.RST]
        server.sock.close()
        await settle()
        assert lab.gauges() == {}
