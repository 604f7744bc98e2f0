"""Mistakes in clusters that no rule expresses and that Envoy finds when it builds them.

Reasons are Envoy's own words where it has any (seen on 1.40).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from sidecar.config.check_dns import check_dns_cluster, check_names, check_single_host
from sidecar.config.check_original_dst import check_provided_balancer
from sidecar.config.check_path_source import check_config_source
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import unpack

__all__ = ["check_bootstrap_clusters", "check_cluster", "endpoints", "is_http2"]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_STATIC, _STRICT_DNS, _LOGICAL_DNS, _EDS = 0, 1, 2, 3


def check_bootstrap_clusters(context: Context) -> None:
    """Names: each once, and the local cluster among them."""
    seen: dict[str, Path] = {}
    for index, cluster in enumerate(context.bootstrap.static_resources.clusters):
        path: Path = ("static_resources", "clusters", index, "name")
        if cluster.name in seen:
            first = context.report_place(seen[cluster.name])
            context.report.error(path, f"duplicate cluster '{cluster.name}'", f"the first stands at {first}")
        else:
            seen[cluster.name] = path
            context.clusters[cluster.name] = cluster
    local = context.bootstrap.cluster_manager.local_cluster_name
    if local and local not in context.clusters:
        context.report.error(
            ("cluster_manager", "local_cluster_name"),
            f"local cluster '{local}' must be defined",
            context.suggest_cluster(local),
        )


def check_cluster(context: Context, path: Path, cluster: Any) -> None:
    """One ``envoy.config.cluster.v3.Cluster``."""
    is_eds = cluster.type == _EDS and cluster.WhichOneof("cluster_discovery_type") != "cluster_type"
    if cluster.HasField("eds_cluster_config") and not is_eds:
        context.report.error(
            (*path, "eds_cluster_config"), "eds_cluster_config set in a non-EDS cluster", "write type: EDS"
        )
    if cluster.WhichOneof("cluster_discovery_type") != "cluster_type":
        if cluster.type == _EDS:
            _check_eds(context, path, cluster)
        elif cluster.type == _STATIC:
            _check_static(context, path, cluster)
        elif cluster.type == _LOGICAL_DNS:
            check_single_host(context, path, cluster)
            check_names(context, path, cluster, "LOGICAL_DNS")
        elif cluster.type == _STRICT_DNS:
            check_names(context, path, cluster, "STRICT_DNS")
    else:
        check_dns_cluster(context, path, cluster)
    check_provided_balancer(context, path, cluster)


def is_http2(cluster: Any) -> bool:
    """Whether Envoy counts the cluster's upstreams as speaking HTTP/2."""
    packed = cluster.typed_extension_protocol_options.get(_HTTP_OPTIONS)
    if packed is None:
        return bool(cluster.HasField("http2_protocol_options"))
    options: Any = unpack(packed)
    if options is None:
        return False
    kind = options.WhichOneof("upstream_protocol_options")
    if kind == "explicit_http_config":
        return bool(options.explicit_http_config.WhichOneof("protocol_config") == "http2_protocol_options")
    if kind == "use_downstream_protocol_config":
        return bool(options.use_downstream_protocol_config.HasField("http2_protocol_options"))
    return bool(kind == "auto_config")


def endpoints(cluster: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """The endpoints of the load assignment, each with its path; one that is not set comes empty."""
    for i, locality in enumerate(cluster.load_assignment.endpoints):
        for j, entry in enumerate(locality.lb_endpoints):
            yield (*path, "load_assignment", "endpoints", i, "lb_endpoints", j, "endpoint"), entry.endpoint


def _check_eds(context: Context, path: Path, cluster: Any) -> None:
    eds = cluster.eds_cluster_config
    kind = eds.eds_config.WhichOneof("config_source_specifier")
    here = (*path, "eds_cluster_config", "eds_config")
    if kind in ("path_config_source", "path"):
        check_config_source(context, here, eds.eds_config)
    elif kind == "self" or (cluster.HasField("eds_cluster_config") and not eds.HasField("eds_config")):
        context.report.error(
            (*path, "eds_cluster_config"),
            "Missing config source specifier in envoy::config::core::v3::ConfigSource",
            "add eds_config with path_config_source, ads or api_config_source",
        )
    elif not cluster.HasField("eds_cluster_config"):
        context.report.error(
            path,
            "cannot create an EDS cluster without an EDS config",
            "add:\n"
            "eds_cluster_config:\n"
            "  eds_config:\n"
            "    resource_api_version: V3\n"
            "    api_config_source:\n"
            "      api_type: GRPC\n"
            "      transport_api_version: V3\n"
            "      grpc_services: [{envoy_grpc: {cluster_name: <the control plane's cluster>}}]",
        )


def _check_static(context: Context, path: Path, cluster: Any) -> None:
    for number, locality in enumerate(cluster.load_assignment.endpoints):
        if locality.HasField("leds_cluster_locality_config"):
            context.report.error(
                (*path, "load_assignment", "endpoints", number, "leds_cluster_locality_config"),
                f"LEDS is only supported when EDS is used. Static cluster {cluster.name} cannot use LEDS.",
            )
    for here, endpoint in endpoints(cluster, path):
        address = endpoint.address.socket_address
        kind = endpoint.address.WhichOneof("address")
        if kind is None:
            if not context.report.has_failed(here):
                context.report.error(
                    here, "Address must be set", "type STATIC needs every endpoint's address"
                )
            continue
        if kind != "socket_address" or address.resolver_name:
            continue
        if address.address and not is_ip(address.address):
            context.report.error(
                (*here, "address", "socket_address", "address"),
                f"malformed IP address: {address.address}",
                f"cluster '{cluster.name}' is of type STATIC, which takes IP addresses only:"
                " set its type to STRICT_DNS or LOGICAL_DNS",
            )


def is_ip(text: str) -> bool:
    """Whether Envoy reads ``text`` as an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
