# ruff: noqa: E501  (a query reads best unbroken)
"""The admin interface endpoint by endpoint: methods, parameters, codes and shapes of answers."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener
from ..lab import Session
from ..scenario import Setup, scenario
from ..wire import show_headers
from .admin import keys

SUBJECT = "observability"

ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {prefix: /}, route: {cluster: app}}
"""
EXTRA = """
node: {id: node-1, cluster: cluster-1, locality: {zone: here}}
stats_flush_interval: 250s
layered_runtime: {layers: [{name: admin, admin_layer: {}}]}
"""
SETUP = Setup(
    "admin-walk",
    bootstrap(
        [listener("main", routes=ROUTES, extra="stat_prefix: main")],
        [cluster("app", "app"), cluster("other", "app")],
        EXTRA,
    ),
    {"app": "h1"},
)
#: Parameters of /stats, of a histogram without values, a counter, a gauge and text readouts.
QUERIES = (
    "filter=^http.main.downstream_rq_(2xx|time)$",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=cumulative",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=disjoint",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=detailed",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=nonsense",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=cumulative&format=json",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=disjoint&format=json",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=detailed&format=json",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=summary&format=prometheus",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=cumulative&format=prometheus",
    "filter=^http.main.downstream_rq_time$&histogram_buckets=disjoint&format=prometheus",
    "filter=^http.main.downstream_rq_time$&histogram_emit_mode=histogram,summary&format=prometheus",
    "filter=^http.main.downstream_rq_time$&histogram_emit_mode=nonsense&format=prometheus",
    "filter=^http.main.downstream_rq_[25]xx$&usedonly",
    "filter=^http.main.downstream_rq_[25]xx$&usedonly=false",
    "filter=^http.main.downstream_rq_[25]xx$&type=Counters",
    "filter=^http.main.downstream_rq_[25]xx$&type=Gauges",
    "filter=^http.main.downstream_rq_[25]xx$&type=nonsense",
    "filter=^http.main.downstream_rq_[25]xx$&hidden=include",
    "filter=^http.main.downstream_rq_[25]xx$&hidden=showonly",
    "filter=^http.main.downstream_rq_[25]xx$&hidden=only",
    "filter=control_plane&format=prometheus&text_readouts",
    "type=TextReadouts",
    "type=TextReadouts&format=json",
    "filter=^http.main.downstream_rq_2xx$&format=json&pretty",
    "filter=(unclosed",
    "format=nonsense",
)


@scenario(SETUP)
async def admin_walk_stats(s: Session) -> None:
    """/stats with each of its parameters."""
    await s.proxy.admin("POST", "/reset_counters")
    await s.get("/direct")
    await s.quiet()
    for query in QUERIES:
        await s.admin(f"GET /stats?{query}", query)
    await s.admin("POST /stats?filter=^http.main.downstream_rq_2xx$")
    await s.admin("GET /stats/prometheus?filter=^http.main.downstream_rq_2xx$&usedonly")
    await s.admin(
        "GET /stats/prometheus?filter=^http.main.downstream_rq_2xx$&format=json", "format of a path"
    )


@scenario(SETUP)
async def admin_walk_looking(s: Session) -> None:
    """What is only looked at, in each method; queries that mean nothing."""
    paths = "certs memory init_dump contention hot_restart_version runtime listeners server_info clusters"
    for path in (f"/{name}" for name in paths.split()):
        for method in ("GET", "POST", "HEAD", "DELETE"):
            reply = await s.proxy.admin(method, path)
            text = reply.body.decode("latin-1")
            shape: Any = "text"
            if text.startswith("{"):
                shape = keys(json.loads(text)) if path != "/server_info" else "JSON"
            elif path == "/contention":
                shape = text
            headers = [
                each for each in show_headers(reply.headers) if not each.startswith(("date", "content-l"))
            ]
            s.see(f"{method} {path}", [reply.start_line, sorted(headers), shape])
    await s.admin("GET /init_dump?mask=listener")
    await s.admin("GET /certs?x=y")
    await s.admin("GET /listeners?format=nonsense", body=lambda text: text.split("::")[0])
    await s.admin("GET /clusters?format=nonsense", body=lambda text: len(text) > 10)
    await s.admin("GET /ready/")
    await s.admin("GET /READY", body=lambda text: text[:12])
    await s.admin("GET /ready?a=%zz")
    await s.admin("GET /ready#x")


@scenario(SETUP)
async def admin_walk_config_dump(s: Session) -> None:
    """/config_dump: resources, masks, names, endpoints, and what is wrong with them."""

    def shape(text: str) -> object:
        if not text.startswith("{"):
            return text
        found = []
        for config in json.loads(text).get("configs", []):
            item: Any = keys({k: v for k, v in config.items() if k != "bootstrap"})
            item["@type"] = config["@type"]
            found.append(item)
        return found

    for query in (
        "",
        "?include_eds",
        "?resource=static_clusters",
        "?resource=static_clusters&name_regex=^app$",
        "?name_regex=^app$",
        "?name_regex=(",
        "?resource=static_clusters&mask=cluster.name",
        "?mask=static_clusters",
        "?mask=bootstrap.node.id",
        "?mask=nonsense",
        "?resource=static_listeners&mask=listener.name,last_updated",
        "?resource=bootstrap&mask=node.id",
        "?resource=static_endpoint_configs&include_eds",
        "?resource=static_endpoint_configs",
        "?resource=dynamic_active_clusters",
        "?resource=dynamic_listeners",
        "?resource=static_route_configs&mask=route_config.name",
        "?resource=nonsense",
    ):
        await s.admin(f"GET /config_dump{query}", body=shape)


@scenario(SETUP)
async def admin_walk_changing(s: Session) -> None:
    """What changes something: without POST, with parameters that are wrong, with a body."""
    for path in (
        "/cpuprofiler", "/heapprofiler", "/healthcheck/fail", "/healthcheck/ok", "/logging", "/quitquitquit",
        "/reset_counters", "/drain_listeners", "/reopen_logs", "/runtime_modify", "/stats/recentlookups/enable",
        "/tap",
    ):  # fmt: skip
        await s.admin(f"GET {path}")
        await s.admin(f"PUT {path}")
    await s.admin("POST /reopen_logs")
    await s.admin("POST /reopen_logs?x=y")
    await s.admin("POST /runtime_modify")
    await s.admin("POST /runtime_modify?a=b&c=")
    await s.admin("GET /runtime", "runtime", body=json.loads)
    await s.admin("POST /runtime_modify?a=", "taken away")
    await s.admin("GET /runtime", "runtime again", body=json.loads)
    await s.admin("POST /drain_listeners?skip_exit")
    await s.admin("POST /logging?level=debug&http=info", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?paths=", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?paths=nonsense:info", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?paths=http:nonsense", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?paths=http", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?level=", body=lambda text: text.splitlines()[:2])
    await s.admin("POST /logging?level=warning", body=lambda text: text.splitlines()[:2])
    await s.admin("GET /stats/recentlookups/nothing", body=lambda text: text[:14])
    s.proxy.is_spent = True


BARE = bootstrap([listener("main", routes=ROUTES)], [cluster("app", "app")], EXTRA)
BARE["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"].pop("access_log")


@scenario(Setup("admin-bare", BARE, {"app": "h1"}))
async def admin_walk_bare(s: Session) -> None:
    """Statistics of files without a file, a gauge that is always 0; parameters without a value."""
    await s.admin("GET /stats?filter=^filesystem&format=json", body=names)
    await s.admin("GET /stats?filter=queue_overloaded&type=Gauges")
    await s.admin("GET /stats?filter=queue_overloaded&type=Counters")
    for query in ("http", "http=", "nonsense", "group"):
        await s.admin(f"POST /logging?{query}", body=lambda text: text.splitlines()[:2])


def names(text: str) -> list[str]:
    return sorted(each["name"] for each in json.loads(text)["stats"] if "name" in each)
