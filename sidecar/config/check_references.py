"""What a configuration refers to outside of itself or elsewhere in it: files, peers, the node's name."""

from __future__ import annotations

import os
from typing import Any

from sidecar.config.check_clusters import is_http2
from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = [
    "check_api_config_source",
    "check_data_source",
    "check_downstream_tls",
    "check_dynamic_resources",
    "check_file_access_log",
    "check_node_for_discovery",
    "check_statsd",
]

_EDS = 3
_REST = 1


def check_data_source(context: Context, path: Path, source: Any) -> None:
    """``envoy.config.core.v3.DataSource``: its file can be read."""
    kind = source.WhichOneof("specifier")
    if kind == "filename" and source.filename:
        _check_file(context, (*path, "filename"), source.filename)
    elif kind == "environment_variable" and source.environment_variable not in os.environ:
        context.report.error(
            (*path, "environment_variable"),
            f"Environment variable doesn't exist: {source.environment_variable}",
        )


def _check_file(context: Context, path: Path, filename: str) -> None:
    if not os.path.exists(filename):
        context.report.error(path, f"file {filename} does not exist")
    elif not os.access(filename, os.R_OK):
        context.report.error(path, f"unable to read file: {filename}")


def check_file_access_log(context: Context, path: Path, log: Any) -> None:
    """The folder of an access log is there; the file itself is made when serving."""
    folder = os.path.dirname(log.path)
    if log.path and folder and not os.path.isdir(folder):
        context.report.error(
            (*path, "path"),
            f"unable to open file '{log.path}': No such file or directory",
            f"make the folder {folder}: it is not created here",
        )
    elif log.path and os.path.isdir(log.path):
        context.report.error((*path, "path"), f"unable to open file '{log.path}': Is a directory")


def check_statsd(context: Context, path: Path, sink: Any) -> None:
    """``envoy.config.metrics.v3.StatsdSink`` over TCP needs its cluster and the node's name."""
    if sink.WhichOneof("statsd_specifier") != "tcp_cluster_name":
        return
    here = (*path, "tcp_cluster_name")
    name = sink.tcp_cluster_name
    if name and name not in context.clusters:
        context.report.error(here, f"tcp statsd: unknown cluster '{name}'", context.suggest_cluster(name))
    context.require_node(here, "tcp statsd")


def check_dynamic_resources(context: Context, path: Path, resources: Any) -> None:
    """ADS and CDS name this proxy to the control plane."""
    if resources.HasField("ads_config"):
        context.require_node((*path, "ads_config"), "ads")
        for number, service in enumerate(resources.ads_config.grpc_services):
            name = service.envoy_grpc.cluster_name
            if name and name not in context.clusters:
                context.report.error(
                    (*path, "ads_config", "grpc_services", number, "envoy_grpc", "cluster_name"),
                    f"Unknown gRPC client cluster '{name}'",
                    context.suggest_cluster(name),
                )
    elif resources.HasField("cds_config"):
        context.require_node((*path, "cds_config"), "type.googleapis.com/envoy.config.cluster.v3.Cluster")


def check_node_for_discovery(context: Context, path: Path, message: Any) -> None:
    """EDS of a cluster and RDS of a connection manager need the node's name."""
    name = message.DESCRIPTOR.full_name
    if name == "envoy.config.cluster.v3.Cluster":
        # Without the EDS config itself the cluster fails for that alone, but all is told at once.
        if message.type == _EDS and message.WhichOneof("cluster_discovery_type") != "cluster_type":
            kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
            field = ("eds_cluster_config",) if message.HasField("eds_cluster_config") else ("type",)
            context.require_node((*path, *field), kind)
    elif message.HasField("config_source"):
        context.require_node(
            (*path, "config_source"), "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
        )


def check_api_config_source(context: Context, path: Path, source: Any) -> None:
    """``envoy.config.core.v3.ApiConfigSource`` : the control plane's cluster is static."""
    for number, service in enumerate(source.grpc_services):
        name = service.envoy_grpc.cluster_name
        if not name:
            continue
        here = (*path, "grpc_services", number, "envoy_grpc", "cluster_name")
        cluster = context.clusters.get(name)
        if cluster is None or cluster.type == _EDS:
            context.report.error(
                here,
                "envoy.config.core.v3.ApiConfigSource must have a statically defined non-EDS cluster:"
                f" '{name}' does not exist, was added via api, or is an EDS cluster",
                context.suggest_cluster(name) if cluster is None else None,
            )
        elif not is_http2(cluster):
            context.report.warning(here, f"cluster '{name}' does not speak HTTP/2: gRPC to it will fail")


def check_downstream_tls(context: Context, path: Path, tls: Any) -> None:
    """A TLS server has a certificate, or says where it will come from."""
    common = tls.common_tls_context
    fields = [field.name for field, _ in common.ListFields()]
    if not any("certificate" in name for name in fields):
        context.report.error(
            path, "No TLS certificates found for server context", "add common_tls_context.tls_certificates"
        )
