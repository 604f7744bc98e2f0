# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The value of every statistic that documentation names, after traffic that is known."""

from __future__ import annotations

import json
from typing import ClassVar

import trio

from ..client import get
from ..configuration import HCM, ROUTER, bootstrap, cluster, listener, parse
from ..lab import Session
from ..named_stats import NAMED, named_at_rest
from ..scenario import Setup, scenario
from ..stat_values import moving, shown, snapshot
from ..tls import client_context, get_tls
from ..upstream import Call, answers, ok
from ..wire import head
from .tls_downstream import V12
from .tls_secrets import Files, file, secured
from .tls_upstream import tls_cluster

SUBJECT = "observability"

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
FILTERS = f"""
- name: lua
  typed_config: {{"@type": {_HTTP}.lua.v3.Lua, default_source_code: {{inline_string: "function envoy_on_request(h) if h:headers():get('x-fail') then error('x') end end"}}}}
- name: rbac
  typed_config:
    "@type": {_HTTP}.rbac.v3.RBAC
    rules: {{action: LOG, policies: {{all: {{permissions: [{{header: {{name: x-logged, present_match: true}}}}], principals: [{{any: true}}]}}}}}}
- name: limit
  typed_config: {{"@type": {_HTTP}.local_ratelimit.v3.LocalRateLimit, stat_prefix: limit}}
- name: authz
  typed_config: {{"@type": {_HTTP}.ext_authz.v3.ExtAuthz, filter_enabled: {{default_value: {{numerator: 0}}}}, grpc_service: {{envoy_grpc: {{cluster_name: dead}}}}}}
- name: buffer
  typed_config: {{"@type": {_HTTP}.buffer.v3.Buffer, max_request_bytes: 1000}}
- name: fault
  typed_config:
    "@type": {_HTTP}.fault.v3.HTTPFault
    headers: [{{name: x-fault, present_match: true}}]
    abort: {{http_status: 503, percentage: {{numerator: 100}}}}
    delay: {{fixed_delay: 0.001s, percentage: {{numerator: 100}}}}
"""
ROUTES = """
- {match: {path: /direct}, direct_response: {status: 200, body: {inline_string: here}}}
- {match: {path: /gone}, redirect: {host_redirect: other}}
- {match: {path: /dead}, stat_prefix: dead, route: {cluster: dead, retry_policy: {retry_on: connect-failure, num_retries: 1, retry_back_off: {base_interval: 0.001s}}}}
- {match: {path: /again}, stat_prefix: again, route: {cluster: app, timeout: 0s, retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.001s}}}}
- {match: {path: /zoned}, route: {cluster: zoned}}
- {match: {path: /h2}, route: {cluster: h2}}
- {match: {prefix: /}, stat_prefix: app, route: {cluster: app}}
"""
BY_ENDPOINT = "track_cluster_stats: {per_endpoint_stats: true}"
CHECK = """
health_checks:
- {timeout: 2s, interval: 1000s, no_traffic_interval: 1000s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /check}}
common_lb_config: {healthy_panic_threshold: {value: 0}}
"""


def discovered(kind: str, resource: object) -> bytes:
    """A DiscoveryResponse with one resource."""
    typed = {"@type": f"type.googleapis.com/{kind}", **resource} if isinstance(resource, dict) else None
    return json.dumps({"version_info": "first", "resources": [typed]}).encode()


def source(name: str) -> dict[str, object]:
    return {"path_config_source": {"path": f"FILE({name}.json)"}, "resource_api_version": "V3"}


def found_listener() -> dict[str, object]:
    """Comes from a file, and so do its routes and a filter."""
    hcm = {
        "@type": HCM,
        "stat_prefix": "found",
        "rds": {"route_config_name": "routes", "config_source": source("rds")},
        "http_filters": [
            {
                "name": "ext",
                "config_discovery": {
                    "config_source": source("ecds"),
                    "type_urls": [f"{_HTTP}.buffer.v3.Buffer"],
                },
            },
            {"name": "router", "typed_config": {"@type": ROUTER}},
        ],
    }
    made = listener("found", extra="stat_prefix: found")
    made["filter_chains"] = [{"filters": [{"name": "hcm", "typed_config": hcm}]}]
    return made


_ROUTES_FOUND = {
    "name": "routes",
    "virtual_hosts": [
        {
            "name": "a",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 204}}],
        }
    ],
}
_EXT = {"name": "ext", "typed_config": {"@type": f"{_HTTP}.buffer.v3.Buffer", "max_request_bytes": 1000}}
_EDS = {"name": "eds", "type": "EDS", "eds_cluster_config": {"eds_config": source("eds")}}


class Found(Files):
    """What comes from files."""

    _secrets: ClassVar[dict[str, str]] = {
        "cert.yaml": Files._secrets["cert.yaml"],
        "lds.json": discovered("envoy.config.listener.v3.Listener", found_listener()).decode(),
        "rds.json": discovered("envoy.config.route.v3.RouteConfiguration", _ROUTES_FOUND).decode(),
        "ecds.json": discovered("envoy.config.core.v3.TypedExtensionConfig", _EXT).decode(),
        "cds.json": discovered("envoy.config.cluster.v3.Cluster", _EDS).decode(),
        "eds.json": discovered(
            "envoy.config.endpoint.v3.ClusterLoadAssignment", {"cluster_name": "eds"}
        ).decode(),
    }


def tcp_listener() -> dict[str, object]:
    made = listener("tcp", extra="stat_prefix: tcp")
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "app",
    }
    made["filter_chains"] = [{"filters": [{"name": "tcp", "typed_config": config}]}]
    return made


def made() -> Setup:
    main = listener("main", "add_user_agent: true", routes=ROUTES, filters=FILTERS, extra="stat_prefix: main")
    host = main["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]
    host["virtual_clusters"] = parse(
        "[{name: vc, headers: [{name: ':path', string_match: {prefix: /again}}]}]"
    )
    zoned = cluster("zoned", "app")
    zoned["load_assignment"]["endpoints"][0]["locality"] = {"zone": "there"}
    return Setup(
        "stats-values",
        bootstrap(
            [
                main,
                listener(
                    "plain",
                    "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}\ncommon_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}\npath_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT",
                    routes=ROUTES,
                    extra="stat_prefix: plain",
                ),
                tcp_listener(),
                secured("tls", f"tls_certificate_sds_secret_configs: [{file('cert')}]"),
                listener(
                    "strict",
                    "common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}\npath_with_escaped_slashes_action: REJECT_REQUEST",
                    routes=ROUTES,
                    extra="stat_prefix: strict",
                ),
            ],
            [
                cluster("app", "app", extra=BY_ENDPOINT),
                zoned,
                cluster("h2", "app2", http2=True, extra=BY_ENDPOINT),
                cluster("dead", "dead"),
                cluster("sick", "dead", extra=CHECK),
                tls_cluster("tls"),
            ],
            f"""
node: {{id: node, cluster: cluster, locality: {{zone: here}}}}
stats_flush_on_admin: true
dynamic_resources: {{lds_config: {json.dumps(source("lds"))}, cds_config: {json.dumps(source("cds"))}}}
""",
        ),
        {"app": "h1", "app2": "h2", "dead": "dead"},
        Found(),
    )


SETUP = made()


@scenario(SETUP)
async def stats_values_at_rest(s: Session) -> None:
    """Each name that is documented, before there was traffic: the value, or that there is none."""
    await s.quiet()
    found = await snapshot(s)
    s.see("stats", {name: shown(name, found.get(name)) for name in named_at_rest()})


@scenario(SETUP)
async def stats_values_of_requests(s: Session) -> None:
    """Requests that go well and that do not: the manager's, the listener's, the route's, the cluster's."""
    s.upstream().script = answers(
        ok(b"body"),
        ok(b"x"),
        head("HTTP/1.1 302 Found", "location: /", "content-length: 0"),
        head("HTTP/1.1 404 No", "content-length: 0"),
    )
    async with moving(s, r"^(http|listener|cluster|vhost)\.(?!admin)"):
        client = await s.connect()
        for path in ("/direct", "/gone", "/one", "/two", "/three", "/four"):
            await client.send(head(f"GET {path} HTTP/1.1", "host: a"))
            await client.reply(path)


@scenario(SETUP)
async def stats_values_of_retries(s: Session) -> None:
    """A try that is followed by another, by route and virtual cluster; a host that is not there."""
    bad = head("HTTP/1.1 503 No", "content-length: 0")
    s.upstream().script = answers(bad, ok(b"x"), bad, bad, bad)
    async with moving(s, r"^(vhost|cluster)\.|rq_retry"):
        await s.get("/again")
        await s.get("/again", label="never")
        await s.get("/dead", label="dead")


@scenario(SETUP)
async def stats_values_of_trees(s: Session) -> None:
    """Canaries, zones, requests from inside, another name that the request gives."""
    canary = head("HTTP/1.1 200 OK", "x-envoy-upstream-canary: true", "content-length: 0")
    s.upstream().script = answers(canary, ok(b"x"), ok(b"x"), ok(b"x"))
    async with moving(s, r"^cluster\."):
        await s.get("/zoned", to="plain")
        await s.get("/one", "x-forwarded-for: 10.0.0.1", to="plain", label="internal")
        names = "x-envoy-upstream-alt-stat-name: first,second"
        await s.get("/two", names, "x-forwarded-for: 10.0.0.1", to="plain", label="alternative")
        await s.get("/three", names, to="plain", label="from outside")


@scenario(SETUP)
async def stats_values_of_filters(s: Session) -> None:
    """What filters count."""
    s.upstream().script = answers(ok(b"x"), ok(b"x"), ok(b"x"))
    async with moving(s, r"lua|rbac|limit|authz|fault|buffer|cors"):
        await s.get("/one", "x-logged: yes")
        await s.get("/two", "x-fail: yes", label="fail")
        await s.get("/one", "x-fault: yes", "x-envoy-downstream-service-cluster: front", label="fault")


@scenario(SETUP)
async def stats_values_of_user_agents(s: Session) -> None:
    """Phones, which `add_user_agent` counts apart."""
    async with moving(s, r"user_agent"):
        await s.get("/direct", "user-agent: Mozilla/5.0 (iPhone; CPU iPhone OS 16_0 like Mac OS X)")
        await s.get("/direct", "user-agent: iOS/9", label="ios")
        await s.get("/direct", "user-agent: Android 12", label="Android")
        await s.get("/direct", "user-agent: an android", to="plain", label="android")
        client = await s.connect()
        for _ in range(2):
            await client.send(head("GET /direct HTTP/1.1", "host: a", "user-agent: iPhone"))
            await client.reply("again")


@scenario(SETUP)
async def stats_values_of_odd_requests(s: Session) -> None:
    """Headers with underscores, escaped slashes, an absolute target that is none."""
    async with moving(s, r"^(http1|http2|http\.(plain|strict))\."):
        for to in ("plain", "strict"):
            await s.get("/direct", "x_y: z", to=to, label=f"underscore {to}")
            await s.get("/a%2fb", to=to, label=f"slash {to}")
        for to in ("plain", "strict"):
            client = await s.connect_h2(to)
            await client.request([*get("/direct"), ("x_y", "z")])


@scenario(SETUP)
async def stats_values_of_http2(s: Session) -> None:
    """HTTP/2 on both sides: codecs, connections, what each connection carried."""
    async with moving(s, r"^(http2|cluster\.h2|http\.main)\."):
        client = await s.connect_h2()
        await client.request(get("/h2"))
        await client.request(get("/h2"))


@scenario(SETUP)
async def stats_values_of_codecs(s: Session) -> None:
    """Every counter of a codec, once it was used: by how much it moved, 0 among it."""
    s.upstream().script = answers(ok(b"x"))
    places = {
        "http1.": "http1.",
        "http2.": "http2.",
        "cluster.http1.": "cluster.app.http1.",
        "cluster.http2.": "cluster.h2.http2.",
    }
    names = [place + name for prefix, place in places.items() for name in NAMED[prefix].split()]
    async with s.counting(*names):
        await s.get("/one")
        client = await s.connect_h2()
        await client.request(get("/h2"))


@scenario(SETUP)
async def stats_values_of_tls(s: Session) -> None:
    """A handshake: suite, curve, version and signature."""
    async with moving(s, r"^(listener|cluster)\.tls\."):
        await get_tls(s, to="tls", context=client_context(versions=V12))


@scenario(SETUP)
async def stats_values_of_who_leaves(s: Session) -> None:
    """Phones that leave during a request, and connections to the admin interface."""

    async def wait(call: Call) -> None:
        await call.body()
        arrived.set()
        await call.gone()

    s.upstream().script = wait
    async with moving(s, r"user_agent\.\w+\.downstream_cx_destroy"):
        for agent in ("iOS/9", "an android"):
            arrived = trio.Event()
            client = await s.connect()
            await client.send(head("GET /one HTTP/1.1", "host: a", f"user-agent: {agent}"))
            await arrived.wait()
            client.close()
    pattern = r"^listener\.admin\.main_thread\."
    before, after = [await s.counters(pattern) for _ in range(2)]
    place = "listener.admin.main_thread."
    grown = after[f"{place}downstream_cx_total"] - before[f"{place}downstream_cx_total"]
    s.see(
        place,
        {"downstream_cx_total": grown, "downstream_cx_active": after[f"{place}downstream_cx_active"]},
    )
