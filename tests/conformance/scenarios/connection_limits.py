# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""How many connections there may be: of a listener (runtime), of all of them (overload manager)."""

from __future__ import annotations

from ..configuration import bootstrap, cluster
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import Ended
from .tcp_proxy import proxy

SUBJECT = "connections"

ADMIN = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}, ignore_global_conn_limit: true}\n"
RUNTIME = """
layered_runtime:
  layers:
  - name: first
    static_layer:
      envoy.resource_limits.listener.one.connection_limit: 5
      envoy: {resource_limits: {listener: {nested: {connection_limit: 1}, zero: {connection_limit: 0}}}}
      limits.off: false
  - name: second
    static_layer: {envoy.resource_limits.listener.one.connection_limit: 1, limits.on: true}
"""
MONITOR = """
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: 2
"""
ROUTES = "- {match: {prefix: /}, direct_response: {status: 200}}"
LIMITED = Setup(
    "limits-of-listeners",
    bootstrap(
        [*(proxy(name, "cluster: app") for name in ("one", "nested", "zero", "free"))],
        [cluster("app", "app")],
        extra=RUNTIME,
    ),
    {"app": "raw"},
)
GLOBAL = Setup(
    "limit-of-all",
    bootstrap(
        [
            proxy("one", "cluster: app"),
            proxy("two", "cluster: app"),
            proxy("ignoring", "cluster: app", extra="ignore_global_conn_limit: true"),
            proxy("bypassing", "cluster: app", extra="bypass_overload_manager: true"),
        ],
        [cluster("app", "app")],
        extra=ADMIN + MONITOR,
    ),
    {"app": "raw"},
)


def counted(name: str) -> tuple[str, ...]:
    return tuple(
        f"listener.{name}.{each}"
        for each in (
            "downstream_cx_total",
            "downstream_cx_overflow",
            "downstream_global_cx_overflow",
            "downstream_cx_overload_reject",
            "downstream_cx_destroy",
        )
    )


async def connected(s: Session, name: str, label: str) -> None:
    """A connection that says something, and what becomes of it."""
    client = await s.connect(name)
    await client.send(b"hello")
    try:
        s.see(label, (await client.wire.exactly(5)).decode())
    except Ended:
        s.see(label, "refused")


async def gone(s: Session, *names: str) -> None:
    """All connections are over."""
    s.close()
    gauges = "|".join(f"^listener.{name}.downstream_cx_active$" for name in names)
    await s.until_stats(lambda stats: not any(stats.values()), gauges)


@scenario(LIMITED)
async def limit_of_a_listener(s: Session) -> None:
    """envoy.resource_limits.listener.<name>.connection_limit of static runtime layers; the last layer counts."""
    for name in ("one", "nested", "zero", "free"):
        async with s.counting(*counted(name)):
            for number in range(3):
                await connected(s, name, f"{name} {number}")
            await gone(s, name)
            await connected(s, name, f"{name} again")
            await gone(s, name)


@scenario(GLOBAL)
async def limit_of_all_listeners(s: Session) -> None:
    """global_downstream_max_connections: two, wherever; who ignores it gets in, and counts or not."""
    async with s.counting(*counted("one"), *counted("two")):
        await connected(s, "one", "first")
        await connected(s, "two", "second")
        await connected(s, "one", "third")
        await connected(s, "two", "fourth")
        await gone(s, "one", "two")
        await connected(s, "one", "again")
        await gone(s, "one")
    for name in ("ignoring", "bypassing"):
        async with s.counting(*counted(name), *counted("one")):
            for number in range(3):
                await connected(s, name, f"{name} {number}")
            await connected(s, "one", f"one beside {name}")
            await gone(s, name, "one")
