# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Actions about memory: streams that hold much of it are reset, what is free goes back to the system."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head
from .overload_manager import monitor, pressure, set_pressure

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
BUFFER = """
- name: buffer
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
    max_request_bytes: 10000000
"""
ACTIONS = ("reset_high_memory_stream", "close_idle_http_connections", "shrink_heap")
LOG = "%REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% in=%BYTES_RECEIVED%\n"


def trigger(name: str) -> str:
    return f"triggers: [{{name: {name}, scaled: {{scaling_threshold: 0, saturation_threshold: 0.8}}}}]"


SHRINK = """
    typed_config:
      "@type": type.googleapis.com/envoy.config.overload.v3.ShrinkHeapConfig
      timer_interval: 1s
      max_unfreed_memory_bytes: 10000000000
"""
MANAGER = "overload_manager:\n  refresh_interval: 0.01s\n  buffer_factory_config: {minimum_account_to_track_power_of_two: 14}\n  resource_monitors:"
MANAGER += "".join(monitor(name) for name in ACTIONS)
MANAGER += "  actions:\n" + "".join(
    f"  - name: envoy.overload_actions.{name}\n    {trigger(name)}\n"
    + (SHRINK if name == "shrink_heap" else "")
    for name in ACTIONS
)
MEMORY = Setup(
    "overload-memory",
    bootstrap(
        [
            listener("main", routes=ROUTES, filters=BUFFER, log=LOG),
            listener("plain", routes=ROUTES, log=LOG),
            listener(
                "bypassing", routes=ROUTES, filters=BUFFER, log=LOG, extra="bypass_overload_manager: true"
            ),
        ],
        [cluster("app", "app")],
        extra=MANAGER,
    ),
    {"app": "h1"},
    files={f"{name}.pressure": b"0" for name in ACTIONS},
)
COUNT = "envoy.overload_actions.reset_high_memory_stream.count"
#: Of the eight classes the smallest: from 16 KiB.
CLASS = 1 << 14
HTTP = (
    "downstream_rq_total", "downstream_rq_rx_reset", "downstream_rq_tx_reset", "downstream_rq_5xx", "downstream_rq_overload_close",
    "downstream_rq_response_before_rq_complete", "rq_reset_after_downstream_response_started", "downstream_cx_destroy_local",
    "downstream_rq_active",
)  # fmt: skip


def stats_of(name: str) -> tuple[str, ...]:
    return (*(f"http.{name}.{each}" for each in HTTP), "http2.tx_reset", COUNT)


async def kept(s: Session, to: str, total: int) -> None:
    """Wait until so many bytes of bodies have come to a listener."""
    name = f"http.{to}.downstream_cx_rx_bytes_total"
    await s.until_stats(lambda stats: stats[name] >= total, f"^{name}$")


@scenario(MEMORY)
async def overload_resets_high_memory_stream(s: Session) -> None:
    """A request that a filter keeps: the larger ones go first, as the pressure says; later the others."""
    bytes_name = "http.main.downstream_cx_rx_bytes_total"
    async with s.logging(5), s.counting(*stats_of("main")):
        client = await s.connect_h2()
        sizes = (10_000, 40_000, 300_000, 3_000_000)
        before = (await s.counters(f"^{bytes_name}$"))[bytes_name]
        streams = [
            await client.start(get("/direct", method="POST"), bytes(size), end=False) for size in sizes
        ]
        await kept(s, "main", before + sum(sizes))
        for value, last in (("0.25", 2), ("0.5", 1), ("0.8", 0)):
            await set_pressure(s, ACTIONS[0], value)
            await streams[last].ended.wait()
            s.see(value, [each.reset for each in streams])
        await set_pressure(s, ACTIONS[0], "0")
        await client.request(get("/direct"), label="the connection goes on")


@scenario(MEMORY)
async def overload_resets_what_a_client_does_not_read(s: Session) -> None:
    """A response that waits for the client's windows."""
    s.upstream().script = answers(ok(bytes(300_000)))
    async with s.logging(1, "plain"), s.counting(*stats_of("plain")):
        client = await s.connect_h2("plain")
        client.peer.h2.acknowledge_received_data = lambda *_: None  # type: ignore[method-assign]
        stream = await client.start(get("/"))
        await stream.received(65535)
        async with pressure(s, ACTIONS[0]):
            await stream.ended.wait()
            s.see("response", {"size": len(stream.body), "reset": stream.reset})


@scenario(MEMORY)
async def overload_resets_as_the_pressure_moves(s: Session) -> None:
    """Nothing that comes while the pressure stays, nor over HTTP/1; who bypasses the overload manager, too."""
    size = 3_000_000
    async with (
        s.logging(1),
        s.logging(1, "bypassing"),
        s.counting(*stats_of("main"), *stats_of("bypassing")),
    ):
        h1 = await s.connect()
        length = f"content-length: {size + 1}"
        await h1.send(head("POST /direct HTTP/1.1", "host: a", length) + bytes(size))
        client = await s.connect_h2("bypassing")
        async with pressure(s, ACTIONS[0]):
            stream = await client.start(get("/direct", method="POST"), bytes(size), end=False)
            await kept(s, "bypassing", size)
            s.see("under pressure", stream.reset)
            await set_pressure(s, ACTIONS[0], "0.79")
            await client.reply(stream, "moved")
            await h1.send(b"x")
            await h1.reply("HTTP/1")


@scenario(MEMORY)
async def overload_resets_fifty_streams_at_once(s: Session) -> None:
    """The larger ones first."""
    bytes_name = "http.main.downstream_cx_rx_bytes_total"
    async with s.counting(*stats_of("main")):
        before = (await s.counters(f"^{bytes_name}$"))[bytes_name]
        client = await s.connect_h2()
        sizes = [20_000 + 20_000 * (number % 2) for number in range(60)]
        streams = [
            await client.start(get("/direct", method="POST"), bytes(size), end=False) for size in sizes
        ]
        await kept(s, "main", before + sum(sizes))
        for value in ("1", "0.79"):
            await set_pressure(s, ACTIONS[0], value)
            await s.until_stats(
                lambda stats: stats["http.main.downstream_rq_active"] <= 10, "downstream_rq_active"
            )
            larger = [stream.reset for stream in streams[1::2]]
            s.see(value, larger.count(None))
        for stream in streams:
            await stream.ended.wait()
    await set_pressure(s, ACTIONS[0], "0")


async def gauges(s: Session, name: str) -> None:
    values = await s.counters("^overload")
    prefix = f"overload.envoy.overload_actions.{name}"
    s.see("gauges", {each: values.get(f"{prefix}.{each}", "absent") for each in ("active", "scale_percent")})


@scenario(MEMORY)
async def overload_closes_idle_http_connections(s: Session) -> None:
    """Of QUIC alone: idle connections over TCP stay."""
    name = "close_idle_http_connections"
    async with s.counting(*stats_of("plain")):
        client = await s.connect("plain")
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply()
        h2 = await s.connect_h2("plain")
        await h2.request(get("/direct"), label="http2")
        for value in ("0.4", "1"):
            async with pressure(s, name, value):
                await gauges(s, name)
                await client.usable("HTTP/1")
                await h2.request(get("/direct"), label="HTTP/2")


@scenario(MEMORY)
async def overload_shrinks_heap(s: Session) -> None:
    """In its interval while there is pressure; it counts where nothing is to be given back, too."""
    name = "overload.envoy.overload_actions.shrink_heap.shrink_count"
    async with pressure(s, "shrink_heap", "0.4"):
        await gauges(s, "shrink_heap")
    before = (await s.counters(f"^{name}$"))[name]
    async with pressure(s, "shrink_heap"):
        await gauges(s, "shrink_heap")
        await s.until_stats(lambda stats: stats[name] >= before + 2, f"^{name}$")
