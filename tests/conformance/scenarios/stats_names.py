"""The names of all statistics, at rest and after traffic of every kind; values where traffic decides them."""

from __future__ import annotations

import re

import trio

from ..client import get
from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from ..wire import head

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /redirect}, redirect: {host_redirect: other}}
- {match: {path: /dead}, route: {cluster: dead, retry_policy: {retry_on: connect-failure, num_retries: 1}}}
- {match: {path: /full}, route: {cluster: full}}
- {match: {path: /none}, route: {cluster_header: x-none}}
- {match: {path: /h2}, route: {cluster: h2}}
- {match: {prefix: /}, route: {cluster: app}}
"""
FULL = """
outlier_detection: {}
circuit_breakers: {thresholds: [{track_remaining: true}]}
track_cluster_stats: {per_endpoint_stats: true}
"""
SETUP = Setup(
    "stats-names",
    bootstrap(
        [
            listener("main", routes=ROUTES, extra="stat_prefix: main"),
        ],
        [
            cluster("app", "app"),
            cluster("h2", "app2", http2=True),
            cluster("dead", "dead"),
            cluster("full", "app", extra=FULL),
        ],
    ),
    {"app": "h1", "app2": "h2", "dead": "dead"},
)


#: What differs from run to run, or by what the process is.
UNSTEADY = re.compile(
    r"bytes|^server\.(uptime|memory|total_conn|stats_recent|version)|^filesystem|^runtime\.(load_success|override)"
    r"|^(http|listener)\.admin\.|rq_pending_total|http2\.(cookie_|header_count|header_list_size$)"
)


async def stats(s: Session) -> dict[str, str]:
    """All stats, the port of the endpoint without its number; histograms by whether they hold anything."""
    reply = await s.proxy.admin("GET", "/stats")
    found = {}
    for line in reply.body.decode().splitlines():
        name, _, value = line.partition(": ")
        name = re.sub(r"endpoint\.127\.0\.0\.1_\d+", "endpoint.127.0.0.1_PORT", name)
        found[name] = "values" if value.startswith("P0") else value
    return found


@scenario(SETUP)
async def stats_names(s: Session) -> None:
    """The names that are there at rest, those that traffic adds, and the values that it decides."""
    await s.quiet()
    before = await stats(s)
    s.see("at rest", sorted(name for name in before if ".downstream_rq_" not in name or "admin" not in name))
    s.upstream().script = answers(ok(b"x"), ok(b"y"))
    for path in ("/direct", "/redirect", "/dead", "/none", "/x", "/full"):
        await s.get(path, label=path)
    client = await s.connect_h2()
    await client.request(get("/direct"))
    async with s.counting():
        pass
    after = await stats(s)
    grown = {name: value for name, value in after.items() if before.get(name) != value}
    s.see("grown", {name: value for name, value in sorted(grown.items()) if not UNSTEADY.search(name)})
    s.proxy.is_spent = True


@scenario(SETUP)
async def stats_of_an_endpoint(s: Session) -> None:
    """track_cluster_stats.per_endpoint_stats."""
    names = "cx_total cx_active cx_connect_fail rq_total rq_active rq_success rq_error rq_timeout healthy"
    s.upstream().script = answers(ok(b"x"), head("HTTP/1.1 503 No", "content-length: 0"))
    await s.get("/full")
    await s.get("/full", label="second")
    await s.quiet()
    found = await stats(s)
    prefix = "cluster.full.endpoint.127.0.0.1_PORT"
    s.see("endpoint", {name: found.get(f"{prefix}.{name}") for name in names.split()})


DIRECT = "- {match: {path: /direct}, direct_response: {status: 200}}"


def dispatcher_setup(name: str, concurrency: int) -> Setup:
    return Setup(
        name,
        bootstrap([listener("main", routes=DIRECT)], [], "enable_dispatcher_stats: true"),
        concurrency=concurrency,
    )


async def dispatcher_stats(s: Session) -> dict[str, str]:
    """Once each loop has turned, and what it recorded has been merged."""
    await s.get("/direct")
    found: dict[str, str] = {}
    with trio.move_on_after(20):
        while not found or set(found.values()) != {"values"}:
            await trio.sleep(0.1)
            found = {name: value for name, value in (await stats(s)).items() if "dispatcher" in name}
    return dict(sorted(found.items()))


@scenario(dispatcher_setup("stats-dispatcher", 1))
async def stats_of_the_dispatcher(s: Session) -> None:
    """enable_dispatcher_stats: how long the event loop works, and how late it comes back from waiting."""
    s.see("stats", await dispatcher_stats(s))
    for way in ("", "?usedonly"):
        lines = (await s.proxy.admin("GET", f"/stats/prometheus{way}")).body.decode().splitlines()
        found = sorted({re.sub(r"\} .*|,le=.*|le=.*", "}", each) for each in lines if "dispatcher" in each})
        s.see(f"prometheus{way}", found)


@scenario(dispatcher_setup("stats-dispatchers", 2))
async def stats_of_several_dispatchers(s: Session) -> None:
    """The main thread has its own, and so has each worker."""
    s.see("stats", await dispatcher_stats(s))
