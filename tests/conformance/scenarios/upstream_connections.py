"""How connections to upstreams are made: from where, with which socket options, how many ahead of time."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import trio

from ..client import H1Client, get
from ..configuration import HTTP_OPTIONS, LINE, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, ok
from ..wire import head

SUBJECT = "upstream"

_NAMES = (
    *("plain", "bound", "inherited", "both", "nowhere", "freely", "tos"),
    *("alive", "defaults", "zero", "own", "ahead", "dead", "several", "unreachable", "h2ahead", "h2wide"),
)
ROUTES = "\n".join(f"- {{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}" for name in _NAMES)
_LOG = (
    LINE.rstrip()
    + " local=%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
)


def bind(fields: str) -> str:
    return f"upstream_bind_config: {{{fields}}}"


def source(address: str) -> str:
    return f"source_address: {{address: {address}, port_value: 0}}"


def several(*upstreams: str) -> str:
    """YAML of one host with several addresses."""
    first, *more = (
        f"address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({name})}}}}" for name in upstreams
    )
    rest = ", ".join(f"{{{each}}}" for each in more)
    endpoint = f"{{endpoint: {{{first}, additional_addresses: [{rest}]}}}}"
    return f"load_assignment: {{cluster_name: x, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}"


def alive(fields: str) -> str:
    return f"upstream_connection_options: {{tcp_keepalive: {{{fields}}}}}"


#: IP_TOS on a socket that is about to be bound.
_TOS = "socket_options: [{level: 0, name: 1, int_value: 32, state: STATE_PREBIND}]"

CONNECTIONS = Setup(
    "upstream-connections",
    bootstrap(
        [listener("main", routes=ROUTES, log=_LOG)],
        [
            cluster("plain", "app", extra=bind("")),
            cluster("bound", "app", extra=bind(source("127.0.0.7"))),
            cluster("inherited", "app"),
            cluster(
                "both", "app",
                extra=bind(f'{source(chr(34) + "::1" + chr(34))}, extra_source_addresses: [{{address: '
                           "{address: 127.0.0.8, port_value: 0}}]"),
            ),
            cluster("nowhere", "app", extra=bind(source("192.0.2.1"))),
            cluster("freely", "app", extra=bind(source("127.0.0.10") + ", freebind: true")),
            cluster("tos", "app", extra=bind(source("127.0.0.11") + ", " + _TOS)),
            cluster("refused", "app", extra=bind("socket_options: [{level: 9999, name: 1, int_value: 1}]")),
            cluster(
                "later", "app",
                extra=bind("socket_options: [{level: 9999, name: 1, int_value: 1, state: STATE_BOUND}, "
                           "{level: 9999, name: 1, int_value: 1, state: STATE_LISTENING}]"),
            ),
            cluster("alive", "app", extra=alive("keepalive_time: 50, keepalive_interval: 7")),
            cluster("defaults", "app", extra=alive("")),
            cluster("zero", "app", extra=alive("keepalive_time: 0")),
            cluster("own", "app", extra="connection_pool_per_downstream_connection: true"),
            cluster(
                "ahead", "app",
                extra="preconnect_policy: {per_upstream_preconnect_ratio: 2.0}",
            ),
            cluster(
                "dead", "dead",
                extra="preconnect_policy: {per_upstream_preconnect_ratio: 2.0}",
            ),
            *(
                cluster(
                    name, "app2",
                    extra=f"""
preconnect_policy: {{per_upstream_preconnect_ratio: 1.5}}
typed_extension_protocol_options:
  {HTTP_OPTIONS}:
    "@type": type.googleapis.com/{HTTP_OPTIONS}
    explicit_http_config: {{http2_protocol_options: {{max_concurrent_streams: {streams}}}}}
""",
                )
                for name, streams in (("h2ahead", 1), ("h2wide", 3))
            ),
            cluster("several", extra=several("dead", "dead", "app")),
            cluster("unreachable", extra=several("dead", "dead")),
        ],
        "cluster_manager: {upstream_bind_config: {source_address: {address: 127.0.0.9, port_value: 0}}}",
    ),
    {"app": "h1", "app2": "h2", "dead": "dead"},
)  # fmt: skip


def peer(call: Call) -> str:
    """Where a request came from, without the port."""
    return str(call.wire.stream.socket.getpeername()[0])


def keepalive_seconds(call: Call) -> int | None:
    """When the proxy's end of a connection will send a keepalive probe; None for never."""
    host, port = call.wire.stream.socket.getpeername()[:2]
    packed = struct.unpack("=I", bytes(int(part) for part in host.split(".")))[0]
    name = f"{packed:08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == name:
            timer, _, when = fields[5].partition(":")
            return round(int(when, 16) / 100) if timer == "02" else None
    return None


class Peers:
    """Takes down whence requests came."""

    def __init__(self, s: Session) -> None:
        self.calls: list[Call] = []
        s.upstream().script = self._script

    async def _script(self, call: Call) -> None:
        self.calls.append(call)
        await call.send(ok())

    def addresses(self) -> list[str]:
        return [peer(call) for call in self.calls]


@scenario(CONNECTIONS)
async def upstream_bind_addresses(s: Session) -> None:
    """Connections come from the cluster's address, else from the cluster manager's; by address family."""
    peers = Peers(s)
    names = ("plain", "bound", "inherited", "both", "freely", "tos")
    async with s.logging(len(names)):
        for name in names:
            await s.get(f"/{name}", label=name)
    s.see("peers", peers.addresses())


@scenario(CONNECTIONS)
async def upstream_bind_that_fails(s: Session) -> None:
    """An address that this machine does not have: 503 with UF, counted as an error of bind."""
    names = (
        *("bind_errors", "upstream_cx_connect_fail", "upstream_cx_total", "upstream_cx_destroy"),
        *("upstream_cx_destroy_local", "upstream_cx_destroy_remote", "upstream_rq_pending_failure_eject"),
    )
    async with s.counting(*(f"cluster.nowhere.{name}" for name in names)), s.logging(1):
        await s.get("/nowhere")


@scenario(CONNECTIONS)
async def upstream_socket_option_that_fails(s: Session) -> None:
    """An option that the kernel refuses: 503 with UF; options of other states are never set."""
    async with (
        s.counting("cluster.refused.bind_errors", "cluster.refused.upstream_cx_connect_fail"),
        s.logging(2),
    ):
        await s.get("/refused")
        await s.get("/later", label="later")


@scenario(CONNECTIONS)
async def upstream_tcp_keepalive(s: Session) -> None:
    """The kernel sends probes as configured, as it would by itself, or not at all."""
    seen: dict[str, Any] = {}

    async def script(call: Call) -> None:
        seconds = keepalive_seconds(call)
        seen[call.path] = None if seconds is None else round(seconds, -1)
        await call.send(ok())

    s.upstream().script = script
    for name in ("alive", "defaults", "zero", "inherited"):
        await s.get(f"/{name}", label=name)
    s.see("seconds to the next probe", seen)


@scenario(CONNECTIONS)
async def upstream_pool_of_each_client(s: Session) -> None:
    """connection_pool_per_downstream_connection: nobody gets the connection of another client."""
    stats = ("upstream_cx_total", "upstream_cx_destroy", "upstream_cx_destroy_local", "upstream_rq_total")
    async with s.counting(*(f"cluster.own.{name}" for name in stats)):
        first, second = await s.connect(), await s.connect()
        for client in (first, second, first, second):
            await client.send(head("GET /own HTTP/1.1", "host: a"))
            await client.reply()
        third = await s.connect_h2()
        await third.request(get("/own"))
        await third.request(get("/own"))
        third.close()
        first.close()


@scenario(CONNECTIONS)
async def upstream_preconnect(s: Session) -> None:
    """per_upstream_preconnect_ratio: 2 holds as many connections again as there are requests."""
    held = [trio.Event() for _ in range(3)]
    doors = iter(held)

    async def script(call: Call) -> None:
        door = next(doors, None)
        if door is not None:
            await door.wait()
        await call.send(ok())

    s.upstream().script = script
    clients: list[H1Client] = []
    names = ("upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active")
    for number in range(1, 4):
        client = await s.connect()
        await client.send(head("GET /ahead HTTP/1.1", "host: a"))
        clients.append(client)
        await s.upstream().arrivals(number)
        wanted = 2 * number
        await s.until_stats(
            lambda stats, wanted=wanted: stats["cluster.ahead.upstream_cx_active"] == wanted,  # type: ignore[misc]
            r"^cluster\.ahead\.upstream_cx_active$",
        )
        s.see(f"{number}", await s.counters(rf"^cluster\.ahead\.({'|'.join(names)})$"))
    for client, door in zip(clients, held, strict=True):
        door.set()
        await client.reply()
    async with s.counting("cluster.ahead.upstream_cx_total", "cluster.ahead.upstream_rq_pending_total"):
        await s.get("/ahead", label="with one to spare")


@scenario(CONNECTIONS)
async def upstream_preconnect_of_http2(s: Session) -> None:
    """The same over HTTP/2, where a connection is many places: 1.5 for each request."""
    door = trio.Event()

    async def script(call: H2Call) -> None:
        await door.wait()
        await call.answer([(":status", "200"), ("content-length", "2")], b"ok")

    s.upstream("app2").h2_script = script
    names = ("upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active")
    for name, wanted in (("h2ahead", (2, 3, 5)), ("h2wide", (1, 1, 2))):
        before = len(s.upstream("app2").seen)
        clients: list[H1Client] = []
        for number, active in enumerate(wanted, 1):
            client = await s.connect()
            await client.send(head(f"GET /{name} HTTP/1.1", "host: a"))
            clients.append(client)
            await s.upstream("app2").arrivals(before + number)
            gauge = f"cluster.{name}.upstream_cx_active"
            await s.until_stats(lambda stats, g=gauge, a=active: stats[g] == a, f"^{gauge}$")  # type: ignore[misc]
            s.see(f"{name} {number}", await s.counters(rf"^cluster\.{name}\.({'|'.join(names)})$"))
        door.set()
        for client in clients:
            await client.reply()
        door = trio.Event()


@scenario(CONNECTIONS)
async def upstream_preconnect_that_fails(s: Session) -> None:
    """Connections ahead of time that are refused, as is the request's own."""
    names = ("upstream_cx_total", "upstream_cx_connect_fail", "upstream_rq_pending_failure_eject")
    async with s.counting(*(f"cluster.dead.{name}" for name in names)), s.logging(1):
        await s.get("/dead")


@scenario(CONNECTIONS)
async def upstream_of_several_addresses(s: Session) -> None:
    """The addresses of a host are tried until one answers: a connection, that had several attempts."""
    names = [
        *("upstream_cx_total", "upstream_cx_connect_fail", "upstream_cx_active", "upstream_cx_http1_total"),
        *("upstream_cx_destroy", "upstream_cx_destroy_remote", "upstream_rq_pending_failure_eject"),
    ]
    stats = [f"cluster.{cluster}.{name}" for cluster in ("several", "unreachable") for name in names]
    async with s.counting(*stats), s.logging(2):
        await s.get("/several")
        await s.get("/unreachable", label="unreachable")
    await s.admin("GET /clusters", "hosts", body=_host_connections)
    s.proxy.is_spent = True  # the numbers of hosts go on


def _host_connections(text: str) -> list[str]:
    """What ``/clusters`` says of connections to hosts of several addresses."""
    lines = sorted(text.splitlines())
    return [
        line for line in lines if line.startswith(("several::127", "unreachable::127")) and "::cx_" in line
    ]
