"""Statistics of virtual clusters and of routes with a stat_prefix."""

from __future__ import annotations

from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, answers, ok
from .route_resolution import script

SAYS = "h:headers():add('x-vcluster', '<' .. h:streamInfo():virtualClusterName() .. '>')"
LOG = "%REQ(:PATH)% %RESPONSE_CODE% vcluster=%VIRTUAL_CLUSTER_NAME%\n"
ROUTES = """
    - {match: {path: /direct}, direct_response: {status: 200}}
    - {match: {path: /redirect}, redirect: {path_redirect: /x}}
    - {match: {path: /gone}, route: {cluster: dead}, stat_prefix: gone}
    - {match: {path: /nobody}, route: {cluster_header: x-none}, stat_prefix: nobody}
    - match: {path: /late}
      stat_prefix: late
      route: {cluster: app, timeout: 0.05s}
    - {match: {prefix: /named}, route: {cluster: app}, stat_prefix: by.name}
    - {match: {prefix: /}, route: {cluster: app}}
"""
VIRTUAL_CLUSTERS = """
    virtual_clusters:
    - name: users
      headers:
      - {name: ":path", string_match: {prefix: /users}}
      - {name: ":method", string_match: {exact: GET}}
    - name: posts
      headers: [{name: ":method", string_match: {exact: POST}}]
    - name: all-users
      headers: [{name: ":path", string_match: {prefix: /users}}]
"""


def table(name: str, more: str = "") -> str:
    host = f"  - name: {name}\n    domains: ['*']\n{more}\n    routes:\n{ROUTES}"
    return f"route_config:\n  virtual_hosts:\n{host}"


STATS = Setup(
    "route-stats",
    bootstrap(
        [
            listener("main", table("host", VIRTUAL_CLUSTERS), log=LOG),
            listener("without", table("without"), log=LOG),
            listener(
                "scripted",
                table("scripted", VIRTUAL_CLUSTERS),
                filters=script(f"function envoy_on_request(h) {SAYS} end")
                + script(f"function envoy_on_response(h) {SAYS} end", "later"),
            ),
        ],
        [cluster("app", "app"), cluster("dead", "dead")],
    ),
    {"app": "h1", "dead": "dead"},
)


TREES = ("vcluster.other", "route.late", "route.gone")
NAMES = ("total", "timeout", "completed", "5xx", "504", "503")


def measured(name: str, more: str = "", filters: str = "") -> dict[str, Any]:
    return listener(name, table(name) + "\nrecord_route_resolution_stats: true\n" + more, filters=filters)


EDIT = "function envoy_on_request(h) h:headers():add('x-edited', 'yes') end"
RESOLVED = Setup(
    "route-resolution-stats",
    bootstrap(
        [
            measured("once"),
            measured("twice", filters=script(EDIT)),
            measured("thrice", filters=script(EDIT) + script(EDIT, "second")),
        ],
        [cluster("app", "app"), cluster("dead", "dead")],
        "stats_flush_on_admin: true",
    ),
    {"app": "h1", "dead": "dead"},
)


async def every(s: Session, to: str, paths: tuple[str, ...]) -> None:
    for path in paths:
        await s.get(path, to=to, label=f"{to} {path}")


@scenario(STATS)
async def route_stats_names(s: Session) -> None:
    """All statistics below vhost., with their values."""
    s.upstream().script = answers(ok(b"ok"))
    await s.quiet()
    before = await s.counters("^vhost")
    async with s.logging(6):
        await every(s, "main", ("/users/1", "/users?x", "/other", "/direct", "/redirect"))
        await s.http("POST /users HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n", label="POST")
    await every(s, "main", ("/named/1", "/gone", "/nobody"))
    await every(s, "without", ("/users", "/named", "/direct"))
    await s.quiet()
    after = await s.counters("^vhost")
    s.see("stats", {name: value - before.get(name, 0) for name, value in after.items()})


@scenario(STATS)
async def route_stats_of_what_fails(s: Session) -> None:
    """Timeouts, connections that fail, clients that leave; the histograms are there."""
    never = trio.Event()

    async def silent(call: Call) -> None:
        await never.wait()

    s.upstream().script = silent
    async with s.counting(*(f"vhost.host.{tree}.upstream_rq_{name}" for tree in TREES for name in NAMES)):
        await every(s, "main", ("/late", "/gone"))
    reply = await s.proxy.admin("GET", "/stats?filter=vhost.host.*upstream_rq_time:")
    s.see("histograms", sorted(line.split(":")[0] for line in reply.body.decode().splitlines()))


@scenario(STATS)
async def route_stats_names_in_lua(s: Session) -> None:
    """virtualClusterName() of requests and responses."""
    await every(s, "scripted", ("/users/1", "/other", "/direct"))


async def resolutions(s: Session) -> dict[str, float]:
    """The sums and counts of the histograms, but for the time itself."""
    await s.quiet()
    reply = await s.proxy.admin("GET", "/stats/prometheus?filter=route_resolution")
    lines = (line.rpartition(" ") for line in reply.body.decode().splitlines())
    return {n: float(v) for n, _, v in lines if ("_count{" in n or "_sum{" in n) and "time_us_sum" not in n}


@scenario(RESOLVED)
async def route_stats_of_resolutions(s: Session) -> None:
    """How often the route of a stream was looked up: once more for each filter that clears it."""
    before = await resolutions(s)
    for name in ("once", "twice", "thrice"):
        await every(s, name, ("/users", "/direct"))
    after = await resolutions(s)
    s.see(
        "histograms", {name: round(value - before.get(name, 0), 6) for name, value in sorted(after.items())}
    )
