"""Floods of HTTP/2 frames: what ends the connection, how it is counted, and what the streams on it log."""

from __future__ import annotations

from tests.support.h2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    REQUEST,
    RST,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    headers,
    request,
    settings,
    u32,
)

from ..configuration import TO_APP, bootstrap, cluster, listener
from ..frames import answers_to, conversation, unseen
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call

LOW = (
    "http2_protocol_options: {max_concurrent_streams: 3, max_outbound_control_frames: 10, "
    "max_inbound_priority_frames_per_stream: 3, "
    "max_consecutive_inbound_frames_with_empty_payload: 0, "
    "max_inbound_window_update_frames_per_data_frame_sent: 1}"
)
FLOODS = Setup(
    "http2_floods",
    bootstrap(
        [listener("main", routes=TO_APP), listener("low", LOW, routes=TO_APP)], [cluster("app", "app")]
    ),
    {"app": "h1"},
)
STATS = (
    "http2.inbound_empty_frames_flood",
    "http2.inbound_priority_frames_flood",
    "http2.inbound_window_update_frames_flood",
    "http2.outbound_control_flood",
    "http2.outbound_flood",
    "http2.header_overflow",
    "http2.rx_reset",
    "http2.tx_reset",
    "http2.stream_refused_errors",
)
PRIORITIES = frame(PRIORITY, 0, 1, u32(0) + b"\0")
WINDOWS = frame(WINDOW_UPDATE, 0, 0, u32(1))
PINGS = frame(PING, 0, 0, b"12345678")


async def held(call: Call) -> None:
    """An answer that never comes."""
    await call.gone()


async def flood(s: Session, label: str, frames: bytes, *, to: str = "main", logs: int = 2) -> None:
    """Two requests that wait for their answers, then the flood; observe how everything ends."""
    s.upstream().script = held
    counted = (*STATS, f"http.{to}.downstream_cx_protocol_error", f"http.{to}.downstream_rq_rx_reset")
    async with s.counting(*counted), s.logging(logs, to):
        client = await s.connect(to)
        await client.wire.send(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings() + request(1) + request(3, flags=4)
        )
        arrived = len(s.upstream().seen)
        await s.upstream().arrivals(arrived + 2)
        await client.wire.send(frames)
        s.see(label, [line for line in await answers_to(client.wire, {1}) if "PING" not in line])
    s.upstream().seen.clear()


@scenario(FLOODS)
async def h2_flood_of_empty_frames(s: Session) -> None:
    """DATA, HEADERS and CONTINUATION without payload; padding is none."""
    await flood(s, "DATA", frame(DATA, 0, 3) * 2)
    await flood(s, "padded DATA", frame(DATA, PADDED, 3, b"\x02\0\0") * 2)
    await flood(s, "CONTINUATION of a request", frame(HEADERS, 0, 5) + frame(CONTINUATION, 0, 5) * 2, logs=3)
    await flood(s, "DATA, where none is allowed", frame(DATA, 0, 3), to="low")


@scenario(FLOODS)
async def h2_flood_of_priorities(s: Session) -> None:
    """PRIORITY: so many for each open stream, and for one more."""
    await flood(s, "PRIORITY", PRIORITIES * 301)
    await flood(s, "PRIORITY, few allowed", PRIORITIES * 10, to="low")
    await conversation(s, "as many as are allowed", PRIORITIES * 100)
    await conversation(s, "one more", PRIORITIES * 101, ends=(1,))


@scenario(FLOODS)
async def h2_flood_of_window_updates(s: Session) -> None:
    """WINDOW_UPDATE: five, and two for each open stream, and some for each DATA frame sent."""
    await flood(s, "WINDOW_UPDATE", WINDOWS * 10)
    await flood(s, "WINDOW_UPDATE, few allowed", WINDOWS * 10, to="low")
    await conversation(s, "as many as are allowed", WINDOWS * 5)
    await conversation(s, "one more", WINDOWS * 6, ends=(1,))


@scenario(FLOODS)
async def h2_flood_of_control_frames(s: Session) -> None:
    """PING and SETTINGS, whose answers pile up."""
    await flood(s, "PING", PINGS * 1001)
    await flood(s, "SETTINGS", settings() * 1001)
    await flood(s, "PING, few allowed", PINGS * 11, to="low")
    await conversation(s, "as many as are allowed", PINGS * 8, to="low")


@scenario(FLOODS)
async def h2_flood_of_resets(s: Session) -> None:
    """Streams that are opened and reset at once: half of 500 end the connection."""
    unseen(s)
    s.upstream().script = held
    names = ("downstream_rq_too_many_premature_resets", "downstream_cx_protocol_error")
    for count in (249, 250):
        data = b"".join(request(i) + frame(RST, 0, i, u32(8)) for i in range(1, 2 * count, 2))
        async with s.counting(*(f"http.main.{name}" for name in names), "http2.rx_reset"):
            await conversation(s, f"{count} resets", data, ends=(1,) if count > 249 else ())


@scenario(FLOODS)
async def h2_flood_of_continuations(s: Session) -> None:
    """A header block of 200 CONTINUATION frames, and one of 20 frames that is too large."""
    unseen(s)
    many = [block((b"x-%d" % number, b"y")) for number in range(200)]
    large = [block((b"x-%d" % number, b"y" * 8000)) for number in range(20)]
    for label, pieces in (("many", many), ("large", large)):
        data = frame(HEADERS, 1, 1, block(*REQUEST))
        for number, piece in enumerate(pieces, 1):
            data += frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, 1, piece)
        async with s.counting(*STATS), s.logging(1):
            await conversation(s, label, data, ends=(1,))


@scenario(FLOODS)
async def h2_flood_of_hpack(s: Session) -> None:
    """A large header in the table, named again and again (an HPACK bomb)."""
    unseen(s)
    entry = b"\x40\x03x-a\x7f\xe1\x1e" + b"a" * 4000  # literal with indexing: a name of 3, a value of 4000
    for label, count in (("small", 10), ("bomb", 16000)):
        pieces = block(*REQUEST) + entry + b"\xbe" * count
        data = b""
        chunks = [pieces[at : at + 16000] for at in range(0, len(pieces), 16000)]
        for number, chunk in enumerate(chunks, 1):
            last = END_HEADERS if number == len(chunks) else 0
            data += frame(CONTINUATION if number > 1 else HEADERS, last | (1 if number == 1 else 0), 1, chunk)
        await conversation(s, label, data, ends=(1,))


@scenario(FLOODS)
async def h2_flood_of_streams(s: Session) -> None:
    """More streams than may be open: refused, and an error once the client has acknowledged the limit."""
    unseen(s)
    s.upstream().script = held
    four = b"".join(request(number) for number in (1, 3, 5, 7))
    for label, first in (("before the ACK", b""), ("behind it", frame(SETTINGS, ACK, 0))):
        async with s.counting(*STATS, "http.low.downstream_cx_protocol_error"):
            await conversation(s, label, first + four, to="low", ends=(7,))
            await s.quiet()


@scenario(FLOODS)
async def h2_flood_of_trailers(s: Session) -> None:
    """Trailers beyond the limit cost their stream."""
    unseen(s)
    s.upstream().script = held
    async with s.counting(*STATS, "http2.trailers"), s.logging(1):
        many = headers(1, *[(b"x-%d" % number, b"y") for number in range(150)])
        await conversation(s, "trailers", request(1, flags=4) + many, ends=(1,))
