"""CONNECT: matched, refused, proxied and terminated."""

from __future__ import annotations

import trio

from ..configuration import bootstrap, cluster, listener
from ..http2 import Fields
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import head

PROXIED = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {connect_matcher: {}, headers: [{name: x-h2, present_match: true}]}, route: {cluster: h2app}}
- {match: {connect_matcher: {}}, route: {cluster: app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
BY_ROUTE = """
- match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: dead}}]}
  route: {cluster: dead, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
- match: {connect_matcher: {}}
  route: {cluster: app, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
- match: {prefix: /post}
  route: {cluster: app, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {allow_post: true}}]}
- {match: {prefix: /}, route: {cluster: app}}
"""
HEADED = "\n".join(
    f"- match: {{connect_matcher: {{}}, headers: [{{name: x-v, string_match: {{exact: '{version}'}}}}]}}\n"
    "  route: {cluster: app, upgrade_configs: [{upgrade_type: CONNECT, connect_config:"
    f" {{proxy_protocol_config: {{version: V{version}}}, allow_post: true}}}}]}}"
    for version in (1, 2)
)
HEADED += """
- match: {prefix: /post}
  route:
    cluster: app
    upgrade_configs:
    - {upgrade_type: CONNECT, connect_config: {proxy_protocol_config: {}, allow_post: true}}
"""
CONNECT = "upgrade_configs: [{upgrade_type: CONNECT}]\nhttp2_protocol_options: {allow_connect: true}"
CONNECTS = Setup(
    "connects",
    bootstrap(
        [
            listener("main", CONNECT, routes=PROXIED),
            listener("without", routes=PROXIED),
            listener("headed", routes=HEADED),
            listener("unmatched", CONNECT, routes="- {match: {prefix: /}, route: {cluster: app}}"),
            listener("ends", "http2_protocol_options: {allow_connect: true}", routes=BY_ROUTE),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True), cluster("dead", "dead")],
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
STATS = (
    "http.main.downstream_cx_upgrades_total",
    "http.main.downstream_cx_upgrades_active",
    "http.main.downstream_rq_ws_on_non_ws_route",
    "http.main.downstream_rq_2xx",
    "http.main.downstream_rq_4xx",
    "http.main.downstream_rq_completed",
    "http.main.downstream_rq_rx_reset",
    "http.main.downstream_rq_tx_reset",
    "cluster.app.upstream_rq_200",
    "cluster.app.upstream_rq_total",
    "cluster.app.upstream_cx_total",
    "cluster.app.upstream_cx_http1_total",
    "cluster.app.upstream_cx_active",
    "cluster.app.upstream_cx_destroy_local",
    "cluster.app.upstream_cx_destroy_local_with_active_rq",
    "cluster.app.upstream_cx_destroy_remote",
    "cluster.app.upstream_cx_destroy_remote_with_active_rq",
    "cluster.app.upstream_rq_tx_reset",
    "cluster.app.upstream_rq_rx_reset",
)
REQUEST = head("CONNECT target:443 HTTP/1.1", "host: target:443", "x-a: 1")
ESTABLISHED = head("HTTP/1.1 200 Connection established", "x-up: yes")


def connect(*extra: tuple[str, str]) -> Fields:
    return [(":method", "CONNECT"), (":authority", "target:443"), *extra]


def echoing(reply: bytes = ESTABLISHED):  # type: ignore[no-untyped-def]
    async def script(call: Call) -> None:
        await call.send(reply)
        await call.send(await call.tunnel(5))
        await call.tunnel_end()

    return script


@scenario(CONNECTS)
async def connect_proxied(s: Session) -> None:
    """CONNECT handed on to an HTTP/1.1 upstream; the client closes."""
    s.upstream().script = echoing()
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect()
        await client.send(REQUEST + b"hello")
        await client.reply(has_body=False)
        await client.tunnel(5)
        client.close()


@scenario(CONNECTS)
async def connect_half_closes(s: Session) -> None:
    """The client ends its side; the upstream does."""
    s.upstream().script = echoing()
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect()
        await client.send(REQUEST + b"hello")
        await client.reply(has_body=False)
        await client.tunnel(5)
        client.half_close()
        await client.closed()

    async def script(call: Call) -> None:
        await call.send(ESTABLISHED + b"bye")
        call.half_close()
        await call.tunnel_end()

    s.upstream().script = script
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect()
        await client.send(REQUEST + b"hello")
        await client.reply(has_body=False)
        await client.tunnel(3)
        await client.closed()


@scenario(CONNECTS)
async def connect_refused(s: Session) -> None:
    """Nothing allows it; no route takes it; the upstream refuses."""
    for to in ("without", "unmatched"):
        async with s.logging(1, to):
            client = await s.connect(to)
            await client.send(REQUEST)
            await client.reply(to)
            await client.closed()

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 407 No", "content-length: 4") + b"body")
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(REQUEST)
        await client.reply("407")
        await client.closed()


@scenario(CONNECTS)
async def connect_malformed(s: Session) -> None:
    """Targets that are none, bodies, codings."""
    s.upstream().script = echoing()
    for target in ("/path", "http://a/b", "target", "a:1/x", "*"):
        client = await s.connect()
        await client.send(head(f"CONNECT {target} HTTP/1.1", "host: target:443"))
        await client.reply(target, has_body=False)
        client.close()
    for extra in (
        "content-length: 0",
        "content-length: 3",
        "transfer-encoding: chunked",
        "upgrade: websocket",
        "connection: close",
    ):
        client = await s.connect()
        await client.send(head("CONNECT target:443 HTTP/1.1", "host: other:443", extra))
        await client.reply(extra, has_body=False)
        client.close()


@scenario(CONNECTS)
async def connect_to_h2(s: Session) -> None:
    """CONNECT handed on to HTTP/2."""

    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200"), ("x-up", "yes")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"hello")
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(head("CONNECT target:443 HTTP/1.1", "host: target:443", "x-h2: 1"))
        await client.reply(has_body=False)
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()
    async with s.logging(1):
        h2_client = await s.connect_h2()
        stream = await h2_client.start(connect(("x-h2", "1")), b"hello", end=False)
        await h2_client.tunnel(stream, 5)
        await h2_client.peer.data(stream, b"", end=True)
        await s.upstream("h2app").seen[1].stream.ended.wait()  # type: ignore[union-attr]
        await h2_client.peer.reset(stream)


@scenario(CONNECTS)
async def connect_from_h2(s: Session) -> None:
    """CONNECT over HTTP/2 to HTTP/1.1: plain, and with :protocol bytestream and a path."""
    s.upstream().script = echoing()
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(connect(("x-a", "1")), b"hello", end=False)
        await client.tunnel(stream, 5)
        await client.peer.data(stream, b"", end=True)
        await client.reply(stream, "end")
    extended = [(":protocol", "bytestream"), (":scheme", "http"), (":path", "/"), *connect()]
    async with s.logging(1):
        client = await s.connect_h2()
        stream = await client.start(extended, b"hello", end=False)
        await client.tunnel(stream, 5, "bytestream")
        await client.peer.reset(stream)


@scenario(CONNECTS)
async def connect_bytestream(s: Session) -> None:
    """:protocol bytestream to HTTP/2, and by a route that asks for a prefix."""

    async def script(call: H2Call) -> None:
        await call.answer_open([(":status", "200")])
        await call.stream.received(5)
        await call.peer.data(call.stream, b"hello")
        await call.stream.ended.wait()

    s.upstream("h2app").h2_script = script
    s.upstream().script = echoing()
    extended = [(":protocol", "bytestream"), (":scheme", "http"), (":path", "/"), *connect()]
    for to, more in (("main", [("x-h2", "1")]), ("unmatched", [])):
        async with s.logging(1, to):
            client = await s.connect_h2(to)
            stream = await client.start([*extended, *more], b"hello", end=False)
            await client.tunnel(stream, 5, to)
            await client.peer.reset(stream)


@scenario(CONNECTS)
async def connect_terminated(s: Session) -> None:
    """The tunnel ends here: bytes to the upstream as they are."""

    async def script(call: Call) -> None:
        await call.send(b"raw answer")
        await call.tunnel_end()

    s.upstream().script = script
    async with s.counting(*(name.replace("main", "ends") for name in STATS)), s.logging(1, "ends"):
        client = await s.connect("ends")
        await client.send(REQUEST)
        await client.reply(has_body=False)
        await client.send(b"RAW / HTTP/1.1\r\nx: y\r\n\r\nmore")
        await client.tunnel(10)
        client.half_close()
        await client.closed()


@scenario(CONNECTS)
async def connect_terminated_upstream_closes(s: Session) -> None:
    """The upstream of a terminated tunnel ends it."""

    async def script(call: Call) -> None:
        await call.send(b"raw answer")
        await call.close()

    s.upstream().script = script
    async with s.counting(*(name.replace("main", "ends") for name in STATS)), s.logging(1, "ends"):
        client = await s.connect("ends")
        await client.send(REQUEST)
        await client.reply(has_body=False)
        await client.send(b"RAW / HTTP/1.1\r\nx: y\r\n\r\n")
        await client.tunnel(10)
        await client.closed()


@scenario(CONNECTS)
async def connect_terminated_h2(s: Session) -> None:
    """A stream of HTTP/2 that ends here; a POST that does (allow_post)."""

    async def script(call: Call) -> None:
        await call.send(b"raw answer")
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(1, "ends"):
        client = await s.connect_h2("ends")
        stream = await client.start(connect(), b"RAW / HTTP/1.1\r\nx: y\r\n\r\nmore", end=False)
        await client.tunnel(stream, 10)
        await client.peer.data(stream, b"", end=True)
        await client.reply(stream, "end")
    async with s.logging(1, "ends"):
        h1_client = await s.connect("ends")
        body = b"RAW / HTTP/1.1\r\nx: y\r\n\r\n"
        await h1_client.send(head("POST /post HTTP/1.1", "host: a", f"content-length: {len(body)}") + body)
        await h1_client.reply("post")
        h1_client.close()


@scenario(CONNECTS)
async def connect_corners(s: Session) -> None:
    """Statuses of the upstream beside 200, lengths in its answer, a body in front of the tunnel."""
    for status in ("200", "201", "204", "299", "302", "500"):
        for length in ([], ["content-length: 5"], ["transfer-encoding: chunked"]):
            if not length and status > "3":
                continue  # a race in Envoy: the end of the answer or of the connection

            async def script(call: Call, status: str = status, length: list[str] = length) -> None:
                await call.send(head(f"HTTP/1.1 {status} x", *length) + b"hello")
                await call.close()

            s.upstream().script = script
            client = await s.connect()
            await client.send(REQUEST)
            await client.reply(f"{status} {length}", has_body=not status.startswith("2"))
            await client.closed(f"{status} {length}, then")
            client.close()


@scenario(CONNECTS)
async def connect_dead_and_terminated(s: Session) -> None:
    """No upstream at the other end of a tunnel that ends here; an end at once over HTTP/2."""
    async with s.logging(1, "ends"):
        client = await s.connect("ends")
        await client.send(head("CONNECT dead:1 HTTP/1.1", "host: dead:1"))
        await client.reply(has_body=False)
        await client.closed()
    async with s.logging(1, "ends"):
        h2_client = await s.connect_h2("ends")
        stream = await h2_client.start(connect(), end=True)
        await h2_client.reply(stream, "ended at once")
    s.upstream().script = echoing()
    async with s.logging(1):
        h2_client = await s.connect_h2()
        stream = await h2_client.start(connect(), end=True)
        await h2_client.reply(stream, "proxied, ended at once")


@scenario(CONNECTS)
async def connect_proxy_protocol(s: Session) -> None:
    """The head of the PROXY protocol in front of a tunnel that ends here, and of a POST."""

    over = [trio.Event(), trio.Event()]

    async def script(call: Call) -> None:
        await call.tunnel_end()
        over[len(s.upstream().seen) - 1].set()

    s.upstream().script = script
    own = str(s.proxy.ports["headed"])
    for number, version in enumerate(("1", "2")):
        client = await s.connect("headed")
        port = client.wire.stream.socket.getsockname()[1]
        await client.send(head("CONNECT t:1 HTTP/1.1", "host: t:1", f"x-v: {version}"))
        await client.reply(f"version {version}", has_body=False)
        # The scripted upstream takes what comes first for the head of a request.
        await client.send(b"\r\na: b\r\n\r\nhello")
        await s.upstream().arrivals(number + 1)
        client.close()
        await over[number].wait()
        call = s.upstream().seen[number]
        assert isinstance(call, Call)
        fields = [f"{name}:{value}" for name, value in call.request.headers]
        text = "|".join([call.request.start_line, *fields, bytes(call.tunnelled).decode("latin-1")])
        for name, value in (("own", int(own)), ("peer", port)):
            text = text.replace(str(value), f"<{name}>")
            text = text.replace(value.to_bytes(2, "big").decode("latin-1"), f"<{name}>")
        s.see(f"head {version}", text)
    await s.quiet()
    s.upstream().seen.clear()


@scenario(CONNECTS)
async def connect_h2_without_upstream(s: Session) -> None:
    """Tunnels of HTTP/2 whose upstream is not there, or closes without an answer."""

    async def script(call: Call) -> None:
        await call.close()

    s.upstream().script = script
    for to, authority in (("ends", "dead:1"), ("main", "target:443")):
        async with s.logging(1, to):
            client = await s.connect_h2(to)
            stream = await client.start([(":method", "CONNECT"), (":authority", authority)], end=False)
            await client.reply(stream, f"{to} {authority}")
