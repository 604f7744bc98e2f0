# ruff: noqa: E501  (a line of configuration reads best unbroken)
"""Streams of single types, secrets over ADS, and what the admin endpoint tells of resources."""

from __future__ import annotations

import json
from typing import Any

from ..configuration import bootstrap, cluster, listener, parse
from ..control_plane import ControlPlane
from ..lab import Session
from ..scenario import Setup, scenario
from ..tls import CERTIFICATES, DOWNSTREAM, certificate, get_tls
from ..upstream import answers, ok
from .xds_ads import ADS, ads, assigned, begin, direct, rds_listener, routed, stats

SUBJECT = "xds"

API = (
    "{resource_api_version: V3, api_config_source: {api_type: GRPC, transport_api_version: V3, "
    "grpc_services: [{envoy_grpc: {cluster_name: xds}}]}"
)
SINGLE = Setup(
    "xds_single",
    bootstrap(
        [
            listener("main", f"rds: {{route_config_name: routes, config_source: {API}}}}}"),
            listener("static", routes="- {match: {prefix: /}, route: {cluster: late}}"),
        ],
        [
            cluster("xds", "xds", http2=True),
            parse(f"{{name: app, type: EDS, connect_timeout: 1s, eds_cluster_config: {{service_name: my-service, eds_config: {API}}}}}}}"),
            parse(f"{{name: late, type: EDS, connect_timeout: 1s, eds_cluster_config: {{eds_config: {API}, initial_fetch_timeout: 0.1s}}}}}}"),
        ],
        "node: {id: node, cluster: cluster}",
    ),
    {"xds": "h2", "one": "h1", "two": "h1"},
    is_early=True,
)  # fmt: skip


@scenario(SINGLE)
async def xds_single_streams(s: Session) -> None:
    """Each subscription that names a control plane has a stream of its own; one that is late keeps nobody."""
    s.proxy.is_spent = True
    plane = ControlPlane(s)
    s.upstream("one").script = answers(ok(b"one"))
    await plane.asked("eds", 2)
    await plane.send_named("eds", "my-service", "e1", assigned("my-service", "one"))
    await plane.asked("rds")
    await plane.send("rds", "r1", routed("routes", "app"))
    await plane.live()
    await s.get("/")
    await s.get("/", to="static", label="nobody answered")
    s.see("paths", sorted(plane.paths))
    s.see("asked", {kind: sorted(map(str, each)) for kind, each in plane.requests.items()})
    s.see("nodes", all(plane.nodes))
    await stats(
        s,
        r"^cluster\.(app|late)\.(update|init|member|control)",
        r"^http\.main\.rds\.routes\.",
        r"^control_plane",
    )


def secured(version: str) -> dict[str, Any]:
    made = direct("secured", "kept secret")
    sds = f"tls_certificate_sds_secret_configs: [{{name: cert, sds_config: {ADS}}}]"
    typed = {"@type": DOWNSTREAM, "common_tls_context": parse(sds)}
    made["filter_chains"][0]["transport_socket"] = {"name": "tls", "typed_config": typed}
    made["metadata"] = {"filter_metadata": {"version": {"is": version}}}
    return made


SECRETS = ads("xds_secrets", one="h1", two="h1")
SECRETS = Setup("xds_secrets", SECRETS.bootstrap, SECRETS.upstreams, CERTIFICATES, is_early=True)


@scenario(SECRETS)
async def xds_ads_secrets(s: Session) -> None:
    """A listener waits for its certificate, and takes another while it serves."""
    plane = await begin(s)
    await plane.update("lds", "l2", rds_listener(), secured("1"))
    await plane.asked("sds")
    await stats(s, r"^listener_manager\.(total|listener)(?!.*draining)", label="waiting")
    await plane.update("sds", "s1", f"{{name: cert, tls_certificate: {certificate('server')}}}")
    await s.until_stats(
        lambda stats: stats["listener_manager.total_listeners_active"] == 2, "total_listeners_active"
    )
    await s.proxy.learn_ports()
    await get_tls(s, "secured", label="first")
    await plane.update("sds", "s2", f"{{name: cert, tls_certificate: {certificate('wild')}}}")
    await get_tls(s, "secured", label="second")
    await plane.update(
        "sds", "s3", "{name: cert, tls_certificate: {certificate_chain: {filename: /nowhere}}}"
    )
    await get_tls(s, "secured", label="refused")
    s.see("requests", plane.requests["sds"])
    await stats(s, r"^sds\.cert\.", r"^listener_manager\.(total|listener)(?!.*draining)")


def _shape(tree: Any) -> Any:
    """Without times, with names of types alone for what a message holds."""
    if isinstance(tree, dict):
        return {
            key: _shape(value) if key not in ("cluster", "listener", "route_config", "failed_configuration")
            else sorted(value)
            for key, value in tree.items()
            if key not in ("last_updated", "last_update_attempt", "details")
        }  # fmt: skip
    return [_shape(each) for each in tree] if isinstance(tree, list) else tree


@scenario(SECRETS)
async def xds_ads_dump(s: Session) -> None:
    """/config_dump tells what came, in which version, and what was refused."""
    plane = await begin(s)
    bad = direct("bad", "x", "strip_any_host_port: true\nstrip_matching_host_port: true")
    await plane.update("lds", "l2", rds_listener(), bad)

    def pick(text: str) -> object:
        kept = ("dynamic_active_clusters", "dynamic_listeners", "dynamic_route_configs", "version_info")
        configs = json.loads(text)["configs"]
        return [
            {
                key: _named(_shape(value)) if key == "dynamic_listeners" else _shape(value)
                for key, value in each.items()
                if key in kept
            }
            for each in configs
            if "Bootstrap" not in each["@type"]
        ]

    await s.admin("GET /config_dump", body=pick, headers=False)
    await s.admin(
        "GET /config_dump?resource=dynamic_listeners",
        body=lambda text: _named(_shape(json.loads(text))["configs"]),
        headers=False,
    )
    await s.admin(
        "GET /clusters",
        body=lambda text: sorted(line for line in text.splitlines() if "added_via_api" in line),
        headers=False,
    )


def _named(listeners: list[Any]) -> list[Any]:
    """Envoy shows a refused listener a second time, without its name."""
    return [each for each in listeners if "name" in each]
