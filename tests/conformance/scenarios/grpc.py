"""gRPC through the proxy: all kinds of calls, how they end, and the answers that the proxy makes itself."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers
from ..wire import head

STATUSES = (200, 204, 301, 400, 401, 403, 404, 408, 413, 415, 429, 500, 501, 502, 503, 504)
ROUTES = (
    "".join(
        f"- {{match: {{path: /status.S/{status}}}, direct_response: "
        f"{{status: {status}, body: {{inline_string: 'why: 100% \u00e9'}}}}}}\n"
        for status in STATUSES
    )
    + """
- {match: {prefix: /dead.}, route: {cluster: dead}}
- {match: {prefix: /slow.}, route: {cluster: h2app, timeout: 0.2s}}
- {match: {prefix: /idle.}, route: {cluster: h2app, idle_timeout: 0.2s}}
- {match: {prefix: /old.}, route: {cluster: app}}
- {match: {prefix: /nobody.}, route: {cluster_header: x-cluster}}
- {match: {prefix: /pkg.}, route: {cluster: h2app}}
"""
)
GRPC = Setup(
    "grpc",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead", http2=True)],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
STATS = (
    "http.main.downstream_rq_2xx",
    "http.main.downstream_rq_completed",
    "http.main.downstream_rq_rx_reset",
    "http.main.downstream_rq_tx_reset",
    "cluster.h2app.upstream_rq_total",
    "cluster.h2app.upstream_rq_completed",
    "cluster.h2app.upstream_rq_rx_reset",
    "cluster.h2app.upstream_rq_tx_reset",
    "cluster.h2app.upstream_rq_active",
)


def message(data: bytes, *, compressed: bool = False) -> bytes:
    """One message of gRPC with its prefix."""
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data


def call_of(path: str = "/pkg.Service/Method", *extra: tuple[str, str]) -> Fields:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *extra,
    ]


HEAD: Fields = [(":status", "200"), ("content-type", "application/grpc")]
FINE: Fields = [("grpc-status", "0"), ("x-trailer", "yes")]


@scenario(GRPC)
async def grpc_unary(s: Session) -> None:
    """One message each way, trailers behind the answer; a message with the compressed flag."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer(HEAD, message(b"answer", compressed=True), FINE)

    s.upstream("h2app").h2_script = script
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect_h2()
        extra = (("grpc-encoding", "gzip"), ("grpc-timeout", "5S"), ("user-agent", "grpc-x/1"))
        await client.request(call_of("/pkg.Service/Method", *extra), message(b"question", compressed=True))


@scenario(GRPC)
async def grpc_bidirectional(s: Session) -> None:
    """Messages of both sides, in turn, before either side ends."""

    async def script(call: H2Call) -> None:
        await call.answer_open(HEAD)
        for number in (1, 2, 3):
            await call.stream.received(9 * number)
            await call.peer.data(call.stream, message(b"got%d" % number))
        await call.body()
        await call.peer.headers(call.stream, FINE, end=True)

    s.upstream("h2app").h2_script = script
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(call_of(), end=False)
        for number in (1, 2, 3):
            await client.peer.data(stream, message(b"ask%d" % number))
            await stream.received(9 * number)
        await client.peer.data(stream, b"", end=True)
        await client.reply(stream)


@scenario(GRPC)
async def grpc_trailers_only(s: Session) -> None:
    """Answers without a message: a status, of every kind, in the head."""

    async def script(call: H2Call) -> None:
        await call.body()
        number = call.path.rpartition("/")[2]
        await call.answer([*HEAD, ("grpc-status", number), ("grpc-message", "no%20way")])

    s.upstream("h2app").h2_script = script
    async with s.counting(*STATS), s.logging(4):
        client = await s.connect_h2()
        for number in (0, 5, 13, 14):
            request = call_of(f"/pkg.Service/{number}")
            await client.request(request, message(b"x"), label=f"status {number}")


@scenario(GRPC)
async def grpc_host_counts(s: Session) -> None:
    """Which calls count as errors of the host: by the status of gRPC, not of HTTP."""

    async def script(call: H2Call) -> None:
        await call.body()
        kind, _, number = call.path.rpartition("/")[2].partition("-")
        if kind == "only":
            await call.answer([*HEAD, ("grpc-status", number)])
        elif kind == "none":
            await call.answer(HEAD, message(b"x"))
        elif kind == "http":
            await call.answer([(":status", number)])
        else:
            await call.answer(HEAD, message(b"x"), [("grpc-status", number)])

    def host(body: str) -> object:
        wanted = ("rq_error", "rq_success", "rq_total")
        lines = [line.split("::") for line in body.splitlines() if line.startswith("h2app::127")]
        return {line[2]: line[3] for line in lines if line[2] in wanted}

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    kinds = ("only-0", "only-5", "only-14", "trailers-0", "trailers-2", "trailers-13", "trailers-14")
    for kind in (*kinds, "trailers-15", "trailers-4", "none", "http-404", "http-503"):
        before = host((await s.proxy.admin("GET", "/clusters")).body.decode())
        await client.request(call_of(f"/pkg.Service/{kind}"), message(b"x"), label=kind)
        after = host((await s.proxy.admin("GET", "/clusters")).body.decode())
        assert isinstance(before, dict)
        assert isinstance(after, dict)
        s.see(f"{kind} counts", {name: int(after[name]) - int(before[name]) for name in after})


@scenario(GRPC)
async def grpc_local_replies(s: Session) -> None:
    """Answers of the proxy: HTTP statuses as those of gRPC, the message percent-encoded."""
    client = await s.connect_h2()
    for status in STATUSES:
        await client.request(call_of(f"/status.S/{status}"), label=str(status))
    for path in ("/unknown.S/M", "/dead.S/M", "/nobody.S/M"):
        async with s.logging(1):
            client = await s.connect_h2()
            await client.request(call_of(path), label=path)
    client = await s.connect_h2()
    for kind in (
        "application/grpc+proto",
        "application/grpc; x=y",
        "application/grpcx",
        "application/grpc-web",
    ):
        request = [field for field in call_of("/unknown.S/M") if field[0] != "content-type"]
        await client.request([*request, ("content-type", kind)], label=kind)


@scenario(GRPC)
async def grpc_local_replies_over_h1(s: Session) -> None:
    """The same to a client of HTTP/1.1."""
    for path in ("/status.S/503", "/unknown.S/M", "/dead.S/M"):
        await s.http(
            head(f"POST {path} HTTP/1.1", "host: a", "content-type: application/grpc", "content-length: 0"),
            label=path,
        )


@scenario(GRPC)
async def grpc_timeouts(s: Session) -> None:
    """The route's timeout before an answer; the idle timeout between messages."""

    async def script(call: H2Call) -> None:
        if call.path.startswith("/idle."):
            await call.answer_open(HEAD)
            await call.peer.data(call.stream, message(b"one"))
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.logging(1):
        client = await s.connect_h2()
        await client.request(call_of("/slow.S/M"), message(b"x"), label="timeout")
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(call_of("/idle.S/M"), message(b"x"), end=False)
        await client.reply(stream, "idle")


@scenario(GRPC)
async def grpc_cancelled(s: Session) -> None:
    """The client cancels between messages."""

    async def script(call: H2Call) -> None:
        await call.answer_open(HEAD)
        await call.peer.data(call.stream, message(b"one"))
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(call_of(), message(b"x"), end=False)
        await stream.received(8)
        await client.peer.reset(stream)
        await s.upstream("h2app").seen[0].stream.ended.wait()  # type: ignore[union-attr]


@scenario(GRPC)
async def grpc_upstream_breaks_off(s: Session) -> None:
    """The upstream resets the call, before and after its first message."""

    async def script(call: H2Call) -> None:
        where, _, code = call.path.rpartition("/")[2].partition("-")
        await call.body()
        if where == "after":
            await call.answer_open(HEAD)
            await call.peer.data(call.stream, message(b"one"))
        await call.peer.reset(call.stream, code)

    s.upstream("h2app").h2_script = script
    for where in ("before", "after"):
        for code in ("CANCEL", "REFUSED_STREAM", "INTERNAL_ERROR"):
            async with s.counting(*STATS), s.logging(1):
                client = await s.connect_h2()
                stream = await client.start(call_of(f"/pkg.S/{where}-{code}"), message(b"x"))
                await client.reply(stream, f"{where} {code}")


@scenario(GRPC)
async def grpc_answers_early(s: Session) -> None:
    """Trailers while the client is still sending."""

    async def script(call: H2Call) -> None:
        await call.stream.received(6)
        await call.answer(HEAD, message(b"enough"), [("grpc-status", "8")])

    s.upstream("h2app").h2_script = script
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(call_of(), message(b"x"), end=False)
        await client.reply(stream)


@scenario(GRPC)
async def grpc_metadata(s: Session) -> None:
    """Much metadata each way, binary values, repeated names, names of the proxy's own."""
    much = [(f"x-much-{number}", "v" * 900) for number in range(40)]

    async def script(call: H2Call) -> None:
        await call.body()
        own = [("x-bin-bin", "AAEC"), ("x-twice", "1"), ("x-twice", "2")]
        await call.answer(
            [*HEAD, *own, *much], message(b"x"), [*FINE, *own, ("grpc-message", "a%20b"), *much]
        )

    s.upstream("h2app").h2_script = script
    client = await s.connect_h2()
    extra = [("x-bin-bin", "AAEC"), ("x-twice", "1"), ("x-twice", "2"), *much]
    await client.request(call_of("/pkg.S/M", *extra), message(b"x"))


@scenario(GRPC)
async def grpc_bridged(s: Session) -> None:
    """A client of HTTP/1.1 to gRPC's upstream, and gRPC's client to an upstream of HTTP/1.1."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer(HEAD, message(b"answer"), FINE)

    s.upstream("h2app").h2_script = script
    lines = ("host: a", "content-type: application/grpc", "te: trailers", "content-length: 6")
    await s.http(head("POST /pkg.S/M HTTP/1.1", *lines) + message(b"x"), label="h1 to h2")
    chunk = b"6\r\n" + message(b"x") + b"\r\n0\r\ngrpc-status: 0\r\n\r\n"
    s.upstream().script = answers(
        head("HTTP/1.1 200 OK", "content-type: application/grpc", "transfer-encoding: chunked") + chunk
    )
    client = await s.connect_h2()
    await client.request(call_of("/old.S/M"), message(b"x"), label="h2 to h1")
