# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""The state of the world in its corners: times to live, wrapped resources, rate limits, lost streams, the node."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from ..configuration import bootstrap, cluster, listener
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..upstream import answers, ok
from .xds_ads import WHOLE, assigned, begin, direct, eds_cluster, rds_listener, routed, stats
from .xds_delta import SOON, STATIC

SUBJECT = "xds"


def setup(name: str, ads: str = "", *, node: str = "", more: str = "", wait: str = "15s") -> Setup:
    """Streams come back soon; ``wait``: how long a first answer is waited for."""
    source = f"{{ads: {{}}, resource_api_version: V3, initial_fetch_timeout: {wait}}}"
    return Setup(
        name,
        bootstrap(
            (),
            [cluster("xds", "xds", http2=True)],
            f"""
node: {{id: node, cluster: cluster{node}}}
dynamic_resources:
  ads_config:
    api_type: GRPC
    transport_api_version: V3
    grpc_services: [{{envoy_grpc: {{cluster_name: xds, {SOON}}}{more}}}]
{ads}
  cds_config: {source}
  lds_config: {source}
""",
        ),
        {"xds": "h2", "one": "h1", "two": "h1"},
        is_early=True,
    )


SHORT = setup("xds_short", wait="0.3s")
PATIENT = setup("xds_patient")


@scenario(WHOLE)
async def xds_ads_ttl(s: Session) -> None:
    """Resources whose time is over go."""
    plane = await begin(s)
    await plane.update("cds", "c2", eds_cluster("app"), plane.wrapped("cds", "plain", "7", STATIC, 0.05))
    await s.until_stats(lambda stats: stats["cluster_manager.cluster_removed"] == 1, "cluster_removed")
    extra = plane.wrapped("lds", "extra", "8", direct("extra", "x"), 0.05)
    await plane.update("lds", "l2", rds_listener(), extra)
    await s.until_stats(lambda stats: stats["listener_manager.listener_removed"] == 1, "listener_removed")
    await s.get("/")
    plane.see()
    await stats(s, r"\.update_(success|rejected|empty)$", r"^(cluster|listener)_manager\.(cluster|listener)_")


@scenario(WHOLE)
async def xds_ads_heartbeats(s: Session) -> None:
    """A resource without contents says that it still holds, if its version is that of the last answer."""
    plane = await begin(s)
    await plane.update("eds", "e2", plane.wrapped("eds", "app", "e2", assigned("app", "two"), 60))
    await plane.update("eds", "e2", plane.wrapped("eds", "app", "e2", None, 60))
    await plane.update("eds", "e3", plane.wrapped("eds", "app", "e2", None, 60))
    await plane.update("eds", "e4", plane.wrapped("eds", "app", "e2", None, 60))
    await s.get("/")
    plane.see()
    await stats(s, r"\.update_(success|rejected|empty)$", r"^(cluster|listener)_manager\.(cluster|listener)_")


@scenario(WHOLE)
async def xds_ads_wrapped(s: Session) -> None:
    """Resources inside a Resource, whose name need not be their own."""
    plane = await begin(s)
    await plane.update(
        "cds",
        "c2",
        eds_cluster("app"),
        plane.wrapped("cds", "plain", "7", STATIC, None),
        plane.wrapped("cds", "app", "8", STATIC.replace("plain", "more"), None),
    )
    await stats(s, r"^cluster_manager\.(active|cluster)", label="clusters")
    await plane.update("eds", "e2", plane.wrapped("eds", "else", "1", assigned("app", "two"), None))
    await s.get("/", label="of another name")
    await plane.update("eds", "e3", plane.wrapped("eds", "app", "1", assigned("app", "two"), None))
    await s.get("/", label="of its name")
    await plane.update("rds", "r2", plane.wrapped("rds", "routes", "1", routed("other", "app"), None))
    await plane.update(
        "lds", "l2", rds_listener(), plane.wrapped("lds", "other", "1", direct("extra", "x"), None)
    )
    await plane.update(
        "lds", "l3", rds_listener(), plane.wrapped("lds", "other", "1", direct("extra", "x"), None)
    )
    plane.see()
    await stats(s, r"\.update_(success|rejected|empty)$", r"^(cluster|listener)_manager\.(cluster|listener)_")


@scenario(WHOLE)
async def xds_ads_types(s: Session) -> None:
    """Answers of types that nobody asked for, resources of other types than their answer, and none at all."""
    plane = await begin(s)
    await plane.send_typed("eds", "type.googleapis.com/envoy.service.runtime.v3.Runtime", "x1")
    await plane.send_typed("eds", "type.googleapis.com/no.such.Type", "x2")
    await plane.send_typed("eds", "", "x3")
    await plane.update("eds", "e2", plane.packed("cds", STATIC))
    await plane.update("cds", "c2", plane.packed("eds", assigned("app", "one")))
    await plane.update("lds", "l2", rds_listener(), plane.packed("cds", STATIC))
    await s.get("/")
    plane.see()
    await stats(s, r"\.update_(success|rejected|failure)$")


@scenario(WHOLE)
async def xds_ads_cluster_again(s: Session) -> None:
    """A cluster that changes asks again, and goes on with the endpoints that it has if nobody answers."""
    plane = await begin(s)
    again = eds_cluster("app", ", circuit_breakers: {thresholds: [{max_connections: 5}]}").replace(
        "resource_api_version: V3", "resource_api_version: V3, initial_fetch_timeout: 0.1s"
    )
    await plane.send("cds", "c2", again)
    await s.until_stats(lambda stats: stats["cluster_manager.warming_clusters"] == 0, "warming_clusters")
    await plane.acked("cds")
    await s.get("/")
    await plane.update("eds", "e2", assigned("app", "two"))
    await s.get("/")
    plane.see()
    await stats(
        s, r"^cluster_manager\.(cluster|warming|active)", r"^cluster\.app\.(update|assign|membership|init)"
    )


@scenario(WHOLE)
async def xds_ads_listeners_share_routes(s: Session) -> None:
    """Two listeners with the same routes ask once; when one goes, they are kept."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), rds_listener("second"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/", to="second")
    await plane.update("lds", "l3", rds_listener("second"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 1, "listeners_active"
    )
    await plane.update("rds", "r2", routed("routes", "app"))
    await s.get("/", to="second", label="again")
    plane.see()
    await stats(s, r"^listener_manager\.(?!total_filter|.*worker|total_listeners_draining)")


@scenario(WHOLE)
async def xds_ads_same_again(s: Session) -> None:
    """The same resources in another version change nothing."""
    plane = await begin(s)
    await plane.update("cds", "c2", eds_cluster("app"))
    await plane.update("eds", "e2", assigned("app", "one"))
    await plane.update("lds", "l2", rds_listener())
    await plane.update("rds", "r2", routed("routes", "app"))
    await plane.update("rds", "r2", routed("routes", "app"))
    await s.get("/")
    plane.see()
    await stats(
        s,
        r"^(cluster_manager|listener_manager|cluster\.app\.(update|membership)|http\.main\.rds)\.(?!total_filter|.*worker|total_listeners_draining)",
    )


LIMITED = setup("xds_limited", "    rate_limit_settings: {max_tokens: 2, fill_rate: 50}")


@scenario(LIMITED)
async def xds_ads_rate_limit(s: Session) -> None:
    """Requests are sent no faster than allowed, and none is lost."""
    plane = await begin(s)
    for number in range(6):
        await plane.update("eds", f"e{number}", assigned("app", "one"))
    await s.get("/")
    plane.see()
    limited = await s.counters(r"^control_plane\.rate_limit_enforced$")
    s.see("limited", {name: value > 0 for name, value in limited.items()})
    await stats(s, r"^control_plane\.(pending|connected)", r"update_success$")


@scenario(PATIENT)
async def xds_ads_lost_early(s: Session) -> None:
    """A control plane that breaks the stream before it says anything; then one that says half of it."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.asked("cds")
    await plane.end()
    await plane.asked("cds", 2)
    await plane.update("cds", "c1", eds_cluster("app"))
    await plane.asked("eds")
    await plane.end()
    await plane.asked("eds", 2)
    await plane.update("eds", "e1", assigned("app", "one"))
    await plane.update("lds", "l1", rds_listener())
    await plane.update("rds", "r1", routed("routes", "app"))
    await plane.live()
    await s.get("/")
    s.see("rds", list(plane.requests["rds"]))
    await stats(
        s,
        r"^cluster_manager\.(active|warming|cluster)",
        r"^listener_manager\.(listener|total_listeners_active)",
    )


@scenario(SHORT)
async def xds_ads_silent(s: Session) -> None:
    """A control plane that never answers: the proxy starts without it."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.live()
    plane.see()
    await stats(s, r"\.init_fetch_timeout$", r"\.update_attempt$", r"^control_plane\.connected")
    await plane.send("cds", "c1", eds_cluster("app"))
    await plane.update("eds", "e1", assigned("app", "one"))
    await plane.update("lds", "l1", direct("main", "late"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 1, "listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/")


@scenario(PATIENT)
async def xds_ads_wrong_first(s: Session) -> None:
    """First answers that are refused: the proxy starts without them, and takes better ones."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update("cds", "c1", "{name: bad, connect_timeout: -1s}")
    await plane.update(
        "lds", "l1", direct("bad", "x", "strip_any_host_port: true\nstrip_matching_host_port: true")
    )
    await plane.live()
    plane.see("first")
    await plane.send("cds", "c2", eds_cluster("app"))
    await plane.update("eds", "e2", assigned("app", "one"))
    await plane.update("lds", "l2", rds_listener())
    await plane.update("rds", "r2", routed("routes", "app"))
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 1, "listeners_active"
    )
    await s.proxy.learn_ports()
    await s.get("/")
    plane.see()


@scenario(PATIENT)
async def xds_ads_routes_late(s: Session) -> None:
    """Routes that do not come in time: the listener serves without them, and takes them later."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.update("cds", "c1", eds_cluster("app"))
    await plane.update("eds", "e1", assigned("app", "one"))
    source = "{ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.1s}"
    await plane.update(
        "lds", "l1", listener("main", f"rds: {{route_config_name: routes, config_source: {source}}}")
    )
    await plane.live()
    await s.get("/", label="none yet")
    await plane.update("rds", "r1", routed("routes", "app"))
    await s.get("/", label="late")
    plane.see()
    await stats(s, r"^http\.main\.rds\.routes\.")


NODE = setup(
    "xds_node",
    node=", metadata: {role: edge, list: [1, two]}, locality: {region: r, zone: z, sub_zone: s}",
    more=", initial_metadata: [{key: x-token, value: secret}]",
)


@scenario(NODE)
async def xds_ads_node(s: Session) -> None:
    """What the proxy says of itself."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    await plane.update("cds", "c1")
    await plane.update("lds", "l1")
    await plane.live()
    node: dict[str, Any] = json_format.MessageToDict(plane.node, preserving_proto_field_name=True)
    extensions = node.pop("extensions", [])
    build = node.get("user_agent_build_version", {})
    build.pop("metadata", None)
    s.see("node", node)
    s.see("extensions", len(extensions) > 50)
    router = [each for each in extensions if each.get("name") == "envoy.filters.http.router"]
    s.see("one of them", router)
    s.see("nodes", list(plane.nodes))
    s.see("metadata", [value for name, value in plane.head if name == "x-token"])


@scenario(PATIENT)
async def xds_ads_identifier(s: Session) -> None:
    """What the control plane says of itself, and how its state is told."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    plane.identifier = "plane-1"
    await plane.update("cds", "c1")
    await plane.update("lds", "l1")
    await plane.live()
    await s.admin(
        "GET /stats?filter=control_plane|version_text&type=TextReadouts&text_readouts=true",
        headers=False,
        body=lambda text: sorted(text.splitlines()),
    )
    await stats(s, r"^control_plane\.")
