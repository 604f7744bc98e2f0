# ruff: noqa: E501  (a route is a line of a table)
"""refresh_cluster_on_retry: the next try goes to the cluster that the route would choose now."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import Call, ok
from ..wire import head
from .retries import BAD, FAST, stats
from .route_matcher_tree import header, mapped, plugin, to_cluster

SUBJECT = "upstream"

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_CLUSTER%\n"
ON = f"retry_policy: {{retry_on: 5xx, num_retries: 3, refresh_cluster_on_retry: true, {FAST}}}"
OFF = f"retry_policy: {{retry_on: 5xx, num_retries: 3, {FAST}}}"
BY_COUNT = plugin(
    mapped(
        "exact",
        header("x-envoy-attempt-count"),
        {"2": to_cluster("b"), "3": to_cluster("c"), "4": to_cluster("nobody")},
        otherwise=to_cluster("a"),
    )
)
TO_NOWHERE = plugin(
    mapped("exact", header("x-envoy-attempt-count"), {"1": to_cluster("nobody")}, otherwise=to_cluster("a"))
)
WEIGHTED = "weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 1}, {name: c, weight: 1}]}"
HEAVY = "weighted_clusters: {clusters: [{name: a, weight: 100}, {name: b, weight: 0}, {name: c, weight: 0}]}"
BY_NAME = "weighted_clusters: {header_name: x-random, clusters: [{name: a, weight: 10}, {name: b, weight: 10}, {name: c, weight: 10}]}"
ENTRIES = ", ".join(
    f"{{name: {name}, weight: 10, request_headers_to_add: [{{header: {{key: x-entry, value: {name}}}}}], "
    f"response_headers_to_add: [{{header: {{key: x-entry, value: {name}}}}}]}}"
    for name in "ab"
)
OWN = f"weighted_clusters: {{header_name: x-random, clusters: [{ENTRIES}]}}"
CONFIG = f"""
route_config:
  virtual_hosts:
  - name: all
    domains: ["*"]
    include_request_attempt_count: true
    routes:
    - {{match: {{prefix: /tree}}, route: {{timeout: 0s, inline_cluster_specifier_plugin: {BY_COUNT}, {ON}}}}}
    - {{match: {{prefix: /nowhere}}, route: {{timeout: 0s, inline_cluster_specifier_plugin: {TO_NOWHERE}, {ON}}}}}
    - {{match: {{prefix: /off-tree}}, route: {{timeout: 0s, inline_cluster_specifier_plugin: {BY_COUNT}, {OFF}}}}}
    - {{match: {{prefix: /weighted}}, route: {{timeout: 0s, {WEIGHTED}, {ON}}}}}
    - {{match: {{prefix: /off-weighted}}, route: {{timeout: 0s, {WEIGHTED}, {OFF}}}}}
    - {{match: {{prefix: /heavy}}, route: {{timeout: 0s, {HEAVY}, {ON}}}}}
    - {{match: {{prefix: /random}}, route: {{timeout: 0s, {BY_NAME}, {ON}}}}}
    - {{match: {{prefix: /own}}, route: {{timeout: 0s, {OWN}, {ON}}}}}
    - {{match: {{prefix: /header}}, route: {{timeout: 0s, cluster_header: x-to, {ON}}}}}
    - {{match: {{prefix: /plain}}, route: {{timeout: 0s, cluster: a, {ON}}}}}
"""
CLUSTERS = Setup(
    "retries_clusters",
    bootstrap([listener("main", CONFIG, log=LOG)], [cluster("a", "a"), cluster("b", "b"), cluster("c", "c")]),
    {"a": "h1", "b": "h1", "c": "h1"},
)


async def tried(
    s: Session, path: str, requests: int, *headers: str, good: int = 9, shown: bool = False
) -> list[list[str]]:
    """For each of some requests: which clusters it came to; the ``good``-th try is answered well."""
    order: list[str] = []

    def script(name: str) -> object:
        async def run(call: Call) -> None:
            await call.body()
            own = [
                value for key, value in call.request.headers if key in ("x-envoy-attempt-count", "x-entry")
            ]
            order.append(" ".join((name, *own)))
            await call.send(ok() if len(order) >= good else BAD)

        return run

    for name in "abc":
        s.upstream(name).script = script(name)  # type: ignore[assignment]
    found = []
    for _ in range(requests):
        order.clear()
        client = await s.connect()
        await client.send(head(f"GET {path} HTTP/1.1", "host: a", *headers))
        if shown:
            await client.reply(path)
        else:
            await client.wire.line()
        client.close()
        found.append(list(order))
    for name in "abc":
        s.upstream(name).seen.clear()
    return found


@scenario(CLUSTERS)
async def retry_refreshes_the_cluster(s: Session) -> None:
    """By a tree that looks at the number of the try; by a header; where there is nothing to choose."""
    async with s.logging(8), s.counting(*stats("a"), *stats("b"), *stats("c")):
        s.see("tree", await tried(s, "/tree", 1))
        s.see("tree, the second is good", await tried(s, "/tree", 1, good=2))
        s.see("tree, the third is good", await tried(s, "/tree", 1, good=3))
        s.see("to a cluster that nobody has", await tried(s, "/nowhere", 1))
        await s.get("/nowhere", label="nowhere")
        s.see("off", await tried(s, "/off-tree", 1))
        s.see("header", await tried(s, "/header", 1, "x-to: b"))
        s.see("plain", await tried(s, "/plain", 1))


@scenario(CLUSTERS)
async def retry_refreshes_a_weighted_cluster(s: Session) -> None:
    """An entry that was not tried while there is one, then any."""
    found = await tried(s, "/weighted", 6)
    s.see("each", [(sorted(one.split()[0] for one in each[:3]), len(each)) for each in found])
    s.see("off", [len({one.split()[0] for one in each}) for each in await tried(s, "/off-weighted", 4)])
    s.see("heavy", await tried(s, "/heavy", 3))
    s.see("random", [await tried(s, "/random", 1, f"x-random: {n}") for n in (5, 15, 25)])
    s.see("own", await tried(s, "/own", 1, "x-random: 0", good=2, shown=True))
