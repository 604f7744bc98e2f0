"""What network filters see of the bytes, and what they can do about them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.network import CLOSE, CONTINUE, NetworkFilter, NetworkSession
from sidecar.server.network_chain import CountBytes, guard_bytes


class Wire:
    """A transport: what is read from it, and how much it takes at a time."""

    def __init__(self, *reads: bytes, takes: int = 100) -> None:
        self.reads = list(reads)
        self.takes = takes
        self.sent = b""
        self.recv: Any = self._recv
        self.send: Any = self._send

    def _recv(self, size: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        return self.reads.pop(0)

    def _send(self, data: bytes) -> int:
        part = bytes(data[: self.takes])
        self.sent += part
        return len(part)


def guarded(wire: Wire, *filters: NetworkFilter) -> NetworkSession:
    """The session of a connection on ``wire`` behind these filters."""
    connection = SimpleNamespace(stream=SimpleNamespace(bytes_received=0, bytes_sent=0))
    session = connection.network_session = NetworkSession(connection)

    async def serve(connection: Any, transport: Any, strand: Any) -> None:
        return

    guard_bytes(filters, serve)(connection, wire, None).close()  # type: ignore[arg-type]
    return session


class Upper(NetworkFilter):
    def on_data(self, session: NetworkSession, data: bytes) -> bytes | None:
        return None if b"!" in data else data.upper()


class First(NetworkFilter):
    def __init__(self, verdict: int) -> None:
        self.verdict = verdict
        self.seen: list[bytes] = []

    def on_first_data(self, session: NetworkSession, data: bytes) -> int:
        self.seen.append(data)
        return self.verdict


class Written(NetworkFilter):
    def __init__(self) -> None:
        self.seen = b""

    def on_write(self, session: NetworkSession, data: bytes) -> int:
        self.seen += data
        return CLOSE if b"!" in data else CONTINUE


def test_bytes_are_untouched_where_no_filter_looks_at_them() -> None:
    wire = Wire()
    before = wire.recv, wire.send
    guarded(wire, NetworkFilter())
    assert (wire.recv, wire.send) == before


def test_data_is_what_the_filter_makes_of_it_until_it_refuses() -> None:
    wire = Wire(b"ab", b"c!", b"more")
    guarded(wire, Upper())
    assert wire.recv(10) == b"AB"
    with pytest.raises(OSError, match="a network filter closed the connection"):
        wire.recv(10)
    assert wire.recv(10) == b""


def test_first_data_is_shown_once_and_then_costs_nothing() -> None:
    wire = Wire(b"a", b"b")
    plain = wire.recv
    first = First(CONTINUE)
    guarded(wire, first)
    assert wire.recv(10) == b"a"
    assert wire.recv == plain
    assert first.seen == [b"a"]


def test_first_data_that_is_refused_lets_nothing_through_at_all() -> None:
    wire = Wire(b"a", b"b")
    guarded(wire, First(CLOSE))
    for _ in range(2):
        with pytest.raises(OSError, match="a network filter closed the connection"):
            wire.recv(10)


def test_what_is_sent_in_parts_is_shown_once() -> None:
    wire = Wire(takes=3)
    written = Written()
    session = guarded(wire, written, CountBytes())
    data = b"hello world"
    while data:
        data = data[wire.send(data) :]
    assert wire.sent == written.seen == b"hello world"
    assert session.connection.stream.bytes_sent == 11
    with pytest.raises(OSError, match="a network filter closed the connection"):
        wire.send(b"no!")
