# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""tcp_proxy: bytes both ways, how both sides end, what is logged and counted, and when nobody is there."""

from __future__ import annotations

import hashlib
from typing import Any

import trio

from ..configuration import bootstrap, cluster, file_log, listener, parse
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Wire

SUBJECT = "connections"

TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
LOG = (
    "%ACCESS_LOG_TYPE% in=%BYTES_RECEIVED% out=%BYTES_SENT% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "host=%UPSTREAM_HOST% remote=%UPSTREAM_REMOTE_ADDRESS% cluster=%UPSTREAM_CLUSTER% tries=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "%PROTOCOL% %UPSTREAM_TRANSPORT_FAILURE_REASON% %ROUTE_NAME% sni=%REQUESTED_SERVER_NAME% chain=%FILTER_CHAIN_NAME% %REQ(a)%\n"
)


def proxy(name: str, *fields: str, extra: str = "", log: str = LOG) -> dict[str, Any]:
    """A listener with a TCP proxy; both write to ``FILE(<name>.log)``."""
    out = listener(name, extra=extra)
    out["stat_prefix"] = name
    config: dict[str, Any] = {
        "@type": TCP,
        "stat_prefix": name,
        "access_log": [file_log(f"FILE({name}.log)", log)],
    }
    for field in fields:
        config.update(parse(field))
    out["filter_chains"] = [{"name": f"chain-{name}", "filters": [{"name": "tcp", "typed_config": config}]}]
    out["access_log"] = [file_log(f"FILE({name}.log)", log)]
    return out


TO_APP = "cluster: app"
SETUP = Setup(
    "tcp-proxy",
    bootstrap(
        [
            proxy("app", TO_APP),
            proxy("dead", "cluster: dead"),
            proxy(
                "again",
                "cluster: dead",
                "max_connect_attempts: 3",
                "backoff_options: {base_interval: 0.001s, max_interval: 0.002s}",
            ),
            proxy("second", "cluster: half", "max_connect_attempts: 2"),
            proxy("empty", "cluster: empty"),
            proxy("full", "cluster: full"),
            proxy("nowhere", "cluster: nowhere"),
            proxy("idle", TO_APP, "idle_timeout: 0.2s"),
            proxy("aged", TO_APP, "max_downstream_connection_duration: 0.2s"),
            proxy(
                "weighted",
                "weighted_clusters: {clusters: [{name: app, weight: 100}, {name: app, weight: 1}]}",
            ),
            proxy(
                "logged",
                TO_APP,
                "access_log_options: {flush_access_log_on_connected: true, flush_access_log_on_start: true}",
            ),
            proxy("periodic", TO_APP, "access_log_options: {access_log_flush_interval: 0.15s}"),
            proxy("hashed", "cluster: ring", "hash_policy: [{source_ip: {}}]"),
            proxy("subset", "cluster: subset", "metadata_match: {filter_metadata: {envoy.lb: {stage: b}}}"),
            listener("http", routes="- {match: {prefix: /}, route: {cluster: dead}}", log=LOG),
        ],
        [
            cluster("app", "app"),
            cluster("dead", "dead"),
            cluster("half", "dead", "app"),
            cluster("empty"),
            cluster("full", "app", extra="circuit_breakers: {thresholds: [{max_connections: 0}]}"),
            cluster("ring", "app", "other", extra="lb_policy: RING_HASH"),
            {
                "name": "subset",
                "type": "STATIC",
                "lb_subset_config": {
                    "fallback_policy": "NO_FALLBACK",
                    "subset_selectors": [{"keys": ["stage"]}],
                },
                "load_assignment": {
                    "cluster_name": "subset",
                    "endpoints": [
                        {
                            "lb_endpoints": [
                                {
                                    "endpoint": {
                                        "address": {
                                            "socket_address": {
                                                "address": "127.0.0.1",
                                                "port_value": f"PORT({name})",
                                            }
                                        }
                                    },
                                    "metadata": {"filter_metadata": {"envoy.lb": {"stage": stage}}},
                                }
                                for name, stage in (("app", "a"), ("other", "b"))
                            ]
                        }
                    ],
                },
            },
        ],
    ),
    {"app": "raw", "other": "raw", "dead": "dead"},
)


def counted(name: str, to: str = "app") -> tuple[str, ...]:
    return (
        *(
            f"tcp.{name}.{each}"
            for each in (
                "downstream_cx_total",
                "downstream_cx_no_route",
                "downstream_cx_rx_bytes_total",
                "downstream_cx_tx_bytes_total",
                "idle_timeout",
                "max_downstream_connection_duration",
            )
        ),
        *(f"listener.{name}.{each}" for each in ("downstream_cx_total", "downstream_cx_destroy")),
        *(
            f"cluster.{to}.{each}"
            for each in (
                "upstream_cx_total",
                "upstream_cx_connect_fail",
                "upstream_cx_connect_attempts_exceeded",
                "upstream_cx_overflow",
                "upstream_cx_none_healthy",
                "upstream_cx_destroy",
                "upstream_cx_destroy_local",
                "upstream_cx_destroy_remote",
                "upstream_cx_destroy_local_with_active_rq",
                "upstream_cx_destroy_remote_with_active_rq",
                "upstream_cx_rx_bytes_total",
                "upstream_cx_tx_bytes_total",
                "upstream_rq_total",
                "upstream_rq_active",
                "upstream_rq_pending_total",
                "upstream_rq_pending_failure_eject",
            )
        ),
    )


async def settled(s: Session, name: str) -> None:
    """Wait until the listener has no connection any more."""
    gauge = f"listener.{name}.downstream_cx_active"
    await s.until_stats(lambda stats: not stats[gauge], f"^listener.{name}.downstream_cx_active$")


@scenario(SETUP)
async def tcp_both_ways(s: Session) -> None:
    """Bytes go both ways; the client ends its side first, and still hears what comes."""

    async def answer(wire: Wire) -> None:
        s.see("upstream gets", (await wire.exactly(5)).decode())
        await wire.send(b"world")
        s.see("and then", (await wire.rest())[1])
        await wire.send(b", farewell")

    s.upstream().raw_script = answer
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_upstream_ends_first(s: Session) -> None:
    """The upstream ends its side first, and still gets what comes."""
    got = trio.Event()

    async def answer(wire: Wire) -> None:
        await wire.exactly(5)
        await wire.send(b"world")
        wire.half_close()
        s.see("upstream gets", (await wire.exactly(4)).decode())
        got.set()
        s.see("and then", (await wire.rest())[1])

    s.upstream().raw_script = answer
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        await client.send(b"hello")
        await client.closed("client gets")
        await client.send(b"more")
        await got.wait()
        client.half_close()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_upstream_speaks_first(s: Session) -> None:
    """The upstream speaks, and ends, before the client says anything."""

    async def answer(wire: Wire) -> None:
        await wire.send(b"220 welcome\r\n")
        wire.half_close()
        await wire.rest()

    s.upstream().raw_script = answer
    async with s.logging(2, "app"):
        client = await s.connect("app")
        await client.closed()
        client.half_close()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_client_sends_and_ends_at_once(s: Session) -> None:
    """All of what a client sent before it ended its side arrives, though there was no upstream yet."""

    async def answer(wire: Wire) -> None:
        s.see(
            "upstream gets",
            [part.decode() if isinstance(part, bytes) else part for part in await wire.rest()],
        )
        await wire.send(b"thanks")

    s.upstream().raw_script = answer
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        await client.send(b"all of it")
        client.half_close()
        await client.closed()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_resets_are_handed_on(s: Session) -> None:
    """A reset of one side resets the other, and the upstream's is in the log."""
    ready = trio.Event()
    gone = trio.Event()

    async def read(wire: Wire) -> None:
        await wire.exactly(5)
        await wire.send(b"world")
        ready.set()
        s.see("upstream", (await wire.rest())[1])
        gone.set()

    async def reset(wire: Wire) -> None:
        await wire.exactly(5)
        await wire.send(b"world")
        await ready.wait()
        wire.reset()

    s.upstream().raw_script = read
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        await client.send(b"hello")
        await client.tunnel(5)
        await ready.wait()
        client.reset()
        await gone.wait()
        await settled(s, "app")
    ready = trio.Event()
    s.upstream().raw_script = reset
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        await client.send(b"hello")
        await client.tunnel(5)
        ready.set()
        s.see("client", (await client.wire.rest())[1])
        await settled(s, "app")


@scenario(SETUP)
async def tcp_much_of_it(s: Session) -> None:
    """Megabytes both ways at once, to readers that take their time, arrive whole."""
    size = 3 * 1024 * 1024
    sent = bytes(range(256)) * (size // 256)

    async def answer(wire: Wire) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, sent)
            s.see("upstream gets", hashlib.sha256(await wire.exactly(size)).hexdigest())
        await wire.rest()

    s.upstream().raw_script = answer
    async with s.logging(2, "app"), s.counting(*counted("app")):
        client = await s.connect("app")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wire.send, sent)
            await trio.sleep(0.02)
            s.see("client gets", hashlib.sha256(await client.wire.exactly(size)).hexdigest())
        client.half_close()
        await client.closed()
        await settled(s, "app")


@scenario(SETUP)
async def tcp_upstream_that_is_not_there(s: Session) -> None:
    """No host answers, there is none, the limit is zero, the cluster is unknown: closed, with its flag."""
    for name, to in (
        ("dead", "dead"),
        ("again", "dead"),
        ("empty", "empty"),
        ("full", "full"),
        ("nowhere", "app"),
    ):
        async with s.logging(2, name), s.counting(*counted(name, to)):
            client = await s.connect(name)
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_second_attempt(s: Session) -> None:
    """The second attempt finds the host that answers; what the first met is in the log."""
    # Wherever the rotation stands, after this one the next begins with the host that is dead.
    client = await s.connect("second")
    await client.send(b"hello")
    await client.wire.exactly(5)
    client.close()
    await settled(s, "second")
    async with s.logging(2, "second"), s.counting(*counted("second", "half")):
        client = await s.connect("second")
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()
        await settled(s, "second")


@scenario(SETUP)
async def tcp_timeouts(s: Session) -> None:
    """idle_timeout begins again with every byte; max_downstream_connection_duration does not."""
    for name in ("idle", "aged"):
        async with s.logging(2, name), s.counting(*counted(name)):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_weighted_hashed_and_by_metadata(s: Session) -> None:
    """Weighted clusters, a ring by the client's address, hosts by their metadata."""
    for name in ("weighted", "hashed", "subset"):
        # Which host the ring leads to depends on the ports.
        shown = (lambda line: line.split(" host=")[0]) if name == "hashed" else str
        async with s.logging(2, name, shown=shown):
            client = await s.connect(name)
            await client.send(b"hello")
            await client.tunnel(5, f"{name} echo")
            client.half_close()
            await client.closed(name)
            await settled(s, name)


@scenario(SETUP)
async def tcp_log_moments(s: Session) -> None:
    """Lines at the start, once connected, from time to time, and at the end."""
    async with s.logging(4, "logged"):
        client = await s.connect("logged")
        await client.send(b"hello")
        await client.tunnel(5)
        client.half_close()
        await client.closed()
        await settled(s, "logged")
    async with s.logging(3, "periodic"):
        client = await s.connect("periodic")
        await client.send(b"hello")
        await client.tunnel(5)
        await trio.sleep(0.2)
        client.half_close()
        await client.closed()
        await settled(s, "periodic")


@scenario(SETUP)
async def tcp_http_has_no_remote_address_either(s: Session) -> None:
    """A request that reached no host has no upstream remote address."""
    async with s.logging(1, "http"):
        await s.get(to="http")
