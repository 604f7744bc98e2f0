"""Streams that stand still, in every state that they can be in, and clients that do not close."""

from __future__ import annotations

import hpack
import trio

from tests.support.h2_frames import END_STREAM, HEADERS, frame

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head, read_head

LINE = (
    "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "in=%BYTES_RECEIVED%\n"
)
ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /never2}, route: {cluster: h2app, timeout: 0s, idle_timeout: 0s}}
- {match: {prefix: /never}, route: {cluster: app, timeout: 0s, idle_timeout: 0s}}
- {match: {prefix: /short2}, route: {cluster: h2app, idle_timeout: 0.15s}}
- {match: {prefix: /short}, route: {cluster: app, idle_timeout: 0.15s}}
- {match: {prefix: /steady2}, route: {cluster: h2app, idle_timeout: 0.7s}}
- {match: {prefix: /steady}, route: {cluster: app, idle_timeout: 0.7s}}
- {match: {prefix: /to2}, route: {cluster: h2app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
STREAMS = Setup(
    "streams",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LINE),
            listener("idle", "stream_idle_timeout: 0.15s", routes=ROUTES, log=LINE),
            listener("off", "stream_idle_timeout: 0s", routes=ROUTES, log=LINE),
            listener("slowrequest", "request_timeout: 0.15s", routes=ROUTES, log=LINE),
            listener("slowhead", "request_headers_timeout: 0.15s", routes=ROUTES, log=LINE),
            listener("nodelay", "delayed_close_timeout: 0s", routes=ROUTES, log=LINE),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
)
NAMES = (
    "downstream_rq_idle_timeout",
    "downstream_rq_timeout",
    "downstream_rq_header_timeout",
    "downstream_rq_rx_reset",
    "downstream_rq_tx_reset",
    "downstream_rq_response_before_rq_complete",
    "downstream_cx_delayed_close_timeout",
    "downstream_cx_destroy_local",
    "downstream_cx_destroy_remote",
)


def stats_of(name: str) -> tuple[str, ...]:
    """What is counted of a connection manager here."""
    return tuple(f"http.{name}.{each}" for each in NAMES)


async def silent(call: Call) -> None:
    await call.gone()


async def begun(call: Call) -> None:
    await call.send(head("HTTP/1.1 200 OK", "content-length: 100") + b"partial")
    await call.gone()


async def h2_silent(call: H2Call) -> None:
    await call.stream.ended.wait()


async def h2_begun(call: H2Call) -> None:
    await call.peer.headers(call.stream, [(":status", "200")])
    await call.peer.data(call.stream, b"partial")
    await call.stream.ended.wait()


async def stand_still(s: Session, to: str, paths: tuple[str, str], method: str) -> None:
    """The same from HTTP/1 and HTTP/2 clients to HTTP/1 and HTTP/2 upstreams; a POST stays unfinished."""
    for path in paths:
        async with s.counting(*stats_of(to)), s.logging(2, to):
            client = await s.connect(to)
            if method == "POST":
                await client.send(head(f"POST {path} HTTP/1.1", "host: a", "content-length: 9") + b"begun")
            else:
                await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await client.reply(f"HTTP/1 {path}")
            if method == "POST":
                await client.closed(f"HTTP/1 {path} then")
            h2 = await s.connect_h2(to)
            if method == "POST":
                stream = await h2.start(get(path, method="POST"), b"begun", end=False)
            else:
                stream = await h2.start(get(path))
            await h2.reply(stream, f"HTTP/2 {path}")


@scenario(STREAMS)
async def idle_stream_without_response(s: Session) -> None:
    """stream_idle_timeout, the request complete, nothing answered."""
    s.upstream().script, s.upstream("h2app").h2_script = silent, h2_silent
    await stand_still(s, "idle", ("/", "/to2"), "GET")


@scenario(STREAMS)
async def idle_stream_within_the_response(s: Session) -> None:
    """The same within the response."""
    s.upstream().script, s.upstream("h2app").h2_script = begun, h2_begun
    await stand_still(s, "idle", ("/", "/to2"), "GET")


@scenario(STREAMS)
async def idle_stream_within_the_request(s: Session) -> None:
    """The same within the request."""
    s.upstream().script, s.upstream("h2app").h2_script = silent, h2_silent
    await stand_still(s, "idle", ("/", "/to2"), "POST")


@scenario(STREAMS)
async def idle_stream_within_both(s: Session) -> None:
    """The same within both."""
    s.upstream().script, s.upstream("h2app").h2_script = begun, h2_begun
    await stand_still(s, "idle", ("/", "/to2"), "POST")


@scenario(STREAMS)
async def idle_stream_by_the_route(s: Session) -> None:
    """The route's idle_timeout in the place of the connection manager's, also where that has none."""
    for to in ("main", "off"):
        s.upstream().script, s.upstream("h2app").h2_script = begun, h2_begun
        await stand_still(s, to, ("/short", "/short2"), "POST")


@scenario(STREAMS)
async def idle_stream_never(s: Session) -> None:
    """A route without any timeout: it outlives another stream of the same connection manager."""
    opened = trio.Event()

    async def late(call: Call) -> None:
        if call.path == "/never":
            await opened.wait()
            await call.send(ok())
        else:
            await call.gone()

    s.upstream().script = late
    async with s.logging(2, "idle"):
        client = await s.connect("idle")
        await client.send(head("GET /never HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        await s.get("/", to="idle", label="another")
        opened.set()
        await client.reply()


@scenario(STREAMS)
async def idle_stream_that_moves(s: Session) -> None:
    """Every piece in either direction puts the timeout off."""

    async def script(call: Call) -> None:
        for _ in range(3):
            await call.part(1)
        await call.send(head("HTTP/1.1 200 OK", "content-length: 3"))
        for _ in range(3):
            await trio.sleep(0.1)
            await call.send(b"x")

    s.upstream().script = script
    async with s.logging(1, "idle"):
        client = await s.connect("idle")
        await client.send(head("POST / HTTP/1.1", "host: a", "content-length: 3"))
        for _ in range(3):
            await trio.sleep(0.1)
            await client.send(b"y")
        await client.reply()


@scenario(STREAMS)
async def idle_stream_that_moves_over_http2(s: Session) -> None:
    """A response of small pieces, far apart, that lasts longer than the timeout, as of a stream of events."""
    pause_s, pieces = 0.1, 10

    async def script(call: Call) -> None:
        await call.body()
        await call.send(head("HTTP/1.1 200 OK", f"content-length: {pieces}"))
        for _ in range(pieces):
            await trio.sleep(pause_s)
            await call.send(b"x")

    async def h2_script(call: H2Call) -> None:
        await call.body()
        await call.answer_open([(":status", "200")])
        for number in range(pieces):
            await trio.sleep(pause_s)
            await call.peer.data(call.stream, b"x", end=number == pieces - 1)

    s.upstream().script, s.upstream("h2app").h2_script = script, h2_script
    async with s.logging(3, "main"):
        h2 = await s.connect_h2()
        await h2.request(get("/steady"), label="HTTP/1 upstream")
        await h2.request(get("/steady2"), label="HTTP/2 upstream")
        await s.get("/steady2", label="HTTP/1 client")


@scenario(STREAMS)
async def idle_stream_of_a_client_that_does_not_read(s: Session) -> None:
    """An HTTP/1 client that reads nothing of a long response."""
    s.upstream().script = answers(ok(bytes(24 << 20)))
    async with s.counting(*stats_of("idle")[:6]), s.logging(1, "idle"):
        name = "http.idle.downstream_rq_idle_timeout"
        before = (await s.counters(f"^{name}$"))[name]
        client = await s.connect("idle")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await s.until_stats(lambda stats: stats[name] > before, f"^{name}$")
        client.close()


@scenario(STREAMS, differs={"log idle": "http2-flush-timeout"})
async def idle_stream_of_closed_windows(s: Session) -> None:
    """An HTTP/2 client that opens no window for the rest of a response that the proxy has wholly."""
    s.upstream().script = answers(ok(bytes(1 << 16) + b"more than a window of it"))
    async with s.counting(*stats_of("idle"), "http2.tx_flush_timeout"), s.logging(1, "idle"):
        h2 = await s.connect_h2("idle")
        h2.peer.h2.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign]
        stream = await h2.start(get("/"))
        await stream.ended.wait()
        s.see("got", {"size": len(stream.body), "reset": stream.reset})


@scenario(
    STREAMS,
    differs={
        **dict.fromkeys(("slowhead", "slowrequest", "idle"), "http2-slow-head"),
        **{f"log {to}": "http2-slow-head" for to in ("slowhead", "slowrequest", "idle")},
    },
)
async def slow_head_over_h2(s: Session) -> None:
    """A head whose CONTINUATION does not come, under each timeout that counts from its first byte."""
    for to in ("slowhead", "slowrequest", "idle"):
        async with s.counting(*stats_of(to)[:4]), s.logging(1, to):
            h2 = await s.connect_h2(to)
            block = hpack.Encoder().encode(get("/probe"))
            await h2.peer.raw(frame(HEADERS, END_STREAM, 1, block))
            await h2.closed(to)  # where a response comes the client, which knows of no stream, gives up


@scenario(STREAMS)
async def slow_request(s: Session) -> None:
    """request_timeout within the request on both protocols; it is over with the request's end."""
    # Once the response has begun Envoy does not end the stream: nothing to see there in good time.
    s.upstream().script, s.upstream("h2app").h2_script = silent, h2_silent
    await stand_still(s, "slowrequest", ("/", "/to2"), "POST")
    s.upstream().script = silent
    async with s.logging(1, "slowrequest"):
        client = await s.connect("slowrequest")
        await client.send(head("POST /short HTTP/1.1", "host: a", "content-length: 2") + b"ab")
        await client.reply("complete")


@scenario(STREAMS)
async def close_without_delay(s: Session) -> None:
    """delayed_close_timeout 0: the connection is closed at once, whatever the client does."""
    async with s.counting(*stats_of("nodelay")), s.logging(2, "nodelay"):
        client = await s.connect("nodelay")
        await client.send(head("POST /probe HTTP/1.1", "host: a", "content-length: 9") + b"part")
        await client.reply()
        await client.closed()
        await s.http(head("GET /probe HTTP/1.1", "host: a", "connection: close"), to="nodelay")


@scenario(STREAMS)
async def close_of_clients_that_close_first(s: Session) -> None:
    """Clients that half close or close after the answer that said close, and one that does not."""
    unread = head("POST /probe HTTP/1.1", "host: a", "content-length: 9") + b"part"
    whole = head("GET /probe HTTP/1.1", "host: a", "connection: close")
    for label, data in (("unread", unread), ("whole", whole)):
        for end in ("half", "close", "none"):
            async with s.counting(*stats_of("main")), s.logging(1):
                client = await s.connect()
                await client.send(data)
                await client.reply(f"{label} {end}")
                if end == "close":
                    client.close()
                    continue
                if end == "half":
                    client.wire.half_close()
                await client.closed(f"{label} {end} then")


@scenario(STREAMS)
async def close_within_a_body_that_goes_on(s: Session) -> None:
    """A client that goes on sending its body after the answer: it can read that answer."""
    async with s.counting(*stats_of("main")), s.logging(1):
        client = await s.connect()
        await client.send(head("POST /probe HTTP/1.1", "host: a", "content-length: 900000") + b"part")
        start = await read_head(client.wire)
        s.see("head", start.start_line)
        await client.wire.send(bytes(100000))
        await client.closed()
