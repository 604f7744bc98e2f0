"""Bytes of HTTP/1 as a peer of the proxy sees them: a buffered stream and a lenient message reader.

Used by the client and by the scripted upstream. It never validates: what the proxy sent is taken down as it
came, header case, order and all, so that two proxies can be compared.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import dataclass, field

import trio

SHOWN_BODY_BYTES = 600


class Ended(Exception):
    """The peer ended the stream inside something that was being read: `how` is eof or reset."""

    def __init__(self, how: str, partial: bytes) -> None:
        super().__init__(f"{how} after {partial!r}")
        self.how = how
        self.partial = partial


class Wire:
    """A TCP stream with look-ahead."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self._end: str | None = None

    async def send(self, data: bytes) -> None:
        """Send all of it; a peer that is gone already shows itself in the next read, not here."""
        try:
            await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _more(self) -> bool:
        if self._end is None:
            try:
                chunk = await self.stream.receive_some(262144)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end = "reset"
                return False
            if chunk:
                self._buffer += chunk
                return True
            self._end = "eof"
        return False

    async def line(self) -> bytes:
        """The next line without its line end (CR LF or LF)."""
        while (end := self._buffer.find(b"\n")) < 0:
            if not await self._more():
                raise Ended(self._end or "eof", self._take(len(self._buffer)))
        return self._take(end + 1)[:-1].removesuffix(b"\r")

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            if not await self._more():
                raise Ended(self._end or "eof", self._take(len(self._buffer)))
        return self._take(size)

    async def some(self) -> bytes:
        """Whatever is there, at least one byte; b"" at the end."""
        if not self._buffer:
            await self._more()
        return self._take(len(self._buffer))

    async def rest(self) -> tuple[bytes, str]:
        """Everything up to the end of the stream, and how it ended."""
        while await self._more():
            pass
        return self._take(len(self._buffer)), self._end or "eof"

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def half_close(self) -> None:
        """Send our FIN; a stream that is over already is left alone."""
        try:
            self.stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    async def finish(self, timeout_s: float = 3.0) -> None:
        """Close in good order: our FIN first, then wait until the peer has closed too."""
        with trio.move_on_after(timeout_s):
            self.half_close()
            await self.rest()
        await trio.aclose_forcefully(self.stream)

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    def close(self) -> None:
        """Close at once."""
        self.stream.socket.close()


class TlsWire(Wire):
    """A TLS stream with look-ahead; half closing says close_notify."""

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        super().__init__(stream)  # type: ignore[arg-type]  # it sends and receives like one
        self._socket = stream.transport_stream.socket

    def half_close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        self._socket.close()


@dataclass(slots=True)
class Message:
    """One HTTP/1 message as it came over the wire."""

    start_line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)
    cut: str | None = None

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name]

    def shown(self) -> dict[str, object]:
        """The observation; what is empty is left out."""
        out: dict[str, object] = {"start": self.start_line, "headers": show_headers(self.headers)}
        if self.interim:
            out["interim"] = [message.shown() for message in self.interim]
        if self.framing != "none":
            out["framing"] = self.framing
            out["body"] = show_bytes(self.body)
        if self.trailers:
            out["trailers"] = show_headers(self.trailers)
        if self.cut:
            out["cut"] = True
        return out


def head(*lines: str) -> bytes:
    """The lines of a message head with their line ends and the empty line."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def show_headers(headers: list[tuple[str, str]]) -> list[str]:
    """One line each; a value of more than SHOWN_BODY_BYTES as its size and hash."""
    return [f"{name}: {show_bytes(value.encode('latin-1'))}" for name, value in headers]


def show_bytes(data: bytes) -> str:
    """The text itself when it is short, otherwise its size and hash."""
    if len(data) <= SHOWN_BODY_BYTES:
        return data.decode("latin-1")
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}"


async def read_head(wire: Wire) -> Message:
    """Start line and headers."""
    start = await wire.line()
    return Message(start.decode("latin-1"), await _fields(wire))


async def _fields(wire: Wire) -> list[tuple[str, str]]:
    fields = []
    while line := await wire.line():
        name, _, value = line.decode("latin-1").partition(":")
        fields.append((name, value.strip(" ")))
    return fields


async def read_body(wire: Wire, message: Message, *, to_close: bool) -> None:
    """Read the body that the headers announce into the message; a cut is noted there, not raised.

    `to_close`: without a length the body lasts until the stream ends (responses), or is none (requests).
    """
    try:
        if any("chunked" in value.lower() for value in message.values("transfer-encoding")):
            message.framing = "chunked"
            await _chunks(wire, message)
        elif lengths := message.values("content-length"):
            message.framing = "length"
            message.body = await wire.exactly(int(lengths[0]))
        elif to_close:
            message.framing = "close"
            message.body, how = await wire.rest()
            message.cut = how if how != "eof" else None
    except Ended as end:
        message.cut = end.how
        message.body += end.partial


async def _chunks(wire: Wire, message: Message) -> None:
    while size := int((await wire.line()).split(b";")[0], 16):
        message.body += await wire.exactly(size)
        await wire.line()
    message.trailers = await _fields(wire)


async def read_response(wire: Wire, *, has_body: bool = True) -> Message:
    """The next final response with its interim ones; `has_body` is false after HEAD.

    Raises: Ended when the stream ends before the head is complete.
    """
    interim: list[Message] = []
    while True:
        message = await read_head(wire)
        status = message.start_line.split(" ")[1] if " " in message.start_line else ""
        if status.startswith("1") and status != "101":
            interim.append(message)
            continue
        message.interim = interim
        if has_body and status not in ("204", "304", "101"):
            await read_body(wire, message, to_close=True)
        return message
