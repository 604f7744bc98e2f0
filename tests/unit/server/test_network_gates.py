"""Filters that change the bytes of a connection, keep them back and give them later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.network import HELD, NetworkFilter, NetworkSession
from sidecar.server.network_gates import ReadingGate, change_output


class Socket:
    """Gives the chunks of a script, an error in its turn, and takes so many bytes at once."""

    def __init__(self, *chunks: Any) -> None:
        self.chunks = list(chunks)
        self.sent = b""
        self.room = 1000
        self.ready = False
        self.reader = None
        self.on_half_close: Any = None
        self.recv: Any = self._recv
        self.send: Any = self._send

    def _recv(self, size: int) -> bytes:
        if not self.chunks:
            raise BlockingIOError
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def _send(self, data: bytes) -> int:
        if not self.room:
            raise BlockingIOError
        taken = data[: self.room]
        self.sent += taken
        self.room -= len(taken)
        return len(taken)


class Lines(NetworkFilter):
    """Keeps back what is no whole line, at the end too where it is strict."""

    def __init__(self, *, strict: bool = False) -> None:
        self.kept = b""
        self.strict = strict

    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        if not data:
            return HELD if self.strict else b""
        whole, mark, self.kept = (self.kept + data).rpartition(b"\n")
        return whole + mark


class Upper(NetworkFilter):
    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        return None if b"die" in data else data.upper()

    def on_output(self, session: NetworkSession, data: bytes, *, end_stream: bool) -> bytes:
        return b"<" + data + b">" if data else b"!" * end_stream


@pytest.fixture
def session() -> NetworkSession:
    stream = SimpleNamespace(bytes_received=0, bytes_sent=0, connection_termination_details="")
    return NetworkSession(SimpleNamespace(stream=stream))


def test_what_is_kept_back_is_not_there_yet(session):
    socket = Socket(b"one", b" line\ntw", b"")
    ReadingGate(session, socket, (), (Lines(), Upper()))
    assert socket.recv(100) == b"ONE LINE\n"
    assert socket.recv(100) == b""
    assert session.connection.stream.bytes_received == 2  # besides what the reader counts


def test_what_was_kept_back_is_given_later_to_those_behind(session):
    socket, lines = Socket(b"half", b""), Lines(strict=True)
    gate = ReadingGate(session, socket, (), (lines, Upper()))
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            socket.recv(100)
    gate.give(lines, lines.kept, end_stream=True)
    assert socket.ready
    assert (socket.recv(3), socket.recv(100), socket.recv(100)) == (b"HAL", b"F", b"")


def test_filter_that_closes_makes_reading_fail_for_good(session):
    socket = Socket(b"die", b"more")
    ReadingGate(session, socket, (), (Upper(),))
    with pytest.raises(ConnectionAbortedError):
        socket.recv(100)
    assert socket.recv(100) == b""
    assert session.connection.stream.bytes_received == 3


def test_connection_is_closed_from_outside(session):
    socket = Socket(b"x")
    gate = ReadingGate(session, socket, (), (Upper(),))
    gate.close()
    with pytest.raises(ConnectionAbortedError):
        socket.recv(100)


def test_broken_connection_is_known(session):
    socket = Socket(ConnectionResetError())
    ReadingGate(session, socket, (), (Upper(),))
    with pytest.raises(ConnectionResetError):
        socket.recv(100)
    assert session.is_broken


def test_output_is_changed_once_however_often_the_socket_is_full(session):
    socket = Socket()
    change_output(session, socket, (Upper(),))
    socket.room = 3
    with pytest.raises(BlockingIOError):
        socket.send(b"hello")
    socket.room = 100
    assert socket.send(memoryview(b"hello")) == 5
    assert socket.send(b"x") == 1
    socket.on_half_close()
    assert socket.sent == b"<hello><x>!"
    assert session.connection.stream.bytes_sent == 5


def test_half_is_closed_behind_what_a_filter_let_go_at_the_end(session):
    socket = Socket()
    change_output(session, socket, (Upper(),))
    socket.room = 0
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            socket.on_half_close()
    socket.room = 100
    socket.on_half_close()
    assert socket.sent == b"!"


def test_filter_that_keeps_enough_gets_no_more(session):
    socket = Socket(b"one", b"two")
    gate = ReadingGate(session, socket, (), (Upper(),))
    change_output(session, socket, (Upper(),))
    session.is_input_full = session.is_output_full = True
    for act in (lambda: socket.recv(100), lambda: socket.send(b"x")):
        with pytest.raises(BlockingIOError):
            act()
    session.is_input_full = False
    gate.wake()
    assert socket.recv(100) == b"ONE"
    assert not socket.sent
