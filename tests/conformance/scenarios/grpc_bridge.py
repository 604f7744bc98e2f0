"""The gRPC bridge of HTTP/1: trailers become headers, and protobuf alone becomes a message of gRPC."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call
from ..wire import head
from .grpc import FINE, HEAD, call_of, message

BRIDGE = """
- name: envoy.filters.http.grpc_http1_bridge
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_http1_bridge.v3.Config
    upgrade_protobuf_to_grpc: %s
    ignore_query_parameters: %s
"""
ROUTES = """
- match: {prefix: /pkg.Proto, headers: [{name: content-type, string_match: {exact: application/grpc}}]}
  route: {cluster: h2app}
- {match: {prefix: /pkg.Proto}, direct_response: {status: 200, body: {inline_string: "not matched again"}}}
- {match: {path: /direct.S/M}, direct_response: {status: 403, body: {inline_string: "no 100%"}}}
- {match: {prefix: /old.}, route: {cluster: app}}
- {match: {prefix: /pkg.}, route: {cluster: h2app}}
"""
GRPC_BRIDGE = Setup(
    "grpc_bridge",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=BRIDGE % ("false", "false")),
            listener("protobuf", routes=ROUTES, filters=BRIDGE % ("true", "false")),
            listener("without_query", routes=ROUTES, filters=BRIDGE % ("true", "true")),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
)


def post(
    path: str = "/pkg.S/M", *lines: str, body: bytes | None = None, kind: str = "application/grpc"
) -> bytes:
    body = message(b"question") if body is None else body
    length = f"content-length: {len(body)}"
    return head(f"POST {path} HTTP/1.1", "host: a", f"content-type: {kind}", length, *lines) + body


@scenario(GRPC_BRIDGE)
async def grpc_bridge_answers(s: Session) -> None:
    """Statuses in trailers, in the head, nowhere."""

    async def script(call: H2Call) -> None:
        await call.body()
        kind, _, number = call.path.rpartition("/")[2].partition("-")
        if kind == "only":
            await call.answer([*HEAD, ("grpc-status", number), ("grpc-message", "in%20head")])
        elif kind == "none":
            await call.answer([*HEAD, ("content-length", "8")], message(b"one"))
        elif kind == "other":
            await call.answer([*HEAD, ("content-length", "8")], message(b"one"), [("x-trailer", "1")])
        elif kind == "empty":
            await call.answer(HEAD, b"", [("grpc-status", number)])
        else:
            trailers = [("grpc-status", number), ("grpc-message", "in%20trailers"), ("x-trailer", "1")]
            await call.answer(HEAD, message(b"one") + message(b"two"), trailers)

    s.upstream("h2app").h2_script = script
    for kind in (
        "trailers-0",
        "trailers-5",
        "trailers-x",
        "only-0",
        "only-5",
        "none",
        "other",
        "empty-0",
        "empty-7",
    ):
        async with s.logging(1):
            await s.http(post(f"/pkg.S/{kind}"), label=kind)
    client = await s.connect_h2()
    await client.request(call_of("/pkg.S/trailers-5"), message(b"x"), label="http2")
    await s.http(post("/pkg.S/trailers-5", kind="text/plain"), label="another type")
    await s.http(post("/pkg.S/trailers-5", kind="application/x-protobuf"), label="protobuf")
    await s.http(post("/direct.S/M"), label="local reply")


@scenario(GRPC_BRIDGE)
async def grpc_bridge_protobuf(s: Session) -> None:
    """A message of protobuf alone gets its prefix, the answer loses it."""

    async def script(call: H2Call) -> None:
        await call.body()
        if "fail" in call.path:
            await call.answer([*HEAD, ("grpc-status", "5"), ("grpc-message", "no")])
        elif "late" in call.path:
            await call.answer(HEAD, message(b"one"), [("grpc-status", "5"), ("grpc-message", "no")])
        elif "bare" in call.path:
            await call.answer(HEAD, message(b"one"))
        elif "empty" in call.path:
            await call.answer(HEAD, b"", FINE)
        else:
            await call.answer(HEAD, message(b"answer"), FINE)

    s.upstream("h2app").h2_script = script
    kind = "application/x-protobuf"
    for path in (
        "/pkg.S/M?q=1",
        "/pkg.S/fail",
        "/pkg.S/late",
        "/pkg.S/bare",
        "/pkg.S/empty",
        "/pkg.Proto/M",
        "/direct.S/M",
    ):
        for to in ("protobuf", "without_query"):
            await s.http(post(path, kind=kind, body=b"question"), to, label=f"{path} {to}")
    for other in ("application/protobuf", "application/x-protobuf; x=y", "application/vnd.google.protobuf"):
        await s.http(post(kind=other, body=b"question"), "protobuf", label=other)
    await s.http(post(kind=kind, body=b""), "protobuf", label="nothing")
    lines = ("host: a", f"content-type: {kind}", "transfer-encoding: chunked")
    chunks = b"4\r\nques\r\n4\r\ntion\r\n0\r\n\r\n"
    await s.http(head("POST /pkg.S/M HTTP/1.1", *lines) + chunks, "protobuf", label="in chunks")
    client = await s.connect_h2("protobuf")
    request = [field for field in call_of("/pkg.S/M") if field[0] != "content-type"]
    await client.request([*request, ("content-type", kind)], b"question", label="http2")
