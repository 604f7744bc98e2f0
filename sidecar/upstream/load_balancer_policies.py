"""The load balancing policies by name: what each does with a list of hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.upstream.host import Host
from sidecar.upstream.load_balancer import MakePicker
from sidecar.upstream.load_balancer_pickers import (
    EdfPicker,
    LeastRequestPicker,
    Picker,
    RandomPicker,
    RoundRobinPicker,
    WeightedRoundRobinPicker,
    have_equal_weights,
)
from sidecar.upstream.subset_settings import SubsetSettings

__all__ = ["ROUND_ROBIN", "LbPolicy", "picker_maker"]

#: Enough to begin anywhere in a rotation, little enough to be walked when a schedule is made.
_SEEDS = 1 << 16


@dataclass(frozen=True, slots=True)
class LbPolicy:
    """``envoy.config.cluster.v3.Cluster.lb_policy`` and its parameters."""

    name: str = "ROUND_ROBIN"
    #: ``least_request_lb_config``.
    choice_count: int = 2
    active_request_bias: float = 1.0
    #: ``ring_hash_lb_config``.
    minimum_ring_size: int = 1024
    maximum_ring_size: int = 8 * 1024 * 1024
    murmur: bool = False
    #: ``maglev_lb_config``.
    table_size: int = 65537
    #: ``consistent_hashing_lb_config``; percent, 0 for no bound.
    use_hostname_for_hashing: bool = False
    hash_balance_factor: int = 0
    #: The extension's own ``hash_policy``, which takes the place of the route's:
    #: ``hash(headers, stream, may_set_cookie)``.
    hash_policy: Callable[[Any, Any, bool], int | None] | None = None
    #: How hosts are parted by their metadata, each part with a policy of its own; None for not at all.
    subset: SubsetSettings | None = None

    @property
    def is_hashing(self) -> bool:
        """Whether hosts are chosen by a hash of the request."""
        return self.name in ("RING_HASH", "MAGLEV")


ROUND_ROBIN = LbPolicy()


def picker_maker(policy: LbPolicy, draw: Callable[[int], int]) -> MakePicker:
    """What makes the pickers of a load balancer with this policy."""
    seed = draw(_SEEDS)

    def round_robin(hosts: Sequence[Host], before: Picker | None) -> Picker:
        start = before.index if isinstance(before, RoundRobinPicker) else seed
        if have_equal_weights(hosts):
            return RoundRobinPicker(hosts, start)
        return WeightedRoundRobinPicker(hosts, seed)

    def least_request(hosts: Sequence[Host], before: Picker | None) -> Picker:
        bias = policy.active_request_bias

        def weigh(host: Host) -> float:
            return float(host.weight / (host.rq_active + 1.0) ** bias)

        if have_equal_weights(hosts):
            return LeastRequestPicker(hosts, draw, policy.choice_count)
        return EdfPicker(hosts, weigh)

    def random(hosts: Sequence[Host], before: Picker | None) -> Picker:
        return RandomPicker(hosts, draw)

    makers: dict[str, MakePicker] = {
        "ROUND_ROBIN": round_robin,
        "LEAST_REQUEST": least_request,
        "RANDOM": random,
    }
    return makers[policy.name]
