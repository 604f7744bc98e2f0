"""Two workers: what is counted and shown is the whole."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import head

SUBJECT = "lifecycle"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /up}, route: {cluster: app}}
"""
WORKERS = Setup(
    "workers",
    bootstrap(
        [listener("main", routes=ROUTES, extra="stat_prefix: first")],
        [cluster("app", "app"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
    concurrency=2,
)


@scenario(WORKERS)
async def workers_stats_at_rest(s: Session) -> None:
    """The names and values before any traffic."""
    for pattern in (
        r"^http\.main\.",
        r"^listener\.first\.",
        r"^cluster\.dead\.(?!default\.|max_host_weight|upstream_queue|upstream_http3)",
        r"^cluster_manager\.(active|warming|cluster_(added|modified|removed))",
        r"^listener_manager\.(listener_(added|create_success)|total_listeners|workers_started)",
        r"^server\.(live|state|concurrency|hot_restart_epoch|hot_restart_generation)$",
    ):
        s.see(pattern, await s.counters(pattern))


@scenario(WORKERS)
async def workers_are_drained(s: Session) -> None:
    """A failed health check shows in every answer, whoever gives it, and at the admin interface."""
    await s.admin("POST /healthcheck/fail")
    await s.admin("GET /ready", "while it fails")
    for number in range(4):
        client = await s.connect()
        await client.send(head("GET /direct HTTP/1.1", "host: a"))
        await client.reply(f"reply {number}")
        client.close()
    await s.admin("POST /healthcheck/ok")
    await s.admin("GET /ready", "when it is well")
    for number in range(4):
        await s.get("/direct", label=f"reply {number}, well again")
