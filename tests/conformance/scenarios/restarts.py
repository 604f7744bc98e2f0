"""Hot restart: what the new epoch and the old one answer, and what is counted across them."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head
from .tcp_proxy import proxy

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
OTHER = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: there}}}
"""


def setup(name: str, drain_timeout: str, parent_shutdown: str) -> Setup:
    """The epochs add up what they count when they are asked."""
    return Setup(
        name,
        bootstrap(
            [listener("main", f"drain_timeout: {drain_timeout}", routes=ROUTES)],
            [cluster("app", "app")],
            extra="stats_flush_on_admin: true",
        ),
        {"app": "h1"},
        arguments=("--drain-strategy", "immediate", "--parent-shutdown-time-s", parent_shutdown),
    )


RESTART = setup("restart", "0.1s", "2")
#: The old epoch does not end by itself, nor do its idle connections.
PATIENT = setup("restart-patient", "600s", "600")
#: They do.
DRAINING = setup("restart-draining", "0.1s", "600")
WORKERS = replace(PATIENT, name="restart-of-workers", concurrency=2)
PROBE = head("GET /direct HTTP/1.1", "host: a")
STATS = (
    r"^server\.(hot_restart_(epoch|generation)|live|state)$"
    r"|^http\.main\.downstream_(rq_(total|2xx|completed)|cx_total)$"
)
#: What the epochs may add up; times and what is by the process are left out.
SHARED = r"^(cluster\.app|http\.main|listener\.main|listener_manager|cluster_manager|runtime)\.(?!.*_bytes_)"


async def server(s: Session, label: str) -> None:
    found = json.loads((await s.proxy.admin("GET", "/server_info")).body)
    options = found["command_line_options"]
    named = ("restart_epoch", "drain_strategy", "parent_shutdown_time", "disable_hot_restart", "concurrency")
    s.see(label, {"state": found["state"], **{name: options[name] for name in named}})


async def count_together(s: Session, label: str, requests: int, active: int) -> None:
    """What the epochs count adds up, once the one has asked the other."""
    wanted = {"http.main.downstream_rq_2xx": requests, "http.main.downstream_cx_active": active}
    await s.until_stats(lambda found: wanted.items() <= found.items(), "^http.main.downstream_")
    s.see(label, await s.counters(STATS))


async def replaced(s: Session) -> None:
    """The old epoch answers those it has, and says close; the new one has whoever comes."""
    await s.get("/direct", label="before")
    client = await s.connect()
    await client.send(PROBE)
    await client.reply("on a connection that stays")
    s.see("failed", await s.restart())
    await server(s, "server")
    await s.get("/direct", label="from the new epoch")
    await count_together(s, "stats of both", 3, 1)
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", s.proxy.older_admin_port)
        await stream.aclose()
        s.see("admin interface of the old epoch", "open")
    except OSError:
        s.see("admin interface of the old epoch", "closed")
    await client.send(PROBE)
    await client.reply("from the old epoch")
    client.close()
    await count_together(s, "stats behind it", 4, 0)


@scenario(PATIENT)
async def restart_takes_over(s: Session) -> None:
    """A connection of the old epoch is told to close with its next answer; what both count adds up."""
    await replaced(s)


@scenario(WORKERS)
async def restart_of_workers_takes_over(s: Session) -> None:
    """The same with two workers."""
    await replaced(s)


@scenario(WORKERS)
async def restart_with_fewer_workers(s: Session) -> None:
    """One worker in the place of two: whoever comes is served."""
    s.see("failed", await s.restart(concurrency=1))
    await server(s, "server")
    for number in range(6):
        await s.get("/direct", label=f"reply {number}")


@scenario(RESTART)
async def restart_ends_the_old_epoch(s: Session) -> None:
    """--parent-shutdown-time-s after the new one serves, the old one ends, with idle connections."""
    client = await s.connect()
    await client.send(PROBE)
    await client.reply("before")
    s.see("failed", await s.restart())
    await client.closed()
    await s.older_exited()
    await s.get("/direct", label="from the new epoch")
    await count_together(s, "stats of one", 2, 0)


@scenario(DRAINING)
async def restart_drains(s: Session) -> None:
    """Idle connections end drain_timeout after the new epoch serves, others with what is under way."""
    opened = trio.Event()

    async def answer(call: Call) -> None:
        await opened.wait()
        await call.send(ok())

    s.upstream().script = answer
    idle = await s.connect()
    await idle.send(PROBE)
    await idle.reply("before")
    h1 = await s.connect()
    await h1.send(head("GET /h1 HTTP/1.1", "host: a"))
    await s.upstream().arrivals(1)
    h2 = await s.connect_h2(is_patient=True)
    stream = await h2.start(get("/h2"))
    await s.upstream().arrivals(2)
    s.see("failed", await s.restart())
    await idle.closed("idle")
    opened.set()
    await h1.reply("under way")
    await h1.closed()
    await h2.reply(stream, "under way, HTTP/2")
    await h2.drained()
    s.see("the old one runs", s.proxy.older_exit_status() is None)
    fresh = await s.connect_h2()
    await fresh.request(get("/direct"), label="from the new epoch")


@scenario(PATIENT)
async def restart_twice(s: Session) -> None:
    """A third epoch ends the first, long before its time."""
    await s.get("/direct", label="first")
    s.see("failed", await s.restart())
    await s.get("/direct", label="second")
    s.see("the first runs", s.proxy.older_exit_status() is None)
    oldest = s.proxy.older[-1]
    s.see("failed again", await s.restart())
    while oldest.poll() is None:  # noqa: ASYNC110 - another process
        await trio.sleep(0.01)
    s.see("exit of the first", oldest.poll())
    await server(s, "server")
    await s.get("/direct", label="third")
    await count_together(s, "stats", 3, 0)


@scenario(PATIENT)
async def restart_with_another_configuration(s: Session) -> None:
    """The new epoch answers as its own file says, at once; one more listener is there, too."""

    def change(found: dict[str, Any]) -> None:
        listeners = found["static_resources"]["listeners"]
        address = listeners[0]["address"]
        listeners[0] = {**listener("main", routes=OTHER), "address": address}
        listeners.append(listener("second", routes=ROUTES))

    await s.get("/direct", label="before")
    s.see("failed", await s.restart(change))
    await s.get("/direct", label="after")
    await s.get("/direct", to="second", label="of the listener that came")


@scenario(PATIENT)
async def restart_that_fails(s: Session) -> None:
    """An epoch whose file is wrong ends; the old one serves on, with its admin interface."""

    def change(found: dict[str, Any]) -> None:
        found["nonsense"] = 1

    client = await s.connect()
    await client.send(PROBE)
    await client.reply("before")
    s.see("failed", await s.restart(change))
    await client.usable("the same connection")
    await s.get("/direct")
    await s.admin("GET /ready")
    await server(s, "server")


@scenario(PATIENT)
async def restart_then_sigterm(s: Session) -> None:
    """SIGTERM ends the new epoch; whether the old one still runs then is chance on Envoy."""
    s.see("failed", await s.restart())
    s.proxy.signal(signal.SIGTERM)
    await s.exited("exit of the new epoch")


@scenario(PATIENT)
async def restart_of_a_drained_epoch(s: Session) -> None:
    """Whose listeners are closed already: the new one accepts; who was there is told to close."""
    client = await s.connect()
    await client.send(PROBE)
    await client.reply("before")
    await s.admin("POST /drain_listeners")
    while True:
        try:
            (await s.connect()).close()
        except OSError:
            break
    s.see("failed", await s.restart())
    await server(s, "server")
    await s.get("/direct", label="from the new epoch")
    await client.send(PROBE)
    await client.reply("from the old epoch")


@scenario(PATIENT)
async def restart_of_an_unready_epoch(s: Session) -> None:
    """/healthcheck/fail is the old one's: the new one is ready."""
    client = await s.connect()
    await client.send(PROBE)
    await client.reply("before")
    await s.admin("POST /healthcheck/fail")
    await s.admin("GET /ready", label="not ready")
    s.see("failed", await s.restart())
    await s.admin("GET /ready", label="ready")
    await server(s, "server")
    await s.get("/direct", label="from the new epoch")
    await client.send(PROBE)
    await client.reply("from the old epoch")
    await client.closed()


@scenario(PATIENT, differs={"of the first": "sigterm-finishes-what-has-begun"})
async def restart_twice_with_a_request_under_way(s: Session) -> None:
    """A third epoch ends the first while that has something under way."""
    answer = trio.Event()

    async def script(call: Call) -> None:
        await answer.wait()
        await call.send(ok())

    s.upstream().script = script
    client = await s.connect()
    await client.send(head("GET / HTTP/1.1", "host: a"))
    await s.upstream().arrivals(1)
    s.see("failed", await s.restart())
    oldest = s.proxy.older[-1]
    s.see("failed again", await s.restart())
    await s.get("/direct", label="third")
    answer.set()
    await client.reply("of the first")
    while oldest.poll() is None:  # noqa: ASYNC110 - another process
        await trio.sleep(0.01)
    s.see("exit of the first", oldest.poll())


@scenario(PATIENT)
async def restart_carries_statistics(s: Session) -> None:
    """What both epochs count of hosts, listeners and the rest adds up where it means something for both."""
    await s.get("/", label="before")
    client = await s.connect()
    await client.send(head("GET / HTTP/1.1", "host: a"))
    await client.reply("on a connection that stays")
    s.see("failed", await s.restart())
    await s.get("/", label="from the new epoch")
    wanted = {"http.main.downstream_rq_2xx": 3, "cluster.app.upstream_rq_total": 3}
    await s.until_stats(lambda found: wanted.items() <= found.items(), "^(http.main|cluster.app)")
    s.see("stats of both", await s.counters(SHARED))
    client.close()


UPGRADES = """
upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]
http2_protocol_options: {allow_connect: true}
"""
TUNNELLING = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {connect_matcher: {}}, route: {cluster: app}}
- {match: {prefix: /}, route: {cluster: app}}
"""
TUNNELS = Setup(
    "restart-with-tunnels",
    bootstrap(
        [
            listener("main", f"drain_timeout: 600s\n{UPGRADES}", routes=TUNNELLING),
            listener("soon", f"drain_timeout: 0.1s\n{UPGRADES}", routes=TUNNELLING),
            proxy("tcp", "cluster: app"),
        ],
        [cluster("app", "app")],
        extra="stats_flush_on_admin: true",
    ),
    {"app": "h1"},
    arguments=("--drain-strategy", "immediate", "--parent-shutdown-time-s", "600"),
)
SWITCHED = head("HTTP/1.1 101 Switching Protocols", "connection: Upgrade", "upgrade: websocket")
ESTABLISHED = head("HTTP/1.1 200 OK")


@scenario(TUNNELS, differs={"websocket, drained": "tunnels-outlive-a-drain"})
async def restart_leaves_tunnels(s: Session) -> None:
    """A WebSocket, CONNECT over both protocols and TCP go on with the old epoch, until drain_timeout."""

    async def script(call: Call) -> None:
        await call.send(SWITCHED if call.path == "/chat" else ESTABLISHED)
        for _ in range(2):
            await call.send(await call.tunnel(5))
        await call.tunnel_end()

    s.upstream().script = script
    clients = {}
    websocket = head("GET /chat HTTP/1.1", "host: a", "connection: upgrade", "upgrade: websocket")
    for name, to, request in (
        ("websocket", "main", websocket),
        ("websocket, drained", "soon", websocket),
        ("connect", "main", head("CONNECT target:443 HTTP/1.1", "host: target:443")),
        ("tcp", "tcp", head("GET /tcp HTTP/1.1", "host: a")),
    ):
        client = clients[name] = await s.connect(to)
        await client.send(request)
        await client.reply(f"{name}, accepted", has_body=False)
        await client.send(b"hello")
        await client.tunnel(5, f"{name}, before")
    h2 = await s.connect_h2(is_patient=True)
    fields = [(":method", "CONNECT"), (":authority", "target:443")]
    stream = await h2.start(fields, end=False)
    await h2.peer.data(stream, b"hello")
    await h2.tunnel(stream, 5, "HTTP/2, before")
    s.see("failed", await s.restart())
    await s.get("/direct", label="from the new epoch")
    drained = clients.pop("websocket, drained")
    await drained.closed("websocket, drained")
    drained.close()
    for name, client in clients.items():
        await client.send(b"still")
        await client.tunnel(5, f"{name}, after")
        client.half_close()
        await client.closed(f"{name}, then")
    await h2.peer.data(stream, b"still")
    await h2.tunnel(stream, 10, "HTTP/2, after")
    h2.close()
