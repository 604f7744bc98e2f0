"""Clusters that bring their load balancer along, which is ORIGINAL_DST alone so far.

Reasons are Envoy's own words (seen on 1.40).
"""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.messages import type_name

__all__ = ["check_provided_balancer"]

_ORIGINAL_DST = 4
_CLUSTER_PROVIDED = 6
_PROVIDED = "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided"
#: Types by name that bring none.
_PLAIN = (
    "envoy.cluster.static",
    "envoy.cluster.strict_dns",
    "envoy.cluster.logical_dns",
    "envoy.cluster.dns",
)


def check_provided_balancer(context: Context, path: Path, cluster: Any) -> None:
    """One ``envoy.config.cluster.v3.Cluster``."""
    is_custom = cluster.WhichOneof("cluster_discovery_type") == "cluster_type"
    if is_custom:
        is_original = cluster.cluster_type.name == "envoy.cluster.original_dst"
        if not is_original and cluster.cluster_type.name not in _PLAIN:
            return
    else:
        is_original = cluster.type == _ORIGINAL_DST
    if is_original:
        _check_original_dst(context, path, cluster)
    is_provided = cluster.lb_policy == _CLUSTER_PROVIDED
    field = "lb_policy"
    if cluster.HasField("load_balancing_policy"):
        # Of the policies the first that Envoy knows counts, and it knows this one.
        policies = cluster.load_balancing_policy.policies
        names = [type_name(each.typed_extension_config.typed_config.type_url) for each in policies]
        is_provided, field = names[:1] == [_PROVIDED], "load_balancing_policy"
    if is_provided and not is_original:
        context.report.error(
            (*path, field), f"cluster provided LB specified but cluster '{cluster.name}' did not provide one"
        )
    elif is_original and not is_provided and cluster.lb_policy == _CLUSTER_PROVIDED:
        context.report.error(
            (*path, field), f"cluster provided LB not specified but cluster '{cluster.name}' provided one"
        )


def _check_original_dst(context: Context, path: Path, cluster: Any) -> None:
    if cluster.lb_policy != _CLUSTER_PROVIDED:
        fields = cluster.DESCRIPTOR.fields_by_name
        policy = fields["lb_policy"].enum_type.values_by_number[cluster.lb_policy].name
        kind = fields["type"].enum_type.values_by_number[cluster.type].name
        context.report.error(
            (*path, "lb_policy"),
            f"cluster: LB policy {policy} is not valid for Cluster type {kind}."
            " Only 'CLUSTER_PROVIDED' is allowed with cluster type 'ORIGINAL_DST'",
            "write lb_policy: CLUSTER_PROVIDED",
        )
    if cluster.HasField("load_assignment"):
        context.report.error(
            (*path, "load_assignment"), "ORIGINAL_DST clusters must have no load assignment configured"
        )
    settings = cluster.original_dst_lb_config
    if settings.http_header_name and not settings.use_http_header:
        context.report.error(
            (*path, "original_dst_lb_config", "http_header_name"),
            f"ORIGINAL_DST cluster: invalid config http_header_name={settings.http_header_name} and"
            " use_http_header is false. Set use_http_header to true if http_header_name is desired.",
        )
