"""What network filters see of the bytes, and what they can do about them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.api.network import CLOSE, CONTINUE, HOLD, NetworkFilter, NetworkSession
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


class Thinking(NetworkFilter):
    """Holds every connection."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def on_first_data(self, session: NetworkSession, data: bytes) -> int:
        self.seen.append(data)
        return HOLD


def holding(*reads: bytes) -> tuple[Wire, list[Any]]:
    """A wire whose reactor writes down whom it wakes."""
    wire = Wire(*reads)
    woken: list[Any] = []
    wire.reader = "strand"  # type: ignore[attr-defined]
    wire.ready = wire.hangup = False  # type: ignore[attr-defined]
    wire.reactor = SimpleNamespace(make_ready=woken.append)  # type: ignore[attr-defined]
    return wire, woken


def resume(session: NetworkSession, verdict: int) -> None:
    assert session.resume is not None
    session.resume(verdict)


def test_held_bytes_wait_for_each_filter_and_go_on_in_their_order() -> None:
    wire, woken = holding(b"first", b"second")
    one, two, last = Thinking(), Thinking(), First(CONTINUE)
    session = guarded(wire, one, two, last)
    for waiting in (one, two):
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                wire.recv(100)
        assert waiting.seen == [b"first"]
        resume(session, CONTINUE)
    assert woken == ["strand"]  # nobody reads the second time
    assert wire.ready  # type: ignore[attr-defined]
    assert wire.recv(100) == b"first"
    assert wire.recv(100) == b"second"
    assert (one.seen, two.seen, last.seen) == ([b"first"], [b"first"], [b"first"])


def test_held_connection_that_is_refused_is_closed() -> None:
    wire, _ = holding(b"first")
    session = guarded(wire, Thinking())
    with pytest.raises(BlockingIOError):
        wire.recv(100)
    resume(session, CLOSE)
    with pytest.raises(OSError, match="closed the connection"):
        wire.recv(100)
    assert session.connection.stream.bytes_received == 5


@pytest.mark.parametrize("error", [0, 104])
def test_held_connection_ends_when_its_client_is_gone(error: int) -> None:
    wire, _ = holding(b"first")
    guarded(wire, Thinking())
    with pytest.raises(BlockingIOError):
        wire.recv(100)
    wire.hangup = True  # type: ignore[attr-defined]
    wire.sock = SimpleNamespace(getsockopt=lambda _level, _name: error)  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError if error else BlockingIOError):
        wire.recv(100)


def test_held_end_of_a_connection_is_passed_on() -> None:
    wire, _ = holding(b"")
    session = guarded(wire, Thinking(), Upper())
    with pytest.raises(BlockingIOError):
        wire.recv(100)
    resume(session, CONTINUE)
    assert wire.recv(100) == b""
