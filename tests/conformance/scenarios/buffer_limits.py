"""``per_connection_buffer_limit_bytes`` of listeners and clusters: bodies of any size pass all the same."""

from __future__ import annotations

import hashlib

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import H2Call, answers, ok
from ..wire import Wire, head
from .tcp_proxy import proxy

SUBJECT = "connections"

ROUTES = """
- {match: {prefix: /2/}, route: {cluster: h2app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
LIMIT = "per_connection_buffer_limit_bytes: 20000"
LIMITS = Setup(
    "buffer-limits",
    bootstrap(
        [listener("main", routes=ROUTES, extra=LIMIT), proxy("tcp", "cluster: raw", extra=LIMIT)],
        [
            cluster("app", "app", extra=LIMIT),
            cluster("h2app", "h2app", http2=True, extra=LIMIT),
            cluster("raw", "raw", extra=LIMIT),
        ],
    ),
    {"app": "h1", "h2app": "h2", "raw": "raw"},
)
BODY = bytes(range(256)) * 2400


@scenario(LIMITS)
async def buffer_limits_http(s: Session) -> None:
    """Over either protocol on either side, chunked and with a length, 600 KiB each way."""
    chunked = b"".join(b"%x\r\n%s\r\n" % (60_000, BODY[:60_000]) for _ in range(6)) + b"0\r\n\r\n"
    s.upstream().script = answers(
        ok(BODY), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked, ok(BODY)
    )

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], BODY)

    s.upstream("h2app").h2_script = script
    client = await s.connect()
    length = f"content-length: {len(BODY)}"
    for label, request in (
        ("length", head("POST / HTTP/1.1", "host: a", length) + BODY),
        ("chunked", head("POST / HTTP/1.1", "host: a", "transfer-encoding: chunked") + chunked),
        ("to HTTP/2", head("POST /2/ HTTP/1.1", "host: a", length) + BODY),
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, request)
            await client.reply(label)
    h2 = await s.connect_h2()
    await h2.request([*get("/", method="POST"), ("content-length", str(len(BODY)))], BODY, label="HTTP/2")
    await h2.request(get("/2/", method="POST"), BODY, label="HTTP/2 to HTTP/2")


@scenario(LIMITS)
async def buffer_limits_tcp(s: Session) -> None:
    """A TCP proxy carries as much to a client that begins to read late."""
    is_sent = trio.Event()

    async def answer(wire: Wire) -> None:
        s.see("upstream got", hashlib.sha256(await wire.exactly(len(BODY))).hexdigest())
        await wire.send(BODY)
        is_sent.set()

    s.upstream("raw").raw_script = answer
    client = await s.connect("tcp")
    await client.send(BODY)
    s.see("client got", hashlib.sha256(await client.wire.exactly(len(BODY))).hexdigest())
    await is_sent.wait()
