"""Mistakes in how a cluster parts its hosts into subsets (reasons in Envoy's words, seen on 1.40)."""

from __future__ import annotations

from typing import Any

from sidecar.config.context import Context
from sidecar.config.errors import Path
from sidecar.config.lb_policies import chosen_policy
from sidecar.config.messages import unpack
from sidecar.upstream.hash_tables import is_prime

__all__ = ["check_subsets"]

_LB = "envoy.extensions.load_balancing_policies"
_SUBSET = f"{_LB}.subset.v3.Subset"
_RING_HASH, _MAGLEV, _CLUSTER_PROVIDED = 2, 5, 6
_KEYS_SUBSET = 4


def check_subsets(context: Context, path: Path, cluster: Any) -> None:
    """``lb_subset_config`` of one ``envoy.config.cluster.v3.Cluster``, or the extension in its place."""
    here = (*path, "lb_subset_config")
    settings = cluster.lb_subset_config
    if cluster.HasField("load_balancing_policy"):
        if cluster.HasField("lb_subset_config"):
            context.report.error(
                here,
                "cluster: load_balancing_policy cannot be combined with lb_subset_config",
                f"a policy of type {_SUBSET} says the same",
            )
        _check_policies(context, (*path, "load_balancing_policy"), cluster.load_balancing_policy)
        return
    if settings.locality_weight_aware and not cluster.common_lb_config.HasField(
        "locality_weighted_lb_config"
    ):
        context.report.error(
            (*here, "locality_weight_aware"),
            "Locality weight aware subset LB requires that a locality_weighted_lb_config be set"
            f" in {cluster.name}",
            "add to the cluster:\ncommon_lb_config:\n  locality_weighted_lb_config: {}",
        )
    if not settings.subset_selectors:
        return
    if cluster.lb_policy == _CLUSTER_PROVIDED:
        context.report.error(
            (*path, "lb_policy"),
            "cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config",
        )
    _check_selectors(context, here, settings.subset_selectors)
    if cluster.lb_policy == _RING_HASH:
        _check_ring(context, (*path, "ring_hash_lb_config"), cluster.ring_hash_lb_config)
    elif cluster.lb_policy == _MAGLEV:
        _check_table(context, (*path, "maglev_lb_config"), cluster.maglev_lb_config)


def _check_policies(context: Context, path: Path, message: Any, *, inside: bool = False) -> None:
    """The policy that counts of a ``LoadBalancingPolicy``: the first that Envoy knows.

    ``inside`` of a subset it has to be there.
    """
    chosen = chosen_policy(message, path)
    if chosen is not None:
        here, name, packed = chosen
        settings: Any = unpack(packed)
        if settings is None:
            return
        if name == _SUBSET:
            _check_selectors(context, here, settings.subset_selectors)
            _check_policies(context, (*here, "subset_lb_policy"), settings.subset_lb_policy, inside=True)
        elif inside and name == f"{_LB}.ring_hash.v3.RingHash":
            _check_ring(context, here, settings)
        elif inside and name == f"{_LB}.maglev.v3.Maglev":
            _check_table(context, here, settings)
        elif inside and name == f"{_LB}.cluster_provided.v3.ClusterProvided":
            context.report.refuse_to_serve(here, "a subset has no load balancer to provide: Envoy ends there")
    elif inside:
        names = ", ".join(policy.typed_extension_config.name for policy in message.policies)
        context.report.error(
            path,
            "cluster: didn't find a registered load balancer factory implementation for subset lb"
            f" with names from [{names}]",
            "say how a host of a subset is chosen:\nsubset_lb_policy:\n  policies:\n"
            "  - typed_extension_config:\n      name: envoy.load_balancing_policies.round_robin\n"
            f'      typed_config: {{"@type": type.googleapis.com/{_LB}.round_robin.v3.RoundRobin}}',
        )


def _check_selectors(context: Context, path: Path, selectors: Any) -> None:
    for number, selector in enumerate(selectors):
        keys, fallback = set(selector.keys), set(selector.fallback_keys_subset)
        if not keys:
            continue  # Envoy passes over it
        reason = hint = None
        if selector.fallback_policy != _KEYS_SUBSET:
            if fallback:
                reason = "fallback_keys_subset can be set only for KEYS_SUBSET fallback_policy"
                hint = "add fallback_policy: KEYS_SUBSET"
        elif not fallback:
            reason = "fallback_keys_subset cannot be empty"
            hint = "list some of the selector's keys"
        elif not fallback <= keys:
            reason = "fallback_keys_subset must be a subset of selector keys"
            hint = f"not among them: {', '.join(sorted(fallback - keys))}"
        elif fallback == keys:
            reason = "fallback_keys_subset cannot be equal to keys"
            hint = "it has to leave one out"
        if reason is not None:
            here = (*path, "subset_selectors", number, "fallback_keys_subset")
            context.report.error(here, reason, hint)


def _check_ring(context: Context, path: Path, settings: Any) -> None:
    """What Envoy sees only when it makes a subset: it ends then."""
    minimum = settings.minimum_ring_size.value if settings.HasField("minimum_ring_size") else 1024
    maximum = settings.maximum_ring_size.value if settings.HasField("maximum_ring_size") else 8 * 1024 * 1024
    if minimum > maximum:
        reason = f"ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})"
        context.report.refuse_to_serve((*path, "minimum_ring_size"), reason, "Envoy ends at the first subset")


def _check_table(context: Context, path: Path, settings: Any) -> None:
    if settings.HasField("table_size") and not is_prime(settings.table_size.value):
        reason = "The table size of maglev must be prime number"
        context.report.refuse_to_serve((*path, "table_size"), reason, "Envoy ends at the first subset")
