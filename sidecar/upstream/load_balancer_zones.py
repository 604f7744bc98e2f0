"""Choosing a locality: by its weight, or by zone: requests stay where the proxy is as far as shares allow.

Arithmetic of Envoy's ``ZoneAwareLoadBalancerBase``; documented in
intro/arch_overview/upstream/load_balancing/zone_aware.  Zones count in P0 alone, and for every cluster once
there is a local cluster, whether its configuration mentions them or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host import Host
from sidecar.upstream.host_set import HostSet, Localities
from sidecar.upstream.load_balancer_edf import Turns
from sidecar.upstream.load_balancer_pickers import Picker

__all__ = [
    "ZONE_AWARE",
    "LocalityPicker",
    "ZoneAwarePicker",
    "ZoneAwareSettings",
    "ZoneRouting",
    "route_by_zone",
]

Draw = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class ZoneAwareSettings:
    """``zone_aware_lb_config``."""

    #: Percent of requests.
    routing_enabled: int = 100
    min_cluster_size: int = 6
    fail_traffic_on_panic: bool = False
    #: ``force_local_zone``: with so many hosts in the own zone everything stays there.
    force_local_min_size: int | None = None
    #: ``locality_basis``: shares by weight and not by number of hosts.
    by_weight: bool = False


ZONE_AWARE = ZoneAwareSettings()


@dataclass(frozen=True, slots=True)
class ZoneRouting:
    """What the shares of zones come to."""

    #: Everything stays.
    direct: bool
    #: Of 10,000 requests so many stay.
    local: int = 0
    #: The room that each locality has for more, summed up.
    residual: tuple[int, ...] = ()


def route_by_zone(
    settings: ZoneAwareSettings, upstream: HostSet, peers: HostSet, stats: Any
) -> ZoneRouting | None:
    """How P0 is to be routed; None when not by zone."""
    stats.lb_recalculate_zone_structures.value += 1
    there, here = upstream.localities, peers.localities
    forced = settings.force_local_min_size
    if len(there.keys) < 2 or (len(here.keys) < 2 and forced is None):
        return None
    if not here.has_local:
        stats.lb_local_cluster_not_ok.value += 1
        return None
    if len(upstream.healthy) < settings.min_cluster_size:
        stats.lb_zone_cluster_too_small.value += 1
        return None
    shares = _shares(settings, here, there)
    own_local, own_upstream = shares[0]
    if there.has_local and (
        0 < own_upstream >= own_local or (forced is not None and len(there.healthy[0]) >= forced)
    ):
        return ZoneRouting(direct=True)
    local = own_upstream * 10000 // own_local if there.has_local and own_local else 0
    residual = []
    reached = 0
    for number, (share_here, share_there) in enumerate(shares):
        if number or not there.has_local:
            reached += max(0, share_there - share_here)
        residual.append(reached)
    return ZoneRouting(False, local, tuple(residual))


def _shares(settings: ZoneAwareSettings, here: Localities, there: Localities) -> list[tuple[int, int]]:
    """For each locality of the upstream the proxies' and the hosts' share in 1/10,000."""

    def size(hosts: Sequence[Host]) -> int:
        return sum(host.weight for host in hosts) if settings.by_weight else len(hosts)

    peers = {key: size(hosts) for key, hosts in zip(here.keys, here.healthy, strict=True)}
    sizes = [size(hosts) for hosts in there.healthy]
    total_here, total_there = sum(peers.values()), sum(sizes)
    return [
        (10000 * peers.get(key, 0) // total_here if total_here else 0, 10000 * own // total_there)
        if own
        else (0, 0)
        for key, own in zip(there.keys, sizes, strict=True)
    ]


class LocalityPicker:
    """Takes localities in turns by their weight, and a host in each."""

    __slots__ = ("_pickers", "turns")

    def __init__(self, turns: Turns, pickers: Sequence[Picker]) -> None:
        """``turns`` are of numbers of localities."""
        self.turns = turns
        self._pickers = pickers

    def pick(self) -> Host | None:
        number: int = self.turns.take()
        return self._pickers[number].pick()


class ZoneAwarePicker:
    """Chooses a zone, then a host in it."""

    __slots__ = ("_draw", "_plain", "_routing", "_settings", "_stats", "_well", "_zones")

    def __init__(
        self,
        routing: ZoneRouting,
        settings: ZoneAwareSettings,
        zones: Sequence[Picker],
        plain: Picker,
        *,
        peers_are_well: bool,
        draw: Draw,
        stats: Any,
    ) -> None:
        """``zones`` are the pickers of the localities; ``plain`` goes through all hosts."""
        self._routing = routing
        self._settings = settings
        self._zones = zones
        self._plain = plain
        self._well = peers_are_well
        self._draw = draw
        self._stats = stats

    def pick(self) -> Host | None:
        settings = self._settings
        enabled = settings.routing_enabled
        if enabled < 100 and self._draw(100) >= enabled:
            return self._plain.pick()
        if not self._well:
            self._stats.lb_local_cluster_not_ok.value += 1
            return None if settings.fail_traffic_on_panic else self._plain.pick()
        if self._routing.direct:
            self._stats.lb_zone_routing_all_directly.value += 1
            return self._zones[0].pick()
        return self._zones[self._choose_zone()].pick()

    def _choose_zone(self) -> int:
        draw, stats, routing = self._draw, self._stats, self._routing
        if draw(10000) < routing.local:
            stats.lb_zone_routing_sampled.value += 1
            return 0
        stats.lb_zone_routing_cross_zone.value += 1
        residual = routing.residual
        if not residual[-1]:
            # Rounding left nobody any room.
            stats.lb_zone_no_capacity_left.value += 1
            return draw(len(residual))
        place = draw(residual[-1])
        return next(number for number, reached in enumerate(residual) if place < reached)
