"""HTTP/2 by prior knowledge, downstream and upstream, in every combination with HTTP/1.1."""

from __future__ import annotations

import trio

from ..client import H2Client, get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /dead}, route: {cluster: dead}}
- {match: {path: /timeout}, route: {cluster: h2app, timeout: 0.1s}}
- {match: {prefix: /h1}, route: {cluster: app}}
- {match: {prefix: /}, route: {cluster: h2app}}
"""
HTTP2 = Setup(
    "http2",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener("only", "codec_type: HTTP2", routes=ROUTES),
            listener("only1", "codec_type: HTTP1", routes=ROUTES),
            listener("trailers", "http_protocol_options: {enable_trailers: true}", routes=ROUTES),
            listener("few", "http2_protocol_options: {max_concurrent_streams: 1}", routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead", http2=True)],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
BIG = bytes(range(256)) * 1024  # 256 KiB: several windows


@scenario(HTTP2)
async def h2_to_h2(s: Session) -> None:
    """A GET over HTTP/2 on both sides, under codec_type AUTO and HTTP2."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("x-upstream", "yes"), ("content-length", "2")], b"ok")

    s.upstream("h2app").h2_script = script
    for to in ("main", "only"):
        client = await s.connect_h2(to)
        await client.request([*get("/path?q=1"), ("user-agent", "scenario"), ("accept", "*/*")], label=to)


@scenario(HTTP2)
async def h2_settings(s: Session) -> None:
    """The settings that the proxy announces, downstream and upstream."""
    for to in ("main", "few"):
        client = await s.connect_h2(to)
        s.see(to, dict(sorted(client.peer.settings.items())))
    await s.get()
    call = s.upstream("h2app").seen[0]
    assert isinstance(call, H2Call)
    s.see("to the upstream", dict(sorted(call.peer.settings.items())))


@scenario(HTTP2)
async def h2_to_h1(s: Session) -> None:
    """HTTP/2 downstream, HTTP/1.1 upstream: bodies with and without a length."""
    s.upstream().script = answers(ok(b"hello", "x-a: 1", "connection: keep-alive"))
    client = await s.connect_h2()
    await client.request(get("/h1/get"))
    await client.request([*get("/h1/length", method="POST"), ("content-length", "5")], b"hello")
    await client.request(get("/h1/stream", method="POST"), b"hello")
    await client.request([*get("/h1/cookies"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")])


@scenario(HTTP2)
async def h1_to_h2(s: Session) -> None:
    """HTTP/1.1 downstream, HTTP/2 upstream."""
    await s.get("/path?q=1", "connection: x-hop", "x-hop: 1", "cookie: a=1; b=2")
    await s.http(head("POST / HTTP/1.1", "host: a", "content-length: 5") + b"hello")
    await s.http(
        head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n"
    )


@scenario(HTTP2)
async def h1_to_h2_without_length(s: Session) -> None:
    """An HTTP/2 answer without content-length becomes chunked; one without a body gets a length."""

    async def script(call: H2Call) -> None:
        body = b"" if call.path == "/none" else b"streamed"
        await call.answer([(":status", "200")], body)

    s.upstream("h2app").h2_script = script
    await s.get("/some")
    await s.get("/none")


@scenario(HTTP2)
async def h2_big_bodies(s: Session) -> None:
    """Bodies larger than the windows pass both ways, HTTP/2 to HTTP/2."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], BIG[::-1])

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    await client.request(get("/", method="POST"), BIG)


@scenario(HTTP2)
async def h2_big_bodies_to_h1(s: Session) -> None:
    """The same towards HTTP/1.1."""
    s.upstream().script = answers(ok(BIG[::-1]))
    client = await s.connect_h2()
    await client.request([*get("/h1", method="POST"), ("content-length", str(len(BIG)))], BIG)


@scenario(HTTP2)
async def h2_trailers(s: Session) -> None:
    """Trailers pass both ways between HTTP/2 peers."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"body", [("x-response-trailer", "1"), ("grpc-status", "0")])

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    await client.request(get("/", method="POST"), b"hello", [("x-request-trailer", "1")])


async def trailers_between(s: Session, to: str) -> None:
    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"body", [("x-response-trailer", "1")])

    s.upstream("h2app").h2_script = script
    request = head("POST / HTTP/1.1", "host: a", "te: trailers", "transfer-encoding: chunked")
    await s.http(request + b"1\r\nx\r\n0\r\nx-request-trailer: 1\r\n\r\n", to)
    client = await s.connect_h2(to)
    await client.request(get("/h1", method="POST"), b"hello", [("x-request-trailer", "1")], label="to HTTP/1")


@scenario(HTTP2)
async def h2_trailers_to_h1(s: Session) -> None:
    """Trailers between HTTP/2 and HTTP/1.1 are dropped by default."""
    await trailers_between(s, "main")


@scenario(HTTP2)
async def h2_trailers_to_h1_passed(s: Session) -> None:
    """With enable_trailers they pass downstream."""
    await trailers_between(s, "trailers")


@scenario(HTTP2)
async def h2_headers_only_with_trailers(s: Session) -> None:
    """A gRPC-like answer of trailers alone, and trailers without a body."""

    async def script(call: H2Call) -> None:
        await call.body()
        if call.path == "/only":
            await call.answer(
                [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")]
            )
        else:
            await call.answer([(":status", "200")], b"", [("x-trailer", "1")])

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    await client.request(get("/only", method="POST"))
    await client.request(get("/bodyless", method="POST"))


@scenario(HTTP2)
async def h2_concurrent_streams(s: Session) -> None:
    """Streams of one connection are independent: the second answers first, on one upstream connection."""
    second_done = trio.Event()

    async def script(call: H2Call) -> None:
        if call.path == "/first":
            await second_done.wait()
        await call.answer([(":status", "200")], call.path.encode())

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    first = await client.start(get("/first"))
    await s.upstream("h2app").arrivals(1)
    second = await client.start(get("/second"))
    await client.reply(second, "second")
    second_done.set()
    await client.reply(first, "first")


@scenario(HTTP2)
async def h2_concurrent_streams_to_h1(s: Session) -> None:
    """Concurrent streams towards HTTP/1.1 take a connection each."""
    both = trio.Event()

    async def script(call: Call) -> None:
        await both.wait()
        await call.send(ok(call.path.encode()))

    s.upstream().script = script
    client = await s.connect_h2()
    first = await client.start(get("/h1/first"))
    await s.upstream().arrivals(1)
    second = await client.start(get("/h1/second"))
    await s.upstream().arrivals(2)
    both.set()
    await client.reply(first, "first")
    await client.reply(second, "second")


@scenario(HTTP2)
async def h2_client_resets(s: Session) -> None:
    """RST_STREAM from the client reaches the upstream; the connection serves the next stream."""
    gone = trio.Event()

    async def script(call: H2Call) -> None:
        if call.path == "/stuck":
            await call.body()
            gone.set()
        else:
            await call.answer([(":status", "200")], b"next")

    s.upstream("h2app").h2_script = script
    async with s.logging(2):
        client = await s.connect_h2()
        stuck = await client.start(get("/stuck", method="POST"), end=False)
        await s.upstream("h2app").arrivals(1)
        await client.peer.reset(stuck)
        await gone.wait()
        await client.request(get("/next"))


@scenario(HTTP2)
async def h2_upstream_resets(s: Session) -> None:
    """RST_STREAM from the upstream, before the answer and in it."""

    async def script(call: H2Call) -> None:
        if call.path == "/in":
            await call.peer.headers(call.stream, [(":status", "200")])
            await call.peer.data(call.stream, b"part")
        code = "REFUSED_STREAM" if call.path == "/refused" else "INTERNAL_ERROR"
        await call.peer.reset(call.stream, code)

    s.upstream("h2app").h2_script = script
    async with s.logging(2):
        client = await s.connect_h2()
        await client.request(get("/before"))
        await client.request(get("/refused"))


@scenario(HTTP2)
async def h2_upstream_resets_within_the_body(s: Session) -> None:
    """RST_STREAM from the upstream after part of the body reached the client."""
    received = trio.Event()

    async def script(call: H2Call) -> None:
        await call.peer.headers(call.stream, [(":status", "200")])
        await call.peer.data(call.stream, b"part")
        await received.wait()
        await call.peer.reset(call.stream, "INTERNAL_ERROR")

    s.upstream("h2app").h2_script = script
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(get("/"))
        await stream.got_headers.wait()
        await stream.received(4)
        received.set()
        await client.reply(stream)


@scenario(HTTP2)
async def h2_local_replies(s: Session) -> None:
    """Local replies over HTTP/2: direct response, 404, refused upstream, timeout, HEAD."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.logging(4):
        client = await s.connect_h2()
        await client.request(get("/probe"))
        await client.request(get("/dead"))
        await client.request(get("/timeout"))
        await client.request(get("/probe", method="HEAD"))


@scenario(HTTP2)
async def h2_head(s: Session) -> None:
    """HEAD from HTTP/2 to both kinds of upstream."""

    async def script(call: H2Call) -> None:
        await call.answer([(":status", "200"), ("content-length", "1234")])

    s.upstream("h2app").h2_script = script
    s.upstream().script = answers(head("HTTP/1.1 200 OK", "content-length: 1234"))
    client = await s.connect_h2()
    await client.request(get("/", method="HEAD"))
    await client.request(get("/h1", method="HEAD"))


@scenario(HTTP2)
async def h2_interim_responses(s: Session) -> None:
    """100 and 103 from an HTTP/2 upstream."""

    async def script(call: H2Call) -> None:
        await call.body()  # an answer that overtakes it resets the rest of the request
        await call.peer.headers(call.stream, [(":status", "103"), ("link", "x")])
        await call.answer([(":status", "200")], b"ok")

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    await client.request(get("/"))
    await client.request([*get("/", method="POST"), ("expect", "100-continue")], b"hello", label="expect")


@scenario(HTTP2)
async def h2_host_and_authority(s: Session) -> None:
    """A host header beside :authority, instead of it, and none at all."""
    client = await s.connect_h2()
    await client.request([*get("/both"), ("host", "other.example")])
    await client.request([(":method", "GET"), (":scheme", "http"), (":path", "/host"), ("host", "h.example")])
    await client.request(get("/scheme", scheme="https"))
    await refused(s, "none", [(":method", "GET"), (":scheme", "http"), (":path", "/none")])


async def refused(s: Session, name: str, headers: list[tuple[str, str]], body: bytes = b"") -> None:
    """A request on a connection of its own; the stream is reset, or answered, or the connection ends."""
    client = await s.connect_h2()
    await client.request(headers, body, label=name)
    probe = await client.start(get("/probe"))
    await probe.ended.wait()
    s.see(f"{name}, then", {"goaway": client.peer.goaway, "next": probe.reset or "answered"})
    client.close()


@scenario(HTTP2)
async def h2_invalid_headers(s: Session) -> None:
    """Requests that break HTTP/2's rules for headers."""
    base = get("/")
    await refused(s, "upper case", [*base, ("X-Upper", "1")])
    await refused(s, "connection", [*base, ("connection", "keep-alive")])
    await refused(s, "transfer-encoding", [*base, ("transfer-encoding", "chunked")])
    await refused(s, "te", [*base, ("te", "gzip")])
    await refused(s, "space in name", [*base, ("x a", "1")])
    await refused(s, "NUL in value", [*base, ("x-a", "a\0b")])
    await refused(s, "line end in value", [*base, ("x-a", "a\r\nx-b: c")])
    await refused(s, "unknown pseudo header", [*base, (":other", "1")])
    await refused(s, "pseudo header twice", [*base, (":path", "/other")])
    await refused(s, "pseudo header late", [("x-a", "1"), *base])
    await refused(s, "no method", base[1:])
    await refused(s, "no path", base[:3])
    await refused(s, "no scheme", [base[0], *base[2:]])
    await refused(s, "empty path", get(""))
    await refused(s, "star path", get("*"))
    await refused(s, "relative path", get("path"))
    await refused(s, "fragment", get("/a#b"))
    await refused(s, "empty name", [*base, ("", "x")])
    s.upstream("h2app").seen.clear()


@scenario(HTTP2)
async def h2_wrong_content_length(s: Session) -> None:
    """A body shorter, and one longer, than its content-length."""
    await refused(s, "shorter", [*get("/h1", method="POST"), ("content-length", "10")], b"short")
    await refused(s, "longer", [*get("/h1", method="POST"), ("content-length", "3")], b"longer")
    await refused(s, "no number", [*get("/h1", method="POST"), ("content-length", "x")], b"x")
    s.upstream().seen.clear()


async def raw_frames(s: Session, label: str, frames: bytes) -> None:
    """Bytes after a good connection start; observe the GOAWAY and the close."""
    client: H2Client = await s.connect_h2()
    await client.peer.raw(frames)
    await client.closed(label)


@scenario(HTTP2)
async def h2_bad_frames(s: Session) -> None:
    """Frames that break the connection: GOAWAY with the code, then closed."""
    await raw_frames(s, "frame too large", b"\x01\x00\x00\x00\x00\x00\x00\x00\x01")
    await raw_frames(s, "DATA on stream 0", b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")
    await raw_frames(s, "DATA on an idle stream", b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x")
    await raw_frames(s, "SETTINGS of odd length", b"\x00\x00\x05\x04\x00\x00\x00\x00\x00abcde")
    await raw_frames(s, "PING of odd length", b"\x00\x00\x05\x06\x00\x00\x00\x00\x00abcde")
    await raw_frames(s, "WINDOW_UPDATE of 0", b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")
    await raw_frames(
        s, "RST_STREAM on an idle stream", b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"
    )
    await raw_frames(s, "HEADERS on an even stream", b"\x00\x00\x01\x01\x05\x00\x00\x00\x02\x82")
    await raw_frames(s, "broken HPACK", b"\x00\x00\x02\x01\x05\x00\x00\x00\x01\xff\xff")
    await raw_frames(s, "lone CONTINUATION", b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82")
    await raw_frames(s, "PUSH_PROMISE", b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82")


@scenario(HTTP2)
async def h2_bad_preface(s: Session) -> None:
    """A preface that is none, under HTTP2, AUTO and HTTP1."""
    for to in ("only", "main", "only1"):
        for label, data in (
            ("HTTP/1", head("GET /probe HTTP/1.1", "host: a")),
            ("preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"),
            ("almost", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
        ):
            client = await s.connect(to)
            await client.send(data)
            first = await client.wire.some()
            kind = "HTTP/1" if first.startswith(b"HTTP/1") else "frames" if first else "closed"
            s.see(
                f"{to} {label}", [kind, first.split(b"\r\n")[0].decode("latin-1") if kind == "HTTP/1" else ""]
            )
            client.close()


@scenario(HTTP2)
async def h2_preface_in_pieces(s: Session) -> None:
    """Who takes a preface whose first bytes come alone."""
    rest = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for to in ("only", "main", "only1"):
        for at in (1, 3, 11, 12, 14, 18, 23):
            client = await s.connect(to)
            await client.send(preface[:at])
            await trio.sleep(0.02)  # or both pieces are read as one
            await client.send(preface[at:] + rest)
            first = await client.wire.some()
            is_http1 = first.startswith(b"HTTP/1")
            kind = first.split(b"\r\n")[0].decode() if is_http1 else "frames" if first else "closed"
            s.see(f"{to} {at}", kind)
            client.close()


@scenario(HTTP2)
async def h2_stats(s: Session) -> None:
    """The counters of both codecs."""
    names = [
        "http.main.downstream_cx_http2_total",
        "http.main.downstream_rq_http2_total",
        "http.main.downstream_rq_2xx",
        "http.main.downstream_rq_rx_reset",
        "cluster.h2app.upstream_cx_http2_total",
        "cluster.h2app.upstream_cx_total",
        "cluster.h2app.upstream_rq_total",
        "cluster.h2app.upstream_rq_200",
    ]
    async with s.counting(*names):
        client = await s.connect_h2()
        await client.request(get("/1"))
        await client.request(get("/2"))
