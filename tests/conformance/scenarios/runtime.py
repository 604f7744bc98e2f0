"""Values of the runtime that change while serving: layers of the admin API, of directories and of RTDS."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..configuration import ROUTER, bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .xds_ads import ADS, assigned, eds_cluster, rds_listener, stats

SUBJECT = "runtime"

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
STATIC = """
layered_runtime:
  layers:
  - name: base
    static_layer:
      of: {base: 7, text: hello, "yes": true, share: {numerator: 100}}
      shared: 0
  - {name: admin, admin_layer: {}}
"""
FRACTION = "{default_value: {numerator: 0}, runtime_key: %s}"
ROUTES = f"""
- match: {{path: /fraction, runtime_fraction: {FRACTION % "route.a"}}}
  direct_response: {{status: 201}}
- match: {{path: /base, runtime_fraction: {FRACTION % "of.share"}}}
  direct_response: {{status: 201}}
- match: {{path: /mirror}}
  route:
    cluster: app
    request_mirror_policies: [{{cluster: copies, runtime_fraction: {FRACTION % "mirror"}}}]
- match: {{path: /weighted}}
  route:
    weighted_clusters:
      runtime_key_prefix: weights
      clusters: [{{name: app, weight: 1}}, {{name: other, weight: 0}}]
- match: {{prefix: /}}
  route: {{cluster: app}}
"""
MANAGER = """
access_log:
- name: file
  filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: log.status}}}}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: FILE(main.log)
    log_format: {text_format_source: {inline_string: "status %REQ(:PATH)%\\n"}}
- name: file
  filter: {runtime_filter: {runtime_key: log.share, percent_sampled: {numerator: 0}}}
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: FILE(main.log)
    log_format: {text_format_source: {inline_string: "sampled %REQ(:PATH)%\\n"}}
"""
FILTERS = f"""
- name: fault
  typed_config:
    "@type": {_FILTERS}.fault.v3.HTTPFault
    abort: {{http_status: 503, percentage: {{numerator: 0}}}}
    headers: [{{name: x-fault, present_match: true}}]
- name: csrf
  typed_config:
    "@type": {_FILTERS}.csrf.v3.CsrfPolicy
    filter_enabled: {FRACTION % "csrf.enabled"}
- name: local
  typed_config:
    "@type": {_FILTERS}.local_ratelimit.v3.LocalRateLimit
    stat_prefix: local
    token_bucket: {{max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s}}
    filter_enabled: {FRACTION % "limit.enabled"}
    filter_enforced: {FRACTION % "limit.enforced"}
- name: compressor
  typed_config:
    "@type": {_FILTERS}.compressor.v3.Compressor
    response_direction_config:
      common_config:
        min_content_length: 1
        enabled: {{default_value: false, runtime_key: compress}}
    compressor_library:
      name: gzip
      typed_config: {{"@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip}}
"""
LIMITED = """
filter_chains:
- filters:
  - name: limit
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit
      stat_prefix: limit
      max_connections: 1
      runtime_enabled: {default_value: false, runtime_key: connections}
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.\
HttpConnectionManager
      stat_prefix: limited
      route_config:
        virtual_hosts:
        - {name: all, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}
      http_filters: [{name: router, typed_config: {"@type": ROUTER}}]
""".replace("ROUTER", ROUTER)
LIVE = Setup(
    "runtime",
    bootstrap(
        [
            listener("main", MANAGER, routes=ROUTES, filters=FILTERS),
            listener("limited", extra=LIMITED),
        ],
        [cluster("app", "app"), cluster("other", "other"), cluster("copies", "copies")],
        STATIC,
    ),
    {"app": "h1", "other": "h1", "copies": "h1"},
)


async def modify(s: Session, **values: object) -> None:
    """Override values: ``_`` stands for the dot in their names."""
    query = "&".join(f"{name.replace('_', '.')}={quote(str(value))}" for name, value in values.items())
    await s.proxy.admin("POST", f"/runtime_modify?{query}")


def ready(s: Session) -> None:
    for name in ("app", "other", "copies"):
        s.upstream(name).script = answers(ok(name.encode(), "content-type: text/plain"))


@scenario(LIVE)
async def runtime_route_fraction(s: Session) -> None:
    """The share of a route: numbers, shares, and what is neither."""
    ready(s)
    values = ("", 100, 0, 1000, "true", "text", "100.0", "{numerator: 100}", "numerator: 0",
              '{"numerator": 10000, "denominator": "TEN_THOUSAND"}', "{denominator: MILLION}",
              "{numerator: 100, other: 1}", "-1", " 100 ", "1e2")  # fmt: skip
    for value in values:
        await modify(s, route_a=value)
        await s.get("/fraction", label=f"value {value}")
    await modify(s, route_a="")
    await s.get("/base", label="of a static layer")
    await modify(s, of_share=0)
    await s.get("/base", label="of a later layer")
    await modify(s, of_share="")


@scenario(LIVE)
async def runtime_mirror(s: Session) -> None:
    """How many requests are copied."""
    ready(s)
    s.proxy.is_spent = True
    await s.get("/mirror", label="none")
    await modify(s, mirror=100)
    await s.get("/mirror", label="all")
    await s.until_stats(
        lambda stats: stats["cluster.copies.upstream_rq_completed"] == 1, r"copies\.upstream_rq_completed"
    )
    await modify(s, mirror="")


@scenario(LIVE)
async def runtime_weights(s: Session) -> None:
    """``runtime_key_prefix`` of weighted clusters."""
    ready(s)
    await s.get("/weighted", label="as set")
    await modify(s, weights_app=0, weights_other=5)
    await s.get("/weighted", label="the other")
    await modify(s, weights_app="", weights_other="")
    await s.get("/weighted", label="as set again")


@scenario(LIVE)
async def runtime_fault(s: Session) -> None:
    """The keys of the fault filter that nobody has to name."""
    ready(s)
    await s.get("/", "x-fault: 1", label="no fault")
    await s.proxy.admin("POST", "/runtime_modify?fault.http.abort.abort_percent=100")
    await s.get("/", "x-fault: 1", label="all")
    await s.proxy.admin("POST", "/runtime_modify?fault.http.abort.http_status=418")
    await s.get("/", "x-fault: 1", label="another status")
    await s.proxy.admin("POST", "/runtime_modify?fault.http.max_active_faults=0")
    await s.get("/", "x-fault: 1", label="not one at once")
    keys = ("abort.abort_percent", "abort.http_status", "max_active_faults")
    await s.proxy.admin("POST", "/runtime_modify?" + "&".join(f"fault.http.{key}=" for key in keys))
    await s.get("/", "x-fault: 1", label="no fault again")


@scenario(LIVE)
async def runtime_csrf(s: Session) -> None:
    """A filter that is switched on."""
    ready(s)
    await s.http(b"POST / HTTP/1.1\r\nhost: a\r\norigin: http://b\r\ncontent-length: 0\r\n\r\n", label="off")
    await modify(s, csrf_enabled=100)
    await s.http(b"POST / HTTP/1.1\r\nhost: a\r\norigin: http://b\r\ncontent-length: 0\r\n\r\n", label="on")
    await modify(s, csrf_enabled="")


@scenario(LIVE)
async def runtime_local_ratelimit(s: Session) -> None:
    """Enabled, then enforced."""
    ready(s)
    s.proxy.is_spent = True
    await s.get("/", label="off")
    await modify(s, limit_enabled=100)
    await s.get("/", label="the only one")
    await s.get("/", label="not enforced")
    await modify(s, limit_enforced=100)
    await s.get("/", label="enforced")
    await stats(s, r"^local\.http_local_rate_limit")


@scenario(LIVE)
async def runtime_compressor(s: Session) -> None:
    """A flag: what counts as one."""
    ready(s)
    for value in ("", "true", "false", "True", 1, 0, "1.0", "on", "2", "-1"):
        await modify(s, compress=value)
        await s.get("/", "accept-encoding: gzip", label=f"flag {value}")
    await modify(s, compress="")


@scenario(LIVE)
async def runtime_circuit_breakers(s: Session) -> None:
    """Limits of a cluster."""
    ready(s)
    key = "circuit_breakers.app.default.max_requests"
    async with s.counting("cluster.app.upstream_rq_pending_overflow", "cluster.app.upstream_rq_200"):
        await s.get("/", label="as set")
        await s.proxy.admin("POST", f"/runtime_modify?{key}=0")
        await s.get("/", label="none")
        await s.proxy.admin("POST", f"/runtime_modify?{key}=")
        await s.get("/", label="as set again")


@scenario(LIVE)
async def runtime_access_log(s: Session) -> None:
    """The least status that is logged, and a share of all."""
    ready(s)
    async with s.logging(2):
        await s.get("/first", label="first")
        await modify(s, log_status=200)
        await s.get("/second", label="second")
        await modify(s, log_status="", log_share=100)
        await s.get("/third", label="third")
        await modify(s, log_share="")


@scenario(LIVE)
async def runtime_connection_limit(s: Session) -> None:
    """A network filter that is switched on, and the limit of a listener."""
    first = await s.connect("limited")
    await first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await first.reply("off")
    await modify(s, connections="true")
    second = await s.connect("limited")
    await second.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    await second.reply("the first that counts")
    third = await s.connect("limited")
    await third.closed("over the limit")
    await modify(s, connections="")
    key = "envoy.resource_limits.listener.limited.connection_limit"
    await s.proxy.admin("POST", f"/runtime_modify?{key}=2")
    fourth = await s.connect("limited")
    await fourth.closed("over that of the listener")
    await s.proxy.admin("POST", f"/runtime_modify?{key}=")
    s.proxy.is_spent = True


@scenario(LIVE)
async def runtime_page(s: Session) -> None:
    """What /runtime tells, and what may be modified."""
    await s.admin("GET /runtime", body=shown, headers=False)
    for query in ("", "?of.base=8&new=x&more=%20a%20b", "?of.base=", "?new", "?a=1&a=2", "?=5"):
        await s.admin(f"POST /runtime_modify{query}", headers=False)
    await s.admin("GET /runtime", body=shown, headers=False)
    await s.admin("GET /runtime_modify?a=1", headers=False)
    await stats(s, r"^runtime\.")
    await s.proxy.admin("POST", "/runtime_modify?new=&more=&a=")
    s.proxy.is_spent = True


def shown(text: str) -> object:
    """Envoy puts something that changes in front of a share."""
    tree: Any = json.loads(text)
    for entry in tree["entries"].values():
        entry["layer_values"] = [each.split("\n", 1)[-1] for each in entry["layer_values"]]
        entry["final_value"] = entry["final_value"].split("\n", 1)[-1]
    return {"layers": tree["layers"], "entries": dict(sorted(tree["entries"].items()))}


DISK = Setup(
    "runtime_disk",
    bootstrap(
        [listener("main", routes=ROUTES)],
        [cluster("app", "app"), cluster("other", "other"), cluster("copies", "copies")],
        """
node: {id: node, cluster: mine}
layered_runtime:
  layers:
  - {name: base, static_layer: {route.a: 0}}
  - {name: root, disk_layer: {symlink_root: FILE(current), subdirectory: all}}
  - {name: own, disk_layer: {symlink_root: FILE(current), subdirectory: by, append_service_cluster: true}}
""",
    ),
    {"app": "h1", "other": "h1", "copies": "h1"},
)


@scenario(DISK)
async def runtime_disk(s: Session) -> None:
    """Directories that a link points at, which is moved."""
    ready(s)
    s.proxy.is_spent = True
    place = Path(s.proxy.directory)

    def write(version: str, **files: str) -> None:
        for name, text in files.items():
            path = place / version / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        link = place / f"{version}.link"
        os.symlink(version, link)
        os.replace(link, place / "current")

    async def loaded(count: int) -> None:
        await s.until_stats(lambda stats: stats["runtime.load_success"] >= count, "^runtime")

    await s.get("/fraction", label="without a directory")
    write(
        "v1",
        all__route__a="# as many as there are\n100\n",
        all__weights__app="0",
        all__weights__other="1\n\n",
    )
    await loaded(3)
    await s.get("/fraction", label="of a directory")
    await s.get("/weighted", label="of another key")
    await s.admin("GET /runtime", body=shown, headers=False)
    write("v2", all__route__a="100", by__mine__route__a="0", by__other__route__a="100")
    await loaded(4)
    await s.get("/fraction", label="of the cluster's directory")
    await s.admin("GET /runtime", body=shown, headers=False)
    await stats(s, r"^runtime\.")


def rtds(name: str, more: str = "") -> Setup:
    return Setup(
        name,
        bootstrap(
            (),
            [cluster("xds", "xds", http2=True)],
            f"""
node: {{id: node, cluster: cluster}}
layered_runtime:
  layers:
  - {{name: base, static_layer: {{route.a: 0}}}}
  - {{name: first, rtds_layer: {{name: one, rtds_config: {ADS}}}}}
  - {{name: admin, admin_layer: {{}}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: xds}}}}]
  cds_config: {ADS}
  lds_config: {ADS}
""",
        ),
        {"xds": "h2", "one": "h1", "two": "h1"},
        is_early=True,
    )


@scenario(rtds("runtime_rtds"))
async def runtime_rtds(s: Session) -> None:
    """A layer that a control plane fills, is asked for before all else; what is wrong changes nothing."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update("rtds", "t1", "{name: one, layer: {route.a: 100}}")
    await plane.update("cds", "c1", eds_cluster("app"))
    await plane.update("eds", "e1", assigned("app", "one"))
    await plane.update("lds", "l1", rds_listener())
    fraction = FRACTION % "route.a"
    routes = (
        "{name: routes, virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /, "
        f"runtime_fraction: {fraction}}}, direct_response: {{status: 201}}}}, "
        "{match: {prefix: /}, route: {cluster: app}}]}]}"
    )
    await plane.update("rds", "r1", routes)
    await plane.live()
    await s.get("/", label="of the control plane")
    await plane.update("rtds", "t2", "{name: one, layer: {route.a: 0, of: {more: x}}}")
    await s.get("/", label="another")
    await plane.update("rtds", "t3", "{name: one, layer: {route.a: [100]}}")
    await s.get("/", label="wrong value")
    await plane.update("rtds", "t4", "{name: other, layer: {route.a: 100}}")
    await s.get("/", label="another's")
    await plane.update("rtds", "t5", "{name: one, layer: {route: {a: {numerator: 100}}}}")
    await s.get("/", label="a share")
    await s.proxy.admin("POST", "/runtime_modify?route.a=0")
    await s.get("/", label="the admin's over it")
    s.see("requests", plane.requests["rtds"])
    s.see("order", plane.streams)
    await s.admin("GET /runtime", body=shown, headers=False)
    await stats(s, r"^runtime\.")
