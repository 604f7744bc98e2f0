"""HTTP/2 frame by frame: what a client that obeys no rule sends, and every frame that comes back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import h2.errors
import trio
from hpack import Decoder

from tests.support.h2_frames import (
    ACK,
    CLIENT_START,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    RST,
    SERVER_START,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)

from .wire import Ended, Wire

if TYPE_CHECKING:
    from .lab import Session
    from .upstream import Call

CLOSE_TIMEOUT_S = 5.0
Frame = tuple[int, int, int, bytes]
#: Sent behind everything else: its answer shows that all before it was read.
_LAST_PING = frame(PING, 0, 0, b"conclude")


def code_name(code: bytes) -> str:
    """Of an error code as it stands in a frame, such as `CANCEL`."""
    number = int.from_bytes(code, "big")
    try:
        return str(h2.errors.ErrorCodes(number).name)
    except ValueError:
        return str(number)


async def read_frame(wire: Wire) -> Frame:
    """(type, flags, stream, payload).  Raises: Ended."""
    head = await wire.exactly(9)
    payload = await wire.exactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:9], "big"), payload


def shown(each: Frame, decoder: Decoder) -> str:
    """A frame as a line of text."""
    kind, flags, stream, payload = each
    end = " END_STREAM" if kind in (DATA, HEADERS) and flags & END_STREAM else ""
    if kind == HEADERS:
        fields = dict(decoder.decode(payload))
        return f"{stream}: HEADERS {fields.get(':status', 'trailers')}{end}"
    if kind == DATA:
        return f"{stream}: DATA {len(payload)}{end}"
    if kind == RST:
        return f"{stream}: RST_STREAM {code_name(payload)}"
    if kind == GOAWAY:
        return f"GOAWAY {code_name(payload[4:8])} after {int.from_bytes(payload[:4], 'big')}"
    return f"{stream}: frame of type {kind}"


async def conversation(
    s: Session,
    label: str,
    data: bytes,
    *,
    to: str = "main",
    ends: Iterable[int] = (),
    start: bytes = CLIENT_START,
) -> None:
    """Send this behind a good connection start; observe all that is answered until it is over.

    It is over when a PING behind it was answered and the streams in `ends` have ended, or the connection has.
    SETTINGS, WINDOW_UPDATE and answers to PING are not observed, nor where DATA is cut into frames.
    """
    client = await s.connect(to)
    await client.wire.send(start + data + _LAST_PING)
    s.see(label, await answers_to(client.wire, set(ends)))
    client.close()


async def answers_to(wire: Wire, streams: set[int]) -> list[str]:
    """The frames that come until the last PING is answered and these streams are over."""
    decoder = Decoder()
    lines: list[str] = []
    is_answered = False
    with trio.move_on_after(CLOSE_TIMEOUT_S):
        while not is_answered or streams:
            try:
                each = await read_frame(wire)
            except Ended:
                return [*lines, "closed"]
            kind, flags, stream, payload = each
            if kind == PING and flags & ACK:
                is_answered |= payload == _LAST_PING[9:]
            elif kind not in (SETTINGS, WINDOW_UPDATE):
                lines.append(shown(each, decoder))
                if kind == DATA:
                    _join_data(lines)
                if kind == RST or (kind in (DATA, HEADERS) and flags & END_STREAM):
                    streams.discard(stream)
        return lines
    return [*lines, "still waiting"]


def _join_data(lines: list[str]) -> None:
    """Make one line of two DATA frames of a stream that follow each other."""
    first, _, rest = lines[-2].partition(": DATA ") if len(lines) > 1 else ("", "", "")
    second, _, last = lines[-1].partition(": DATA ")
    if rest and first == second:
        size = int(rest.split(" ")[0]) + int(last.split(" ")[0])
        lines[-2:] = [f"{first}: DATA {size}{last.lstrip('0123456789')}"]


class _Unseen(list[Any]):
    """Keeps nothing."""

    def append(self, _: Any) -> None:
        return


def unseen(s: Session, name: str = "app") -> None:
    """Leave out what this upstream gets: whether a request that breaks off gets there is a race."""
    s.upstream(name).seen = _Unseen()


class FrameServer:
    """The server's end of an HTTP/2 connection, frame by frame.

    It runs in the script of an `h1` upstream, which has read the first line of the preface as a request.
    """

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.decoder = Decoder()

    @classmethod
    async def accept(cls, call: Call, start: bytes = SERVER_START) -> FrameServer:
        """Take the rest of the preface and send SETTINGS."""
        await call.wire.exactly(6)
        call.is_over = True
        await call.wire.send(start)
        return cls(call.wire)

    async def send(self, *frames: bytes) -> None:
        await self.wire.send(b"".join(frames))

    async def request(self) -> tuple[int, dict[str, str]]:
        """The next HEADERS: the stream and its fields.  Raises: Ended."""
        while True:
            kind, flags, stream, payload = await read_frame(self.wire)
            if kind == SETTINGS and not flags & ACK:
                await self.send(frame(SETTINGS, ACK, 0))
            elif kind == HEADERS:
                return stream, dict(self.decoder.decode(payload))

    async def rest(self) -> list[str]:
        """What else comes, to the end of the connection."""
        lines: list[str] = []
        while True:
            try:
                each = await read_frame(self.wire)
            except Ended:
                return [*lines, "closed"]
            if each[0] not in (SETTINGS, WINDOW_UPDATE, PING):
                lines.append(shown(each, self.decoder))
                if each[0] == DATA:
                    _join_data(lines)

    async def until(self, kind: int) -> str:
        """The next frame of this type.  Raises: Ended."""
        while True:
            each = await read_frame(self.wire)
            if each[0] == kind:
                return shown(each, self.decoder)
            if each[0] == HEADERS:
                self.decoder.decode(each[3])
