"""The gRPC-Web filter: binary and text, frames and base64 across any border, answers that are no gRPC."""

from __future__ import annotations

import base64

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers
from ..wire import head
from .grpc import FINE, HEAD, call_of, message

FILTER = """
- name: envoy.filters.http.grpc_web
  typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}
"""
ROUTES = """
- {match: {path: /direct.S/M}, direct_response: {status: 403, body: {inline_string: "no 100%"}}}
- {match: {path: /empty.S/M}, direct_response: {status: 403}}
- {match: {prefix: /old.}, route: {cluster: app}}
- {match: {prefix: /dead.}, route: {cluster: dead}}
- {match: {prefix: /pkg.}, route: {cluster: h2app}}
"""
GRPC_WEB = Setup(
    "grpc_web",
    bootstrap(
        [listener("main", routes=ROUTES, filters=FILTER)],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead", http2=True)],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
TEXT = "application/grpc-web-text"
BINARY = "application/grpc-web"
ONE = message(b"question")


def web(path: str = "/pkg.Service/Method", *lines: str, body: bytes = ONE, kind: str = BINARY) -> bytes:
    """A request of a browser over HTTP/1.1."""
    length = f"content-length: {len(body)}"
    return head(f"POST {path} HTTP/1.1", "host: a", f"content-type: {kind}", length, *lines) + body


async def answering(call: H2Call) -> None:
    await call.body()
    await call.answer(HEAD, message(b"one") + message(b"two"), [*FINE, ("grpc-message", "all%20well")])


@scenario(GRPC_WEB)
async def grpcweb_binary(s: Session) -> None:
    """Binary: messages as they are, the trailers in a frame of their own."""
    s.upstream("h2app").h2_script = answering
    async with s.logging(1):
        await s.http(web())
    for kind in (
        f"{BINARY}+proto",
        f"{BINARY}+json",
        f"{BINARY}; x=y",
        "APPLICATION/GRPC-WEB",
        "application/grpc",
    ):
        await s.http(web(kind=kind), label=kind)
    await s.http(web("/pkg.S/M", "grpc-accept-encoding: gzip", "te: x", f"accept: {TEXT}"), label="headers")


@scenario(GRPC_WEB)
async def grpcweb_text(s: Session) -> None:
    """Text both ways, in one direction, and over HTTP/2."""
    s.upstream("h2app").h2_script = answering
    text = base64.b64encode(ONE)
    async with s.logging(1):
        await s.http(web("/pkg.S/M", f"accept: {TEXT}", kind=TEXT, body=text))
    await s.http(web("/pkg.S/M", f"accept: {TEXT}+proto", kind=f"{TEXT}+proto", body=text), label="proto")
    await s.http(web("/pkg.S/M", kind=TEXT, body=text), label="request alone")
    await s.http(web("/pkg.S/M", f"accept: {TEXT}"), label="response alone")
    await s.http(web("/pkg.S/M", f"accept: {TEXT}, */*"), label="accept of several")
    client = await s.connect_h2()
    request = [field for field in call_of() if field[0] not in ("content-type", "te")]
    await client.request([*request, ("content-type", TEXT), ("accept", TEXT)], text, label="h2")


@scenario(GRPC_WEB)
async def grpcweb_text_in_pieces(s: Session) -> None:
    """base64 cut anywhere, padding inside, and frames of the answer cut anywhere."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer_open(HEAD)
        data = message(b"one") + message(b"") + message(b"two" * 100, compressed=True)
        for at in (0, 3, 7, 8, 12, 14, 20):
            await call.peer.data(call.stream, data[at : {0: 3, 3: 7, 7: 8, 8: 12, 12: 14, 14: 20}.get(at)])
        await call.peer.headers(call.stream, FINE, end=True)

    s.upstream("h2app").h2_script = script
    text = base64.b64encode(message(b"a")) + base64.b64encode(message(b"question"))
    pieces = (text[:1], text[1:6], text[6:8], text[8:11], text[11:])
    lines = ("host: a", f"content-type: {TEXT}", f"accept: {TEXT}", "transfer-encoding: chunked")
    client = await s.connect()
    await client.send(head("POST /pkg.S/M HTTP/1.1", *lines))
    for piece in pieces:
        await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await client.send(b"0\r\n\r\n")
    await client.reply()


@scenario(GRPC_WEB)
async def grpcweb_text_broken(s: Session) -> None:
    """What is no base64: its size, its letters, nothing at all."""
    s.upstream("h2app").h2_script = answering
    for body in (b"AAAAA", b"A*AA", b"AAAA====", b"AA\r\nAA==", b"====", b"AAB="):
        async with s.logging(1):
            await s.http(web("/pkg.S/M", kind=TEXT, body=body), label=repr(body))
    s.upstream("h2app").seen.clear()  # whether a head went out before is a race
    await s.http(web("/pkg.S/M", kind=TEXT, body=b""), label="nothing")


@scenario(GRPC_WEB)
async def grpcweb_other_answers(s: Session) -> None:
    """Answers that are not gRPC's: of the proxy, of a plain upstream, without a body, without trailers."""
    for path in ("/direct.S/M", "/empty.S/M", "/unknown.S/M", "/dead.S/M"):
        async with s.logging(1):
            await s.http(web(path), label=path)
        await s.http(web(path, f"accept: {TEXT}"), label=f"{path} text")
    kinds = ("text/plain", "application/grpc-web+proto", "application/grpc-web-text", "application/grpc")
    for kind in kinds:
        for status in ("200 OK", "404 Not Found"):
            reply = head(f"HTTP/1.1 {status}", f"content-type: {kind}", "content-length: 7") + b"100% so"
            s.upstream().script = answers(reply)
            await s.http(web("/old.S/M"), label=f"{kind} {status}")
    s.upstream().script = answers(head("HTTP/1.1 200 OK", "content-length: 0"))
    await s.http(web("/old.S/M"), label="nothing")
    long = b"x" * 10000
    chunked = b"%x\r\n%b\r\n" % (len(long), long)
    reply = head("HTTP/1.1 500 x", "transfer-encoding: chunked") + chunked * 3 + b"0\r\n\r\n"
    s.upstream().script = answers(reply)
    await s.http(web("/old.S/M"), label="long")
    s.upstream().script = answers(head("HTTP/1.1 500 x", "content-length: 20000") + b"y" * 20000)
    await s.http(web("/old.S/M"), label="long, with its length")


@scenario(GRPC_WEB)
async def grpcweb_trailers_only(s: Session) -> None:
    """A status in the head; no message before the trailers; no trailers."""

    async def script(call: H2Call) -> None:
        await call.body()
        kind = call.path.rpartition("/")[2]
        if kind == "only":
            await call.answer([*HEAD, ("grpc-status", "5"), ("grpc-message", "no")])
        elif kind == "empty":
            await call.answer(HEAD, b"", [("grpc-status", "5"), ("grpc-message", "no")])
        else:
            await call.answer(HEAD, message(b"one"))

    s.upstream("h2app").h2_script = script
    for kind in ("only", "empty", "none"):
        await s.http(web(f"/pkg.S/{kind}"), label=kind)
        await s.http(web(f"/pkg.S/{kind}", f"accept: {TEXT}"), label=f"{kind} text")


@scenario(GRPC_WEB)
async def grpcweb_stats(s: Session) -> None:
    """Counters of the cluster by service and method."""

    async def script(call: H2Call) -> None:
        await call.body()
        number = call.path.rpartition("/")[2].rpartition("-")[2]
        if call.path.startswith("/pkg.Only"):
            await call.answer([*HEAD, ("grpc-status", number)])
        else:
            await call.answer(HEAD, message(b"x"), [("grpc-status", number)])

    s.upstream("h2app").h2_script = script
    await s.quiet()
    before = await s.counters(r"grpc-web\.pkg\.(Stat|Only)")
    for path in ("/pkg.Stat/M-0", "/pkg.Stat/M-0?q=1", "/pkg.Stat/M-5", "/pkg.Only/M-0", "/pkg.Only/M-14"):
        await s.http(web(path), label=path)
    for path in ("/pkg.Stat", "/pkg.Stat/", "/pkg.Stat/M/N-0", "/pkg.S"):
        await s.http(web(path), label=path)
    await s.quiet()
    after = await s.counters(r"grpc-web\.pkg\.(Stat|Only)")
    s.see("counters", {name: value - before.get(name, 0) for name, value in sorted(after.items())})
