"""Mistakes in how this proxy asks a control plane: sources, their clusters, and the node's name.

Reasons are Envoy's own words (seen on 1.40).
"""

from __future__ import annotations

from typing import Any

from sidecar.config.check_clusters import is_http2
from sidecar.config.check_path_source import check_config_source
from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_api_config_source", "check_dynamic_resources", "check_node_for_discovery"]

_API = "envoy.config.core.v3.ApiConfigSource"
_EDS = 3
_REST, _GRPC, _DELTA_GRPC = 1, 2, 3
_AGGREGATED = {5: "AGGREGATED_GRPC", 6: "AGGREGATED_DELTA_GRPC"}


def check_dynamic_resources(context: Context, path: Path, resources: Any) -> None:
    """ADS and CDS name this proxy to the control plane; a file of clusters is there from the start.

    Envoy does not look for the file of ``lds_config`` before it serves.
    """
    if resources.HasField("ads_config"):
        context.require_node((*path, "ads_config"), "ads")
    elif resources.HasField("cds_config"):
        context.require_node((*path, "cds_config"), "type.googleapis.com/envoy.config.cluster.v3.Cluster")
    check_config_source(context, (*path, "cds_config"), resources.cds_config)


def check_node_for_discovery(context: Context, path: Path, message: Any) -> None:
    """EDS of a cluster, RDS of a connection manager and RTDS need the node's name."""
    name = message.DESCRIPTOR.full_name
    if name == "envoy.config.cluster.v3.Cluster":
        # Without the EDS config itself the cluster fails for that alone, but all is told at once.
        if message.type == _EDS and message.WhichOneof("cluster_discovery_type") != "cluster_type":
            kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            field = ("eds_cluster_config",) if message.HasField("eds_cluster_config") else ("type",)
            context.require_node((*path, *field), kind)
    elif name == "envoy.config.bootstrap.v3.RuntimeLayer.RtdsLayer":
        context.require_node((*path, "rtds_config"), "type.googleapis.com/envoy.service.runtime.v3.Runtime")
        check_config_source(context, (*path, "rtds_config"), message.rtds_config)
    elif name.endswith(".ScopedRds"):
        context.require_node(
            (*path, "scoped_rds_config_source"),
            "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
        )
    elif message.HasField("config_source"):
        context.require_node(
            (*path, "config_source"), "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
        )


def check_api_config_source(context: Context, path: Path, source: Any) -> None:
    """``envoy.config.core.v3.ApiConfigSource``: what its type asks for, and static peers."""
    is_ads = path[-1] == "ads_config"
    is_rest = source.api_type not in (_GRPC, _DELTA_GRPC, *_AGGREGATED)
    services = (*path, "grpc_services")
    if is_ads and source.api_type not in (_GRPC, _DELTA_GRPC):
        context.report.error((*path, "api_type"), f"{_API} type must be of non-aggregated gRPC", "write GRPC")
    elif not source.grpc_services and not source.cluster_names:
        context.report.error(
            path, "API configs must have either a gRPC service or a cluster name defined", "add grpc_services"
        )
    elif source.api_type in _AGGREGATED:
        name = _AGGREGATED[source.api_type]
        context.report.error((*path, "api_type"), f"Unsupported config source {name}", "write ads: {}")
    elif is_rest and source.grpc_services:
        context.report.error(
            services,
            f"{_API}, if not a gRPC type, must not have a gRPC service specified",
            "write api_type: GRPC",
        )
    elif is_rest and not source.HasField("refresh_delay"):
        context.report.error(path, "refresh_delay is required for REST API configuration sources")
    elif not is_rest and source.cluster_names:
        context.report.error(
            (*path, "cluster_names"),
            f"{_API}::(AGGREGATED_)(DELTA_)GRPC must not have a cluster name specified",
            "name it in grpc_services",
        )
    elif len(source.grpc_services) > 1:
        context.report.error(services, f"{_API}::(DELTA_)GRPC must have a single gRPC service specified")
    _check_peers(context, path, source, is_ads=is_ads)


def _check_peers(context: Context, path: Path, source: Any, *, is_ads: bool) -> None:
    peers = [
        ((*path, "grpc_services", number, "envoy_grpc", "cluster_name"), service.envoy_grpc.cluster_name)
        for number, service in enumerate(source.grpc_services)
    ]
    peers += [((*path, "cluster_names", number), name) for number, name in enumerate(source.cluster_names)]
    for here, name in peers:
        cluster = context.clusters.get(name)
        if not name:
            continue
        if cluster is None and _is_on_demand(path):
            hint = context.suggest_cluster(name)
            context.report.warning(here, f"cluster '{name}' is not here: nobody is asked as long", hint)
            continue
        if is_ads and cluster is None:
            hint = context.suggest_cluster(name)
            context.report.error(here, f"Unknown gRPC client cluster '{name}'", hint)
        elif not is_ads and (cluster is None or cluster.type == _EDS) and not _is_on_demand(path):
            context.report.error(
                here,
                f"{_API} must have a statically defined non-EDS cluster:"
                f" '{name}' does not exist, was added via api, or is an EDS cluster",
                context.suggest_cluster(name) if cluster is None else None,
            )
        elif cluster is not None and here[-1] == "cluster_name" and not is_http2(cluster):
            context.report.warning(here, f"cluster '{name}' does not speak HTTP/2: gRPC to it will fail")


def _is_on_demand(path: Path) -> bool:
    """Whether clusters are asked for there: Envoy opens such a source when it is used, and looks then."""
    return path[-3:-1] == ("odcds", "source") or path[-2] == "odcds_config"
