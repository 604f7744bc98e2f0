"""Routing priorities: a route of HIGH priority has connections, queues and limits of its own."""

from __future__ import annotations

import json
from typing import Any

import trio

from ..client import H1Client
from ..configuration import HTTP_OPTIONS, bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call, answers, ok
from ..wire import head, read_response

SUBJECT = "upstream"
_OPTIONS = {"@type": f"type.googleapis.com/{HTTP_OPTIONS}"}
UNAVAILABLE = b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"


def limited(name: str, low: str, high: str, upstream: str = "app", **extra: Any) -> dict[str, Any]:
    """A cluster with limits of both priorities; those that are left out are the defaults."""
    rows = [f"{{track_remaining: true, {low}}}"] if low else []
    rows += [f"{{priority: HIGH, track_remaining: true, {high}}}"] if high else []
    thresholds = f"circuit_breakers: {{thresholds: [{', '.join(rows)}]}}"
    return {**cluster(name, upstream, extra=thresholds), **extra}


def protocol(**options: Any) -> dict[str, Any]:
    return {HTTP_OPTIONS: {**_OPTIONS, **options}}


HTTP2 = protocol(explicit_http_config={"http2_protocol_options": {}})
BY_CLIENT = protocol(use_downstream_protocol_config={"http2_protocol_options": {}})
ONE, TWO = "max_connections: 1", "max_connections: 1, max_pending_requests: 2"
CLUSTERS = [
    limited("plain", "", ""),
    limited("cx", ONE, "max_connections: 2"),
    limited("pending", f"{ONE}, max_pending_requests: 1", TWO),
    limited("rq", "max_requests: 1", "max_requests: 2"),
    limited("none", "", "max_requests: 0"),
    limited("retries", "max_retries: 0", "max_retries: 2"),
    limited("budget", "", "retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 0}"),
    limited(
        "pools",
        "max_connection_pools: 1",
        "max_connection_pools: 1",
        typed_extension_protocol_options=BY_CLIENT,
    ),
    limited("h2", "max_requests: 1", "max_requests: 2", "app2", typed_extension_protocol_options=HTTP2),
    limited("tunnel", ONE, ONE),
    limited("hedged", "max_requests: 0", ""),
    limited("shadow", "", "max_requests: 0", "other"),
]
RETRYING = {"retry_on": "5xx", "num_retries": 2, "retry_back_off": {"base_interval": "0.001s"}}
TUNNEL = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
IS_HIGH = {"name": "x-priority", "string_match": {"exact": "high"}}


def to(path: str, **route: Any) -> dict[str, Any]:
    return {"match": {"path": path}, "route": route}


def routes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "match": {"connect_matcher": {}, "headers": [IS_HIGH]},
            "route": {"cluster": "tunnel", "priority": "HIGH", **TUNNEL},
        },
        {"match": {"connect_matcher": {}}, "route": {"cluster": "tunnel", **TUNNEL}},
        to(
            "/weighted",
            priority="HIGH",
            weighted_clusters={"clusters": [{"name": "none", "weight": 1}]},
        ),
        to("/header", priority="HIGH", cluster_header="x-cluster"),
        to("/mirrored", priority="HIGH", cluster="plain", request_mirror_policies=[{"cluster": "shadow"}]),
        to(
            "/hedged",
            priority="HIGH",
            cluster="hedged",
            retry_policy={"retry_on": "5xx", "per_try_timeout": "0.1s"},
            hedge_policy={"hedge_on_per_try_timeout": True},
        ),
        to("/redirected", cluster="plain", internal_redirect_policy={}),
    ]
    for priority in ("low", "high"):
        for each in CLUSTERS:
            route = {"cluster": each["name"]}
            if priority == "high":
                route["priority"] = "HIGH"
            if each["name"] in ("retries", "budget"):
                route["retry_policy"] = RETRYING
            found.append({"match": {"prefix": f"/{priority}/{each['name']}"}, "route": route})
    return found


MANAGER = "{upgrade_configs: [{upgrade_type: CONNECT}]}"
PRIORITIES = Setup(
    "routing-priorities",
    bootstrap([listener("main", MANAGER, routes=json.dumps(routes()))], CLUSTERS),
    {"app": "h1", "app2": "h2", "other": "h1"},
)
COUNTED = (
    *("upstream_cx_total", "upstream_cx_overflow", "upstream_cx_pool_overflow", "upstream_rq_total"),
    *("upstream_rq_pending_total", "upstream_rq_pending_overflow", "upstream_rq_active_overflow"),
    *("upstream_rq_retry", "upstream_rq_retry_overflow", "upstream_rq_retry_limit_exceeded"),
)


def changed(name: str) -> list[str]:
    return [f"cluster.{name}.{each}" for each in COUNTED]


async def look(s: Session, name: str, label: str) -> None:
    """Observe the gauges of both priorities."""
    pattern = rf"^cluster\.{name}\.(circuit_breakers\.|upstream_(cx|rq|rq_pending)_active$)"
    s.see(label, await s.counters(pattern))


async def until(s: Session, stat: str, value: int) -> None:
    await s.until_stats(lambda stats: stats[stat] >= value, f"^{stat}$")


class Gate:
    """Requests wait at an upstream until they are let through."""

    def __init__(self, s: Session, name: str) -> None:
        self._upstream = s.upstream(name)
        self._open = trio.Event()
        self._upstream.script = self._h1
        self._upstream.h2_script = self._h2

    async def _h1(self, call: Call) -> None:
        await self._open.wait()
        await call.send(ok())

    async def _h2(self, call: H2Call) -> None:
        await self._open.wait()
        await call.answer([(":status", "200"), ("content-length", "2")], b"ok")

    async def arrivals(self, count: int) -> None:
        await self._upstream.arrivals(count)

    def open(self) -> None:
        self._open.set()


async def hold(s: Session, path: str) -> H1Client:
    """A client whose request has been sent."""
    client = await s.connect()
    await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
    return client


async def statuses(s: Session, clients: list[H1Client]) -> None:
    """Observe what those who held are answered with, and forget what the upstreams saw."""
    found = [(await read_response(client.wire)).start_line.split(" ")[1] for client in clients]
    s.see("statuses", found)
    for upstream in s.upstreams.values():
        upstream.seen.clear()


@scenario(PRIORITIES)
async def priority_high_has_connections_of_its_own(s: Session) -> None:
    """A connection of one priority is not used by the other."""
    async with s.counting(*changed("plain")):
        for path in ("/low/plain", "/high/plain", "/low/plain", "/high/plain"):
            await s.get(path)


@scenario(PRIORITIES)
async def priority_high_limits_connections(s: Session) -> None:
    """Each priority has its own limit, and its own queue behind it."""
    gate = Gate(s, "app")
    async with s.counting(*changed("cx")):
        clients = [await hold(s, path) for path in ("/low/cx", "/high/cx", "/high/cx")]
        await gate.arrivals(3)
        await look(s, "cx", "all connected")
        clients += [await hold(s, path) for path in ("/low/cx", "/high/cx")]
        await until(s, "cluster.cx.upstream_rq_pending_active", 2)
        await look(s, "cx", "two wait")
        gate.open()
        await statuses(s, clients)
    await look(s, "cx", "after")


@scenario(PRIORITIES)
async def priority_high_limits_pending_requests(s: Session) -> None:
    """What overflows in one priority still has room in the other."""
    gate = Gate(s, "app")
    async with s.counting(*changed("pending")):
        clients = [await hold(s, path) for path in ("/low/pending", "/high/pending")]
        await gate.arrivals(2)
        clients += [await hold(s, path) for path in ("/low/pending", "/high/pending", "/high/pending")]
        await until(s, "cluster.pending.upstream_rq_pending_active", 3)
        await look(s, "pending", "full")
        await s.get("/low/pending", label="low")
        await s.get("/high/pending", label="high")
        gate.open()
        await statuses(s, clients)


@scenario(PRIORITIES)
async def priority_high_limits_requests(s: Session) -> None:
    """The same of requests, over HTTP/1 and HTTP/2."""
    for name, upstream in (("rq", "app"), ("h2", "app2")):
        gate = Gate(s, upstream)
        async with s.counting(*changed(name)):
            clients = []
            for number, path in enumerate((f"/low/{name}", f"/high/{name}", f"/high/{name}"), 1):
                clients.append(await hold(s, path))
                await gate.arrivals(number)
            await look(s, name, f"{name} full")
            await s.get(f"/low/{name}", label=f"{name} low")
            await s.get(f"/high/{name}", label=f"{name} high")
            gate.open()
            await statuses(s, clients)


@scenario(PRIORITIES)
async def priority_high_of_no_requests(s: Session) -> None:
    """HIGH closed altogether: routes of every kind are refused, the others go on."""
    async with s.counting(*changed("none")), s.logging(4):
        await s.get("/low/none", label="low")
        await s.get("/high/none", label="high")
        await s.get("/weighted", label="weighted")
        await s.get("/header", "x-cluster: none", label="header")


@scenario(PRIORITIES)
async def priority_high_limits_retries(s: Session) -> None:
    """``max_retries`` and ``retry_budget`` are of a priority."""
    s.proxy.is_spent = True  # the gauges remember that a budget was asked
    s.upstream().script = answers(UNAVAILABLE)
    for name in ("retries", "budget"):
        for priority in ("low", "high"):
            async with s.counting(*changed(name)), s.logging(1):
                await s.get(f"/{priority}/{name}", label=f"{name} {priority}")
            await look(s, name, f"{name} after {priority}")
            s.upstream().seen.clear()


@scenario(PRIORITIES)
async def priority_high_limits_pools(s: Session) -> None:
    """A pool of one priority does not count for the other."""
    gate = Gate(s, "app")
    async with s.counting(*changed("pools")):
        clients = [await hold(s, path) for path in ("/low/pools", "/high/pools")]
        await gate.arrivals(2)
        await look(s, "pools", "one each")
        gate.open()
        await statuses(s, clients)


@scenario(PRIORITIES)
async def priority_of_copies_and_redirects(s: Session) -> None:
    """A copy has no priority; a redirect that is followed has that of its new route."""
    async with s.counting(*changed("shadow")):
        before = (await s.counters("shadow.upstream_rq_total"))["cluster.shadow.upstream_rq_total"]
        await s.get("/mirrored")
        await until(s, "cluster.shadow.upstream_rq_total", before + 1)
    s.upstream("other").seen.clear()
    to_high = b"HTTP/1.1 302 X\r\nlocation: http://example.com/high/none\r\ncontent-length: 0\r\n\r\n"
    s.upstream().script = answers(to_high)
    async with s.logging(2):
        await s.get("/redirected")


@scenario(PRIORITIES)
async def priority_high_of_tunnels(s: Session) -> None:
    """Raw connections have priorities, too."""

    async def raw(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)

    s.upstream().serve = raw  # type: ignore[method-assign]
    clients = []
    for number, line in enumerate(("x-a: b", "x-priority: high"), 1):
        client = await s.connect()
        await client.send(head("CONNECT a:1 HTTP/1.1", "host: a:1", line))
        clients.append(client)
        await until(s, "cluster.tunnel.upstream_cx_active", number)
    await look(s, "tunnel", "both")
    for client in clients:
        client.close()
    await s.quiet()


@scenario(PRIORITIES)
async def priority_high_of_hedged_requests(s: Session) -> None:
    """A try beside one that is too slow has the priority of the route, too."""
    seen = 0

    async def serve(call: Call) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            await call.gone()
        else:
            await call.send(ok())

    s.upstream().script = serve
    async with s.counting(*changed("hedged")), s.logging(1):
        await s.get("/hedged")
    s.see("tries", seen)
    s.upstream().seen.clear()  # the second says how much time is left
