"""Reading ahead of the readers of bodies: how far, and for how long a read waits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio

from sidecar.core.headers import HeaderMap
from sidecar.net.h2_wire import READ_AHEAD_BYTES, H2Body, H2Wire
from sidecar.net.reactor import Strand
from tests.support.strands import Driven, Lab, open_lab, settle


class Codec:
    """As much of a codec as a body asks."""

    def __init__(self, streams: int) -> None:
        self.open_stream_count = streams
        self.consumed = 0

    def consume(self, stream_id: int, flow_bytes: int) -> None:
        self.consumed += flow_bytes

    def take_output(self) -> bytes:
        return b""


def make(lab: Lab, streams: int = 1) -> tuple[H2Wire, H2Body]:
    transport, _ = lab.pair()
    codec: Any = Codec(streams)
    wire = H2Wire(lab.reactor, transport, codec, SimpleNamespace(value=0))  # type: ignore[arg-type]
    return wire, H2Body(wire, 1)


def push(body: H2Body, size: int) -> None:
    for _ in range(size // 16384):
        body.push(bytes(16384), False, 16384)


def pause(lab: Lab, wire: H2Wire) -> Driven:
    async def read(strand: Strand) -> float:
        await wire.wait_for_readers(strand)
        return trio.current_time()

    return lab.own(read)


async def test_read_goes_on_when_half_of_the_limit_was_taken() -> None:
    async with open_lab() as lab:
        wire, body = make(lab)
        push(body, READ_AHEAD_BYTES + 16384)
        assert wire.unread > READ_AHEAD_BYTES
        driven = pause(lab, wire)
        await settle()
        assert len(await body.receive()) == 256 * 1024
        await settle()
        assert not driven.is_over
        for _ in range(2):
            await body.receive()
        await settle()
        assert driven.is_over
        assert wire.unread == READ_AHEAD_BYTES + 16384 - 3 * 256 * 1024


async def test_read_goes_on_after_a_moment_though_nobody_takes_anything(autojump_clock: object) -> None:
    async with open_lab() as lab:
        wire, body = make(lab)
        push(body, READ_AHEAD_BYTES * 2)
        began = trio.current_time()
        driven = pause(lab, wire)
        await trio.sleep(0.3)
        assert driven.is_over
        assert driven.result - began < 0.2
        assert not driven.strand.timers


async def test_read_waits_for_nobody_where_other_streams_share_the_connection() -> None:
    async with open_lab() as lab:
        wire, body = make(lab, streams=2)
        push(body, READ_AHEAD_BYTES * 2)
        driven = pause(lab, wire)
        await settle()
        assert driven.is_over


async def test_body_that_nobody_wants_counts_no_longer() -> None:
    async with open_lab() as lab:
        wire, body = make(lab)
        push(body, READ_AHEAD_BYTES * 2)
        driven = pause(lab, wire)
        await settle()
        assert not driven.is_over
        body.discard()
        assert wire.unread == 0
        await settle()
        assert driven.is_over


async def test_body_is_complete_with_its_trailers_only() -> None:
    async with open_lab() as lab:
        wire, body = make(lab)
        body.push(b"ab", False, 2)
        body.push(b"c", False, 3)
        assert body.take_complete(16384) is None
        body.end(HeaderMap([(b"grpc-status", b"0")]))
        assert body.take_complete(2) is None
        assert body.take_complete(3) == b"abc"
        assert body.ended
        assert wire.unread == 0
        assert wire.codec.consumed == 5  # type: ignore[attr-defined]
