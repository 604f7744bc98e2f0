"""What a client still gets of the answers that were due when, in the same read, it broke the connection."""

from __future__ import annotations

from hpack import Decoder

from tests.support.h2_frames import (
    ACK,
    CLIENT_START,
    DATA,
    HEADERS,
    PING,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    request,
    u32,
)

from ..configuration import bootstrap, cluster, listener
from ..frames import read_frame, shown
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended

ROUTES = "[{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: here}}}]"
SETUP = Setup(
    "http2_fatal", bootstrap([listener("main", routes=ROUTES)], [cluster("app", "app")]), {"app": "h1"}
)
#: Envoy closes without a word behind the first three, and says GOAWAY behind the others.
FATAL = {
    "HEADERS on stream 0": frame(HEADERS, 5, 0, block((b"a", b"b"))),
    "malformed request": request(9, (b"connection", b"close")),
    "WINDOW_UPDATE on an idle stream": frame(WINDOW_UPDATE, 0, 99, u32(1)),
    "no HPACK": frame(HEADERS, 5, 9, b"\xff" * 11),
    "PING of 7": frame(PING, 0, 0, b"1234567"),
    "DATA on stream 0": frame(DATA, 0, 0, b"x"),
}
_FIRST = frame(PING, 0, 0, b"thefirst")


async def told(s: Session, label: str, data: bytes, *, is_first: bool = False) -> None:
    """Send this, in the first read or in a later one; observe all frames but WINDOW_UPDATE, to the end."""
    client = await s.connect("main")
    decoder = Decoder()
    lines: list[str] = []
    if is_first:
        await client.wire.send(CLIENT_START + data)
    else:
        await client.wire.send(CLIENT_START + _FIRST)
        while (await read_frame(client.wire))[0] != PING:
            pass
        await client.wire.send(data)
    while True:
        try:
            each = await read_frame(client.wire)
        except Ended:
            break
        kind, flags, _, payload = each
        if kind == PING:
            lines.append(f"PING {payload.decode()}")
        elif kind == SETTINGS:
            lines.append("SETTINGS ACK" if flags & ACK else "SETTINGS")
        elif kind != WINDOW_UPDATE:
            lines.append(shown(each, decoder))
    s.see(label, lines)
    client.close()


@scenario(SETUP)
async def h2_fatal_frame_behind_a_ping(s: Session) -> None:
    """The answer to a PING, and the SETTINGS of the beginning."""
    for name, fatal in FATAL.items():
        await told(s, name, frame(PING, 0, 0, b"answerme") + frame(SETTINGS, 0, 0) + fatal)
        await told(s, f"{name}, at the beginning", fatal, is_first=True)


@scenario(SETUP)
async def h2_fatal_frame_behind_a_request(s: Session) -> None:
    """A request that was answered at once."""
    for name, fatal in FATAL.items():
        await told(s, name, request() + fatal)


@scenario(SETUP, differs={"log main": "log-of-an-answer-that-is-cut-off"})
async def h2_fatal_frame_cuts_an_answer_off(s: Session) -> None:
    """The log line of a request whose answer was never sent."""
    async with s.logging(1):
        await told(s, "answer", request() + FATAL["WINDOW_UPDATE on an idle stream"])
