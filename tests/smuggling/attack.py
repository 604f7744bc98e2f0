"""Sends vectors through a proxy and takes down what comes out at the other side."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from tests.conformance.wire import Ended, Wire, read_response
from tests.smuggling.corpus import Vector
from tests.smuggling.proxies import Kind, Running
from tests.smuggling.readers import Incomplete, Request, Unreadable, read_lax, read_strict

__all__ = ["Outcome", "attack", "readings"]

LANES = 4
#: How long an answer may take; a proxy that waits for the rest of a request gives none.
ANSWER_TIMEOUT_S = 1.0
QUIET_TIMEOUT_S = 0.3
START_TIMEOUT_S = 20.0
#: Ends each connection, so that nobody has to wait: the proxy closes behind its answer.
_LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
_ANSWER = b"HTTP/1.1 %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

Reader = Callable[[bytes], tuple[Request, bytes]]


@dataclass(slots=True)
class Outcome:
    """What a vector led to: statuses that the client got, and bytes by connection to the upstream."""

    statuses: list[str] = field(default_factory=list)
    forwarded: list[bytes] = field(default_factory=list)

    @property
    def messages(self) -> list[list[Request | str]]:
        """What the strict reader finds on each connection, without the request that ended it all."""
        found = [readings(data, read_strict) for data in self.forwarded]
        return [each for each in found if not _is_last(each)]

    @property
    def is_ambiguous(self) -> bool:
        """Whether the two readers find different messages on some connection."""
        return any(readings(data, read_strict) != readings(data, read_lax) for data in self.forwarded)


def _is_last(messages: list[Request | str]) -> bool:
    return len(messages) == 1 and isinstance(messages[0], Request) and messages[0].target == b"/last"


def readings(data: bytes, read: Reader) -> list[Request | str]:
    """All that a server finds in ``data``; at last why it stops, where bytes are left."""
    found: list[Request | str] = []
    while data:
        try:
            request, data = read(data)
        except Incomplete:
            return [*found, "incomplete"]
        except Unreadable:
            return [*found, "refused"]
        found.append(request)
    return found


class _Upstream:
    """A server that answers what its reader makes of each connection's first bytes, and keeps them all."""

    def __init__(self, read: Reader) -> None:
        self._read = read
        self.seen: list[bytearray] = []
        self.open = 0
        self._changed = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        raw = bytearray()
        self.open += 1
        answered = False
        try:
            while data := await stream.receive_some(65536):
                if not raw:
                    self.seen.append(
                        raw
                    )  # not before: a proxy may connect for one vector and use it for the next
                raw += data
                if not answered:
                    try:
                        self._read(bytes(raw))
                    except Incomplete:
                        continue
                    except Unreadable:
                        status = b"400 Bad Request"
                    else:
                        status = b"200 OK"
                    answered = True
                    await stream.send_all(_ANSWER % status)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            self._changed.set()
            self._changed = trio.Event()
            await trio.aclose_forcefully(stream)

    async def quiet(self) -> None:
        """Wait until the proxy has ended its connections, within reason."""
        with trio.move_on_after(QUIET_TIMEOUT_S):
            while self.open:
                await self._changed.wait()


async def _one(vector: Vector, port: int, upstream: _Upstream) -> Outcome:
    upstream.seen.clear()
    outcome = Outcome()
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    wire = Wire(stream)
    with trio.move_on_after(QUIET_TIMEOUT_S if vector.waits else ANSWER_TIMEOUT_S):
        await wire.send(vector.data + _LAST)
        is_head = vector.data.startswith(b"HEAD ")
        try:
            while True:
                reply = await read_response(wire, has_body=not is_head)
                is_head = False
                match = re.match(r"HTTP/1\.[01] ([0-9]{3})", reply.start_line)
                outcome.statuses.append(match[1] if match else "?")
                if "close" in [value.lower() for value in reply.values("connection")] or reply.cut:
                    break
        except (Ended, ValueError, IndexError):
            pass
    await trio.aclose_forcefully(stream)
    await upstream.quiet()
    outcome.forwarded = [bytes(raw) for raw in upstream.seen if raw]
    return outcome


async def attack(kind: Kind, read: Reader, vectors: Sequence[Vector], directory: Path) -> dict[str, Outcome]:
    """Every vector through one proxy, in lanes; what became of each, by name."""
    outcomes: dict[str, Outcome] = {}
    async with trio.open_nursery() as nursery:
        upstreams: list[_Upstream] = []
        ports: list[int] = []
        for _ in range(LANES):
            upstream = _Upstream(read)
            (sock,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, upstream.serve, [sock])
            upstreams.append(upstream)
            ports.append(sock.socket.getsockname()[1])

        async def lane(number: int, port: int) -> None:
            for vector in vectors[number::LANES]:
                outcomes[vector.name] = await _one(vector, port, upstreams[number])

        with Running(kind, ports, directory) as running:
            for port in running.ports:
                await _listening(port, running)
            async with trio.open_nursery() as lanes:
                for number, port in enumerate(running.ports):
                    lanes.start_soon(lane, number, port)
        nursery.cancel_scope.cancel()
    return {vector.name: outcomes[vector.name] for vector in vectors}


async def _listening(port: int, running: Running) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        running.check(deadline)
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.02)
        else:
            await trio.aclose_forcefully(stream)
            return
