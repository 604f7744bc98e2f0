"""What HTTP/1 alone has, across to HTTP/2: interim responses, expectations, trailers, the case of names."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head
from .http1_options import PRESERVE, peer

ROUTES = """
- {match: {prefix: /h2}, route: {cluster: h2app}}
- {match: {prefix: /trailers}, route: {cluster: trailers}}
- {match: {prefix: /case}, route: {cluster: case}}
- {match: {prefix: /}, route: {cluster: app}}
"""
BRIDGED = Setup(
    "http1-bridged",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener(
                "proxied",
                "{proxy_100_continue: true, http_protocol_options: {enable_trailers: true}}",
                routes=ROUTES,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            peer("trailers", "enable_trailers: true"),
            peer("case", PRESERVE % "forward_reason_phrase: true"),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)
CHUNKED = "transfer-encoding: chunked"


@scenario(BRIDGED)
async def h1_bridged_interim_to_h2(s: Session) -> None:
    """A 103 and a 100 of an HTTP/1 upstream, to an HTTP/2 client."""
    interim = head("HTTP/1.1 103 Early Hints", "link: x", "connection: y", "keep-alive: 5")
    s.upstream().script = answers(interim + head("HTTP/1.1 100 Continue") + ok())
    for to in ("main", "proxied"):
        client = await s.connect_h2(to)
        await client.request(get(), label=to)


@scenario(BRIDGED)
async def h1_bridged_interim_from_h2(s: Session) -> None:
    """Interim responses of an HTTP/2 upstream, to clients of both versions."""

    async def script(call: H2Call) -> None:
        await call.body()
        hints: Fields = [(":status", "103"), ("link", "x"), ("server", "them")]
        await call.peer.headers(call.stream, hints)
        await call.peer.headers(call.stream, [(":status", "102")])
        await call.answer([(":status", "200"), ("content-length", "2")], b"ok")

    s.upstream("h2app").h2_script = script
    names = ("cluster.h2app.upstream_rq_1xx", "cluster.h2app.upstream_rq_completed")
    for to in ("main", "proxied"):
        async with s.counting(*names, f"http.{to}.downstream_rq_1xx"):
            await s.get("/h2", to=to, label=f"{to}, HTTP/1")
            client = await s.connect_h2(to)
            await client.request(get("/h2"), label=f"{to}, HTTP/2")


@scenario(BRIDGED)
async def h1_bridged_expectations(s: Session) -> None:
    """Expect: 100-continue from an HTTP/2 client, to either version, proxied and not."""

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 100 Continue"))
        await call.body()
        await call.send(ok())

    s.upstream().script = script
    for to in ("main", "proxied"):
        for path in ("/", "/h2"):
            client = await s.connect_h2(to)
            request = [*get(path, method="POST"), ("expect", "100-continue")]
            await client.request(request, b"hello", label=f"{to} {path}")


@scenario(BRIDGED)
async def h1_bridged_trailers(s: Session) -> None:
    """Trailers of HTTP/2 clients to HTTP/1 upstreams and back, where the cluster takes them."""
    answer = head("HTTP/1.1 200 OK", CHUNKED) + b"2\r\nok\r\n0\r\nX-Up: 1\r\nX-Up: 2\r\n\r\n"
    s.upstream().script = answers(answer)
    for path in ("/", "/trailers"):
        client = await s.connect_h2()
        trailers = [("x-down", "1"), ("te", "trailers")]
        await client.request(get(path, method="POST"), b"hello", trailers, label=path)


@scenario(BRIDGED)
async def h1_bridged_trailers_without_a_body(s: Session) -> None:
    """HTTP/2 trailers right behind the head, from a client and from an upstream."""
    client = await s.connect_h2()
    stream = await client.start(get("/trailers", method="POST"), end=False)
    await client.peer.headers(stream, [("x-down", "1")], end=True)
    await client.reply(stream)

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"", [("x-up", "1")])

    s.upstream("h2app").h2_script = script
    await s.get("/h2", to="proxied", label="from an upstream")
    await s.get("/h2", label="from an upstream, dropped")


@scenario(BRIDGED)
async def h1_bridged_case(s: Session) -> None:
    """Names that an HTTP/1 upstream wrote in its own case are lower in HTTP/2."""
    s.upstream().script = answers(head("HTTP/1.1 200 Fine", "X-UpStream: 1", "Content-Length: 0"))
    client = await s.connect_h2()
    await client.request(get("/case"))
