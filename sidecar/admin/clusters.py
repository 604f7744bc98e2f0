"""``/clusters`` and ``/listeners``, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sidecar.admin.state import ListenerStatus
from sidecar.upstream.cluster import Cluster
from sidecar.upstream.host import HealthFlag, Host
from sidecar.upstream.resources import CircuitBreakerLimits

__all__ = ["address_json", "clusters_json", "clusters_text", "listeners_json", "listeners_text"]

_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_COUNTERS = ("cx_connect_fail", "cx_total", "rq_error", "rq_success", "rq_timeout", "rq_total")
_GAUGES = ("cx_active", "rq_active", "rq_pending_active")
#: Fields of ``HostHealthStatus`` by flag.
_HEALTH_FIELDS = {
    HealthFlag.FAILED_ACTIVE_HC: "failed_active_health_check",
    HealthFlag.FAILED_OUTLIER_CHECK: "failed_outlier_check",
    HealthFlag.FAILED_EDS_HEALTH: "eds_health_status",  # always there
    HealthFlag.DEGRADED_ACTIVE_HC: "failed_active_degraded_check",
    HealthFlag.PENDING_DYNAMIC_REMOVAL: "pending_dynamic_removal",
    HealthFlag.PENDING_ACTIVE_HC: "pending_active_hc",
    HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL: "excluded_via_immediate_hc_fail",
    HealthFlag.ACTIVE_HC_TIMEOUT: "active_hc_timeout",
    HealthFlag.DEGRADED_OUTLIER_DETECTION: "failed_degraded_outlier_detection",
}


def _observability_name(cluster: Cluster) -> str:
    return cluster.config.alt_stat_name or cluster.name


def _eds_health(host: Host) -> str:
    """The coarse state that EDS gave the host."""
    if host.health_flags & HealthFlag.FAILED_EDS_HEALTH:
        return "UNHEALTHY"
    if host.health_flags & HealthFlag.EDS_STATUS_DRAINING:
        return "DRAINING"
    if host.health_flags & HealthFlag.DEGRADED_EDS_HEALTH:
        return "DEGRADED"
    return "HEALTHY"


# -- text -----------------------------------------------------------------------------------------
def clusters_text(clusters: Iterable[Cluster]) -> str:
    """``cluster::key::value`` lines."""
    return "".join(f"{line}\n" for cluster in clusters for line in _cluster_lines(cluster))


def _cluster_lines(cluster: Cluster) -> Iterator[str]:
    name = cluster.name
    config = cluster.config
    yield f"{name}::observability_name::{_observability_name(cluster)}"
    detector = cluster.detector
    if detector is not None:
        for prefix, numbers in (("", detector.external), ("local_origin_", detector.local)):
            yield f"{name}::outlier::{prefix}success_rate_average::{numbers.average:g}"
            yield f"{name}::outlier::{prefix}success_rate_ejection_threshold::{numbers.threshold:g}"
    for priority, limits in (("default", config.default_limits), ("high", config.high_limits)):
        for limit in _LIMITS:
            yield f"{name}::{priority}_priority::{limit}::{getattr(limits, limit)}"
    yield f"{name}::added_via_api::{_bool(config.added_via_api)}"
    if config.version_info:
        yield f"{name}::version_info::{config.version_info}"
    for host in cluster.hosts:
        yield from (f"{name}::{host.address}::{key}::{value}" for key, value in _host_values(host))


def _host_values(host: Host) -> Iterator[tuple[str, object]]:
    for stat in sorted((*_COUNTERS, *_GAUGES)):
        yield stat, getattr(host, stat)
    yield "hostname", host.hostname
    yield "health_flags", host.health_flags_text()
    yield "weight", host.weight
    yield "region", host.locality.region
    yield "zone", host.locality.zone
    yield "sub_zone", host.locality.sub_zone
    yield "canary", _bool(host.canary)
    yield "priority", host.priority
    # Outlier detection computes rates; a cluster without it has none.
    monitor = host.outlier
    yield "success_rate", -1 if monitor is None else _number(monitor.external.rate)
    yield "local_origin_success_rate", -1 if monitor is None else _number(monitor.local.rate)


def _number(value: float) -> str:
    """A double as Envoy writes it: six digits of it."""
    return f"{value:g}"


def _bool(value: bool) -> str:
    return "true" if value else "false"


# -- JSON -----------------------------------------------------------------------------------------
def clusters_json(clusters: Iterable[Cluster]) -> dict[str, Any]:
    """``envoy.admin.v3.Clusters``."""
    statuses = [_cluster_status(cluster) for cluster in clusters]
    return {"cluster_statuses": statuses} if statuses else {}


def _cluster_status(cluster: Cluster) -> dict[str, Any]:
    config = cluster.config
    status: dict[str, Any] = {"name": cluster.name}
    if config.added_via_api:
        status["added_via_api"] = True
    detector = cluster.detector
    if detector is not None and detector.external.threshold > 0:
        status["success_rate_ejection_threshold"] = {"value": detector.external.threshold}
    hosts = [_host_status(host) for host in cluster.hosts]
    if hosts:
        status["host_statuses"] = hosts
    if detector is not None and detector.local.threshold > 0:
        status["local_origin_success_rate_ejection_threshold"] = {"value": detector.local.threshold}
    status["circuit_breakers"] = {
        "thresholds": [
            _limits(config.default_limits),
            {"priority": "HIGH", **_limits(config.high_limits)},
        ]
    }
    status["observability_name"] = _observability_name(cluster)
    return status


def _limits(limits: CircuitBreakerLimits) -> dict[str, int]:
    return {name: getattr(limits, name) for name in _LIMITS}


def _host_status(host: Host) -> dict[str, Any]:
    stats: list[dict[str, str]] = []
    for kind, names in (("", _COUNTERS), ("GAUGE", _GAUGES)):
        for name in names:
            entry: dict[str, str] = {"type": kind} if kind else {}
            if value := getattr(host, name):
                entry["value"] = str(value)
            stats.append({**entry, "name": name})
    health: dict[str, Any] = {}
    for flag, field in _HEALTH_FIELDS.items():
        if flag is HealthFlag.FAILED_EDS_HEALTH:
            health[field] = _eds_health(host)
        elif host.health_flags & flag:
            health[field] = True
    status: dict[str, Any] = {
        "address": address_json(host.address),
        "stats": stats,
        "health_status": health,
    }
    monitor = host.outlier
    if monitor is not None and monitor.external.rate >= 0:
        status["success_rate"] = {"value": monitor.external.rate}
    status["weight"] = host.weight
    if host.hostname:
        status["hostname"] = host.hostname
    if host.priority:
        status["priority"] = host.priority
    if monitor is not None and monitor.local.rate >= 0:
        status["local_origin_success_rate"] = {"value": monitor.local.rate}
    parts = {name: getattr(host.locality, name) for name in ("region", "zone", "sub_zone")}
    status["locality"] = {name: value for name, value in parts.items() if value}
    return status


def address_json(address: str) -> dict[str, Any]:
    """``envoy.config.core.v3.Address`` of an address in text form."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return {"pipe": {"path": address}}
    return {
        "socket_address": {
            "address": host.removeprefix("[").removesuffix("]"),
            "port_value": int(port),
        }
    }


# -- listeners ------------------------------------------------------------------------------------
def listeners_text(listeners: Iterable[ListenerStatus]) -> str:
    """``name::address`` lines."""
    return "".join(
        f"{listener.name}::{address}\n" for listener in listeners for address in listener.addresses
    )


def listeners_json(listeners: Iterable[ListenerStatus]) -> dict[str, Any]:
    """``envoy.admin.v3.Listeners``."""
    statuses = []
    for listener in listeners:
        main, *additional = listener.addresses
        status: dict[str, Any] = {"name": listener.name, "local_address": address_json(main)}
        if additional:
            status["additional_local_addresses"] = [address_json(address) for address in additional]
        statuses.append(status)
    return {"listener_statuses": statuses} if statuses else {}
