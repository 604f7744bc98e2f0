"""An upstream that can be told to misbehave: ``python -m tests.chaos.upstream HTTP1_PORT HTTP2_PORT``.

Each line on its standard input is a mode.  Crashing and hanging are done to the process from outside, by
SIGKILL and SIGSTOP, as they happen in life.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import trio

from tests.conformance.wire import Ended, Wire, read_body, read_head

__all__ = ["MODES", "main"]

MODES = ("ok", "slow", "reset", "cut", "errors")
#: Longer than a try may take, shorter than a request may.
SLOW_S = 0.7
#: What a request for ``/leave`` takes: its client is gone before.
LEAVE_S = 0.3
BODIES = {"large": b"x" * 262144}
BODY = b"y" * 1024


@dataclass(slots=True)
class State:
    """What all connections of this upstream obey."""

    mode: str = "ok"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request is met: the whole answer, the beginning of one, or a reset."""

    status: int
    body: bytes
    is_cut: bool = False
    is_reset: bool = False


async def decide(state: State, path: str) -> Answer:
    """What becomes of a request; health checks are met well by all that run."""
    body = BODIES.get(path.rpartition("/")[2], BODY)
    if path == "/health":
        return Answer(200, b"")
    if state.mode == "slow":
        await trio.sleep(SLOW_S)
    elif path.endswith("/leave"):
        await trio.sleep(LEAVE_S)
    if state.mode == "errors":
        return Answer(503, b"no")
    return Answer(200, body, is_cut=state.mode == "cut", is_reset=state.mode == "reset")


async def serve_http1(state: State, stream: trio.SocketStream) -> None:
    """Requests of one connection, one after another."""
    wire = Wire(stream)
    try:
        while True:
            request = await read_head(wire)
            await read_body(wire, request, to_close=False)
            if request.cut:
                break
            answer = await decide(state, request.start_line.split(" ")[1])
            if answer.is_reset:
                break
            head = f"HTTP/1.1 {answer.status} X\r\ncontent-length: {len(answer.body)}\r\n\r\n".encode()
            if answer.is_cut:
                await wire.send(head + answer.body[: len(answer.body) // 2])
                break
            await wire.send(head + answer.body)
    except (Ended, IndexError, ValueError):
        pass
    wire.reset()


class Http2:
    """One HTTP/2 connection; every stream is a task."""

    def __init__(self, state: State, stream: trio.SocketStream) -> None:
        self._state = state
        self._stream = stream
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._lock = trio.Lock()
        self._paths: dict[int, str] = {}
        self._room = trio.Event()

    async def serve(self) -> None:
        """Until the peer leaves."""
        self._h2.initiate_connection()
        try:
            async with trio.open_nursery() as nursery:
                await self._flush()
                while data := await self._stream.receive_some(65536):
                    for event in self._h2.receive_data(data):
                        self._take(event, nursery)
                    self._room.set()
                    self._room = trio.Event()
                    await self._flush()
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, h2.exceptions.ProtocolError):
            pass
        reset(self._stream)

    def _take(self, event: h2.events.Event, nursery: trio.Nursery) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = {bytes(name): bytes(value) for name, value in event.headers}
            self._paths[event.stream_id] = fields.get(b":path", b"/").decode()
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            nursery.start_soon(self._answer, event.stream_id, self._paths.pop(event.stream_id, "/"))

    async def _answer(self, number: int, path: str) -> None:
        answer = await decide(self._state, path)
        try:
            if answer.is_reset:
                self._h2.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
                await self._flush()
                return
            length = str(len(answer.body))
            self._h2.send_headers(number, [(":status", str(answer.status)), ("content-length", length)])
            rest = answer.body[: len(answer.body) // 2] if answer.is_cut else answer.body
            while rest:
                room = min(
                    self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size, len(rest)
                )
                if not room:
                    await self._flush()
                    await self._room.wait()
                    continue
                self._h2.send_data(number, rest[:room])
                rest = rest[room:]
            if answer.is_cut:
                self._h2.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
            else:
                self._h2.end_stream(number)
            await self._flush()
        except (h2.exceptions.ProtocolError, h2.exceptions.StreamClosedError):
            await self._flush()  # the proxy gave the stream up

    async def _flush(self) -> None:
        async with self._lock:
            if data := self._h2.data_to_send():
                await self._stream.send_all(data)


async def serve_http2(state: State, stream: trio.SocketStream) -> None:
    await Http2(state, stream).serve()


def reset(stream: trio.SocketStream) -> None:
    """End with a TCP reset."""
    try:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()
    except OSError:
        pass


async def main(http1_port: int, http2_port: int) -> None:
    """Serve until standard input ends."""
    state = State()

    def handler(
        serve: Callable[[State, trio.SocketStream], Awaitable[None]],
    ) -> Callable[[trio.SocketStream], Awaitable[None]]:
        async def handle(stream: trio.SocketStream) -> None:
            try:
                await serve(state, stream)
            except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        return handle

    async with trio.open_nursery() as nursery:
        for port, serve in ((http1_port, serve_http1), (http2_port, serve_http2)):
            listener = await trio.open_tcp_listeners(port, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, handler(serve), listener)
        print("listening", flush=True)
        async for line in trio.wrap_file(sys.stdin):
            state.mode = line.strip()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
