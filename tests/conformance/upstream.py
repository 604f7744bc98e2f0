"""Scripted upstreams: real sockets that answer as a scenario tells them to and write down what they saw.

An upstream's script is a coroutine that gets one call (a request, its connection) and does what it likes with
it: read or not, answer in bytes, stall on an event, close, reset.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable

import trio

from .http2 import Fields, Peer, Stream, ordered
from .wire import Ended, Message, TlsWire, Wire, read_body, read_head, show_bytes, show_headers

FINISH_TIMEOUT_S = 3.0


class Call:
    """One HTTP/1 request at an upstream."""

    def __init__(self, wire: Wire, request: Message, connection: int, sent: bytearray) -> None:
        self.request = request
        self.connection = connection
        self.is_over = False
        self._wire = wire
        self._sent = sent
        self._body_read = False
        #: What came behind the head of a tunnel.
        self.tunnelled = bytearray()

    @property
    def path(self) -> str:
        return self.request.start_line.split(" ")[1]

    @property
    def wire(self) -> Wire:
        """The connection, for scripts that speak something else than HTTP/1 on it."""
        return self._wire

    async def body(self) -> bytes:
        """Read the whole request body."""
        if not self._body_read:
            self._body_read = True
            await read_body(self._wire, self.request, to_close=False)
        return self.request.body

    async def part(self, size: int) -> None:
        """Read that much of the request's body."""
        await self._wire.exactly(size)

    async def send(self, data: bytes) -> None:
        self._sent += data
        await self._wire.send(data)

    async def tunnel(self, size: int) -> bytes:
        """Read bytes of a tunnel: that many, or b"" where the proxy closes before."""
        self._body_read = self.is_over = True
        try:
            data = await self._wire.exactly(size)
        except Ended as end:
            self.tunnelled += end.partial
            return b""
        self.tunnelled += data
        return data

    async def tunnel_end(self) -> None:
        """Read the tunnel to its end."""
        self._body_read = self.is_over = True
        rest, _ = await self._wire.rest()
        self.tunnelled += rest

    def half_close(self) -> None:
        """End our side of a tunnel."""
        self._wire.half_close()

    async def gone(self) -> None:
        """Wait until the proxy has closed the connection."""
        await self._wire.rest()
        self.is_over = True

    async def close(self) -> None:
        """Close the connection in good order."""
        self.is_over = True
        await self._wire.finish()

    async def reset(self) -> None:
        """Close the connection with a TCP reset."""
        self.is_over = True
        self._wire.reset()

    def shown(self) -> dict[str, object]:
        out = {"connection": self.connection, **self.request.shown()}
        if self.tunnelled:
            out["tunnelled"] = show_bytes(bytes(self.tunnelled))
        return out


class H2Call:
    """One HTTP/2 request at an upstream."""

    def __init__(self, peer: Peer, stream: Stream, connection: int, sent: bytearray) -> None:
        self.stream = stream
        self.peer = peer
        self.connection = connection
        self._sent = sent

    @property
    def path(self) -> str:
        return dict(self.stream.headers).get(":path", "")

    async def body(self) -> bytes:
        await self.stream.ended.wait()
        return bytes(self.stream.body)

    async def answer(self, headers: Fields, body: bytes = b"", trailers: Fields | None = None) -> None:
        self._sent += "\r\n".join(f"{name}: {value}" for name, value in headers).encode()
        await self.peer.headers(self.stream, headers, end=not body and not trailers)
        if body:
            await self.peer.data(self.stream, body, end=not trailers)
        if trailers:
            await self.peer.headers(self.stream, trailers, end=True)

    async def answer_at_once(self, headers: Fields, body: bytes) -> None:
        """Head and body in one write, so that nothing of the proxy's comes between them."""
        self._sent += "\r\n".join(f"{name}: {value}" for name, value in headers).encode()
        await self.peer.headers(self.stream, headers, more=True)
        await self.peer.data(self.stream, body, end=True)

    async def answer_open(self, headers: Fields) -> None:
        """The head of an answer that goes on."""
        self._sent += "\r\n".join(f"{name}: {value}" for name, value in headers).encode()
        await self.peer.headers(self.stream, headers)

    def shown(self) -> dict[str, object]:
        out: dict[str, object] = {
            "connection": self.connection,
            "headers": show_headers(ordered(self.stream.headers)),
        }
        if self.stream.body:
            out["body"] = show_bytes(bytes(self.stream.body))
        if self.stream.trailers:
            out["trailers"] = show_headers(self.stream.trailers)
        if self.stream.reset:
            out["reset"] = self.stream.reset
        return out


Script = Callable[[Call], Awaitable[None]]
H2Script = Callable[[H2Call], Awaitable[None]]


def answers(*replies: bytes) -> Script:
    """Read the request, then answer with the next of these bytes (the last one again and again)."""
    left = list(replies)

    async def script(call: Call) -> None:
        await call.body()
        await call.send(left.pop(0) if len(left) > 1 else left[0])

    return script


def ok(body: bytes = b"ok", *headers: str) -> bytes:
    """A 200 with a length."""
    lines = ["HTTP/1.1 200 OK", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def h2_ok(call: H2Call) -> None:
    await call.body()
    await call.answer([(":status", "200"), ("content-length", "2")], b"ok")


async def _echo(wire: Wire) -> None:
    while data := await wire.some():
        await wire.send(data)


class Upstream:
    """One scripted server. Set `script` (or `h2_script`); read `seen`, in order of arrival."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        self.script: Script = answers(ok())
        self.h2_script: H2Script = h2_ok
        #: Of a `raw` upstream: it gets the connection as it is, and closes it by returning.
        self.raw_script: Callable[[Wire], Awaitable[None]] = _echo
        self.seen: list[Call | H2Call] = []
        self.connections = 0
        self.sent = bytearray()
        #: TLS is spoken; the name that the last client asked for is kept in ``asked``.
        self.tls: ssl.SSLContext | None = None
        self.asked: str | None = None
        #: What was seen of each handshake.
        self.handshakes: list[object] = []
        self._open: set[Wire | Peer] = set()
        self._arrival = trio.Event()
        self._closing = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Handle one connection, to its end."""
        self.connections += 1
        wire = Wire(stream)
        is_h2 = self.kind == "h2"
        if self.tls is not None:
            tls = await self._shake_hands(stream, self.tls)
            if tls is None:
                return
            wire = TlsWire(tls)
            chosen = tls.selected_alpn_protocol()
            is_h2 = chosen == "h2" if chosen else is_h2
        if is_h2:
            await self._serve_h2(wire)
        elif self.kind == "raw":
            await self._serve_raw(wire)
        else:
            await self._serve_h1(wire)

    async def _shake_hands(
        self, stream: trio.SocketStream, context: ssl.SSLContext
    ) -> trio.SSLStream[trio.SocketStream] | None:
        self.asked = None
        context.sni_callback = self._ask
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await tls.do_handshake()
        except (trio.BrokenResourceError, OSError) as error:
            reason = getattr(error.__cause__, "reason", None) or "closed"
            self.handshakes.append({"sni": self.asked, "refused": reason})
            await trio.aclose_forcefully(stream)
            return None
        subject = (tls.getpeercert() or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        self.handshakes.append(
            {
                "sni": self.asked,
                "version": tls.version(),
                "cipher": tls.cipher()[0],
                "alpn": tls.selected_alpn_protocol(),
                "client": names[0] if names else None,
                "resumed": tls.session_reused,
            }
        )
        return tls

    def _ask(self, _tls: object, name: str | None, _context: object) -> None:
        self.asked = name

    async def _serve_h1(self, wire: Wire) -> None:
        connection = self.connections
        self._open.add(wire)
        try:
            while True:
                call = Call(wire, await read_head(wire), connection, self.sent)
                self._arrived(call)
                await self.script(call)
                if call.is_over:
                    break
                await call.body()
        except Ended:
            pass
        finally:
            self._closed(wire)
            wire.close()

    async def _serve_raw(self, wire: Wire) -> None:
        self._open.add(wire)
        try:
            await self.raw_script(wire)
        finally:
            self._closed(wire)
            wire.close()

    async def _serve_h2(self, wire: Wire) -> None:
        connection = self.connections

        def on_stream(stream: Stream) -> None:
            call = H2Call(peer, stream, connection, self.sent)
            self._arrived(call)
            nursery.start_soon(self.h2_script, call)

        peer = Peer(wire, client=False, on_stream=on_stream)
        self._open.add(peer)
        try:
            async with trio.open_nursery() as nursery:
                await peer.run()
                nursery.cancel_scope.cancel()
        finally:
            self._closed(peer)
            wire.close()

    def _arrived(self, call: Call | H2Call) -> None:
        self.seen.append(call)
        self._arrival.set()
        self._arrival = trio.Event()

    async def arrivals(self, count: int) -> None:
        """Wait until that many requests have come (their heads, at least)."""
        while len(self.seen) < count:
            await self._arrival.wait()

    async def finish(self) -> None:
        """End every open connection and wait until the proxy has ended it too, so that none is reused."""
        for end in self._open:
            end.half_close()
        with trio.move_on_after(FINISH_TIMEOUT_S):
            while self._open:
                await self._closing.wait()

    def _closed(self, end: Wire | Peer) -> None:
        self._open.discard(end)
        self._closing.set()
        self._closing = trio.Event()
