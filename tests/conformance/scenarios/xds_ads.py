# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Configuration from a control plane over one stream (ADS), the state of the world."""

from __future__ import annotations

from typing import Any

import trio

from ..configuration import bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..endpoints import move
from ..lab import Session
from ..proxy import POLL_S
from ..scenario import Setup, scenario
from ..upstream import answers, ok

SUBJECT = "xds"

ADS = "{ads: {}, resource_api_version: V3}"


def ads(name: str, **upstreams: str) -> Setup:
    return Setup(
        name,
        bootstrap(
            (),
            [cluster("xds", "xds", http2=True)],
            f"""
node: {{id: node, cluster: cluster}}
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
        {"xds": "h2", **upstreams},
        is_early=True,
    )


WHOLE = ads("ads", one="h1", two="h1")


def eds_cluster(name: str, more: str = "") -> str:
    return (
        f"{{name: {name}, type: EDS, connect_timeout: 1s, eds_cluster_config: {{eds_config: {ADS}}}{more}}}"
    )


def assigned(name: str, *upstreams: str) -> str:
    ends = ", ".join(
        f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: PORT({each})}}}}}}}}"
        for each in upstreams
    )
    return f"{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{ends}]}}]}}"


def rds_listener(name: str = "main", routes: str = "routes") -> dict[str, Any]:
    hcm = f"rds: {{route_config_name: {routes}, config_source: {ADS}}}"
    return listener(name, hcm)


def routed(name: str, to: str) -> str:
    return (
        f"{{name: {name}, virtual_hosts: [{{name: all, domains: ['*'], "
        f"routes: [{{match: {{prefix: /}}, route: {{cluster: {to}}}}}]}}]}}"
    )


@scenario(WHOLE)
async def xds_ads_start(s: Session) -> None:
    """All four kinds, in the order in which they are asked for; then traffic."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update("cds", "c1", eds_cluster("app"))
    await plane.update("eds", "e1", assigned("app", "one"))
    await plane.update("lds", "l1", rds_listener())
    await plane.update("rds", "r1", routed("routes", "app"))
    await plane.live()
    await s.get("/first")
    plane.see()
    s.see("order", plane.streams)
    s.see("paths", plane.paths)
    s.see("nodes", plane.nodes)
    stats = await s.counters(
        r"^(cluster_manager|listener_manager|control_plane|cluster\.app\.(update|init|mem|version)|http\.main\.rds)"
    )
    s.see(
        "stats",
        {n: v for n, v in sorted(stats.items()) if v and not n.endswith(("version", "time", "time_ms"))},
    )


def direct(name: str, body: str, more: str = "", *, filters: str = "") -> dict[str, Any]:
    """A listener that answers by itself."""
    routes = (
        f"- {{match: {{prefix: /}}, direct_response: {{status: 200, body: {{inline_string: '{body}'}}}}}}"
    )
    return listener(name, more, routes=routes, filters=filters)


async def stats(s: Session, *patterns: str, label: str = "stats") -> None:
    """Observe the stats that are not 0, without times and versions."""
    found = await s.counters("|".join(patterns))
    s.see(
        label,
        {n: v for n, v in sorted(found.items()) if v and not n.endswith(("version", "time", "time_ms"))},
    )


async def begin(s: Session) -> ControlPlane:
    """A proxy that serves with one cluster and routes from the control plane."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    s.upstream("two").script = answers(ok(b"two"))
    await plane.update("cds", "c1", eds_cluster("app"))
    await plane.update("eds", "e1", assigned("app", "one"))
    await plane.update("lds", "l1", rds_listener())
    await plane.update("rds", "r1", routed("routes", "app"))
    await plane.live()
    return plane


@scenario(WHOLE)
async def xds_ads_endpoints(s: Session) -> None:
    """Endpoints change, go, and come back; a response without the resource; one that nobody wants."""
    plane = await begin(s)
    client = await s.connect()
    for version, ends in (("e2", ("two",)), ("e3", ()), ("e4", ("one",))):
        await plane.update("eds", version, assigned("app", *ends))
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(version)
    await plane.update("eds", "e5")
    await plane.update("eds", "e6", assigned("nobody", "two"))
    await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
    await client.reply("still")
    plane.see()
    await stats(s, r"^cluster\.app\.(update|membership)")


@scenario(WHOLE)
async def xds_ads_routes(s: Session) -> None:
    """Routes change between two requests of a connection; wrong ones change nothing."""
    plane = await begin(s)
    client = await s.connect()

    async def ask(label: str) -> None:
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(label)

    await ask("before")
    await plane.update(
        "rds",
        "r2",
        "{name: routes, virtual_hosts: [{name: all, domains: ['*'], routes: "
        "[{match: {prefix: /}, direct_response: {status: 201}}]}]}",
    )
    await ask("after")
    await plane.update(
        "rds", "r3", "{name: routes, virtual_hosts: [{name: all, domains: ['*']}, {name: b, domains: ['*']}]}"
    )
    await ask("refused")
    await plane.update("rds", "r4", routed("routes", "nowhere"))
    await ask("nowhere")
    await plane.update("rds", "r5", "{name: routes, virtual_hosts: [{name: all, domains: []}]}")
    await ask("against the rules")
    await plane.update("rds", "r6", routed("other", "app"))
    await ask("another's")
    plane.see()
    await stats(s, r"^http\.main\.rds")


@scenario(WHOLE)
async def xds_ads_clusters(s: Session) -> None:
    """Clusters come, change and go while requests are served."""
    plane = await begin(s)
    await plane.send("cds", "c2", eds_cluster("app"), eds_cluster("second"))
    await plane.asked("eds", 3)
    s.see("clusters are not confirmed before they are warm", plane.requests["cds"][2:])
    await plane.update("rds", "r2", routed("routes", "second"))
    await s.get("/warming", label="of a cluster that warms")
    await plane.update("eds", "e2", assigned("app", "one"), assigned("second", "two"))
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")
    await s.get("/warm", label="of one that is warm")
    await plane.update("cds", "c3", eds_cluster("second"))
    await s.until_stats(lambda stats: stats["cluster_manager.active_clusters"] == 2, "active_clusters")
    await s.get("/kept", label="of the one that stays")
    await plane.update("cds", "c4")
    await s.until_stats(lambda stats: stats["cluster_manager.active_clusters"] == 1, "active_clusters")
    await s.get("/gone", label="of none")
    s.see("clusters", plane.requests["cds"])
    await stats(s, r"^cluster_manager\.")


@scenario(WHOLE)
async def xds_ads_bad_clusters(s: Session) -> None:
    """Of clusters that are refused the good ones are taken, unless a rule of the API is broken."""
    plane = await begin(s)
    bad = "{name: bad, type: EDS, connect_timeout: 1s}"
    static = "{name: plain, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: plain}}"
    await plane.update("cds", "c2", eds_cluster("app"), bad, static)
    await stats(s, r"^cluster_manager\.", label="in part")
    s.see("so far", plane.requests["cds"])
    await plane.update(
        "cds", "c3", eds_cluster("app"), "{name: rule, connect_timeout: -1s}", static.replace("plain", "more")
    )
    await stats(s, r"^cluster_manager\.", label="not at all")
    await plane.update("cds", "c4", eds_cluster("app"), static, static)
    await stats(s, r"^cluster_manager\.", label="twice")
    await plane.update("cds", "c5", eds_cluster("app"), static.replace("plain", "xds"))
    await stats(s, r"^cluster_manager\.", label="one of the bootstrap's")
    await s.get("/")
    s.see("requests", plane.requests["cds"])


@scenario(WHOLE)
async def xds_ads_listeners(s: Session) -> None:
    """Listeners come, change and go."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), direct("extra", "first"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="extra")
    await plane.update("lds", "l3", rds_listener(), direct("extra", "second"))
    await s.get("/", to="extra")
    await s.get("/", label="the other")
    await plane.update("lds", "l4", rds_listener())
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 1, "total_listeners_active"
    )
    await s.get("/", label="the other")
    s.see("requests", plane.requests["lds"])
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")


@scenario(WHOLE)
async def xds_ads_bad_listeners(s: Session) -> None:
    """Of listeners that are refused the good ones are taken."""
    plane = await begin(s)
    bad = direct("bad", "x", "codec_type: AUTO\nstrip_any_host_port: true\nstrip_matching_host_port: true")
    await plane.update("lds", "l2", rds_listener(), bad, direct("good", "good"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="good")
    rule = direct("rule", "x")
    rule["address"]["socket_address"]["port_value"] = 70000
    await plane.update("lds", "l3", rds_listener(), rule, direct("good", "better"))
    await s.get("/", to="good")
    unknown = listener("unknown", routes="- {match: {prefix: /}, route: {cluster: nowhere}}")
    await plane.update("lds", "l4", rds_listener(), unknown, direct("good", "best"))
    await s.get("/", to="good")
    await plane.update("lds", "l5", rds_listener(), direct("good", "best"), direct("good", "twice"))
    await s.get("/", to="good")
    s.see("requests", plane.requests["lds"])
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")


@scenario(WHOLE)
async def xds_ads_reconnect(s: Session) -> None:
    """A stream that ends is opened again, with the versions that there are; all goes on meanwhile."""
    plane = await begin(s)
    await plane.end()
    await s.get("/", label="meanwhile")
    for kind in ("cds", "eds", "lds", "rds"):
        await plane.asked(kind, 3)
    plane.see()
    await plane.update("eds", "e2", assigned("app", "two"))
    await s.get("/", label="afterwards")
    await stats(s, r"^control_plane\.", r"\.update_(attempt|failure|success|rejected)$")


@scenario(WHOLE)
async def xds_ads_stats_of_the_gone(s: Session) -> None:
    """Clusters and listeners that went take their stats along."""
    plane = await begin(s)
    names = r"^(cluster\.(app|other)|listener\.127)"

    async def kinds(label: str) -> None:
        found = await s.counters(names)
        s.see(label, sorted({name.partition("_")[0].rpartition(".")[0] for name in found if "." in name}))

    await s.get("/first")
    other = listener("other", routes="[{match: {prefix: /}, direct_response: {status: 200}}]")
    other["stat_prefix"] = "127_other"
    await plane.update("lds", "l2", rds_listener(), other)
    await kinds("both")
    await plane.update("lds", "l3", rds_listener())
    while "listener.127_other.downstream_cx_total" in await s.counters(names):  # noqa: ASYNC110 - another process
        await trio.sleep(POLL_S)
    await plane.update("rds", "r2", direct_routes())
    await plane.send("cds", "c2", eds_cluster("other"))
    await plane.update("eds", "e2", assigned("other", "one"))
    while "cluster.app.upstream_rq_total" in await s.counters(names):  # noqa: ASYNC110 - another process
        await trio.sleep(POLL_S)
    await kinds("gone")


def direct_routes() -> str:
    return "{name: routes, virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}"


def two_chains(first: str, second: str, more: str = "") -> dict[str, Any]:
    """A listener whose clients of this machine have one chain, all others another."""
    made = direct("two", first, more)
    other = direct("two", second)["filter_chains"][0]
    made["filter_chains"][0]["filter_chain_match"] = {
        "source_prefix_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]
    }
    made["default_filter_chain"] = other
    return made


@scenario(WHOLE)
async def xds_ads_in_place(s: Session) -> None:
    """Connections of a chain that stays go on; those of one that changes are asked to end."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), two_chains("first", "other"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    client = await s.connect("two")

    async def ask(label: str) -> None:
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(label)

    await ask("before")
    await plane.update("lds", "l3", rds_listener(), two_chains("first", "another"))
    await ask("its chain stays")
    changed = two_chains("second", "another")
    await plane.update("lds", "l4", rds_listener(), changed)
    await ask("its chain went")
    await s.get("/", to="two", label="a new connection")
    changed["per_connection_buffer_limit_bytes"] = 65536
    client = await s.connect("two")
    await ask("of the listener")
    await plane.update("lds", "l5", rds_listener(), changed)
    await ask("all of it changes")
    await s.get("/", to="two", label="a new connection")
    await stats(s, r"^listener_manager\.(listener|total_listeners_active)")


ONE = """
version_info: "{version}"
resources: [{resources}]
"""
FILES = Setup(
    "xds_files",
    bootstrap(
        (),
        (),
        """
node: {id: node, cluster: cluster}
dynamic_resources:
  cds_config: {path_config_source: {path: FILE(cds.yaml)}}
  lds_config: {path_config_source: {path: FILE(lds.yaml)}}
""",
    ),
    {"one": "h1", "two": "h1"},
    {
        name: ONE.replace("{version}", "1").replace("{resources}", f'{{"@type": {kind}, {fields}}}').encode()
        for name, kind, fields in (
            (
                "cds.yaml",
                "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "name: app, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: app, "
                "endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, "
                "port_value: PORT(one)}}}}]}]}",
            ),
            (
                "rds.yaml",
                "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name: routes, virtual_hosts: [{name: all, domains: ['*'], routes: "
                "[{match: {prefix: /}, route: {cluster: app}}]}]",
            ),
            (
                "lds.yaml",
                "type.googleapis.com/envoy.config.listener.v3.Listener",
                str(
                    listener(
                        "main",
                        "rds: {route_config_name: routes, "
                        "config_source: {path_config_source: {path: FILE(rds.yaml)}}}",
                    )
                )
                .strip("{}")
                .replace("False", "false"),
            ),
        )
    },
)


@scenario(FILES)
async def xds_from_files(s: Session) -> None:
    """Clusters, listeners and routes from files that are moved into place."""
    s.proxy.is_spent = True
    s.upstream("one").script = answers(ok(b"one"))
    s.upstream("two").script = answers(ok(b"two"))
    await s.get("/")
    cds = FILES.files["cds.yaml"].decode()
    move(s, "cds.yaml", cds.replace("PORT(one)", "PORT(two)").replace('"1"', '"2"'))
    await s.until_stats(lambda stats: stats["cluster_manager.cds.update_success"] == 2, "update_success")
    await s.get("/", label="another host")
    move(
        s,
        "rds.yaml",
        FILES.files["rds.yaml"].decode().replace("route: {cluster: app}", "direct_response: {status: 201}"),
    )
    await s.until_stats(lambda stats: stats["http.main.rds.routes.update_success"] == 2, "update_success")
    await s.get("/", label="another route")
    move(s, "lds.yaml", 'version_info: "2"')
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 0, "listeners_active"
    )
    await stats(s, r"^(cluster_manager|listener_manager|http\.main\.rds)\.(?!.*draining)")
