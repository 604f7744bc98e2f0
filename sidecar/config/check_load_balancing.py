"""Mistakes in how a cluster chooses hosts that no rule expresses (reasons in Envoy's words, seen on 1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.check_load_assignment import check_sums
from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.lb_policies import chosen_policy
from sidecar.config.messages import unpack
from sidecar.upstream.hash_tables import is_prime

__all__ = ["check_load_balancing", "is_without_rules"]

_LB = "envoy.extensions.load_balancing_policies"
_CLIENT_SIDE = f"{_LB}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
_RING_HASH, _MAGLEV, _BY_CONFIG = 2, 5, 7
_STATIC, _ORIGINAL_DST = 0, 4
#: Whose rules Envoy does look at.
_WITH_RULES = (f"{_LB}.override_host.", "envoy.type.metadata.v3.MetadataKey")
_PICKING = f"name a policy of type {_CLIENT_SIDE}"
#: The types that keep no names of their hosts; the last two of the enum are EDS and ORIGINAL_DST.
_NAMELESS = {0: "envoy.cluster.static", 2: "envoy.cluster.logical_dns"}
#: The starts of messages whose rules nobody looks at.
_UNCHECKED = ("envoy.extensions.internal_redirect.", "envoy.extensions.network.dns_resolver.")


def is_without_rules(path: Path, name: str) -> bool:
    """Whether Envoy skips the API's rules for a message of this name there.

    It builds load balancing extensions, predicates of redirects, resolvers of names and the SPIFFE validator
    without looking at the rules of their configuration, nor does it look into metadata; that a hash policy
    without a specifier takes it down is no reason to accept one.
    """
    if name.startswith(_UNCHECKED) or name.endswith(".SPIFFECertValidatorConfig"):
        return True
    if "typed_filter_metadata" in path:
        return True
    if name.startswith(_WITH_RULES):
        return False
    return "load_balancing_policy" in path and "typed_config" in path and not name.endswith(".HashPolicy")


def check_load_balancing(context: Context, path: Path, cluster: Any) -> None:
    """The policy of one ``envoy.config.cluster.v3.Cluster``, whichever way it is given."""
    if cluster.common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing:
        kind = None
        if cluster.WhichOneof("cluster_discovery_type") != "cluster_type":
            kind = _NAMELESS.get(cluster.type)
        elif cluster.cluster_type.name in _NAMELESS.values():
            kind = cluster.cluster_type.name
        if kind is not None:
            context.report.error(
                (*path, "common_lb_config", "consistent_hashing_lb_config", "use_hostname_for_hashing"),
                f"Cannot use hostname for consistent hashing loadbalancing for cluster of type: '{kind}'",
            )
    if cluster.HasField("load_balancing_policy"):
        _check_partial(context, path, cluster)
        _check_extension(context, path, cluster)
    elif cluster.lb_policy == _BY_CONFIG:
        context.report.error((*path, "lb_policy"), "cluster: field load_balancing_policy need to be set")
    elif cluster.lb_subset_config.subset_selectors:
        return  # of a subset's policy Envoy sees that later (check_subsets)
    elif cluster.lb_policy == _RING_HASH:
        _check_ring(context, (*path, "ring_hash_lb_config"), cluster.ring_hash_lb_config)
        _check_sums(context, path, cluster)
    elif cluster.lb_policy == _MAGLEV:
        _check_table(context, (*path, "maglev_lb_config"), cluster.maglev_lb_config)
        _check_sums(context, path, cluster)


def _check_partial(context: Context, path: Path, cluster: Any) -> None:
    for field in ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config"):
        if cluster.common_lb_config.HasField(field):
            context.report.error(
                (*path, "common_lb_config", field),
                "cluster: load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config,"
                " locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config",
                "the policy's own message has a field for it",
            )


def _check_extension(context: Context, path: Path, cluster: Any) -> None:
    here = (*path, "load_balancing_policy")
    chosen = chosen_policy(cluster.load_balancing_policy, here)
    if chosen is None:
        policies = cluster.load_balancing_policy.policies
        names = ", ".join(policy.typed_extension_config.name for policy in policies)
        context.report.error(
            here,
            "cluster: didn't find a registered load balancer factory implementation for cluster:"
            f" '{cluster.name}' with names from [{names}]",
        )
        return
    here, name, packed = chosen
    settings: Any = unpack(packed)
    if settings is None:
        return
    if name == f"{_LB}.override_host.v3.OverrideHost":
        _check_override(context, here, settings)
    elif name == f"{_LB}.ring_hash.v3.RingHash":
        _check_ring(context, here, settings)
        _check_sums(context, path, cluster)
    elif name == f"{_LB}.maglev.v3.Maglev":
        _check_table(context, here, settings)
        _check_sums(context, path, cluster)
    elif name == f"{_LB}.cluster_provided.v3.ClusterProvided" and _has_no_balancer(cluster):
        context.report.error(
            here,
            f"cluster manager: cluster provided LB specified but cluster '{cluster.name}' did not provide"
            " one. Check cluster documentation.",
        )
    elif name == f"{_LB}.wrr_locality.v3.WrrLocality":
        _check_picking(context, (*here, "endpoint_picking_policy"), settings.endpoint_picking_policy)


def _check_override(context: Context, path: Path, settings: Any) -> None:
    for number, source in enumerate(settings.override_host_sources):
        here = (*path, "override_host_sources", number)
        if source.header and source.HasField("metadata"):
            context.report.error(here, "Only one override source must be set")
        elif not source.header and not source.HasField("metadata"):
            context.report.error(here, "Empty override source", "say header or metadata")
    if not settings.HasField("fallback_policy"):
        return  # a rule tells
    here = (*path, "fallback_policy")
    chosen = chosen_policy(settings.fallback_policy, here)
    if chosen is None:
        policies = settings.fallback_policy.policies
        names = ", ".join(policy.typed_extension_config.name for policy in policies)
        context.report.error(
            here,
            "dynamic forwarding LB: didn't find a registered fallback load balancer factory with names from"
            f" {names}",
        )
        return
    here, name, packed = chosen
    inside: Any = unpack(packed)
    if inside is not None and name == f"{_LB}.ring_hash.v3.RingHash":
        _check_ring(context, here, inside)
    elif inside is not None and name == f"{_LB}.maglev.v3.Maglev":
        _check_table(context, here, inside)


def _has_no_balancer(cluster: Any) -> bool:
    is_custom = cluster.WhichOneof("cluster_discovery_type") == "cluster_type"
    return not is_custom and cluster.type != _ORIGINAL_DST


def _check_picking(context: Context, path: Path, policy: Any) -> None:
    chosen = chosen_policy(policy, path)
    if chosen is None:
        context.report.error(path, "No supported endpoint picking policy.", _PICKING)
    elif chosen[1] != _CLIENT_SIDE:
        context.report.error(
            chosen[0],
            "Currently WrrLocalityLoadBalancer only supports ClientSideWeightedRoundRobinLoadBalancer as its"
            " endpoint picking policy.",
            _PICKING,
        )


def _check_sums(context: Context, path: Path, cluster: Any) -> None:
    if cluster.WhichOneof("cluster_discovery_type") != "cluster_type" and cluster.type == _STATIC:
        check_sums(context, path, cluster)


def _check_ring(context: Context, path: Path, settings: Any) -> None:
    if settings is None or not settings.HasField("minimum_ring_size"):
        return
    minimum = settings.minimum_ring_size.value
    maximum = settings.maximum_ring_size.value if settings.HasField("maximum_ring_size") else 8 * 1024 * 1024
    here = (*path, "minimum_ring_size")
    if minimum > maximum and not context.report.has_failed(here):
        reason = f"ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})"
        context.report.error(here, reason)


def _check_table(context: Context, path: Path, settings: Any) -> None:
    if settings is None or not settings.HasField("table_size"):
        return
    here = (*path, "table_size")
    # Envoy takes 1 for a prime.
    if not is_prime(settings.table_size.value) and not context.report.has_failed(here):
        context.report.error(here, "The table size of maglev must be prime number", "65537 is the default")
