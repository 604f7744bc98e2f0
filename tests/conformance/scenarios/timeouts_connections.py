"""How long connections live, how they are told to end, and when they are closed after that."""

from __future__ import annotations

import re

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, ok
from ..wire import head

LINE = "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /to2}, route: {cluster: h2app}}
- {match: {prefix: /aged}, route: {cluster: aged}}
- {match: {prefix: /h2aged}, route: {cluster: h2aged}}
- {match: {prefix: /}, route: {cluster: app}}
"""
AGED = """
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    common_http_protocol_options: {max_connection_duration: 0.15s}
    explicit_http_config: {%s: {}}
"""
CONNECTIONS = Setup(
    "connections",
    bootstrap(
        [
            listener("main", routes=ROUTES, log=LINE),
            listener(
                "aged",
                "{drain_timeout: 0.15s, common_http_protocol_options: {max_connection_duration: 0.15s}}",
                routes=ROUTES,
                log=LINE,
            ),
            listener(
                "safe",
                "{drain_timeout: 0.15s, http1_safe_max_connection_duration: true, "
                "common_http_protocol_options: {max_connection_duration: 0.15s}}",
                routes=ROUTES,
                log=LINE,
            ),
            listener(
                "idle",
                "{drain_timeout: 0.15s, common_http_protocol_options: {idle_timeout: 0.15s}}",
                routes=ROUTES,
                log=LINE,
            ),
            listener(
                "twice",
                "{drain_timeout: 0.15s, common_http_protocol_options: {max_requests_per_connection: 2}}",
                routes=ROUTES,
                log=LINE,
            ),
            listener(
                "nodrain",
                "{drain_timeout: 0s, common_http_protocol_options: {max_requests_per_connection: 2}}",
                routes=ROUTES,
                log=LINE,
            ),
        ],
        [
            cluster("app", "app"),
            cluster("h2app", "h2app", http2=True),
            cluster("aged", "app", extra=AGED % "http_protocol_options"),
            cluster("h2aged", "h2app", extra=AGED % "http2_protocol_options"),
        ],
    ),
    {"app": "h1", "h2app": "h2"},
)


def stats_of(name: str) -> tuple[str, ...]:
    """The counters of a connection manager that tell how connections end."""
    return tuple(
        f"http.{name}.{each}"
        for each in (
            "downstream_cx_max_duration_reached",
            "downstream_cx_max_requests_reached",
            "downstream_cx_idle_timeout",
            "downstream_cx_drain_close",
            "downstream_cx_delayed_close_timeout",
            "downstream_cx_destroy_local",
            "downstream_cx_destroy_remote",
            "downstream_cx_destroy_active_rq",
            "downstream_cx_destroy_local_active_rq",
            "downstream_cx_destroy_remote_active_rq",
            "downstream_cx_total",
            "downstream_rq_completed",
            "downstream_rq_rx_reset",
        )
    )


AGED_COUNT = "http.aged.downstream_cx_max_duration_reached"


async def value(s: Session, name: str) -> int:
    """What a counter says now."""
    return (await s.counters(f"^{re.escape(name)}$"))[name]


async def grows(s: Session, name: str, before: int) -> None:
    """Wait until the counter says more than `before`."""
    await s.until_stats(lambda stats: stats[name] > before, f"^{re.escape(name)}$")


class Gate:
    """An upstream that answers when it is told to."""

    def __init__(self, s: Session) -> None:
        self.opened = trio.Event()
        s.upstream().script = self.answer
        s.upstream("h2app").h2_script = self.h2_answer

    async def answer(self, call: Call) -> None:
        await self.opened.wait()
        await call.send(ok())

    async def h2_answer(self, call: H2Call) -> None:
        await self.opened.wait()
        await call.answer([(":status", "200")], b"ok")


@scenario(CONNECTIONS)
async def connection_age_h1(s: Session) -> None:
    """max_connection_duration: before a request, and after one, idle."""
    async with s.counting(*stats_of("aged")):
        await (await s.connect("aged")).closed("fresh")
        client = await s.connect("aged")
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply()
        await client.closed()


@scenario(CONNECTIONS)
async def connection_age_h1_within_a_request(s: Session) -> None:
    """The same while a request is answered: that answer says close."""
    gate = Gate(s)
    async with s.counting(*stats_of("aged")), s.logging(1, "aged"):
        before = await value(s, AGED_COUNT)
        client = await s.connect("aged")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await grows(s, AGED_COUNT, before)
        gate.opened.set()
        await client.reply()
        await client.closed()


@scenario(CONNECTIONS)
async def connection_age_h1_within_a_long_request(s: Session) -> None:
    """The same where the answer takes longer than drain_timeout besides."""
    gate = Gate(s)
    async with s.counting(*stats_of("aged")), s.logging(2, "aged"):
        client = await s.connect("aged")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        other = await s.connect("aged")
        await other.send(head("GET /probe HTTP/1.1", "host: a"))
        await other.reply("other")
        await other.closed("other closed: drain_timeout is over")
        gate.opened.set()
        await client.reply()
        await client.closed()


@scenario(CONNECTIONS)
async def connection_age_h1_safe(s: Session) -> None:
    """http1_safe_max_connection_duration: only an answer that says close ends the connection."""
    gate = Gate(s)
    count = "http.safe.downstream_cx_max_duration_reached"
    async with s.counting(*stats_of("safe")):
        before = await value(s, count)
        client = await s.connect("safe")
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply()
        busy = await s.connect("safe")
        await busy.send(head("GET / HTTP/1.1", "host: a"))
        await grows(s, count, before + 1)
        await (await s.connect("safe")).closed("fresh")
        gate.opened.set()
        await busy.reply("busy")
        await busy.closed("busy then")
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply("afterwards")
        await client.closed()
        h2 = await s.connect_h2("safe", is_patient=True)
        await h2.drained()


@scenario(CONNECTIONS)
async def connection_age_h2(s: Session) -> None:
    """Over HTTP/2, idle: GOAWAY twice, then the end; before a request too."""
    async with s.counting(*stats_of("aged")):
        client = await s.connect_h2("aged", is_patient=True)
        await client.request(get("/probe"))
        await client.drained()
        client = await s.connect_h2("aged", is_patient=True)
        await client.drained("fresh")


@scenario(CONNECTIONS)
async def connection_age_h2_within_streams(s: Session) -> None:
    """Over HTTP/2 with a stream under way, and another one that begins after the first GOAWAY."""
    gate = Gate(s)
    async with s.counting(*stats_of("aged")), s.logging(2, "aged"):
        before = await value(s, AGED_COUNT)
        client = await s.connect_h2("aged", is_patient=True)
        stream = await client.start(get("/"))
        await grows(s, AGED_COUNT, before)
        await client.request(get("/probe"), label="after the first GOAWAY")
        other = await s.connect_h2("aged", is_patient=True)
        await other.drained("other")
        gate.opened.set()
        await client.reply(stream)
        await client.drained()


@scenario(CONNECTIONS)
async def connection_idle(s: Session) -> None:
    """idle_timeout on both protocols, before the first request and after."""
    async with s.counting(*stats_of("idle")):
        await (await s.connect("idle")).closed("fresh")
        client = await s.connect("idle")
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply()
        await client.closed()
        h2 = await s.connect_h2("idle", is_patient=True)
        await h2.drained("HTTP/2 fresh")
        h2 = await s.connect_h2("idle", is_patient=True)
        await h2.request(get("/probe"))
        await h2.drained("HTTP/2")


@scenario(CONNECTIONS)
async def connection_idle_within_a_request(s: Session) -> None:
    """idle_timeout does not run while there is a request."""
    gate = Gate(s)
    async with s.counting(*stats_of("idle")), s.logging(2, "idle"):
        client = await s.connect("idle")
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        second = Gate(s)
        h2 = await s.connect_h2("idle", is_patient=True)
        stream = await h2.start(get("/"))
        await s.upstream().arrivals(2)
        await (await s.connect("idle")).closed("another")
        gate.opened.set()
        await client.reply()
        second.opened.set()
        await h2.reply(stream)
        await client.closed()
        await h2.drained()
    s.upstream().seen.clear()


@scenario(CONNECTIONS)
async def connection_left_within_a_head(s: Session) -> None:
    """A client that leaves within its request's head."""
    async with s.counting(*stats_of("main")), s.logging(2):
        for data in (b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\nx-a"):
            client = await s.connect()
            await client.send(data)
            await s.until_stats(
                lambda stats: all(stats.values()), r"^http\.main\.downstream_cx_http1_active$"
            )
            client.close()


@scenario(CONNECTIONS)
async def connection_max_requests_h2(s: Session) -> None:
    """max_requests_per_connection over HTTP/2: GOAWAY at the last, then drain_timeout."""
    gate = Gate(s)
    async with s.counting(*stats_of("twice")), s.logging(3, "twice"):
        client = await s.connect_h2("twice", is_patient=True)
        await client.request(get("/probe"))
        stream = await client.start(get("/"))
        await s.upstream().arrivals(1)
        await client.request(get("/probe"), label="a third")
        gate.opened.set()
        await client.reply(stream)
        await client.drained()


@scenario(CONNECTIONS)
async def connection_max_requests_without_drain(s: Session) -> None:
    """The same with drain_timeout 0, on both protocols."""
    async with s.counting(*stats_of("nodrain")), s.logging(4, "nodrain"):
        h2 = await s.connect_h2("nodrain", is_patient=True)
        await h2.request(get("/probe"))
        await h2.request(get("/probe"))
        await h2.drained()
        client = await s.connect("nodrain")
        for _ in range(2):
            await client.send(head("GET /probe HTTP/1.1", "host: a"))
            await client.reply()
        await client.closed()


@scenario(CONNECTIONS)
async def connection_age_of_the_upstream(s: Session) -> None:
    """The cluster's max_connection_duration: idle, and with a request on it."""
    names = [
        f"cluster.{name}.{each}"
        for name in ("aged", "h2aged")
        for each in (
            "upstream_cx_max_duration_reached",
            "upstream_cx_destroy_local",
            "upstream_cx_destroy_local_with_active_rq",
            "upstream_cx_total",
            "upstream_cx_idle_timeout",
            "upstream_cx_max_requests",
        )
    ]
    gone = r"^cluster\.(h2)?aged\.upstream_cx_active$"
    async with s.counting(*names), s.logging(4):
        for path in ("/aged", "/h2aged"):
            await s.get(path)
        await s.until_stats(lambda stats: not any(stats.values()), gone)
        gate = Gate(s)
        for path, name in (("/aged", "aged"), ("/h2aged", "h2aged")):
            count = f"cluster.{name}.upstream_cx_max_duration_reached"
            before = await value(s, count)
            client = await s.connect()
            await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await grows(s, count, before)
            gate.opened.set()
            await client.reply(path)
            gate = Gate(s)
        await s.until_stats(lambda stats: not any(stats.values()), gone)
