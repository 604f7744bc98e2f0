"""``per_connection_buffer_limit_bytes``: what a connection holds at most, however fast its peer is."""

from __future__ import annotations

import contextlib
import gc
import socket

import pytest

from sidecar.net.limited_transport import LimitedTransport, read_limit
from sidecar.net.reactor import Reactor, Strand, Transport
from sidecar.net.splice import PipePool, carry
from tests.support.strands import open_lab, settle

LIMIT = 16384
BODY = bytes(range(256)) * 1024


def limited_pair(reactor: Reactor, limit: int = LIMIT) -> tuple[LimitedTransport, socket.socket]:
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            each.setsockopt(socket.SOL_SOCKET, option, 4 * len(BODY))
    return LimitedTransport(ours, reactor, limit), theirs


def test_limit_is_what_envoy_reads_at_least_and_none_where_reads_are_smaller_anyway() -> None:
    assert [read_limit(each) for each in (0, 1, 32768, 1 << 20, 1 << 24)] == [None, 16384, 32768, None, None]


async def test_reads_bring_no_more_and_lose_no_edge() -> None:
    async with open_lab() as lab:
        transport, peer = limited_pair(lab.reactor)
        peer.sendall(BODY)
        peer.shutdown(socket.SHUT_WR)

        async def body(strand: Strand) -> list[bytes]:
            pieces = []
            while piece := await transport.receive(1 << 20):
                pieces.append(piece)
            return pieces

        driven = lab.own(body)
        for _ in range(5):
            await settle()
        assert driven.is_over
        assert b"".join(driven.result) == BODY
        assert {len(each) for each in driven.result} == {LIMIT}
        transport.close()
        peer.close()


async def test_direct_read_that_was_cut_leaves_the_transport_ready() -> None:
    async with open_lab() as lab:
        transport, peer = limited_pair(lab.reactor)
        peer.sendall(BODY)
        await settle()
        transport.ready = False
        assert len(transport.recv(96 * 1024)) == LIMIT
        assert transport.ready
        transport.close()
        peer.close()


@pytest.mark.parametrize("is_spliced", [False, True])
async def test_slow_reader_bounds_what_is_taken_from_the_other_side(is_spliced: bool) -> None:
    pipes = PipePool() if is_spliced else None
    async with open_lab() as lab:
        source, writer = limited_pair(lab.reactor)
        target, reader = limited_pair(lab.reactor)
        target.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.sendall(BODY)
        writer.shutdown(socket.SHUT_WR)
        counted: list[int] = []

        async def body(strand: Strand) -> None:
            await carry(source, target, counted.append, pipes)

        driven = lab.own(body)
        for _ in range(5):
            await settle()
        assert not driven.is_over
        taken = len(BODY) - len(source.sock.recv(len(BODY), socket.MSG_PEEK))
        received = reader.recv(len(BODY))
        # Taken and not sent: that is what the proxy holds, whose target takes no more.
        assert 0 < len(received) < taken <= len(received) + LIMIT
        while not driven.is_over:
            await settle()
            with contextlib.suppress(BlockingIOError):
                received += reader.recv(len(BODY))
        with contextlib.suppress(BlockingIOError):
            received += reader.recv(len(BODY))
        assert received == BODY
        assert sum(counted) == len(BODY)
        for each in (source, target, writer, reader):
            each.close()
    if pipes is not None:
        pipes.close()


async def test_closed_one_is_gone_without_the_garbage_collector() -> None:
    def alive() -> int:
        return sum(isinstance(each, Transport) for each in gc.get_objects())

    async with open_lab() as lab:
        gc.collect()
        gc.disable()
        try:
            before = alive()
            transport, peer = limited_pair(lab.reactor)
            await settle()
            transport.close()
            peer.close()
            await settle()
            del transport
            assert alive() == before
        finally:
            gc.enable()
