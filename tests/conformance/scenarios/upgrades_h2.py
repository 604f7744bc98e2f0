"""Upgrades over HTTP/2 (RFC 8441), and every bridge between it and HTTP/1."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import head
from .upgrades import SWITCHED, echoing, handshake, opened

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /h2}, route: {cluster: h2app}}
- {match: {prefix: /dead}, route: {cluster: dead}}
- match: {prefix: /off}
  route: {cluster: app, upgrade_configs: [{upgrade_type: WebSocket, enabled: false}]}
- {match: {prefix: /idle}, route: {cluster: h2app, idle_timeout: 0.3s}}
- {match: {prefix: /timeout}, route: {cluster: h2app, timeout: 0.3s}}
- {match: {prefix: /}, route: {cluster: app}}
"""
TYPES = "upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: foo}]\n"
UPGRADES_H2 = Setup(
    "upgrades_h2",
    bootstrap(
        [
            listener("main", TYPES + "http2_protocol_options: {allow_connect: true}", routes=ROUTES),
            listener("closed", TYPES, routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead")],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
STATS = (
    "http.main.downstream_cx_upgrades_total",
    "http.main.downstream_cx_upgrades_active",
    "http.main.downstream_rq_ws_on_non_ws_route",
    "http.main.downstream_rq_1xx",
    "http.main.downstream_rq_2xx",
    "http.main.downstream_rq_4xx",
    "http.main.downstream_rq_completed",
    "http.main.downstream_rq_rx_reset",
    "http.main.downstream_rq_tx_reset",
    "cluster.app.upstream_cx_destroy_local_with_active_rq",
    "cluster.app.upstream_cx_destroy_remote_with_active_rq",
    "cluster.app.upstream_cx_active",
    "cluster.h2app.upstream_rq_tx_reset",
    "cluster.h2app.upstream_rq_rx_reset",
    "cluster.h2app.upstream_rq_active",
)
#: Those that exist once an upgrade was accepted.
ACCEPTED = (*STATS, "cluster.app.upstream_rq_101")
ACCEPTED_H2 = (*STATS, "cluster.h2app.upstream_rq_101")


def extended(path: str = "/chat", *, protocol: str = "websocket", extra: Fields | None = None) -> Fields:
    """The request of RFC 8441."""
    return [
        (":method", "CONNECT"),
        (":protocol", protocol),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", path),
        *(extra or []),
    ]


async def h2_echo(call: H2Call) -> None:
    """Accept, send five bytes back, and read on to the end."""
    await call.answer_open([(":status", "200"), ("x-up", "yes")])
    await call.stream.received(5)
    await call.peer.data(call.stream, bytes(call.stream.body[:5]))
    await call.stream.ended.wait()


@scenario(UPGRADES_H2)
async def ws_h2_settings(s: Session) -> None:
    """allow_connect is announced downstream."""
    for to in ("main", "closed"):
        client = await s.connect_h2(to)
        s.see(to, dict(sorted(client.peer.settings.items())))


@scenario(UPGRADES_H2)
async def ws_h2_to_h1(s: Session) -> None:
    """RFC 8441 to a handshake of HTTP/1.1; the client ends its side, of which the upstream hears nothing."""
    over = trio.Event()

    async def script(call: Call) -> None:
        await call.send(SWITCHED)
        await call.send(await call.tunnel(5))
        await over.wait()
        await call.send(b"later")
        await call.close()

    s.upstream().script = script
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(
            extended("/chat", extra=[("sec-websocket-version", "13")]), b"hello", end=False
        )
        await client.tunnel(stream, 5)
        await client.peer.data(stream, b"", end=True)
        over.set()
        await client.reply(stream, "end")


@scenario(UPGRADES_H2)
async def ws_h2_to_h1_reset(s: Session) -> None:
    """The client resets the stream."""
    s.upstream().script = echoing()
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/chat"), b"hello", end=False)
        await client.tunnel(stream, 5)
        await client.peer.reset(stream)


@scenario(UPGRADES_H2)
async def ws_h2_to_h1_upstream_closes(s: Session) -> None:
    """The upstream closes."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED)
        await call.tunnel(5)
        await call.send(b"bye")
        await call.close()

    s.upstream().script = script
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/chat"), b"hello", end=False)
        await client.reply(stream)


@scenario(UPGRADES_H2)
async def ws_h1_to_h2(s: Session) -> None:
    """A handshake of HTTP/1.1 to RFC 8441; the client closes."""
    s.upstream("h2app").h2_script = h2_echo
    async with s.counting(*ACCEPTED_H2), s.logging(1):
        client = await opened(s, handshake("/h2", "sec-websocket-key: abc"))
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()


@scenario(UPGRADES_H2)
async def ws_h1_to_h2_upstream_ends(s: Session) -> None:
    """The upstream ends its stream: in good order, and by a reset."""

    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"bye", end=True)

    async def resets(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.reset(call.stream)

    for each in (script, resets):
        s.upstream("h2app").h2_script = each
        async with s.counting(*ACCEPTED_H2), s.logging(1):
            client = await opened(s, handshake("/h2"))
            await client.send(b"hello")
            await client.closed()


@scenario(UPGRADES_H2)
async def ws_h2_to_h2(s: Session) -> None:
    """RFC 8441 on both sides: ended by the client, by the upstream."""
    s.upstream("h2app").h2_script = h2_echo
    async with s.counting(*ACCEPTED_H2), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/h2"), b"hello", end=False)
        await client.tunnel(stream, 5)
        await client.peer.data(stream, b"", end=True)
        await s.upstream("h2app").seen[0].stream.ended.wait()  # type: ignore[union-attr]
        await client.peer.reset(stream)

    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"bye", end=True)
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.counting(*ACCEPTED_H2), s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/h2"), b"hello", end=False)
        await client.reply(stream)


@scenario(UPGRADES_H2)
async def ws_h2_refused(s: Session) -> None:
    """Types and routes that are not allowed; :protocol where it was not announced."""
    async with s.counting(*STATS), s.logging(2):
        for path, protocol in (("/off", "websocket"), ("/", "unknown")):
            client = await s.connect_h2()
            stream = await client.start(extended(path, protocol=protocol), end=False)
            await client.reply(stream, f"{path} {protocol}")
            await client.closed(f"{path}, then")
    client = await s.connect_h2("closed")
    stream = await client.start(extended("/"), end=False)
    await client.reply(stream, "not announced")
    await client.closed()


@scenario(UPGRADES_H2)
async def ws_h2_answered_otherwise(s: Session) -> None:
    """Statuses that are no success, over each bridge."""

    async def h2_script(call: H2Call) -> None:
        await call.answer([(":status", status), ("x-up", "yes"), ("content-length", "4")], b"body")

    for status in ("201", "302", "404"):
        s.upstream("h2app").h2_script = h2_script
        async with s.logging(1):
            client = await s.connect()
            await client.send(handshake("/h2"))
            await client.reply(f"h1 to h2 {status}")
            await client.closed()
        async with s.logging(1):
            h2_client = await s.connect_h2()
            stream = await h2_client.start(extended("/h2"), end=False)
            await h2_client.reply(stream, f"h2 to h2 {status}")
        s.upstream().script = answers_with(status)
        async with s.logging(1):
            h2_client = await s.connect_h2()
            stream = await h2_client.start(extended("/"), end=False)
            await h2_client.reply(stream, f"h2 to h1 {status}")


def answers_with(status: str):  # type: ignore[no-untyped-def]
    async def script(call: Call) -> None:
        await call.send(head(f"HTTP/1.1 {status} x", "x-up: yes", "content-length: 4") + b"body")
        await call.tunnel_end()

    return script


@scenario(UPGRADES_H2)
async def foo_over_h2(s: Session) -> None:
    """Another type over the bridges."""
    s.upstream().script = echoing(head("HTTP/1.1 101 x", "connection: upgrade", "upgrade: foo"))
    s.upstream("h2app").h2_script = h2_echo
    for path in ("/", "/h2"):
        client = await s.connect_h2()
        stream = await client.start(extended(path, protocol="foo"), b"hello", end=False)
        await client.tunnel(stream, 5, f"tunnel {path}")
        client.close()
    h1_client = await opened(s, handshake("/h2", kind="foo"))
    await h1_client.send(b"hello")
    await h1_client.tunnel(5)
    h1_client.close()
    await s.quiet()


@scenario(UPGRADES_H2)
async def ws_h2_timeouts(s: Session) -> None:
    """The route's timeout before the answer, the idle timeout in the tunnel."""

    async def silent(call: H2Call) -> None:
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = silent
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/timeout"), end=False)
        await client.reply(stream, "unanswered")
    s.upstream("h2app").h2_script = h2_echo
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended("/idle"), b"hello", end=False)
        await client.reply(stream, "idle")


@scenario(UPGRADES_H2)
async def ws_h2_ends_at_once(s: Session) -> None:
    """An extended CONNECT whose head ends the client's side."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED + b"bye")
        await call.close()

    async def h2_script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200")], b"bye")

    s.upstream().script = script
    s.upstream("h2app").h2_script = h2_script
    for path in ("/", "/h2"):
        async with s.logging(1):
            client = await s.connect_h2()
            stream = await client.start(extended(path), end=True)
            await client.reply(stream, path)


@scenario(UPGRADES_H2)
async def ws_h2_with_lengths(s: Session) -> None:
    """content-length and trailers of an extended CONNECT."""
    s.upstream().script = echoing()
    client = await s.connect_h2()
    stream = await client.start(extended("/", extra=[("content-length", "5")]), b"hello", end=False)
    await client.tunnel(stream, 5, "with a length")
    client.close()
    await s.quiet()
    s.upstream("h2app").h2_script = h2_echo
    client = await s.connect_h2()
    stream = await client.start(extended("/h2"), b"hello", end=False)
    await client.tunnel(stream, 5, "before trailers")
    await client.peer.headers(stream, [("x-trailer", "1")], end=True)
    await s.upstream("h2app").seen[-1].stream.ended.wait()  # type: ignore[union-attr]
    await client.peer.reset(stream)
    await s.quiet()


@scenario(UPGRADES_H2)
async def ws_h2_answer_ends(s: Session) -> None:
    """Upstreams that accept and end in one: with the head, with bytes, with trailers."""

    async def script(call: H2Call) -> None:
        kind = call.path.rpartition("/")[2]
        if kind == "head":
            await call.answer([(":status", "200")])
        elif kind == "bytes":
            await call.answer([(":status", "200")], b"bye")
        else:
            await call.answer([(":status", "200")], b"bye", [("x-trailer", "1")])

    s.upstream("h2app").h2_script = script
    for kind in ("head", "bytes", "trailers"):
        async with s.logging(1):
            client = await s.connect()
            await client.send(handshake(f"/h2/{kind}"))
            await client.reply(f"h1 {kind}")
            await client.closed()
        async with s.logging(1):
            h2_client = await s.connect_h2()
            stream = await h2_client.start(extended(f"/h2/{kind}"), end=False)
            await h2_client.reply(stream, f"h2 {kind}")


@scenario(UPGRADES_H2)
async def ws_h2_filters_and_direct_answers(s: Session) -> None:
    """An extended CONNECT to a route that answers itself, to none, and to an upstream that is not there."""
    for path in ("/probe", "/dead"):
        async with s.logging(1):
            client = await s.connect_h2()
            stream = await client.start(extended(path), end=False)
            await client.reply(stream, path)
