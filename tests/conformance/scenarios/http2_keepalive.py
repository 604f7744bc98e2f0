"""``connection_keepalive``: PING, and what happens when nobody answers."""

from __future__ import annotations

import trio

from tests.support.h2_frames import ACK, CLIENT_START, END_HEADERS, PING, frame, headers, request

from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..frames import FrameServer, read_frame
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call
from ..wire import Ended, Wire, head

KEEPALIVE = "{interval: 0.1s, timeout: 0.1s, interval_jitter: {value: 0}}"
ROUTES = """
- {match: {prefix: /often}, route: {cluster: often}}
- {match: {prefix: /idle}, route: {cluster: idle}}
- {match: {prefix: /}, route: {cluster: app}}
"""


def raw(name: str, options: str) -> dict[str, object]:
    http2 = f"explicit_http_config: {{http2_protocol_options: {{connection_keepalive: {options}}}}}"
    typed = f'{{"@type": type.googleapis.com/{HTTP_OPTIONS}, {http2}}}'
    return cluster(name, "raw", extra=f"typed_extension_protocol_options: {{{HTTP_OPTIONS}: {typed}}}")


SETUP = Setup(
    "http2_keepalive",
    bootstrap(
        [
            listener("main", routes=ROUTES),
            listener(
                "often", f"http2_protocol_options: {{connection_keepalive: {KEEPALIVE}}}", routes=ROUTES
            ),
        ],
        [
            cluster("app", "app"),
            raw("often", KEEPALIVE),
            raw("idle", "{timeout: 5s, connection_idle_interval: 0.1s}"),
        ],
    ),
    {"app": "h1", "raw": "h1"},
)


async def pings(wire: Wire, answered: int) -> list[str]:
    """Answer so many PINGs; what else comes until the connection ends."""
    lines = []
    while True:
        try:
            kind, flags, _, payload = await read_frame(wire)
        except Ended:
            return [*lines, "closed"]
        if kind == PING and not flags & ACK:
            lines.append("PING")
            if answered:
                answered -= 1
                await wire.send(frame(PING, ACK, 0, payload))


@scenario(SETUP)
async def h2_keepalive_of_clients(s: Session) -> None:
    """A client that answers no PING, or only the first two, is cut off, its request lost."""
    stopped = trio.Event()

    async def held(call: Call) -> None:
        await call.gone()
        stopped.set()

    s.upstream().script = held
    names = (
        "http2.keepalive_timeout",
        "http2.goaway_sent",
        "http.often.downstream_rq_rx_reset",
        "http.often.downstream_cx_destroy_local",
        "http.often.downstream_cx_protocol_error",
    )
    for answered in (0, 2):
        async with s.counting(*names), s.logging(1, "often"):
            client = await s.connect("often")
            await client.wire.send(CLIENT_START + request(1))
            s.see(f"{answered} answered", await pings(client.wire, answered))
        s.upstream().seen.clear()
    async with s.counting(*names):
        client = await s.connect("often")
        await client.wire.send(CLIENT_START)
        s.see("no request", await pings(client.wire, 0))


@scenario(SETUP)
async def h2_keepalive_of_servers(s: Session) -> None:
    """A server that answers no PING is left, and the request with it."""

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call)
        await server.request()
        s.see("the server is told", await pings(server.wire, 1))

    s.upstream("raw").script = script
    names = (
        "http2.keepalive_timeout",
        "upstream_cx_destroy_local",
        "upstream_rq_tx_reset",
        "upstream_rq_rx_reset",
    )
    async with s.counting(*(f"cluster.often.{name}" for name in names)), s.logging(1):
        await s.http(head("GET /often HTTP/1.1", "host: a"))
        await s.upstream("raw").finish()
    s.upstream("raw").seen.clear()


@scenario(SETUP)
async def h2_keepalive_after_a_silence(s: Session) -> None:
    """connection_idle_interval: a PING goes ahead of a request after a silence, and only then."""

    async def script(call: Call) -> None:
        server = await FrameServer.accept(call)
        kinds = []
        while len(kinds) < 3:
            each = await read_frame(server.wire)
            if each[0] == PING:
                kinds.append("PING")
                await server.send(frame(PING, ACK, 0, each[3]))
            elif each[0] == 1:
                kinds.append(f"request {each[2]}")
                await server.send(headers(each[2], (b":status", b"200"), flags=END_HEADERS | 1))
        s.see("the server is told", kinds)
        await server.rest()

    s.upstream("raw").script = script
    await s.http(head("GET /idle HTTP/1.1", "host: a"), label="first")
    await trio.sleep(0.25)  # the silence is what this is about
    await s.http(head("GET /idle HTTP/1.1", "host: a"), label="second")
    await s.upstream("raw").finish()
    s.upstream("raw").seen.clear()
