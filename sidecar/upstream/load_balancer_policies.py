"""The load balancing policies by name: what each does with a list of hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from sidecar.core.dataclass import dataclass
from sidecar.core.runtime import Number
from sidecar.upstream.host import Host
from sidecar.upstream.load_balancer import MakePicker
from sidecar.upstream.load_balancer_edf import EdfPicker, Weigh, WeightedRoundRobinPicker
from sidecar.upstream.load_balancer_override import OverrideSettings
from sidecar.upstream.load_balancer_pickers import (
    FullScanPicker,
    LeastRequestPicker,
    Picker,
    RandomPicker,
    RoundRobinPicker,
    have_equal_weights,
)
from sidecar.upstream.load_balancer_zones import ZONE_AWARE, ZoneAwareSettings
from sidecar.upstream.slow_start import LiveNumber, SlowStart, SlowStartSettings

if TYPE_CHECKING:
    from sidecar.upstream.subset_settings import SubsetSettings

__all__ = ["ROUND_ROBIN", "LbPolicy", "picker_maker"]

#: Enough to begin anywhere in a rotation.
_SEEDS = 1 << 16


@dataclass(frozen=True, slots=True)
class LbPolicy:
    """``envoy.config.cluster.v3.Cluster.lb_policy`` and its parameters."""

    name: str = "ROUND_ROBIN"
    #: ``least_request_lb_config``.
    choice_count: int = 2
    #: A number that the runtime may change counts from the next update of the hosts on.
    active_request_bias: float | Number = 1.0
    full_scan: bool = False
    #: Of ROUND_ROBIN and LEAST_REQUEST.
    slow_start: SlowStartSettings | None = None
    #: Every host weighs the same, whatever its endpoint says (``client_side_weighted_round_robin``).
    equal_weights: bool = False
    #: ``locality_weighted_lb_config``, else ``zone_aware_lb_config``.
    locality_weighted: bool = False
    zone_aware: ZoneAwareSettings = ZONE_AWARE
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
    #: OVERRIDE_HOST's.
    override: OverrideSettings | None = None

    @property
    def is_hashing(self) -> bool:
        """Whether hosts are chosen by a hash of the request."""
        return self.name in ("RING_HASH", "MAGLEV")


ROUND_ROBIN = LbPolicy()


def picker_maker(policy: LbPolicy, draw: Callable[[int], int], slow: SlowStart | None = None) -> MakePicker:
    """What makes the pickers of a load balancer with this policy; ``slow`` where it starts hosts slowly."""
    if policy.name == "RANDOM":
        return lambda hosts, before: RandomPicker(hosts, draw)
    if policy.name == "LEAST_REQUEST":
        return _least_request_maker(policy, draw, slow)
    seed = draw(_SEEDS)
    is_equal = policy.equal_weights
    weigh = None if slow is None else _slowly(lambda host: 1 if is_equal else host.weight, slow)

    def round_robin(hosts: Sequence[Host], before: Picker | None) -> Picker:
        if _needs_no_schedule(hosts, slow, is_equal):
            return RoundRobinPicker(hosts, before.index if isinstance(before, RoundRobinPicker) else seed)
        if weigh is not None:
            return _schedule(hosts, before, weigh, seed)
        if isinstance(before, WeightedRoundRobinPicker):
            before.update(hosts)
            return before
        return WeightedRoundRobinPicker(hosts, seed)

    return round_robin


def _least_request_maker(policy: LbPolicy, draw: Callable[[int], int], slow: SlowStart | None) -> MakePicker:
    seed = draw(_SEEDS)
    bias = policy.active_request_bias
    live = LiveNumber(bias) if isinstance(bias, Number) else None
    weigh = _weigh_live(live) if live is not None else _weigh_busy(cast("float", bias))
    if slow is not None:
        weigh = _slowly(weigh, slow)

    def least_request(hosts: Sequence[Host], before: Picker | None) -> Picker:
        if live is not None:
            live.renew()
        if not _needs_no_schedule(hosts, slow):
            return _schedule(hosts, before, weigh, seed)
        if policy.full_scan:
            return FullScanPicker(hosts, draw)
        # An extension may say that it has no choice at all, and then has none.
        return LeastRequestPicker(hosts if policy.choice_count else (), draw, policy.choice_count)

    return least_request


def _needs_no_schedule(hosts: Sequence[Host], slow: SlowStart | None, is_equal: bool = False) -> bool:
    is_even = len(hosts) <= 1 or is_equal or have_equal_weights(hosts)
    return is_even and (slow is None or len(hosts) <= 1 or slow.is_over())


def _schedule(hosts: Sequence[Host], before: Picker | None, weigh: Weigh, seed: int) -> EdfPicker:
    if isinstance(before, EdfPicker):
        before.update(hosts)
        return before
    return EdfPicker(hosts, weigh, seed)


def _weigh_busy(bias: float) -> Weigh:
    """A host's weight, less the more requests it has (``active_request_bias``)."""
    if bias == 1.0:
        return lambda host: host.weight / (host.rq_active + 1)
    if bias == 0.0:
        return lambda host: host.weight
    return lambda host: float(host.weight / (host.rq_active + 1) ** bias)


def _weigh_live(bias: LiveNumber) -> Weigh:
    return lambda host: float(host.weight / (host.rq_active + 1) ** bias.value)


def _slowly(weigh: Weigh, slow: SlowStart) -> Weigh:
    return lambda host: weigh(host) * slow.factor(host)
