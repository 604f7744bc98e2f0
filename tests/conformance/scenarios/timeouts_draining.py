"""Draining: a failed health check and /drain_listeners, on both protocols, with streams under way."""

from __future__ import annotations

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import head, read_head
from .timeouts_connections import Gate, stats_of

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /probe}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /to2}, route: {cluster: h2app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
DRAINING = Setup(
    "draining",
    bootstrap(
        [
            listener("main", "drain_timeout: 0.15s", routes=ROUTES),
            listener("in", "drain_timeout: 0.15s", routes=ROUTES, extra="traffic_direction: INBOUND"),
        ],
        [cluster("app", "app"), cluster("h2app", "h2app", http2=True)],
    ),
    {"app": "h1", "h2app": "h2"},
)


async def refused(s: Session, to: str) -> None:
    """Connect until the listener is closed; the scenario's deadline bounds it."""
    while True:
        try:
            client = await s.connect(to)
        except OSError:
            s.see(f"new connections to {to}", "refused")
            return
        client.close()


@scenario(DRAINING)
async def draining_h1_by_health_check(s: Session) -> None:
    """A failed health check: every answer says close, drain_timeout after the first the connection ends."""
    async with s.counting(*stats_of("main")):
        client = await s.connect()
        await client.send(head("GET /probe HTTP/1.1", "host: a"))
        await client.reply("before")
        await s.admin("POST /healthcheck/fail")
        await s.admin("GET /ready")
        for number in ("first", "second"):
            await client.send(head("GET /probe HTTP/1.1", "host: a"))
            await client.reply(number)
        await client.closed()
        await s.get("/probe", "connection: close", label="a client that closes")
        await s.admin("POST /healthcheck/ok")
        await s.get("/probe", label="healthy again")


@scenario(DRAINING)
async def draining_h1_with_a_request_under_way(s: Session) -> None:
    """The same with a request that is answered after the check failed, and one whose answer had begun."""
    gate = Gate(s)
    async with s.counting(*stats_of("main")):
        client = await s.connect()
        await client.send(head("GET / HTTP/1.1", "host: a"))
        await s.upstream().arrivals(1)
        await s.admin("POST /healthcheck/fail")
        gate.opened.set()
        await client.reply()
        await client.closed()
        await s.admin("POST /healthcheck/ok")


@scenario(DRAINING)
async def draining_h2_by_health_check(s: Session) -> None:
    """Over HTTP/2: GOAWAY with the next answer, streams go on, another GOAWAY after drain_timeout."""
    gate = Gate(s)
    async with s.counting(*stats_of("main")):
        client = await s.connect_h2(is_patient=True)
        idle = await s.connect_h2(is_patient=True)
        stream = await client.start(get("/"))
        await s.upstream().arrivals(1)
        await s.admin("POST /healthcheck/fail")
        await client.request(get("/probe"), label="another stream")
        gate.opened.set()
        await client.reply(stream, "under way")
        await client.drained()
        s.see("idle connection", {"goaways": idle.peer.goaways, "closed": idle.peer.ended.is_set()})
        await s.admin("POST /healthcheck/ok")


@scenario(DRAINING)
async def draining_listeners_at_once(s: Session) -> None:
    """POST /drain_listeners?inboundonly: one listener closes, its connections are not told."""
    gate = Gate(s)
    client = await s.connect("in")
    await client.send(head("GET / HTTP/1.1", "host: a"))
    h2 = await s.connect_h2("in", is_patient=True)
    stream = await h2.start(get("/to2"))
    await s.upstream().arrivals(1)
    await s.upstream("h2app").arrivals(1)
    await s.admin("POST /drain_listeners?inboundonly")
    await refused(s, "in")
    await s.get("/probe", label="the other listener")
    gate.opened.set()
    await client.reply()
    await client.usable()
    await h2.reply(stream)
    await h2.request(get("/probe"))
    s.see("goaways", h2.peer.goaways)
    s.proxy.is_spent = True


@scenario(DRAINING)
async def draining_listeners_gracefully(s: Session) -> None:
    """POST /drain_listeners?graceful: at some time before --drain-time-s all that is open has been told."""
    idle = await s.connect_h2("in", is_patient=True)
    other = await s.connect_h2("main", is_patient=True)
    await s.admin("POST /drain_listeners?graceful&skip_exit&inboundonly")
    await s.admin("POST /drain_listeners?graceful&skip_exit&inboundonly", "again: nothing happens")
    await s.admin("GET /ready")
    await idle.drained()
    probe = head("GET /probe HTTP/1.1", "host: a")
    while True:
        client = await s.connect("in")
        await client.send(probe)
        start = await read_head(client.wire)
        client.close()
        if "close" in start.values("connection"):
            break
    await s.get("/probe", label="outbound")
    await other.request(get("/probe"), label="outbound, HTTP/2")
    s.see("outbound", other.peer.goaways)
    s.proxy.is_spent = True


@scenario(DRAINING)
async def draining_listeners_gracefully_to_the_end(s: Session) -> None:
    """The same without skip_exit: after --drain-time-s the listeners close."""
    client = await s.connect()
    await client.send(head("GET /probe HTTP/1.1", "host: a"))
    await client.reply()
    await s.admin("POST /drain_listeners?graceful")
    await refused(s, "main")
    await client.closed()
    s.proxy.is_spent = True


@scenario(DRAINING)
async def draining_listeners_counts_them(s: Session) -> None:
    """listener_stopped, of those that are inbound and then of all, asked twice."""
    name = "listener_manager.listener_stopped"
    shown = "^listener_manager.(listener_(stopped|removed)|total_listeners_(active|draining))$"
    for query, count in (("?inboundonly", 1), ("", 2), ("", 2)):
        await s.admin(f"POST /drain_listeners{query}", label=f"{query or 'all'} {count}")
        await s.until_stats(lambda stats, count=count: stats[name] >= count, f"^{name}$")  # type: ignore[misc] # bound here
        s.see(f"stats of {query or 'all'}", await s.counters(shown))
    s.proxy.is_spent = True
