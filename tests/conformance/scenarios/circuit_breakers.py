"""Circuit breakers: every limit of a cluster, what is answered beyond it, and what the gauges say then."""

from __future__ import annotations

import re

import trio

from ..client import H1Client, get
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, ok
from ..wire import head

SUBJECT = "upstream"

_OPTIONS = f"type.googleapis.com/{HTTP_OPTIONS}"
ROUTES = "\n".join(
    f"- {{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}"
    for name in (
        *("cx", "pending", "rq", "none", "full", "host", "pools", "budget", "wide"),
        *("h2cx", "h2rq", "h2pending", "h2once"),
    )
) + "".join(
    f"\n- match: {{prefix: /{name}}}\n"
    f"  route: {{cluster: {name}, timeout: 0s, retry_policy: {{retry_on: 5xx}}}}"
    for name in ("retried", "shared")
)


def breakers(*thresholds: str, more: str = "") -> str:
    """YAML of a cluster's limits; gauges of what remains are asked for."""
    rows = ", ".join(f"{{track_remaining: true, {each}}}" for each in thresholds)
    return f"circuit_breakers: {{thresholds: [{rows}]{more}}}"


def http2(extra: str = "", *, streams: int = 0) -> str:
    """YAML of a cluster that speaks HTTP/2."""
    options = f"max_concurrent_streams: {streams}" if streams else ""
    return f"""
typed_extension_protocol_options:
  {HTTP_OPTIONS}:
    "@type": {_OPTIONS}
    {extra or "common_http_protocol_options: {}"}
    explicit_http_config: {{http2_protocol_options: {{{options}}}}}
"""


DOWNSTREAM = f"""
typed_extension_protocol_options:
  {HTTP_OPTIONS}:
    "@type": {_OPTIONS}
    use_downstream_protocol_config: {{http2_protocol_options: {{}}}}
"""

BREAKERS = Setup(
    "circuit-breakers",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            cluster("cx", "app", extra=breakers("max_connections: 1")),
            cluster("pending", "app", extra=breakers("max_connections: 1, max_pending_requests: 1")),
            cluster("rq", "app", extra=breakers("max_requests: 1")),
            cluster("none", "app", extra=breakers("max_requests: 0")),
            cluster("full", "app", extra=breakers("max_connections: 0, max_pending_requests: 0")),
            cluster("wide", "app", extra=breakers("max_connections: 0, max_retries: 0")),
            cluster(
                "host", "app", "other",
                extra=breakers("max_connections: 3", more=", per_host_thresholds: [{max_connections: 1}]"),
            ),
            cluster("pools", "app", extra=DOWNSTREAM + breakers("max_connection_pools: 1")),
            cluster(
                "budget", "app",
                extra=breakers("retry_budget: {budget_percent: {value: 50}, min_retry_concurrency: 2}"),
            ),
            cluster("retried", "app", extra=breakers("max_retries: 1")),
            cluster(
                "shared", "app",
                extra=breakers("max_retries: 1, retry_budget: {min_retry_concurrency: 4}"),
            ),
            cluster("h2cx", "app2", extra=http2(streams=1) + breakers("max_connections: 1")),
            cluster("h2rq", "app2", extra=http2() + breakers("max_requests: 1")),
            cluster(
                "h2pending", "app2",
                extra=http2(streams=1) + breakers("max_connections: 1, max_pending_requests: 1"),
            ),
            cluster(
                "h2once", "app2",
                extra=http2("common_http_protocol_options: {max_requests_per_connection: 1}")
                + breakers("max_connections: 2"),
            ),
        ],
    ),
    {"app": "h1", "other": "h1", "app2": "h2"},
)  # fmt: skip

_GAUGES = r"(circuit_breakers\.default\..*|upstream_cx_active|upstream_rq_active|upstream_rq_pending_active)$"


class Gate:
    """Requests that wait at the upstream until they are let through, oldest first."""

    def __init__(self, s: Session, *names: str) -> None:
        self._s = s
        self._names = names
        self._open = trio.Event()
        for name in names:
            s.upstream(name).script = self._h1
            s.upstream(name).h2_script = self._h2

    async def _h1(self, call: Call) -> None:
        await self._open.wait()
        await call.send(ok())

    async def _h2(self, call: H2Call) -> None:
        await self._open.wait()
        await call.answer([(":status", "200"), ("content-length", "2")], b"ok")

    async def arrivals(self, count: int) -> None:
        """Wait until that many requests stand before the gate."""
        while sum(len(self._s.upstream(name).seen) for name in self._names) < count:  # noqa: ASYNC110
            await trio.sleep(0.002)

    def open(self) -> None:
        self._open.set()


async def look(s: Session, name: str, label: str) -> None:
    """Observe what a cluster's breakers say now."""
    s.see(label, await s.counters(rf"^cluster\.{name}\.{_GAUGES}"))


async def until(s: Session, name: str, stat: str, value: int) -> None:
    full = f"cluster.{name}.{stat}"
    await s.until_stats(lambda stats: stats.get(full) == value, rf"^{re.escape(full)}$")


def changed(name: str) -> tuple[str, ...]:
    """The counters of a cluster that breakers move."""
    names = (
        *("upstream_cx_overflow", "upstream_cx_pool_overflow", "upstream_rq_active_overflow"),
        *("upstream_rq_pending_overflow", "upstream_rq_pending_total", "upstream_rq_total"),
        *("upstream_rq_pending_failure_eject", "upstream_rq_cancelled", "upstream_cx_total"),
        *("upstream_rq_503", "upstream_rq_completed", "upstream_cx_none_healthy"),
    )
    return tuple(f"cluster.{name}.{each}" for each in names)


async def hold(s: Session, gate: Gate, name: str, count: int) -> list[H1Client]:
    """Clients whose requests stand before the gate, one after another."""
    clients = []
    for number in range(1, count + 1):
        clients.append(await ask(s, name))
        await gate.arrivals(number)
    return clients


async def ask(s: Session, name: str) -> H1Client:
    """A client that has sent its request."""
    client = await s.connect()
    await client.send(head(f"GET /{name} HTTP/1.1", "host: a"))
    return client


async def queue(s: Session, name: str, count: int) -> list[H1Client]:
    """Clients whose requests wait for a connection, one after another."""
    clients = []
    for waiting in range(1, count + 1):
        clients.append(await ask(s, name))
        await until(s, name, "upstream_rq_pending_active", waiting)
    return clients


async def replies(clients: list[H1Client]) -> None:
    for client in clients:
        await client.reply()


async def limit_of_connections(s: Session, name: str, upstream: str) -> None:
    """One connection; the second request waits for it, and the gauges say so."""
    gate = Gate(s, upstream)
    async with s.counting(*changed(name)):
        await look(s, name, "before")
        clients = await hold(s, gate, name, 1)
        await look(s, name, "one")
        clients += await queue(s, name, 1)
        await look(s, name, "two")
        gate.open()
        await replies(clients)
    await look(s, name, "after")


@scenario(BREAKERS)
async def breaker_connections(s: Session) -> None:
    """max_connections over HTTP/1: who finds none free waits."""
    await limit_of_connections(s, "cx", "app")


@scenario(BREAKERS)
async def breaker_connections_of_http2(s: Session) -> None:
    """The same over HTTP/2 with one stream for each connection."""
    await limit_of_connections(s, "h2cx", "app2")


async def limit_of_pending(s: Session, name: str, upstream: str) -> None:
    gate = Gate(s, upstream)
    async with s.counting(*changed(name)), s.logging(3):
        clients = await hold(s, gate, name, 1)
        clients += await queue(s, name, 1)
        await look(s, name, "full")
        await s.get(f"/{name}/beyond", label="beyond")
        await look(s, name, "refused")
        gate.open()
        await replies(clients)
    await look(s, name, "after")


@scenario(BREAKERS)
async def breaker_pending_requests(s: Session) -> None:
    """max_pending_requests over HTTP/1: one more is refused at once."""
    await limit_of_pending(s, "pending", "app")


@scenario(BREAKERS)
async def breaker_pending_requests_of_http2(s: Session) -> None:
    """The same over HTTP/2."""
    await limit_of_pending(s, "h2pending", "app2")


async def limit_of_requests(s: Session, name: str, upstream: str) -> None:
    gate = Gate(s, upstream)
    async with s.counting(*changed(name)), s.logging(3):
        await look(s, name, "before")
        clients = await hold(s, gate, name, 1)
        await look(s, name, "full")
        await s.get(f"/{name}/beyond", label="beyond")
        await look(s, name, "refused")
        gate.open()
        await replies(clients)
        await s.get(f"/{name}/again", label="again")
    await look(s, name, "after")


@scenario(BREAKERS)
async def breaker_requests(s: Session) -> None:
    """max_requests over HTTP/1: a connection that is made for one more has nobody to serve."""
    await limit_of_requests(s, "rq", "app")


@scenario(BREAKERS)
async def breaker_requests_of_http2(s: Session) -> None:
    """max_requests over HTTP/2: the stream is refused where it would begin."""
    await limit_of_requests(s, "h2rq", "app2")


@scenario(BREAKERS)
async def breaker_of_no_requests(s: Session) -> None:
    """max_requests: 0 refuses every one, a body or not."""
    async with s.counting(*changed("none")), s.logging(2):
        await s.get("/none")
        await s.http(head("POST /none HTTP/1.1", "host: a", "content-length: 3") + b"abc", label="POST")
    await look(s, "none", "after")


@scenario(BREAKERS)
async def breaker_of_nothing_at_all(s: Session) -> None:
    """No connection and no place in the queue: 503 with UO, for gRPC too."""
    async with s.counting(*changed("full")), s.logging(2):
        await s.get("/full")
        await s.get("/full", "content-type: application/grpc", label="gRPC")
    await look(s, "full", "after")


@scenario(BREAKERS)
async def breaker_of_no_connections_lets_one_through(s: Session) -> None:
    """max_connections: 0 with places in the queue: a pool without any connection may make one."""
    async with s.counting(*changed("wide")), s.logging(1):
        await s.get("/wide")
    await look(s, "wide", "after")


@scenario(BREAKERS)
async def breaker_of_each_host(s: Session) -> None:
    """per_host_thresholds: each host has one connection, though the cluster may have three."""
    gate = Gate(s, "app", "other")
    async with s.counting(*changed("host")):
        clients = await hold(s, gate, "host", 2)
        await look(s, "host", "two")
        clients += await queue(s, "host", 2)
        await look(s, "host", "four")
        gate.open()
        await replies(clients)


@scenario(BREAKERS)
async def breaker_of_pools(s: Session) -> None:
    """max_connection_pools: 1: HTTP/2 finds no pool while HTTP/1's is in use: as if there were no host."""
    gate = Gate(s, "app")
    async with s.counting(*changed("pools")), s.logging(2):
        await look(s, "pools", "before")
        clients = await hold(s, gate, "pools", 1)
        await look(s, "pools", "one")
        client = await s.connect_h2()
        await client.request(get("/pools/h2"), label="beyond")
        client.close()
        await look(s, "pools", "refused")
        gate.open()
        await replies(clients)
    await look(s, "pools", "after")


@scenario(BREAKERS)
async def breaker_of_a_retry_budget(s: Session) -> None:
    """retry_budget: what remains follows the requests under way."""
    gate = Gate(s, "app")
    await look(s, "budget", "before")
    clients = await hold(s, gate, "budget", 6)
    await look(s, "budget", "six")
    gate.open()
    await replies(clients)
    await s.quiet()
    await look(s, "budget", "after")


@scenario(BREAKERS)
async def breaker_of_retries(s: Session) -> None:
    """One retry under way is all that max_retries allows; under a budget the gauges follow max_retries."""
    app = s.upstream()
    for name in ("retried", "shared"):
        first, held = len(app.seen) + 1, trio.Event()

        async def script(call: Call, first: int = first, held: trio.Event = held) -> None:
            if len(app.seen) == first:
                await call.send(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
                return
            await held.wait()
            await call.send(ok())

        app.script = script
        async with s.logging(1):
            client = await ask(s, name)
            await app.arrivals(first + 1)
            await look(s, name, f"{name} held")
            held.set()
            await client.reply()
        await look(s, name, f"{name} after")


@scenario(BREAKERS)
async def breaker_while_http2_connections_serve_once(s: Session) -> None:
    """max_requests_per_connection: 1 over HTTP/2: a third waits until one of two connections has ended."""
    gate = Gate(s, "app2")
    async with s.counting(*changed("h2once")):
        clients = await hold(s, gate, "h2once", 2)
        clients += await queue(s, "h2once", 1)
        await look(s, "h2once", "three")
        gate.open()
        await replies(clients)
