"""Upgrades over HTTP/1: the handshake and its headers, the tunnel, and how both end."""

from __future__ import annotations

import trio

from ..client import H1Client
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, Script, answers, ok
from ..wire import head

LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- match: {prefix: /off}
  route: {cluster: app, upgrade_configs: [{upgrade_type: WebSocket, enabled: false}]}
- match: {prefix: /on}
  route: {cluster: app, upgrade_configs: [{upgrade_type: WEBSOCKET}, {upgrade_type: bar}]}
- {match: {prefix: /dead}, route: {cluster: dead}}
- {match: {prefix: /timeout}, route: {cluster: app, timeout: 0.3s}}
- {match: {prefix: /idle}, route: {cluster: app, idle_timeout: 0.3s}}
- match: {prefix: /duration}
  route: {cluster: app, max_stream_duration: {max_stream_duration: 0.3s}}
- match: {prefix: /chosen}
  route:
    weighted_clusters: {clusters: [{name: app, weight: 1}]}
    upgrade_configs: [{upgrade_type: chosen}]
- {match: {prefix: /rewrite}, route: {cluster: app, prefix_rewrite: /new, host_rewrite_literal: other}}
- {match: {prefix: /}, route: {cluster: app}}
"""
TYPES = """
upgrade_configs:
- {upgrade_type: websocket}
- {upgrade_type: Foo}
- {upgrade_type: never, enabled: false}
"""
MARK = f"""
- name: lua
  typed_config:
    "@type": {LUA}
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          handle:headers():add("x-marked", "%s")
        end
        function envoy_on_response(handle)
          handle:headers():add("x-marked", "%s")
        end
"""
OWN = """
upgrade_configs:
- upgrade_type: websocket
  filters:
  - name: lua
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
      default_source_code:
        inline_string: |
          function envoy_on_request(handle)
            handle:headers():add("x-marked", "own")
          end
  - name: envoy.filters.http.router
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
- {upgrade_type: foo}
"""
WATCHED = f"""
- name: lua
  typed_config:
    "@type": {LUA}
    default_source_code:
      inline_string: |
        function envoy_on_request(handle)
          local size = 0
          for chunk in handle:bodyChunks() do
            size = size + chunk:length()
            handle:streamInfo():dynamicMetadata():set("tunnel", "request", size)
          end
        end
        function envoy_on_response(handle)
          local size = 0
          for chunk in handle:bodyChunks() do
            size = size + chunk:length()
            handle:streamInfo():dynamicMetadata():set("tunnel", "response", size)
          end
        end
"""
SEEN = "%RESPONSE_CODE% %DYNAMIC_METADATA(tunnel:request)% %DYNAMIC_METADATA(tunnel:response)%\n"
UPGRADES = Setup(
    "upgrades",
    bootstrap(
        [
            listener("main", TYPES, routes=ROUTES),
            listener("without", routes=ROUTES),
            listener("own", OWN, routes=ROUTES, filters=MARK % ("chain", "chain")),
            listener("watched", TYPES, routes=ROUTES, filters=WATCHED, log=SEEN),
            listener("hurried", f"{TYPES}\nrequest_timeout: 0.3s", routes=ROUTES),
            listener("idle", f"{TYPES}\nstream_idle_timeout: 0.3s", routes=ROUTES),
        ],
        [cluster("app", "app"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
)
SWITCHED = head("HTTP/1.1 101 Switching Protocols", "connection: Upgrade", "upgrade: websocket", "x-up: yes")


def handshake(path: str = "/chat", *headers: str, kind: str = "websocket", method: str = "GET") -> bytes:
    """The request of a WebSocket client, or of one that asks for something else."""
    lines = ["host: example.com", "Connection: Upgrade", f"Upgrade: {kind}"]
    return head(f"{method} {path} HTTP/1.1", *lines, *headers)


def echoing(reply: bytes = SWITCHED, *, size: int = 5) -> Script:
    """Accept, send ``size`` bytes back as they came, and read on to the end."""

    async def script(call: Call) -> None:
        await call.send(reply)
        await call.send(await call.tunnel(size))
        await call.tunnel_end()

    return script


async def opened(s: Session, data: bytes, to: str = "main") -> H1Client:
    """A connection whose handshake was sent and answered."""
    client = await s.connect(to)
    await client.send(data)
    await client.reply("handshake")
    return client


STATS = (
    "http.main.downstream_cx_upgrades_total",
    "http.main.downstream_cx_upgrades_active",
    "http.main.downstream_rq_ws_on_non_ws_route",
    "http.main.downstream_rq_1xx",
    "http.main.downstream_rq_4xx",
    "http.main.downstream_rq_completed",
    "http.main.downstream_rq_total",
    "http.main.downstream_rq_rx_reset",
    "http.main.downstream_rq_tx_reset",
    "http.main.downstream_rq_idle_timeout",
    "http.main.downstream_cx_protocol_error",
    "http.main.downstream_cx_delayed_close_timeout",
    "http.main.downstream_rq_response_before_rq_complete",
    "http.main.downstream_cx_destroy_active_rq",
    "http.main.downstream_cx_destroy_remote",
    "http.main.downstream_cx_destroy_local",
    "http.main.downstream_cx_destroy_remote_active_rq",
    "http.main.downstream_cx_destroy_local_active_rq",
    "cluster.app.upstream_rq_total",
    "cluster.app.upstream_rq_completed",
    "cluster.app.upstream_rq_active",
    "cluster.app.upstream_cx_active",
    "cluster.app.upstream_cx_destroy_local",
    "cluster.app.upstream_cx_destroy_local_with_active_rq",
    "cluster.app.upstream_cx_destroy_remote",
    "cluster.app.upstream_cx_destroy_remote_with_active_rq",
    "cluster.app.upstream_cx_protocol_error",
    "cluster.app.upstream_rq_tx_reset",
    "cluster.app.upstream_rq_rx_reset",
)
#: Those that exist once an upgrade was accepted.
ACCEPTED = (*STATS, "cluster.app.upstream_rq_1xx", "cluster.app.upstream_rq_101")


@scenario(UPGRADES)
async def ws_client_closes(s: Session) -> None:
    """A tunnel that the client ends: headers both ways, bytes, stats, log."""
    s.upstream().script = echoing()
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await opened(
            s, handshake("/chat", "sec-websocket-key: abc", "sec-websocket-version: 13", "x-a: 1")
        )
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()


@scenario(UPGRADES)
async def ws_upstream_closes(s: Session) -> None:
    """A tunnel that the upstream ends."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED)
        await call.tunnel(5)
        await call.send(b"bye")
        await call.close()

    s.upstream().script = script
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await opened(s, handshake())
        await client.send(b"hello")
        await client.closed()


@scenario(UPGRADES)
async def ws_client_half_closes(s: Session) -> None:
    """The client ends its side alone."""
    s.upstream().script = echoing()
    async with s.logging(1):
        client = await opened(s, handshake())
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()


@scenario(UPGRADES)
async def ws_upstream_half_closes(s: Session) -> None:
    """The upstream ends its side alone."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED + b"bye")
        call.half_close()
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(1):
        client = await opened(s, handshake())
        await client.closed()


@scenario(UPGRADES)
async def ws_resets(s: Session) -> None:
    """Either side ends the tunnel with a reset."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED)
        await call.tunnel(5)
        await call.reset()

    s.upstream().script = script
    async with s.logging(1):
        client = await opened(s, handshake())
        await client.send(b"hello")
        await client.closed()
    s.upstream().script = echoing()
    async with s.logging(1):
        client = await opened(s, handshake())
        await client.send(b"hello")
        await client.tunnel(5)
        client.reset()


@scenario(UPGRADES)
async def ws_early_bytes(s: Session) -> None:
    """Bytes that come right behind the two heads of the handshake: the client's wait for the answer."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED + b"first")
        await call.tunnel(5)
        await call.send(b"second")
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake() + b"early")
        await client.reply("handshake")
        await client.tunnel(11)
        client.close()


@scenario(UPGRADES)
async def foo_early_bytes(s: Session) -> None:
    """Whether bytes of another type wait for the answer."""

    async def script(call: Call) -> None:
        with trio.move_on_after(0.3):
            await call.tunnel(5)
        s.see("before the answer", len(call.tunnelled))
        await call.send(SWITCHED + b"first")
        await call.tunnel(5 - len(call.tunnelled))
        await call.send(b"second")
        await call.tunnel_end()

    s.upstream().script = script
    client = await s.connect()
    await client.send(handshake(kind="foo") + b"early")
    await client.reply("handshake")
    await client.tunnel(11)
    client.close()
    await s.quiet()


@scenario(UPGRADES)
async def ws_types(s: Session) -> None:
    """Other types, letters of either case, tokens beside upgrade, several types."""
    s.upstream().script = echoing()
    for kind in ("WebSocket", "foo", "FOO", "foo, websocket", "unknown", "never"):
        client = await s.connect()
        await client.send(handshake("/type", kind=kind))
        reply = await client.reply(f"type {kind}")
        if reply and " 101" in reply.start_line:
            await client.send(b"hello")
            await client.tunnel(5)
        else:
            await client.closed()
        client.close()
    request = head(
        "GET / HTTP/1.1", "host: a", "connection: keep-alive, x-hop, upgrade", "x-hop: 1", "upgrade: foo"
    )
    client = await opened(s, request)
    client.close()
    s.upstream().script = answers(ok())
    client = await s.connect()
    await client.send(
        head("GET / HTTP/1.1", "host: a", "connection: upgrade, http2-settings", "upgrade: h2c")
    )
    await client.reply("h2c")
    await s.http(head("GET / HTTP/1.1", "host: a", "upgrade: foo"), label="without the token")
    await s.http(head("GET / HTTP/1.1", "host: a", "connection: upgrade"), label="without a type")


@scenario(UPGRADES)
async def ws_refused(s: Session) -> None:
    """Upgrades that nothing allows: by the connection manager, by the route."""
    async with s.counting(*STATS), s.logging(2):
        for path, kind in (("/chat", "never"), ("/off", "websocket")):
            client = await s.connect()
            await client.send(handshake(path, kind=kind))
            await client.reply(f"{path} {kind}")
            await client.closed()
    client = await s.connect("without")
    await client.send(handshake("/chat") + b"early")
    await client.reply("nothing allows it")
    await client.closed()
    client = await s.connect("without")
    await client.send(handshake("/nowhere", "content-length: 3") + b"abc")
    await client.reply("with a body")
    await client.closed()


@scenario(UPGRADES)
async def ws_by_route(s: Session) -> None:
    """A route that allows what the connection manager does not."""
    s.upstream().script = echoing()
    for kind in ("websocket", "bar"):
        client = await opened(s, handshake("/on", kind=kind), "without")
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()


@scenario(UPGRADES)
async def ws_own_filters(s: Session) -> None:
    """Filters of an upgrade take the place of the connection manager's."""
    s.upstream().script = echoing()
    for kind in ("websocket", "foo"):
        client = await opened(s, handshake("/own", kind=kind), "own")
        client.close()


@scenario(UPGRADES)
async def ws_handshake_lengths(s: Session) -> None:
    """content-length and transfer-encoding beside an upgrade, in the request and in the response."""
    s.upstream().script = echoing(
        head("HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: x", "content-length: 0")
    )
    for extra in ("content-length: 0", "content-length: 5", "transfer-encoding: chunked"):
        client = await s.connect()
        await client.send(handshake("/", extra))
        await client.reply(extra)
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()
    s.upstream().script = echoing(
        head("HTTP/1.1 101 x", "connection: upgrade", "upgrade: x", "transfer-encoding: chunked")
    )
    client = await opened(s, handshake())
    await client.send(b"hello")
    await client.tunnel(5)
    client.close()


@scenario(UPGRADES)
async def ws_methods(s: Session) -> None:
    """Upgrades with other methods than GET."""
    s.upstream().script = echoing()
    for method in ("POST", "HEAD", "OPTIONS"):
        client = await opened(s, handshake("/", method=method))
        await client.send(b"hello")
        await client.tunnel(5)
        client.close()


@scenario(UPGRADES)
async def ws_answered_otherwise(s: Session) -> None:
    """The upstream answers the handshake of a WebSocket with another status."""
    for status in ("200 OK", "204 No Content", "302 Found", "404 Not Found", "426 Upgrade Required", "500 x"):
        body = b"" if status.startswith("204") else b"body"
        length = [] if status.startswith("204") else ["content-length: 4", "content-type: text/html"]
        reply = head(f"HTTP/1.1 {status}", "x-up: yes", "upgrade: websocket", *length) + body
        s.upstream().script = answers(reply)
        async with s.counting(*STATS), s.logging(1):
            client = await s.connect()
            await client.send(handshake())
            await client.reply(status)
            await client.closed()
            client.close()


@scenario(UPGRADES)
async def ws_answered_with_an_upgrade(s: Session) -> None:
    """Another status than 101 whose headers say that it upgrades all the same."""
    for status in ("200 OK", "204 No Content", "404 Not Found"):
        body = b"" if status.startswith("204") else b"body"
        lines = [f"HTTP/1.1 {status}", "x-up: yes", "upgrade: websocket", "connection: upgrade"]
        length = [] if status.startswith("204") else ["content-length: 4"]
        s.upstream().script = answers(head(*lines, *length) + body)
        async with s.counting(*STATS), s.logging(1):
            client = await s.connect()
            await client.send(handshake())
            reply = await client.reply(status)
            if reply and " 404" in reply.start_line:
                client.close()
            else:
                await client.closed()


@scenario(UPGRADES)
async def ws_accepted_without_its_headers(s: Session) -> None:
    """101 without connection, or without upgrade."""
    for lines in (["connection: upgrade"], ["upgrade: websocket"], []):
        s.upstream().script = echoing(head("HTTP/1.1 101 Switching Protocols", *lines))
        async with s.logging(1):
            client = await s.connect()
            await client.send(handshake())
            await client.reply(str(lines))
            await client.closed()


@scenario(UPGRADES)
async def ws_foo_answered_otherwise(s: Session) -> None:
    """The upstream answers the handshake of another type with another status."""
    for status in ("200 OK", "404 Not Found"):
        for framing in ("content-length: 4", "transfer-encoding: chunked"):
            body = b"body" if "length" in framing else b"4\r\nbody\r\n0\r\n\r\n"
            lines = [f"HTTP/1.1 {status}", "x-up: yes", framing]
            s.upstream().script = answers(head(*lines) + body)
            async with s.counting(*STATS), s.logging(1):
                client = await s.connect()
                await client.send(handshake(kind="foo"))
                await client.reply(f"{status} {framing}")
                await client.closed()
                client.close()


@scenario(UPGRADES)
async def ws_answered_chunked(s: Session) -> None:
    """Refusals with a chunked body, and without a length."""
    s.upstream().script = answers(
        head("HTTP/1.1 403 Forbidden", "transfer-encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n"
    )
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake())
        await client.reply("chunked")
        await client.closed()

    async def script(call: Call) -> None:
        await call.send(head("HTTP/1.1 403 Forbidden") + b"body")
        await call.close()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake())
        await client.reply("to the end")
        await client.closed()


@scenario(UPGRADES)
async def ws_unasked(s: Session) -> None:
    """101 to a request that asked for no upgrade."""
    s.upstream().script = answers(SWITCHED)
    async with s.logging(1):
        await s.get()


@scenario(UPGRADES)
async def ws_failures(s: Session) -> None:
    """No host, no route's upstream, an upstream that closes without an answer, a direct response."""
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake("/dead"))
        await client.reply("dead")
        await client.closed()

    async def script(call: Call) -> None:
        await call.close()

    s.upstream().script = script
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake("/"))
        await client.reply("no answer")
        await client.closed()
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect()
        await client.send(handshake("/direct"))
        await client.reply("direct response")
        await client.closed()


@scenario(UPGRADES)
async def ws_timeouts(s: Session) -> None:
    """The route's timeout while the handshake is unanswered, and none in the tunnel; idle timeouts."""

    async def silent(call: Call) -> None:
        await call.tunnel_end()

    s.upstream().script = silent
    async with s.counting(*STATS), s.logging(1):
        client = await s.connect()
        await client.send(handshake("/timeout"))
        await client.reply("unanswered")
        await client.closed()
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake("/timeout", kind="foo"))
        with trio.move_on_after(0.7):
            await client.reply("another type, unanswered")
        client.close()
    s.upstream().script = echoing()
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await opened(s, handshake("/idle"))
        await client.send(b"hello")
        await client.tunnel(5)
        await client.closed()
    async with s.logging(1, "idle"):
        client = await opened(s, handshake("/"), "idle")
        await client.send(b"hello")
        await client.tunnel(5)
        await client.closed()


@scenario(UPGRADES)
async def ws_timeout_ends_with_the_handshake(s: Session) -> None:
    """The route's timeout does not end a tunnel."""
    over = trio.Event()

    async def script(call: Call) -> None:
        await call.send(SWITCHED)
        await call.tunnel(5)
        await over.wait()
        await call.send(b"later")
        await call.tunnel_end()

    s.upstream().script = script
    client = await opened(s, handshake("/timeout"))
    await client.send(b"hello")
    with trio.move_on_after(0.6):
        await client.closed("meanwhile")
    over.set()
    await client.tunnel(5)
    client.close()


@scenario(UPGRADES)
async def ws_rewritten(s: Session) -> None:
    """The route's rewrites hold for an upgrade."""
    s.upstream().script = echoing()
    client = await opened(s, handshake("/rewrite/x?y=1"))
    client.close()


@scenario(UPGRADES)
async def ws_connection_is_not_reused(s: Session) -> None:
    """After a refusal the upstream's connection does not serve another request."""
    s.upstream().script = answers(ok(b"no"))
    client = await s.connect()
    await client.send(handshake(kind="foo"))
    await client.reply()
    await client.closed()
    await s.get("/next")


@scenario(UPGRADES)
async def ws_seen_by_filters(s: Session) -> None:
    """Body hooks of filters see the bytes of a tunnel as they pass."""
    s.upstream().script = echoing(size=9)
    async with s.logging(1, "watched"):
        client = await opened(s, handshake(), "watched")
        await client.send(b"hello")
        await client.send(b"more")
        await client.tunnel(9)
        client.close()


@scenario(UPGRADES)
async def ws_max_stream_duration(s: Session) -> None:
    """The longest time of a stream ends a tunnel, and a handshake."""
    s.upstream().script = echoing()
    async with s.counting(*ACCEPTED), s.logging(1):
        client = await opened(s, handshake("/duration"))
        await client.send(b"hello")
        await client.tunnel(5)
        await client.closed()

    async def silent(call: Call) -> None:
        await call.tunnel_end()

    s.upstream().script = silent
    async with s.logging(1):
        client = await s.connect()
        await client.send(handshake("/duration"))
        await client.reply("unanswered")
        await client.closed()


@scenario(UPGRADES)
async def ws_by_weighted_clusters(s: Session) -> None:
    """A route that chooses among clusters has upgrades, too."""
    s.upstream().script = echoing()
    client = await opened(s, handshake("/chosen", kind="chosen"))
    client.close()


@scenario(UPGRADES)
async def ws_corners(s: Session) -> None:
    """HTTP/1.0, tokens twice, a close beside the upgrade, expect, a CONNECT that upgrades."""
    s.upstream().script = echoing()
    requests = {
        "1.0": handshake().replace(b"HTTP/1.1", b"HTTP/1.0"),
        "with close": head("GET / HTTP/1.1", "host: a", "connection: upgrade, close", "upgrade: websocket"),
        "two connections": handshake("/", "connection: keep-alive"),
        "two upgrades": handshake("/", "upgrade: foo"),
        "expect": handshake("/", "expect: 100-continue"),
        "te": handshake("/", "te: trailers", "keep-alive: 1", "proxy-connection: keep-alive"),
        "no host": head("GET / HTTP/1.1", "connection: upgrade", "upgrade: websocket"),
        "absolute": head("GET http://b/x HTTP/1.1", "host: a", "connection: upgrade", "upgrade: websocket"),
        "fragment": handshake("/a#b"),
        "probe": handshake("/probe"),
    }
    for label, request in requests.items():
        client = await s.connect()
        await client.send(request)
        reply = await client.reply(label)
        if reply and " 101" in reply.start_line:
            await client.send(b"hello")
            await client.tunnel(5, f"{label}, tunnel")
        else:
            await client.closed(f"{label}, then")
        client.close()


@scenario(UPGRADES)
async def ws_interim_answers(s: Session) -> None:
    """1xx responses in front of the 101."""

    async def script(call: Call) -> None:
        await call.send(
            head("HTTP/1.1 103 Early Hints", "link: x") + head("HTTP/1.1 100 Continue") + SWITCHED
        )
        await call.tunnel_end()

    s.upstream().script = script
    async with s.logging(1):
        client = await opened(s, handshake())
        client.close()


@scenario(UPGRADES)
async def ws_upgrade_in_a_kept_connection(s: Session) -> None:
    """Requests before the upgrade, on both connections."""
    s.upstream().script = answers(ok())
    client = await s.connect()
    for label in ("first", "second"):
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await client.reply(label)
    s.upstream().script = echoing()
    await client.send(handshake())
    await client.reply("handshake")
    await client.send(b"hello")
    await client.tunnel(5)
    client.close()


@scenario(UPGRADES)
async def ws_pipelined(s: Session) -> None:
    """An upgrade right behind another request."""
    s.upstream().script = answers(ok())
    client = await s.connect()
    await client.send(head("GET / HTTP/1.1", "host: a") + handshake(kind="never") + b"more")
    await client.reply("first")
    await client.reply("second")
    await client.closed()


@scenario(UPGRADES)
async def ws_request_timeout(s: Session) -> None:
    """The time that a request may take, while a tunnel is open, and while its handshake is unanswered."""
    s.upstream().script = echoing()
    async with s.logging(1, "hurried"):
        client = await opened(s, handshake(), "hurried")
        await client.send(b"hello")
        await client.tunnel(5)
        with trio.move_on_after(0.7):
            await client.closed()
        client.close()

    async def silent(call: Call) -> None:
        await call.tunnel_end()

    s.upstream().script = silent
    async with s.logging(1, "hurried"):
        client = await s.connect("hurried")
        await client.send(handshake())
        with trio.move_on_after(0.7):
            await client.reply("unanswered")
        client.close()
