"""Mistakes in clusters whose hosts are names: how many there may be, and what a name may be.

Reasons are Envoy's own words (seen on 1.40).
"""

from __future__ import annotations

from typing import Any

from sidecar.config import known_extensions
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.hints import unknown_name
from sidecar.config.messages import type_name, unpack

__all__ = ["check_dns_cluster", "check_names", "check_single_host"]

_DNS_CLUSTER = "envoy.extensions.clusters.dns.v3.DnsCluster"
#: Cluster types of Envoy's that no message configures.
_WITHOUT_MESSAGES = frozenset(
    f"envoy.cluster.{name}" for name in ("static", "strict_dns", "logical_dns", "eds")
)
_KINDS = {"envoy.cluster.strict_dns": "STRICT_DNS", "envoy.cluster.logical_dns": "LOGICAL_DNS"}


def check_dns_cluster(context: Context, path: Path, cluster: Any) -> None:
    """A cluster by its ``cluster_type``."""
    custom = cluster.cluster_type
    known = known_extensions.names("envoy.clusters") | _WITHOUT_MESSAGES
    typed = type_name(custom.typed_config.type_url)
    if custom.name not in known and typed not in known_extensions.types("envoy.clusters"):
        context.report.error(
            (*path, "cluster_type", "name"),
            f"Didn't find a registered cluster factory implementation for name: '{custom.name}'",
            unknown_name(custom.name, known),
        )
    kind = _KINDS.get(custom.name, "")
    if typed == _DNS_CLUSTER:
        settings = unpack(custom.typed_config)
        is_single = settings is not None and settings.all_addresses_in_single_endpoint
        kind = "LOGICAL_DNS" if is_single else "STRICT_DNS"
    if kind == "LOGICAL_DNS":
        check_single_host(context, path, cluster)
    if kind:
        check_names(context, path, cluster, kind)


def check_names(context: Context, path: Path, cluster: Any, kind: str) -> None:
    """Who looks the names up is the cluster's to say."""
    for i, locality in enumerate(cluster.load_assignment.endpoints):
        for j, entry in enumerate(locality.lb_endpoints):
            if entry.endpoint.address.socket_address.resolver_name:
                context.report.error(
                    (
                        *(*path, "load_assignment", "endpoints", i, "lb_endpoints", j, "endpoint"),
                        *("address", "socket_address", "resolver_name"),
                    ),
                    f"{kind} clusters must NOT have a custom resolver name set",
                    "typed_dns_resolver_config says who is asked",
                )


def check_single_host(context: Context, path: Path, cluster: Any) -> None:
    """A LOGICAL_DNS cluster has one host."""
    localities = cluster.load_assignment.endpoints
    count = sum(len(locality.lb_endpoints) for locality in localities)
    if not localities:
        context.report.error(path, "LOGICAL_DNS clusters must have a single host", "add a load_assignment")
    elif len(localities) != 1 or count != 1:
        context.report.error(
            (*path, "load_assignment", "endpoints"),
            "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint",
            "type STRICT_DNS takes several",
        )
