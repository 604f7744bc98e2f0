"""The endpoints of a cluster as they are now, for ``/config_dump?include_eds``.

A ClusterLoadAssignment made from the hosts, by priority and locality (Envoy's ``ConfigDumpHandler``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.admin.clusters import address_json
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.host import Host

__all__ = ["endpoints_json"]


def endpoints_json(cluster: Cluster) -> dict[str, Any]:
    """``envoy.config.endpoint.v3.ClusterLoadAssignment``."""
    config = cluster.config
    dump: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster.name if config.eds is None else config.eds.service_name,
    }
    endpoints = list(_groups(cluster))
    if endpoints:
        dump["endpoints"] = endpoints
    policy: dict[str, Any] = {}
    if cluster.drop_per_million:
        share = {"numerator": cluster.drop_per_million, "denominator": "MILLION"}
        policy["drop_overloads"] = [{"category": cluster.drop_category, "drop_percentage": share}]
    dump["policy"] = {**policy, "overprovisioning_factor": config.overprovisioning_factor}
    return dump


def _groups(cluster: Cluster) -> Iterator[dict[str, Any]]:
    for priority, each in enumerate(cluster.host_sets):
        if cluster.original_dst is not None:
            # These hosts are in no locality: each stands alone, without a weight of one.
            for host in each.hosts:
                yield _group([host], priority)
            continue
        localities = each.localities
        for hosts, weight in zip(localities.hosts, localities.weights, strict=True):
            yield _group(hosts, priority, weight)


def _group(hosts: Sequence[Host], priority: int, weight: int | None = None) -> dict[str, Any]:
    place = hosts[0].locality
    parts = {name: getattr(place, name) for name in ("region", "zone", "sub_zone")}
    group: dict[str, Any] = {
        "locality": {name: value for name, value in parts.items() if value},
        "lb_endpoints": [_endpoint(host) for host in hosts],
    }
    if weight is not None:
        group["load_balancing_weight"] = weight
    if priority:
        group["priority"] = priority
    return group


def _endpoint(host: Host) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    if host.health_address is not None and host.health_address.text != host.address:
        checked["port_value"] = host.health_address.port
    if host.health_hostname:
        checked["hostname"] = host.health_hostname
    endpoint: dict[str, Any] = {"address": address_json(host.address), "health_check_config": checked}
    if host.hostname:
        endpoint["hostname"] = host.hostname
    if len(host.addresses) > 1:
        endpoint["additional_addresses"] = [
            {"address": address_json(each.text)} for each in host.addresses[1:]
        ]
    out: dict[str, Any] = {"endpoint": endpoint, "health_status": host.health.upper()}
    if host.metadata:
        out["metadata"] = {"filter_metadata": host.metadata}
    out["load_balancing_weight"] = host.weight
    return out
