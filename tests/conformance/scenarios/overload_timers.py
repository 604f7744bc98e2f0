# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""``reduce_timeouts``: every timer that it scales, of what is under way when the pressure comes and of what begins then."""

from __future__ import annotations

from typing import Any

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, tls_listener
from ..upstream import Call
from ..wire import head
from .overload_manager import pressure, reducing_timeouts

SUBJECT = "lifecycle"

LOG = "%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n"
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /own}, route: {cluster: app, timeout: 0s, idle_timeout: 500s}}
- {match: {prefix: /never}, route: {cluster: app, timeout: 0s, idle_timeout: 0s}}
- {match: {prefix: /}, route: {cluster: app, timeout: 0s}}
"""
MANAGER = reducing_timeouts(
    "timeouts",
    "timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.05s",
    "timer: HTTP_DOWNSTREAM_STREAM_IDLE, min_scale: {value: 0.01}",
    "timer: TRANSPORT_SOCKET_CONNECT, min_timeout: 0.05s",
    "timer: HTTP_DOWNSTREAM_CONNECTION_MAX, min_timeout: 0.05s",
)


def _with_limit(made: dict[str, Any]) -> dict[str, Any]:
    for chain in made["filter_chains"]:
        chain["transport_socket_connect_timeout"] = "600s"
    return made


IDLE = "common_http_protocol_options: {idle_timeout: 600s}"
TIMERS = Setup(
    "overload-timers",
    bootstrap(
        [
            listener(
                "main", f"{{stream_idle_timeout: 500s, drain_timeout: 0.1s, {IDLE}}}", routes=ROUTES, log=LOG
            ),
            listener("off", "{stream_idle_timeout: 0s, drain_timeout: 0.1s}", routes=ROUTES, log=LOG),
            listener(
                "aged",
                "{drain_timeout: 0.1s, common_http_protocol_options: {idle_timeout: 0s, max_connection_duration: 600s}}",
                routes=ROUTES,
                log=LOG,
            ),
            listener(
                "bypassing",
                f"{{drain_timeout: 0.1s, {IDLE}}}",
                routes=ROUTES,
                extra="bypass_overload_manager: true",
            ),
            _with_limit(tls_listener("tls", routes=ROUTES)),
        ],
        [cluster("app", "app")],
        extra=MANAGER,
    ),
    {"app": "h1"},
    files={"timeouts.pressure": b"0", **CERTIFICATES},
)
ACTIVE = "listener.tls.downstream_cx_active"
NAMES = (
    "downstream_rq_idle_timeout", "downstream_cx_idle_timeout", "downstream_cx_max_duration_reached", "downstream_rq_rx_reset",
    "downstream_cx_destroy_local", "downstream_rq_5xx", "downstream_rq_4xx",
)  # fmt: skip


def stats_of(name: str) -> tuple[str, ...]:
    return tuple(f"http.{name}.{each}" for each in NAMES)


async def silent(call: Call) -> None:
    await call.gone()


async def begun(call: Call) -> None:
    await call.send(head("HTTP/1.1 200 OK", "content-length: 100") + b"partial")
    await call.gone()


@scenario(TIMERS)
async def overload_timers_of_streams(s: Session) -> None:
    """A stream that waits for its upstream ends soon, by the route's timeout too; one without a timeout goes on."""
    go = trio.Event()

    async def answer(call: Call) -> None:
        if call.path.startswith("/never"):
            await go.wait()
            await call.send(head("HTTP/1.1 200 OK", "content-length: 0"))
        else:
            await silent(call)

    s.upstream().script = answer
    async with s.counting(*stats_of("main"), *stats_of("off")), s.logging(2, "off"):
        never = await s.connect()
        await never.send(head("GET /never HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        waiting = {}
        for number, (to, path) in enumerate((("main", "/"), ("main", "/own"), ("off", "/own")), 2):
            client = waiting[to, path] = await s.connect(to)
            await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await s.upstream().arrivals(number)
        unlimited = await s.connect("off")
        await unlimited.send(head("GET /never HTTP/1.1", "host: a"))
        await s.upstream().arrivals(5)
        async with pressure(s, "timeouts"):
            for (to, path), client in waiting.items():
                await client.reply(f"{to} {path}")
            fresh = await s.connect_h2(is_patient=True)
            await fresh.request(get("/own"), label="HTTP/2, fresh")
            # Nothing is under way on them any more: whether they still end by that is not left to chance.
            for (to, path), client in waiting.items():
                await client.closed(f"{to} {path}, then")
            await fresh.drained("HTTP/2, fresh, then")
        go.set()
        await never.reply("never")
        await unlimited.reply("without a timeout")


@scenario(TIMERS)
async def overload_timers_of_http2_streams(s: Session) -> None:
    """The same of streams of HTTP/2 that are under way."""
    s.upstream().script = silent
    async with s.counting(*stats_of("main")):
        client = await s.connect_h2(is_patient=True)
        first = await client.start(get("/"))
        await s.upstream().arrivals(1)
        second = await client.start(get("/own"))
        await s.upstream().arrivals(2)
        async with pressure(s, "timeouts"):
            await client.reply(first, "the connection manager's")
            await client.reply(second, "the route's")


@scenario(TIMERS)
async def overload_timers_within_bodies(s: Session) -> None:
    """A response that stands still is cut off, so is a request."""
    s.upstream().script = begun
    async with s.counting(*stats_of("main")):
        client = await s.connect()
        await client.send(head("GET /own HTTP/1.1", "host: a"))
        while await client.wire.line():
            pass
        await client.wire.exactly(7)
        upload = await s.connect()
        await upload.send(head("POST /direct HTTP/1.1", "host: a", "content-length: 9") + b"begun")
        async with pressure(s, "timeouts"):
            await client.closed("response")
            await upload.reply("request")
            await upload.closed("request, then")


@scenario(TIMERS)
async def overload_timers_of_connections(s: Session) -> None:
    """What said nothing, what is old enough, and what bypasses the overload manager."""
    async with s.counting(*stats_of("main"), *stats_of("aged"), *stats_of("bypassing")):
        quiet = await s.connect()
        aged = await s.connect("aged")
        await aged.send(head("GET /direct HTTP/1.1", "host: a"))
        await aged.reply("aged")
        newer = await s.connect_h2("aged", is_patient=True)
        await newer.request(get("/direct"), label="aged, HTTP/2")
        apart = await s.connect("bypassing")
        await apart.send(head("GET /direct HTTP/1.1", "host: a"))
        await apart.reply("bypassing")
        async with pressure(s, "timeouts"):
            await quiet.closed("quiet")
            await aged.closed("aged, then")
            await newer.drained("aged, HTTP/2, then")
            fresh = await s.connect("aged")
            await fresh.closed("aged, fresh")
            await apart.closed("bypassing, then")


@scenario(TIMERS)
async def overload_timers_of_handshakes(s: Session) -> None:
    """A client that does not shake hands is closed soon."""
    counted = (
        "listener.tls.downstream_cx_transport_socket_connect_timeout",
        "listener.tls.downstream_cx_destroy",
    )
    async with s.counting(*counted):
        before = await s.connect("tls")
        await s.until_stats(lambda stats: stats.get(ACTIVE) == 1, ACTIVE)
        async with pressure(s, "timeouts"):
            await before.closed("before")
            after = await s.connect("tls")
            await after.closed("after")
