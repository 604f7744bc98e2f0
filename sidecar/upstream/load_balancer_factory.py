"""The one place that makes a load balancer of a policy, for a cluster or for a part of one.

A subset load balancer makes one for each subset, with the cluster's own :class:`LbContext`.
"""

from __future__ import annotations

from sidecar.upstream.load_balancer import LbContext, LoadBalancer, PriorityBalancer
from sidecar.upstream.load_balancer_hash import HashLoadBalancer
from sidecar.upstream.load_balancer_override import OverrideHostBalancer
from sidecar.upstream.load_balancer_policies import LbPolicy, picker_maker
from sidecar.upstream.slow_start import SlowStart

__all__ = ["make_load_balancer"]


def make_load_balancer(policy: LbPolicy, context: LbContext) -> LoadBalancer:
    """A load balancer without hosts; its ``update`` brings them."""
    if policy.subset is not None:
        from sidecar.upstream.load_balancer_subset import SubsetLoadBalancer  # few have subsets

        return SubsetLoadBalancer(policy.subset, context, make_load_balancer)
    if policy.override is not None:
        return OverrideHostBalancer(policy.override, context, make_load_balancer)
    if policy.is_hashing:
        return HashLoadBalancer(policy, context)
    slow = None if policy.slow_start is None else SlowStart(policy.slow_start, context.clock)
    return PriorityBalancer(
        picker_maker(policy, context.draw, slow),
        context,
        locality_weighted=policy.locality_weighted,
        zone_aware=policy.zone_aware,
        note=None if slow is None else slow.note,
    )
