"""``track_cluster_stats``: sizes of requests and responses, and how much of their timeouts they took."""

from __future__ import annotations

import re

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, H2Call
from ..wire import head

SUBJECT = "observability"

ROUTES = """
- match: {prefix: /retry}
  route: {cluster: app, timeout: 300s, retry_policy: {retry_on: 5xx, per_try_timeout: 200s,
    retry_back_off: {base_interval: 0.001s, max_interval: 0.001s}}}
- {match: {prefix: /none}, route: {cluster: app, timeout: 0s}}
- {match: {prefix: /dead}, route: {cluster: dead, timeout: 300s}}
- {match: {prefix: /h2}, route: {cluster: h2app, timeout: 300s}}
- {match: {prefix: /old}, route: {cluster: old, timeout: 300s}}
- {match: {prefix: /}, route: {cluster: app, timeout: 300s}}
"""
TRACK = "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}"
SETUP = Setup(
    "stats-sizes",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [
            cluster("app", "app", extra=TRACK),
            cluster("dead", "dead", extra=TRACK),
            cluster("h2app", "h2app", extra=TRACK, http2=True),
            cluster("old", "app", extra="track_timeout_budgets: true"),
        ],
        "stats_flush_on_admin: true",
    ),
    {"app": "h1", "h2app": "h2", "dead": "dead"},
)
_LINE = re.compile(
    r"envoy_cluster_(upstream_r[qs]_(?:\w+_size|\w+_count|timeout_\w+))_(sum|count)\{.*\} (\S+)"
)


async def answer(call: Call) -> None:
    await call.body()
    if call.path == "/chunked":
        data = (
            head("HTTP/1.1 200 OK", "transfer-encoding: chunked", "x-up: 1")
            + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        )
    elif call.path == "/empty":
        data = head("HTTP/1.1 204 No Content", "x-up: 1")
    elif call.path == "/retry" and call.request.values("x-envoy-attempt-count") in ([], ["1"]):
        data = head("HTTP/1.1 503 Service Unavailable", "content-length: 4") + b"busy"
    elif call.path == "/cut":
        await call.close()
        return
    else:
        data = head("HTTP/1.1 200 OK", "content-length: 9", "x-up: 1", "x-two: 1", "x-two: 2") + b"an answer"
    await call.send(data)


async def sums(s: Session, name: str) -> dict[str, float]:
    """Sum and count of every histogram."""
    await s.quiet()
    query = f"filter=^cluster.{name}.upstream_r._.*(size|count|budget)"
    reply = await s.proxy.admin("GET", f"/stats/prometheus?{query}")
    return {
        f"cluster.{name}.{stat}" if what == "sum" else f"{stat} {what}": float(number)
        for stat, what, number in _LINE.findall(reply.body.decode())
    }


async def measure(s: Session, request: str | bytes, label: str, name: str = "app") -> None:
    """A request, and by how much the histograms grew with it."""
    before = await sums(s, name)
    await s.http(request, label=label)
    after = await sums(s, name)
    s.see(f"{label} sizes", {key: round(after[key] - before[key], 3) for key in sorted(after)})


def get(path: str, *lines: str) -> bytes:
    return head(f"GET {path} HTTP/1.1", "host: a", *lines)


@scenario(SETUP)
async def sizes_of_requests(s: Session) -> None:
    """With a body and without, answered with bodies of each kind, broken off, without a timeout."""
    s.upstream().script = answer
    await measure(s, get("/plain", "x-a: 1"), "plain")
    await measure(s, head("POST /post HTTP/1.1", "host: a", "content-length: 5") + b"hello", "post")
    for path in ("/chunked", "/empty", "/cut", "/none"):
        await measure(s, get(path), path)


@scenario(SETUP)
async def sizes_of_tries(s: Session) -> None:
    """Each try counts, and none counts where there was no connection."""
    s.upstream().script = answer
    await measure(s, get("/retry"), "retry")
    await measure(s, get("/dead"), "dead", "dead")
    await measure(s, get("/old"), "old", "old")


@scenario(SETUP)
async def sizes_over_http2(s: Session) -> None:
    """Trailers are told by no size."""

    async def script(call: H2Call) -> None:
        await call.body()
        await call.answer([(":status", "200"), ("x-up", "1")], b"an answer", [("x-trailer", "1")])

    s.upstream("h2app").h2_script = script
    await measure(s, get("/h2"), "h2", "h2app")
