"""The incremental protocol over one stream (ADS) and over streams of single types."""

from __future__ import annotations

from ..configuration import bootstrap, cluster, listener, parse
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .xds_ads import ADS, assigned, direct, eds_cluster, rds_listener, routed, stats

SUBJECT = "xds"

#: A stream that ends is opened again soon.
SOON = "retry_policy: {retry_back_off: {base_interval: 0.01s, max_interval: 0.02s}}"
DELTA = Setup(
    "xds_delta",
    bootstrap(
        (),
        [cluster("xds", "xds", http2=True)],
        f"""
node: {{id: node, cluster: cluster}}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: xds, {SOON}}}}}]
  cds_config: {ADS}
  lds_config: {ADS}
""",
    ),
    {"xds": "h2", "one": "h1", "two": "h1"},
    is_early=True,
)


async def begin(s: Session) -> ControlPlane:
    """A proxy that serves with one cluster and routes from the control plane."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    s.upstream("two").script = answers(ok(b"two"))
    await plane.update_delta("cds", "c1", {"app": ("1", eds_cluster("app"))})
    await plane.update_delta("eds", "e1", {"app": ("1", assigned("app", "one"))})
    await plane.update_delta("lds", "l1", {"main": ("1", rds_listener())})
    await plane.update_delta("rds", "r1", {"routes": ("1", routed("routes", "app"))})
    await plane.live()
    return plane


@scenario(DELTA)
async def xds_delta_start(s: Session) -> None:
    """All four kinds, in the order in which they are asked for; then traffic."""
    plane = await begin(s)
    await s.get("/first")
    plane.see()
    s.see("order", [list(each) for each in plane.streams])
    s.see("paths", list(plane.paths))
    s.see("nodes", list(plane.nodes))
    await stats(
        s,
        r"^(cluster_manager|listener_manager|control_plane|cluster\.app\.(update|init|mem|version)|http\.main\.rds)",
    )


@scenario(DELTA)
async def xds_delta_empty(s: Session) -> None:
    """A control plane that has nothing: the proxy serves nothing."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update_delta("cds", "c1")
    await plane.update_delta("lds", "l1")
    await plane.live()
    plane.see()
    await stats(s, r"^(cluster_manager|listener_manager)")


@scenario(DELTA)
async def xds_delta_endpoints(s: Session) -> None:
    """Endpoints change, go, and come back; nothing at all; one that nobody wants."""
    plane = await begin(s)
    client = await s.connect()

    async def ask(label: str) -> None:
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(label)

    await plane.update_delta("eds", "e2", {"app": ("2", assigned("app", "two"))})
    await ask("another")
    await plane.update_delta("eds", "e3", {"app": ("3", assigned("app"))})
    await ask("none")
    await plane.update_delta("eds", "e4", {"app": ("4", assigned("app", "one"))})
    await ask("back")
    await plane.update_delta("eds", "e5", removed=["app"])
    await ask("removed")
    await plane.update_delta("eds", "e6", {"nobody": ("1", assigned("nobody", "two"))})
    await plane.update_delta("eds", "e7")
    await plane.update_delta("eds", "e8", {"app": ("5", assigned("other", "two"))})
    await ask("of another name")
    plane.see()
    await stats(s, r"^cluster\.app\.(update|membership)")


@scenario(DELTA)
async def xds_delta_clusters(s: Session) -> None:
    """Clusters come, change and go; what is asked for of their endpoints follows."""
    plane = await begin(s)
    await plane.send_delta("cds", "c2", {"second": ("1", eds_cluster("second"))})
    await plane.asked("eds", 3)
    await plane.update_delta("rds", "r2", {"routes": ("2", routed("routes", "second"))})
    await s.get("/warming", label="of a cluster that warms")
    await plane.update_delta("eds", "e2", {"second": ("1", assigned("second", "two"))})
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")
    await s.get("/warm", label="of one that is warm")
    await plane.update_delta("cds", "c3", removed=["app"])
    await plane.asked("eds", 5)
    await plane.update_delta("cds", "c4", removed=["app", "never"])
    await s.get("/kept", label="of the one that stays")
    await plane.update_delta("cds", "c5", removed=["second"])
    await s.get("/gone", label="of none")
    await plane.asked("eds", 6)
    plane.see()
    await stats(s, r"^cluster_manager\.")


STATIC = "{name: plain, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: plain}}"


@scenario(DELTA)
async def xds_delta_bad_clusters(s: Session) -> None:
    """Of clusters that are refused the good ones are taken, unless one cannot be read."""
    plane = await begin(s)
    bad = "{name: bad, type: EDS, connect_timeout: 1s}"
    await plane.update_delta("cds", "c2", {"bad": ("1", bad), "plain": ("1", STATIC)})
    await stats(s, r"^cluster_manager\.", label="in part")
    more = STATIC.replace("plain", "more")
    rule = "{name: rule, connect_timeout: -1s}"
    await plane.update_delta("cds", "c3", {"rule": ("1", rule), "more": ("1", more)}, ["plain"])
    await stats(s, r"^cluster_manager\.", label="not at all")
    await plane.update_delta("cds", "c4", {"plain": ("2", STATIC)}, ["plain"])
    await stats(s, r"^cluster_manager\.", label="came and went")
    await plane.update_delta("cds", "c5", {"a": ("1", more), "b": ("1", more)})
    await stats(s, r"^cluster_manager\.", label="twice")
    await plane.end()
    await plane.asked("cds", 7)
    s.see("requests", list(plane.requests["cds"]))
    await s.get("/")


@scenario(DELTA)
async def xds_delta_listeners(s: Session) -> None:
    """Listeners come, change and go; of those that are refused the good ones are taken."""
    plane = await begin(s)
    await plane.update_delta("lds", "l2", {"extra": ("1", direct("extra", "first"))})
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="extra")
    bad = direct("bad", "x", "strip_any_host_port: true\nstrip_matching_host_port: true")
    await plane.update_delta("lds", "l3", {"bad": ("1", bad), "extra": ("2", direct("extra", "second"))})
    await s.get("/", to="extra")
    await plane.update_delta("lds", "l4", removed=["extra", "never"])
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 1, "total_listeners_active"
    )
    await s.get("/", label="the other")
    s.see("requests", list(plane.requests["lds"]))
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")


@scenario(DELTA)
async def xds_delta_routes(s: Session) -> None:
    """Routes change; wrong ones change nothing, nor does their removal."""
    plane = await begin(s)
    client = await s.connect()

    async def ask(label: str) -> None:
        await client.send(b"GET /a HTTP/1.1\r\nhost: example.com\r\n\r\n")
        await client.reply(label)

    hosts = (
        "virtual_hosts: [{name: all, domains: ['*'], "
        "routes: [{match: {prefix: /}, direct_response: {status: 201}}]}"
    )
    await plane.update_delta("rds", "r2", {"routes": ("2", f"{{name: routes, {hosts}]}}")})
    await ask("after")
    await plane.update_delta(
        "rds", "r3", {"routes": ("3", f"{{name: routes, {hosts}, {{name: b, domains: ['*']}}]}}")}
    )
    await ask("refused")
    await plane.update_delta("rds", "r4", removed=["routes"])
    await ask("removed")
    await plane.update_delta("rds", "r5", {"routes": ("5", routed("other", "app"))})
    await ask("another's")
    plane.see()
    await stats(s, r"^http\.main\.rds")


@scenario(DELTA)
async def xds_delta_reconnect(s: Session) -> None:
    """A stream that ends is opened again, with the versions that there are."""
    plane = await begin(s)
    await plane.update_delta("cds", "c2", {"plain": ("7", STATIC)})
    await plane.update_delta("eds", "e2", {"app": ("2", assigned("app", "two"))})
    await plane.update_delta("eds", "e3", {"app": ("3", assigned("other", "two"))})
    await plane.end()
    for kind, count in (("cds", 4), ("eds", 5), ("lds", 3), ("rds", 3)):
        await plane.asked(kind, count)
    await plane.update_delta("rds", "r2", removed=["routes"])
    await plane.update_delta("cds", "c3", removed=["plain"])
    await plane.end()
    for kind, count in (("cds", 6), ("eds", 6), ("lds", 4), ("rds", 5)):
        await plane.asked(kind, count)
    await s.get("/", label="afterwards")
    plane.see()
    s.see("order", [sorted(each) for each in plane.streams])
    await stats(s, r"^control_plane\.", r"\.update_(attempt|failure|success|rejected)$")


@scenario(DELTA)
async def xds_delta_names(s: Session) -> None:
    """A name twice, other types, heartbeats, aliases, and resources without contents."""
    plane = await begin(s)
    await plane.update_delta("eds", "heartbeat", {"app": ("1", None)})
    await plane.update_delta("eds", "no heartbeat", {"app": ("9", None)})
    await plane.update_delta("eds", "of nobody", {"nobody": ("9", None)})
    await plane.update_delta("cds", "heartbeat", {"app": ("1", None)})
    await plane.update_delta("cds", "another type", {"app": ("2", assigned("app", "one"))}, kind_of="eds")
    await plane.update_delta("cds", "with alias", {"plain": ("1", STATIC)}, aliases={"plain": ["else"]})
    await plane.update_delta("eds", "nothing", {"app": ("2", assigned("app", "two"))}, ["app"])
    plane.see()
    await s.get("/")
    await stats(s, r"\.update_(attempt|failure|success|rejected)$", r"^cluster_manager\.(active|cluster)")


@scenario(DELTA)
async def xds_delta_alias(s: Session) -> None:
    """An alias that leads to no resource."""
    plane = await begin(s)
    await plane.update_delta("eds", "e2", {"app": ("2", None)}, aliases={"app": ["else"]})
    plane.see()
    await s.get("/")
    await stats(s, r"\.update_(success|rejected)$", r"^cluster_manager\.(active|cluster)")


@scenario(DELTA)
async def xds_delta_ttl(s: Session) -> None:
    """Resources whose time is over go; heartbeats keep them."""
    plane = await begin(s)
    await plane.update_delta("cds", "c2", {"plain": ("1", STATIC)}, ttls={"plain": 60})
    await plane.update_delta("cds", "c3", {"plain": ("1", None)}, ttls={"plain": 0.05})
    await s.until_stats(lambda stats: stats["cluster_manager.cluster_removed"] == 1, "cluster_removed")
    extra = direct("extra", "first")
    await plane.update_delta("lds", "l2", {"extra": ("1", extra)}, ttls={"extra": 0.05})
    await s.until_stats(lambda stats: stats["listener_manager.listener_removed"] == 1, "listener_removed")
    await plane.update_delta("eds", "e2", {"app": ("2", assigned("app", "two"))}, ttls={"app": 0.05})
    await s.until_stats(lambda stats: stats["cluster.app.update_empty"] == 1, "update_empty")
    await s.get("/")
    await plane.update_delta("lds", "l3", {"extra": ("1", extra)}, ttls={"extra": 0.05})
    await plane.end()
    await s.until_stats(lambda stats: stats["listener_manager.listener_removed"] == 2, "listener_removed")
    await plane.asked("lds", 5)
    plane.requests["lds"].clear()
    await plane.end()
    await plane.asked("lds", 1)
    plane.see()
    await stats(s, r"\.update_(success|rejected)$", r"^(cluster|listener)_manager\.(cluster|listener)_")


@scenario(DELTA)
async def xds_delta_cluster_again(s: Session) -> None:
    """A cluster that changes has its endpoints already: it does not wait for others."""
    plane = await begin(s)
    again = eds_cluster("app", ", circuit_breakers: {thresholds: [{max_connections: 5}]}").replace(
        "resource_api_version: V3", "resource_api_version: V3, initial_fetch_timeout: 0.1s"
    )
    await plane.update_delta("cds", "c2", {"app": ("2", again)})
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")
    await s.get("/")
    await plane.update_delta("eds", "e2", {"app": ("2", assigned("app", "two"))})
    await s.get("/")
    plane.see()
    await stats(
        s, r"^cluster_manager\.(cluster|warming|active)", r"^cluster\.app\.(update|assign|membership|init)"
    )


API = (
    "{resource_api_version: V3, api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, "
    "grpc_services: [{envoy_grpc: {cluster_name: xds}}]}"
)
SINGLE = Setup(
    "xds_delta_single",
    bootstrap(
        [listener("main", f"rds: {{route_config_name: routes, config_source: {API}}}}}")],
        [
            cluster("xds", "xds", http2=True),
            parse(
                f"{{name: app, type: EDS, connect_timeout: 1s, "
                f"eds_cluster_config: {{service_name: my-service, eds_config: {API}}}}}}}"
            ),
        ],
        f"node: {{id: node, cluster: cluster}}\n"
        f"dynamic_resources: {{cds_config: {API}}}, lds_config: {API}}}}}",
    ),
    {"xds": "h2", "one": "h1", "two": "h1"},
    is_early=True,
)


@scenario(SINGLE)
async def xds_delta_single_streams(s: Session) -> None:
    """Each subscription that names a control plane has a stream of its own."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update_delta("eds", "e1", {"my-service": ("1", assigned("my-service", "one"))})
    await plane.update_delta("cds", "c1")
    await plane.update_delta("rds", "r1", {"routes": ("1", routed("routes", "app"))})
    await plane.update_delta("lds", "l1", {"extra": ("1", direct("extra", "x"))})
    await plane.live()
    await s.get("/")
    await s.get("/", to="extra")
    s.see("paths", sorted(plane.paths))
    s.see("nodes", list(plane.nodes))
    plane.see()
    await stats(
        s, r"^cluster\.app\.(update|init|member|control)", r"^http\.main\.rds\.routes\.", r"control_plane"
    )
