"""Servers that speak HTTP/2 badly, or leave: what the client gets, and what the server is told."""

from __future__ import annotations

from collections.abc import Callable

import trio

from tests.support.h2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENDING,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PUSH,
    RST,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    frame,
    headers,
    settings,
    u32,
)

from ..client import get
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..frames import FrameServer
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import Ended, head

ROUTES = """
- {match: {prefix: /slow}, route: {cluster: raw, timeout: 0.1s}}
- {match: {prefix: /idle}, route: {cluster: idle}}
- {match: {prefix: /one}, route: {cluster: one}}
- {match: {prefix: /}, route: {cluster: raw}}
"""


def common(name: str, options: str) -> dict[str, object]:
    """A cluster with common HTTP options."""
    http2 = (
        f"explicit_http_config: {{http2_protocol_options: {{}}}}, common_http_protocol_options: {{{options}}}"
    )
    typed = f'{{"@type": type.googleapis.com/{HTTP_OPTIONS}, {http2}}}'
    return cluster(name, "raw", extra=f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {typed}}}")


RAW = Setup(
    "http2_upstream",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            cluster("raw", "raw", http2=True),
            common("idle", "idle_timeout: 0.1s"),
            common("one", "max_requests_per_connection: 1"),
        ],
    ),
    {"raw": "h1"},
)
STATUS = (b":status", b"200")
CX = (
    "upstream_cx_total",
    "upstream_cx_protocol_error",
    "upstream_cx_close_notify",
    "upstream_cx_destroy_local",
    "upstream_cx_destroy_remote",
    "upstream_cx_max_requests",
    "upstream_rq_rx_reset",
    "upstream_rq_tx_reset",
    "upstream_rq_total",
    "http2.goaway_sent",
    "http2.header_overflow",
    "http2.inbound_empty_frames_flood",
    "http2.inbound_priority_frames_flood",
    "http2.inbound_window_update_frames_flood",
    "http2.outbound_control_flood",
    "http2.rx_messaging_error",
    "http2.rx_reset",
    "http2.tx_reset",
    "http2.trailers",
)
NAMES = tuple(f"cluster.raw.{name}" for name in CX)


async def answered(
    s: Session,
    label: str,
    answer: Callable[[int], bytes],
    *,
    path: str = "/",
) -> None:
    """One GET; the server answers its stream with these frames.  Observe client, log and server."""
    lines: list[list[str]] = []
    over = trio.Event()

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call)
        stream, _ = await server.request()
        await server.send(answer(stream))
        lines.append(await server.rest())
        over.set()

    s.upstream("raw").script = script
    async with s.counting(*NAMES), s.logging(1):
        await s.http(head("GET " + path + " HTTP/1.1", "host: a"), label=label)
        await s.upstream("raw").finish()
        await over.wait()
    s.see(f"{label}: the server is told", lines[0])
    s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_reset_codes(s: Session) -> None:
    """RST_STREAM with every code, before the response."""
    for code in (0, 1, 2, 3, 5, 7, 8, 10, 11, 13, 99):
        await answered(s, f"code {code}", lambda stream, code=code: frame(RST, 0, stream, u32(code)))


@scenario(RAW)
async def h2_upstream_malformed_responses(s: Session) -> None:
    """Responses that break a rule of messages."""
    cases = {
        "no status": lambda i: headers(i, (b"x", b"y")),
        "status twice": lambda i: headers(i, STATUS, STATUS),
        "status late": lambda i: headers(i, (b"x", b"y"), STATUS),
        "status of letters": lambda i: headers(i, (b":status", b"abc")),
        "request pseudo header": lambda i: headers(i, STATUS, (b":path", b"/")),
        "upper case": lambda i: headers(i, STATUS, (b"X-Upper", b"1")),
        "connection": lambda i: headers(i, STATUS, (b"connection", b"close")),
        "NUL": lambda i: headers(i, STATUS, (b"x", b"a\0b")),
        "DATA first": lambda i: frame(DATA, END_STREAM, i, b"x"),
        "interim that ends": lambda i: headers(i, (b":status", b"103")),
        "101": lambda i: headers(i, (b":status", b"101"), flags=END_HEADERS),
        "too short": lambda i: headers(i, STATUS, (b"content-length", b"5")),
    }
    for label, answer in cases.items():
        await answered(s, label, answer)


@scenario(RAW)
async def h2_upstream_bad_frames(s: Session) -> None:
    """Frames that break the connection."""
    cases = {
        "frame too large": lambda i: b"\x01\0\0\0\0" + u32(i),
        "PING of odd length": lambda i: frame(PING, 0, 0, b"abc"),
        "SETTINGS of odd length": lambda i: frame(SETTINGS, 0, 0, b"abc"),
        "push on": lambda i: settings((2, 1)),
        "PUSH_PROMISE": lambda i: frame(PUSH, END_HEADERS, i, u32(2) + block((b":method", b"GET"))),
        "broken HPACK": lambda i: frame(HEADERS, ENDING, i, b"\xff\xff\xff\xff\xff"),
        "HEADERS on an even stream": lambda i: headers(2, STATUS),
        "HEADERS on an idle stream": lambda i: headers(i + 20, STATUS),
        "DATA on stream 0": lambda i: frame(DATA, 0, 0, b"x"),
        "bad padding": lambda i: frame(HEADERS, ENDING | PADDED, i, b"\x7f" + block(STATUS)),
        "lone CONTINUATION": lambda i: frame(CONTINUATION, END_HEADERS, i, block(STATUS)),
        "WINDOW_UPDATE of 0": lambda i: frame(WINDOW_UPDATE, 0, 0, u32(0)),
    }
    for label, answer in cases.items():
        await answered(s, label, answer)


@scenario(RAW)
async def h2_upstream_floods(s: Session) -> None:
    """Floods from a server."""
    cases = {
        "PING": lambda i: frame(PING, 0, 0, b"12345678") * 1001,
        "SETTINGS": lambda i: settings() * 1001,
        "PRIORITY": lambda i: frame(PRIORITY, 0, i, u32(0) + b"\0") * 201,
        "WINDOW_UPDATE": lambda i: frame(WINDOW_UPDATE, 0, 0, u32(1)) * 8,
        "empty DATA": lambda i: headers(i, STATUS, flags=END_HEADERS) + frame(DATA, 0, i) * 2,
        "empty CONTINUATION": lambda i: frame(HEADERS, 0, i) + frame(CONTINUATION, 0, i),
        "many headers": lambda i: headers(i, STATUS, *[(b"x-%d" % n, b"y") for n in range(150)]),
    }
    for label, answer in cases.items():
        await answered(s, label, answer)


@scenario(RAW)
async def h2_upstream_answers(s: Session) -> None:
    """Unusual answers that are fine: padding, CONTINUATION, unknown frames, trailers, interim responses."""
    ok = headers(1, STATUS, flags=END_HEADERS)
    cases = {
        "padding": lambda i: (
            frame(HEADERS, END_HEADERS | PADDED, i, b"\x03" + block(STATUS) + b"\0\0\0")
            + frame(DATA, END_STREAM | PADDED, i, b"\x02ok\0\0")
        ),
        "CONTINUATION": lambda i: (
            frame(HEADERS, END_STREAM, i, block(STATUS)[:3])
            + frame(CONTINUATION, END_HEADERS, i, block(STATUS)[3:])
        ),
        "unknown frame": lambda i: (
            frame(0x42, 0xFF, i, b"x") + ok.replace(u32(1), u32(i)) + frame(DATA, 1, i, b"ok")
        ),
        "103 first": lambda i: headers(i, (b":status", b"103"), flags=END_HEADERS) + headers(i, STATUS),
        "priority": lambda i: frame(PRIORITY, 0, i, u32(3) + b"\0") + headers(i, STATUS),
    }
    for label, answer in cases.items():
        await answered(s, label, answer)


@scenario(RAW, differs={"stats": "goaway-is-no-protocol-error"})
async def h2_upstream_goaway(s: Session) -> None:
    """GOAWAY under two requests: the one above its last stream is refused, the other answered."""
    told: list[list[str]] = []
    over = trio.Event()

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call)
        stream, fields = await server.request()
        if fields[":path"] == "/third":
            await server.send(headers(stream, STATUS, (b"x-connection", b"second")))
            await server.rest()
            return
        await server.request()
        await server.send(frame(GOAWAY, 0, 0, u32(1) + u32(0)))
        await refused.wait()
        await server.send(headers(1, STATUS, (b"x-connection", b"first")))
        told.append(await server.rest())
        over.set()

    refused = trio.Event()
    s.upstream("raw").script = script
    async with s.counting(*NAMES), s.logging(3):
        client = await s.connect_h2()
        first = await client.start(get("/first"))
        await s.upstream("raw").arrivals(1)
        second = await client.start(get("/second"))
        await client.reply(second, "above the last stream")
        await client.request(get("/third"), label="after it")
        refused.set()
        await client.reply(first, "below it")
        await over.wait()
        await s.upstream("raw").finish()
    s.see("the first connection is told", told[0])
    s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_goaway_of_an_idle_connection(s: Session) -> None:
    """GOAWAY with an answer, or behind it: the connection ends, the next request takes another."""
    for label, code in (("gracefully", 0), ("with an error", 2)):
        ended = trio.Event()

        async def script(call: Call, code: int = code, ended: trio.Event = ended, label: str = label) -> None:
            server = await FrameServer.accept(call)
            stream, _ = await server.request()
            await server.send(headers(stream, STATUS), frame(GOAWAY, 0, 0, u32(2**31 - 1) + u32(code)))
            s.see(f"{label}: the server is told", await server.rest())
            ended.set()

        s.upstream("raw").script = script
        async with s.counting(*NAMES):
            await s.http(head("GET / HTTP/1.1", "host: a"), label=label)
            await ended.wait()
        s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_connections_that_we_end(s: Session) -> None:
    """The server is told nothing when idle_timeout or max_requests_per_connection ends a connection."""
    for path in ("/idle", "/one"):
        ended = trio.Event()

        async def script(call: Call, ended: trio.Event = ended, path: str = path) -> None:
            server = await FrameServer.accept(call)
            stream, _ = await server.request()
            await server.send(headers(stream, STATUS))
            s.see(f"{path}: the server is told", await server.rest())
            ended.set()

        s.upstream("raw").script = script
        names = ("upstream_cx_destroy_local", "http2.goaway_sent", "upstream_cx_idle_timeout")
        async with s.counting(*(f"cluster.{path[1:]}.{name}" for name in names)):
            await s.http(head(f"GET {path} HTTP/1.1", "host: a"), label=path)
            await ended.wait()
        s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_concurrency(s: Session) -> None:
    """A server that takes one stream at a time: a second request opens a second connection."""
    both = trio.Event()

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call, settings((3, 1)))
        try:
            while True:
                stream, fields = await server.request()
                if fields[":path"] == "/hold":
                    await both.wait()
                await server.send(headers(stream, STATUS, (b"x-stream", b"%d" % stream)))
        except Ended:
            return

    s.upstream("raw").script = script
    async with s.counting(*NAMES):
        client = await s.connect_h2()
        await client.request(get("/"), label="the limit is known then")
        first = await client.start(get("/hold"))
        second = await client.start(get("/hold"))
        await s.upstream("raw").arrivals(2)
        both.set()
        await client.reply(first, "first")
        await client.reply(second, "second")
        await s.upstream("raw").finish()
    s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_is_told_of_resets(s: Session) -> None:
    """What a server is told when the client resets, leaves, or a timeout ends the stream."""
    for label in ("CANCEL", "REFUSED_STREAM", "NO_ERROR", "leaves", "timeout"):
        arrived = trio.Event()
        over = trio.Event()

        async def script(
            call: Call, label: str = label, arrived: trio.Event = arrived, over: trio.Event = over
        ) -> None:
            server = await FrameServer.accept(call)
            await server.request()
            arrived.set()
            s.see(f"{label}: the server is told", await server.until(RST))
            over.set()

        s.upstream("raw").script = script
        async with s.counting(*NAMES):
            client = await s.connect_h2()
            stream = await client.start(get("/slow" if label == "timeout" else "/"))
            await arrived.wait()
            if label == "leaves":
                client.close()
            elif label != "timeout":
                await client.peer.reset(stream, label)
            await over.wait()
            await s.upstream("raw").finish()
        s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_answers_early(s: Session) -> None:
    """A whole response before the request is complete, with RST_STREAM(NO_ERROR) and without."""
    for label, reset in (("reset", True), ("no reset", False)):
        over = trio.Event()

        async def script(
            call: Call, reset: bool = reset, label: str = label, over: trio.Event = over
        ) -> None:
            server = await FrameServer.accept(call)
            stream, _ = await server.request()
            await server.until(DATA)
            frames = headers(stream, STATUS, flags=END_HEADERS) + frame(DATA, END_STREAM, stream, b"early")
            await server.send(frames + (frame(RST, 0, stream, u32(0)) if reset else b""))
            if not reset:
                s.see(f"{label}: the server is told", await server.until(RST))
            over.set()
            await server.rest()

        s.upstream("raw").script = script
        async with s.counting(*NAMES), s.logging(1):
            client = await s.connect_h2()
            await client.reply(await client.start(get("/", method="POST"), b"part", end=False), label)
            await over.wait()
            await s.upstream("raw").finish()
        s.upstream("raw").seen.clear()


@scenario(RAW)
async def h2_upstream_resets_behind_its_answer(s: Session) -> None:
    """The whole response and RST_STREAM in one, before the request is complete: by code and by shape."""
    head = END_HEADERS
    cases = {
        "NO_ERROR": lambda i: headers(i, STATUS) + frame(RST, 0, i, u32(0)),
        "REFUSED_STREAM": lambda i: headers(i, STATUS) + frame(RST, 0, i, u32(7)),
        "CANCEL, two DATA": lambda i: (
            headers(i, STATUS, flags=head)
            + frame(DATA, 0, i, b"one")
            + frame(DATA, END_STREAM, i, b"two")
            + frame(RST, 0, i, u32(8))
        ),
        "PROTOCOL_ERROR, trailers": lambda i: (
            headers(i, STATUS, flags=head)
            + frame(DATA, 0, i, b"one")
            + headers(i, (b"x-t", b"1"))
            + frame(RST, 0, i, u32(1))
        ),
    }
    for label, answer in cases.items():

        async def script(call: Call, answer: Callable[[int], bytes] = answer) -> None:
            server = await FrameServer.accept(call)
            stream, _ = await server.request()
            await server.until(DATA)
            await server.send(answer(stream))
            await server.rest()

        s.upstream("raw").script = script
        async with s.counting(*NAMES), s.logging(1):
            client = await s.connect_h2()
            await client.reply(await client.start(get("/", method="POST"), b"part", end=False), label)
            await s.upstream("raw").finish()
        s.upstream("raw").seen.clear()


@scenario(RAW, differs={"DATA behind the end: the server is told": "frames-that-h2spec-refuses"})
async def h2_upstream_broken_within_the_body(s: Session) -> None:
    """What a client is told when the server breaks a rule, resets or leaves within the response."""
    part = END_HEADERS
    cases = {
        "wrong length": lambda i: (
            headers(i, STATUS, (b"content-length", b"9"), flags=part) + frame(DATA, END_STREAM, i, b"short")
        ),
        "malformed trailers": lambda i: (
            headers(i, STATUS, flags=part) + frame(DATA, 0, i, b"body") + headers(i, (b"X-T", b"1"))
        ),
        "trailers that do not end": lambda i: (
            headers(i, STATUS, flags=part)
            + frame(DATA, 0, i, b"body")
            + headers(i, (b"x-t", b"1"), flags=part)
        ),
        "DATA behind the end": lambda i: headers(i, STATUS) + frame(DATA, 0, i, b"more"),
    }
    for label, answer in cases.items():
        over = trio.Event()

        async def script(
            call: Call, answer: Callable[[int], bytes] = answer, label: str = label, over: trio.Event = over
        ) -> None:
            server = await FrameServer.accept(call)
            stream, _ = await server.request()
            await server.send(answer(stream))
            s.see(f"{label}: the server is told", await server.rest())
            over.set()

        s.upstream("raw").script = script
        async with s.counting(*NAMES), s.logging(1):
            client = await s.connect_h2()
            await client.request(get("/"), label=label)
            await s.upstream("raw").finish()
            await over.wait()
        s.upstream("raw").seen.clear()
