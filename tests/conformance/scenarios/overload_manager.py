# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The overload manager: every action and load-shed point has a monitor of its own, whose file says its pressure."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import Ended, head
from .tcp_proxy import proxy

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /fresh}, route: {cluster: fresh}}
- {match: {prefix: /}, route: {cluster: app}}
"""
MARK = """
- name: mark
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
    mutations: {response_mutations: [{append: {header: {key: x-filter, value: was-here}}}]}
"""
#: Monitor → what it triggers.
ACTIONS = {
    "requests": "stop_accepting_requests",
    "connections": "stop_accepting_connections",
    "reject": "reject_incoming_connections",
    "keepalive": "disable_http_keepalive",
    "timeouts": "reduce_timeouts",
}
POINTS = {
    "accept": "tcp_listener_accept",
    "headers": "http_connection_manager_decode_headers",
    "h1": "http1_server_abort_dispatch",
    "h2": "http2_server_go_away_on_dispatch",
    "h2-close": "http2_server_go_away_and_close_on_dispatch",
    "codec": "hcm_ondata_creating_codec",
    "filter": "http_downstream_filter_check",
    "pool": "connection_pool_new_connection",
    "tcp-data": "tcp_proxy_on_data",
    "tcp-connect": "tcp_proxy_upstream_connect",
}
TIMERS = """
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors:
      - {timer: HTTP_DOWNSTREAM_CONNECTION_IDLE, min_timeout: 0.05s}
"""


def monitor(name: str) -> str:
    return f"""
  - name: {name}
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig
      filename: FILE({name}.pressure)
"""


def trigger(name: str) -> str:
    return f"triggers: [{{name: {name}, scaled: {{scaling_threshold: 0.5, saturation_threshold: 0.9}}}}]"


def reducing_timeouts(name: str, *factors: str) -> str:
    """An overload manager that does nothing else, by these ``timer_scale_factors``."""
    lines = "".join(f"      - {{{each}}}\n" for each in factors)
    return f"""
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
{monitor(name)}
  actions:
  - name: envoy.overload_actions.reduce_timeouts
    {trigger(name)}
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig
      timer_scale_factors:
{lines}"""


MANAGER = "overload_manager:\n  refresh_interval: 0.01s\n  resource_monitors:" + "".join(
    monitor(name) for name in (*ACTIONS, *POINTS, "spare")
)
MANAGER += "  actions:\n" + "".join(
    f"  - name: envoy.overload_actions.{action}\n    {trigger(name)}\n"
    + (TIMERS if name == "timeouts" else "")
    for name, action in ACTIONS.items()
)
MANAGER += "  loadshed_points:\n" + "".join(
    f"  - name: envoy.load_shed_points.{point}\n    {trigger(name)}\n" for name, point in POINTS.items()
)
OVERLOAD = Setup(
    "overload-manager",
    bootstrap(
        [
            listener(
                "main",
                "{drain_timeout: 0.15s, common_http_protocol_options: {idle_timeout: 600s}}",
                routes=ROUTES,
                filters=MARK,
                extra="stat_prefix: main",
            ),
            listener("bypassing", routes=ROUTES, extra="bypass_overload_manager: true"),
            proxy("tcp", "cluster: raw"),
        ],
        [cluster("app", "app"), cluster("fresh", "fresh"), cluster("raw", "raw")],
        extra=MANAGER,
    ),
    {"app": "h1", "fresh": "h1", "raw": "raw"},
    files={f"{name}.pressure": b"0" for name in (*ACTIONS, *POINTS, "spare")},
)


async def set_pressure(s: Session, name: str, pressure: str) -> None:
    """Put another number into a monitor's file, and wait until the monitor has it."""
    path = s.proxy.directory / f"{name}.pressure"
    beside = path.with_suffix(".new")
    beside.write_text(pressure)
    os.replace(beside, path)
    percent = int(float(pressure) * 100)
    gauge = f"overload.{name}.pressure"
    await s.until_stats(lambda stats: stats.get(gauge) == percent, f"^{gauge}$")


@asynccontextmanager
async def pressure(s: Session, name: str, value: str = "1") -> AsyncIterator[None]:
    await set_pressure(s, name, value)
    try:
        yield
    finally:
        await set_pressure(s, name, "0")


def stats_of(name: str) -> tuple[str, ...]:
    kind, what = ("actions", ACTIONS[name]) if name in ACTIONS else ("points", POINTS[name])
    prefix = f"overload.envoy.{'overload_actions' if kind == 'actions' else 'load_shed_points'}.{what}"
    return (
        f"{prefix}.active",
        f"{prefix}.scale_percent",
        f"{prefix}.shed_load_count",
        f"overload.{name}.pressure",
    )


HTTP = tuple(
    f"http.main.{name}"
    for name in (
        "downstream_rq_total", "downstream_rq_5xx", "downstream_rq_overload_close", "rq_overload_local_reply", "downstream_cx_overload_disable_keepalive",
        "downstream_cx_drain_close", "downstream_cx_idle_timeout", "downstream_cx_protocol_error", "downstream_cx_destroy_local", "downstream_rq_tx_reset",
        "downstream_cx_delayed_close_timeout", "downstream_rq_rx_reset", "downstream_cx_http1_total", "downstream_cx_http2_total",
    )
)  # fmt: skip


async def gauges(s: Session, name: str) -> None:
    """Observe the stats of an action or a point while it is under pressure."""
    values = await s.counters("^overload")
    names = [each for each in stats_of(name) if not each.endswith("count")]
    s.see("gauges", {each: values.get(each, "absent") for each in names})


@scenario(OVERLOAD)
async def overload_stop_accepting_requests(s: Session) -> None:
    """503, by no filter; what goes wrong with the request otherwise is not looked at; the connection goes on."""
    async with s.logging(5), s.counting(*HTTP, *stats_of("requests")), pressure(s, "requests"):
        await gauges(s, "requests")
        client = await s.connect()
        for request in (
            "GET /direct HTTP/1.1\r\nhost: a\r\n",
            "GET /x HTTP/1.1\r\n",
            "POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n",
        ):
            await client.send(request.encode() + b"\r\n")
            await client.reply(request.split()[1])
        h2 = await s.connect_h2()
        await h2.request(get("/direct"), label="http2")
        await s.http("POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", label="body")
        await s.get("/direct", to="bypassing", label="bypassing")


@scenario(OVERLOAD)
async def overload_decode_headers(s: Session) -> None:
    """The load-shed point at the same place."""
    async with s.logging(2), s.counting(*HTTP, *stats_of("headers")), pressure(s, "headers"):
        await gauges(s, "headers")
        await s.get("/direct")
        h2 = await s.connect_h2()
        await h2.request(get("/direct"), label="http2")
        await s.get("/direct", to="bypassing", label="bypassing")


@scenario(OVERLOAD)
async def overload_disable_http_keepalive(s: Session) -> None:
    """Answers say close, connections drain."""
    async with s.logging(2), s.counting(*HTTP, *stats_of("keepalive")), pressure(s, "keepalive"):
        client = await s.connect()
        h2 = await s.connect_h2(is_patient=True)
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply()
        await client.closed()
        await h2.request(get("/direct"), label="http2")
        await h2.drained()


@scenario(OVERLOAD)
async def overload_reject_incoming_connections(s: Session) -> None:
    """New connections are closed, others go on."""
    names = ("downstream_cx_total", "downstream_cx_overload_reject", "downstream_cx_overflow")
    counted = [f"listener.main.{name}" for name in names]
    for name in ("reject", "accept"):
        client = await s.connect()
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply(f"{name}, before")
        before = await s.counters("")
        async with pressure(s, name):
            await gauges(s, name)
            other = await s.connect()
            await other.closed(f"{name}, another")
            await client.usable(f"{name}, the first")
            await s.get("/direct", to="bypassing", label=f"{name}, bypassing")
            after = await s.counters("")
            s.see(f"{name}, counted", {n: after[c] - before[c] for n, c in zip(names, counted, strict=True)})
        await s.get("/direct", label=f"{name}, later")


@scenario(OVERLOAD)
async def overload_stop_accepting_connections(s: Session) -> None:
    """New connections wait, and are served when the pressure is gone."""
    async with pressure(s, "connections"):
        await gauges(s, "connections")
        client = await s.connect()
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await s.get("/direct", to="bypassing", label="bypassing")
        s.see("accepted", await s.counters("^listener.main.downstream_cx_active$"))
    await client.reply("later")


@scenario(OVERLOAD)
async def overload_reduce_timeouts(s: Session) -> None:
    """An idle connection ends soon, also one that was idle before."""
    async with s.counting(*HTTP, *stats_of("timeouts")):
        client = await s.connect()
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply()
        async with pressure(s, "timeouts"):
            await client.closed()
            fresh = await s.connect()
            await fresh.send(head("GET /direct HTTP/1.1", "host: a"))
            await fresh.reply("fresh")
            await fresh.closed("fresh, then")
            h2 = await s.connect_h2(is_patient=True)
            await h2.request(get("/direct"), label="http2")
            await h2.drained()


@scenario(OVERLOAD)
async def overload_http1_abort_dispatch(s: Session) -> None:
    """HTTP/1 is not read any further."""
    gate = trio.Event()

    async def answer(call: Call) -> None:
        await gate.wait()
        await call.send(ok())

    s.upstream().script = answer
    async with s.logging(2), s.counting(*HTTP, *stats_of("h1"), "http1.dropped_headers_with_underscores"):
        busy = await s.connect()
        await busy.send(head("GET /busy HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        async with pressure(s, "h1"):
            await gauges(s, "h1")
            client = await s.connect()
            await client.send(head("GET /direct HTTP/1.1", "host: a"))
            await client.reply()
            await client.closed()
            gate.set()
            await busy.reply("busy")


@scenario(OVERLOAD)
async def overload_http2_go_away(s: Session) -> None:
    """HTTP/2 is answered, and told GOAWAY."""
    async with s.logging(2), s.counting(*HTTP, *stats_of("h2"), "http2.goaway_sent"):
        client = await s.connect_h2(is_patient=True)
        await client.request(get("/direct"), label="before")
        async with pressure(s, "h2"):
            await gauges(s, "h2")
            await client.request(get("/direct"), label="then")
            await client.drained()


@scenario(OVERLOAD)
async def overload_http2_go_away_and_close(s: Session) -> None:
    """HTTP/2 ends."""
    async with s.logging(1), s.counting(*HTTP, *stats_of("h2-close"), "http2.goaway_sent"):
        client = await s.connect_h2(is_patient=True)
        await client.request(get("/direct"), label="before")
        async with pressure(s, "h2-close"):
            await gauges(s, "h2-close")
            await client.start(get("/direct"))
            await client.drained()


@scenario(OVERLOAD)
async def overload_creating_codec(s: Session) -> None:
    """Connections end with what they send first."""
    async with s.counting(*HTTP, *stats_of("codec")):
        client = await s.connect()
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply("before")
        async with pressure(s, "codec"):
            other = await s.connect()
            await other.send(head("GET /direct HTTP/1.1", "host: a"))
            await other.closed("another")
            await client.usable("the first")


@scenario(OVERLOAD)
async def overload_downstream_filter_check(s: Session) -> None:
    """What the router would send upstream is answered."""
    async with (
        s.logging(3),
        s.counting(*HTTP, *stats_of("filter"), "cluster.app.upstream_rq_total"),
        pressure(s, "filter"),
    ):
        await s.get("/", label="upstream")
        await s.get("/direct", label="direct")
        h2 = await s.connect_h2()
        await h2.request(get("/"), label="http2")


@scenario(OVERLOAD)
async def overload_new_upstream_connections(s: Session) -> None:
    """No new connection to a host; one that is there is used."""
    counted = [
        f"cluster.{name}.{stat}"
        for name in ("app", "fresh")
        for stat in (
            "upstream_cx_total",
            "upstream_cx_overflow",
            "upstream_rq_total",
            "upstream_rq_pending_overflow",
            "upstream_rq_pending_total",
            "upstream_rq_pending_failure_eject",
        )
    ]
    async with s.logging(3), s.counting(*HTTP, *stats_of("pool"), *counted):
        await s.get("/", label="before")
        async with pressure(s, "pool"):
            await s.get("/", label="a connection that is there")
            await s.get("/fresh", label="a new one")


@scenario(OVERLOAD)
async def overload_tcp_proxy(s: Session) -> None:
    """A TCP proxy ends connections with their next bytes, or in the place of connecting."""
    async with s.logging(4, "tcp"), s.counting(*stats_of("tcp-data"), *stats_of("tcp-connect")):
        client = await s.connect("tcp")
        await client.send(b"hello")
        s.see("before", (await client.wire.exactly(5)).decode())
        async with pressure(s, "tcp-data"):
            await client.send(b"more")
            await client.closed("data")
        async with pressure(s, "tcp-connect"):
            other = await s.connect("tcp")
            try:
                await other.send(b"hello")
            except (Ended, trio.BrokenResourceError):
                pass
            await other.closed("connect")


@scenario(OVERLOAD)
async def overload_scaled(s: Session) -> None:
    """Between the thresholds an action is as likely as the pressure says; what a broken file counts."""
    for value in ("0.5", "0.7", "0.89", "0.9", "0.49"):
        await set_pressure(s, "requests", value)
        await gauges(s, "requests")
    async with pressure(s, "requests", "0.7"):
        statuses = []
        client = await s.connect()
        for _ in range(120):
            await client.wire.send(head("GET /direct HTTP/1.1", "host: a"))
            line = await client.wire.line()
            statuses.append(line.split()[1])
            length = 0
            while line := await client.wire.line():
                if line.startswith(b"content-length"):
                    length = int(line.split()[1])
            await client.wire.exactly(length)
        share = statuses.count(b"503") / 120
        s.see("share", 0.25 < share < 0.75)
    for text in ("two", "-1", "1.5"):
        path = s.proxy.directory / "spare.pressure"
        beside = path.with_suffix(".new")
        beside.write_text(text)
        failed = "overload.spare.failed_updates"
        before = (await s.counters(failed))[failed]
        os.replace(beside, path)
        await s.until_stats(lambda stats, before=before, failed=failed: stats[failed] > before, failed)
        s.see(text, (await s.counters("^overload.spare"))["overload.spare.pressure"])
    await set_pressure(s, "spare", "0.25")
    await set_pressure(s, "spare", "0")
    names = await s.counters("^overload")
    s.see("names", sorted(names))


WORKERS = Setup(
    "overload-of-workers",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("fresh", "app")],
        extra=f"""
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
{monitor("requests")}
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 1000
  actions:
  - name: envoy.overload_actions.stop_accepting_requests
    {trigger("requests")}
""",
    ),
    {"app": "h1"},
    files={"requests.pressure": b"0"},
    concurrency=2,
)


@scenario(WORKERS)
async def overload_of_workers(s: Session) -> None:
    """Pressure and state are those of the proxy, however many workers there are."""
    shown = "^overload.*(active|pressure|percent|updates)$"
    s.see("before", await s.counters(shown))
    for value in ("0.7", "1"):
        async with pressure(s, "requests", value):
            percent = f"overload.envoy.overload_actions.{ACTIONS['requests']}.scale_percent"
            await s.until_stats(lambda stats, name=percent: stats[name] > 0, f"^{percent}$")  # type: ignore[misc] # bound here
            s.see(f"under {value}", await s.counters(shown))
            if value == "1":
                for number in range(6):
                    await s.get("/direct", label=f"reply {number}")


CONNECTIONS = Setup(
    "overload-of-connections",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("fresh", "app")],
        extra="""
overload_manager:
  refresh_interval: 0.01s
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 1000
  actions:
  - name: envoy.overload_actions.stop_accepting_requests
    triggers: [{name: envoy.resource_monitors.global_downstream_max_connections, threshold: {value: 0.003}}]
""",
    ),
    {"app": "h1"},
)


@scenario(CONNECTIONS)
async def overload_by_connections_alone(s: Session) -> None:
    """The monitor of connections moves no action where it is the only monitor: nobody reads it then."""
    held = [await s.connect() for _ in range(4)]
    for each in held:
        await each.send(head("GET /direct HTTP/1.1", "host: a"))
        while await each.wire.line():
            pass
    await s.get("/direct", label="with four connections")
    s.see("stats", await s.counters("^overload.*(active|pressure|percent|updates)$"))
    for each in held:
        each.close()
