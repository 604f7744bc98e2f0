"""Mistakes in a ``ClusterLoadAssignment`` that no rule expresses (reasons in Envoy's words, seen on 1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path

__all__ = ["check_load_assignment", "check_local_priority", "check_sums"]

_DENOMINATORS = (100, 10_000, 1_000_000)
_MOST = 2**32 - 1


def check_load_assignment(context: Context, path: Path, assignment: Any) -> None:
    """One that stands in a cluster, or that EDS brings."""
    drops = assignment.policy.drop_overloads
    here = (*path, "policy", "drop_overloads")
    if len(drops) > 1:
        context.report.error(
            here,
            f"Cluster drop_overloads config has {len(drops)} categories. Envoy only support one.",
            "leave one category",
        )
    elif drops:
        share = drops[0].drop_percentage
        if share.denominator not in range(len(_DENOMINATORS)):
            return
        whole = _DENOMINATORS[share.denominator]
        if share.numerator > whole:
            context.report.error(
                (*here, 0, "drop_percentage", "numerator"),
                f"Cluster drop_overloads config is invalid. drop_ratio={share.numerator / whole:g}"
                f"(Numerator {share.numerator} / Denominator {whole}). The valid range is 0~1.",
            )


def check_local_priority(context: Context, path: Path, cluster: Any) -> None:
    """The local cluster knows one priority only."""
    if cluster.name != context.bootstrap.cluster_manager.local_cluster_name:
        return
    for number, locality in enumerate(cluster.load_assignment.endpoints):
        if locality.priority:
            context.report.error(
                (*path, "load_assignment", "endpoints", number, "priority"),
                f"Unexpected non-zero priority for local cluster '{cluster.name}'.",
            )


def check_sums(context: Context, path: Path, cluster: Any) -> None:
    """Policies that hash want sums of weights that fit into 32 bits."""
    hosts: dict[int, int] = {}
    localities: dict[int, dict[str, int]] = {}
    here = (*path, "load_assignment", "endpoints")
    for number, entry in enumerate(cluster.load_assignment.endpoints):
        for endpoint in entry.lb_endpoints:
            weight = endpoint.load_balancing_weight.value or 1
            hosts[entry.priority] = hosts.get(entry.priority, 0) + weight
        if hosts.get(entry.priority, 0) > _MOST:
            reason = f"The sum of weights of all upstream hosts in a locality exceeds {_MOST}"
            context.report.error((*here, number, "lb_endpoints"), reason)
            return
        if entry.HasField("locality") and entry.HasField("load_balancing_weight"):
            mine = localities.setdefault(entry.priority, {})
            mine[str(entry.locality)] = entry.load_balancing_weight.value
            if sum(mine.values()) > _MOST:
                reason = f"The sum of weights of all localities at the same priority exceeds {_MOST}"
                context.report.error((*here, number, "load_balancing_weight"), reason)
                return
