"""Bodies that go from socket to socket: what passes by, what is left to be read, and what a break does."""

from __future__ import annotations

import fcntl
import os
import socket

import pytest

from sidecar.core.errors import RemoteProtocolError
from sidecar.net import pipes as pipes_module
from sidecar.net.h1_stream import H1Reader, LengthBody
from sidecar.net.pipes import PIPE_SIZE, PipePool
from sidecar.net.reactor import Strand
from sidecar.net.splice import Broken, move
from tests.support.strands import Lab, open_lab, settle

_GET_SIZE = 1032
SIZE = 3 << 20
DATA = b"".join(b"%08d" % number for number in range(SIZE // 8))

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="needs splice(2)")


class Way:
    """A body that comes from one socket and goes to another."""

    def __init__(self, lab: Lab, length: int = SIZE) -> None:
        self.transport, self.upstream = lab.pair()
        self.target, self.client = lab.pair()
        self.reader = H1Reader(self.transport)
        self.ends = 0
        self.body = LengthBody(self.reader, length, self._end)
        self.pipes = lab.reactor.pipes
        self.passed: list[int] = []
        self.received = b""
        self.read = b""

    def _end(self) -> None:
        self.ends += 1

    async def exchange(self, data: bytes) -> None:
        """Let ``data`` come, and the client take what passes by."""
        while True:
            moved = 0
            try:
                moved = self.upstream.send(data[: 1 << 17]) if data else 0
            except BlockingIOError:
                pass
            data = data[moved:]
            await settle()
            got = b""
            try:
                got = self.client.recv(1 << 20)
            except BlockingIOError:
                pass
            self.received += got
            if not got and not moved:
                return

    async def run(self, _strand: Strand, most: int = 1 << 40) -> None:
        self.transport.ready = True
        if self.body.can_pass_by:
            await self.body.pass_by(self.target, most, self.passed.append)
        while data := await self.body.receive():
            self.read += data


async def test_all_but_the_end_passes_by_and_the_rest_is_read() -> None:
    async with open_lab() as lab:
        way = Way(lab)
        driven = lab.own(way.run)
        await way.exchange(DATA + b"HTTP/1.1 200 OK\r\n\r\n")
        assert driven.error is None
        assert driven.is_over
        assert way.received + way.read == DATA
        assert len(way.received) == sum(way.passed) > SIZE - 2 * 65536
        # What stands behind the body is left for who reads next, and all of it was counted.
        assert way.reader.rest + way.transport.recv(100) == b"HTTP/1.1 200 OK\r\n\r\n"
        assert SIZE <= way.reader.rx_bytes <= SIZE + 19
        assert (way.ends, way.body.ended) == (1, True)


async def test_no_more_passes_by_than_was_announced() -> None:
    async with open_lab() as lab:
        way = Way(lab)

        async def run(strand: Strand) -> None:
            way.transport.ready = True
            await way.body.pass_by(way.target, 200_000, way.passed.append)

        driven = lab.own(run)
        await way.exchange(DATA[: 1 << 19])
        assert driven.is_over
        assert way.received == DATA[:200_000]


async def test_a_body_that_comes_in_little_pieces_is_read() -> None:
    async with open_lab() as lab:
        way = Way(lab)
        driven = lab.own(way.run)
        await settle()
        await way.exchange(DATA[:100])
        assert way.received == DATA[:100]
        await way.exchange(DATA[100:200_000])
        assert way.received + way.read == DATA[:200_000]
        assert way.read
        driven.scope.cancel()
        await settle()


async def test_a_body_that_is_cut_off_is_told_to_who_reads() -> None:
    async with open_lab() as lab:
        way = Way(lab)
        driven = lab.own(way.run)
        await way.exchange(DATA[: 1 << 20])
        way.upstream.shutdown(socket.SHUT_WR)
        await way.exchange(b"")
        assert isinstance(driven.error, RemoteProtocolError)
        assert way.received + way.read == DATA[: 1 << 20]


async def test_a_client_that_left_is_told_apart_and_its_pipe_is_not_used_again() -> None:
    async with open_lab() as lab:
        way = Way(lab)
        way.client.close()
        driven = lab.own(way.run)
        way.upstream.send(DATA[: 1 << 17])
        await settle()
        assert isinstance(driven.error, Broken)
        assert driven.error.transport is way.target
        pipe = way.pipes.take()
        with pytest.raises(BlockingIOError):
            os.read(pipe[0], 1)
        way.pipes.give_back(pipe, is_empty=True)


async def test_a_short_body_or_one_behind_something_that_looks_does_not_pass_by() -> None:
    async with open_lab() as lab:
        way = Way(lab, 100_000)
        way.transport.ready = True
        assert not way.body.can_pass_by
        way = Way(lab)
        assert not way.body.can_pass_by  # nothing is known to wait
        way.transport.ready = True
        assert way.body.can_pass_by
        recv = way.transport.recv
        way.transport.recv = lambda size: recv(size)
        assert not way.body.can_pass_by


async def test_without_a_large_pipe_nothing_passes_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes_module, "_MOST_LARGE", 0)
    async with open_lab() as lab:
        way = Way(lab)
        driven = lab.own(way.run)
        await way.exchange(DATA)
        assert driven.is_over
        assert (way.received, way.read == DATA) == (b"", True)


def test_large_pipes_are_bounded_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes_module, "_MOST_LARGE", 2)
    pool = PipePool()
    one, two = pool.take_large(), pool.take_large()
    assert one is not None
    assert two is not None
    assert fcntl.fcntl(one[0], _GET_SIZE) >= PIPE_SIZE
    assert pool.take_large() is None
    pool.give_back(one, is_empty=True)
    assert pool.take_large() == one
    pool.give_back(one, is_empty=False)
    pool.give_back(two, is_empty=True)
    pool.close()
    for end in (*one, *two):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


async def test_move_stops_at_the_end_of_its_source() -> None:
    async with open_lab() as lab:
        way = Way(lab)
        driven = lab.own(lambda _strand: move(way.transport, way.target, SIZE, way.passed.append, way.pipes))
        way.upstream.send(b"x" * 1000)
        way.upstream.close()
        await settle()
        assert driven.is_over
        assert way.passed == [1000]
        assert way.transport.ready
