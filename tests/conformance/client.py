"""Clients of the proxy: raw bytes for HTTP/1, the h2 package for HTTP/2. All that they get is observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .http2 import Fields, Peer, Stream, no_delay
from .wire import Ended, Message, Wire, read_response, show_bytes

if TYPE_CHECKING:
    from .lab import Session

CLOSE_TIMEOUT_S = 3.0
PROBE = b"GET /probe HTTP/1.1\r\nhost: probe\r\n\r\n"


class H1Client:
    """An HTTP/1 connection to a listener."""

    def __init__(self, session: Session, stream: trio.SocketStream) -> None:
        no_delay(stream)
        self.wire = Wire(stream)
        self._session = session

    async def send(self, data: bytes) -> None:
        self._session.sent += data
        await self.wire.send(data)

    async def reply(self, label: str = "reply", *, has_body: bool = True) -> Message | None:
        """Read and observe the next response; None when the connection ends instead."""
        try:
            message = await read_response(self.wire, has_body=has_body)
        except Ended as end:
            self._session.see(label, {"no reply": "closed", "after": end.partial.decode("latin-1")})
            return None
        self._session.see(label, message.shown())
        return message

    async def tunnel(self, size: int, label: str = "tunnel") -> bytes:
        """Read and observe that many bytes of a tunnel, fewer where it ends before."""
        try:
            data = await self.wire.exactly(size)
        except Ended as end:
            self._session.see(label, {"closed": True, "after": end.partial.decode("latin-1")})
            return b""
        self._session.see(label, show_bytes(data))
        return data

    def half_close(self) -> None:
        self.wire.half_close()

    async def closed(self, label: str = "then") -> None:
        """Wait for the proxy to close, and observe whether it did and what it still sent."""
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            rest, _ = await self.wire.rest()
            self._session.see(label, {"closed": True, "after": rest.decode("latin-1")} if rest else "closed")
            return
        self._session.see(label, "still open")

    async def usable(self, label: str = "then") -> None:
        """Observe whether the connection carries another request."""
        await self.wire.send(PROBE)
        try:
            reply = await read_response(self.wire)
            self._session.see(label, f"usable: {reply.start_line}")
        except Ended:
            self._session.see(label, "closed")

    def close(self) -> None:
        self.wire.close()

    def reset(self) -> None:
        self.wire.reset()


class H2Client:
    """An HTTP/2 connection (prior knowledge) to a listener."""

    def __init__(self, session: Session, stream: trio.SocketStream, *, is_patient: bool = False) -> None:
        no_delay(stream)
        self.peer = Peer(Wire(stream), client=True, is_patient=is_patient)
        self._session = session

    async def start(
        self, headers: Fields, body: bytes = b"", trailers: Fields | None = None, *, end: bool = True
    ) -> Stream:
        """Send a request in one write, as far as windows let it; with `end` false the stream stays half open.

        In one write, since a proxy that answers the head alone resets a stream whose end has not come yet.
        """
        self._session.sent += "\r\n".join(f"{name}: {value}" for name, value in headers).encode()
        stream = await self.peer.open(
            headers, end=end and not body and not trailers, more=bool(body or trailers)
        )
        if body:
            await self.peer.data(stream, body, end=end and not trailers, more=bool(trailers))
        if trailers:
            await self.peer.headers(stream, trailers, end=True)
        return stream

    async def reply(self, stream: Stream, label: str = "reply") -> Stream:
        """Wait for the end of the response and observe it."""
        await stream.ended.wait()
        self._session.see(label, stream.shown())
        return stream

    async def request(
        self, headers: Fields, body: bytes = b"", trailers: Fields | None = None, label: str = "reply"
    ) -> Stream:
        """Send a request and observe its response."""
        return await self.reply(await self.start(headers, body, trailers), label)

    async def tunnel(self, stream: Stream, size: int, label: str = "tunnel") -> None:
        """Observe the head of a tunnel's answer, and its first bytes."""
        await stream.received(size)
        self._session.see(label, stream.shown())

    async def closed(self, label: str = "then") -> None:
        """Observe the end of the connection: GOAWAY's code and whether it closed."""
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await self.peer.ended.wait()
        self._session.see(label, {"goaway": self.peer.goaway, "closed": self.peer.ended.is_set()})

    async def drained(self, label: str = "drained") -> None:
        """Observe every GOAWAY and whether the connection closed."""
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await self.peer.ended.wait()
        self._session.see(label, {"goaways": self.peer.goaways, "closed": self.peer.ended.is_set()})

    def close(self) -> None:
        self.peer.wire.close()


def get(path: str = "/", *, method: str = "GET", host: str = "example.com", scheme: str = "http") -> Fields:
    """The pseudo headers of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
