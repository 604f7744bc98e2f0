"""Which host gets the next request: priorities and health first, then a picker over the hosts left.

Plain, synchronous arithmetic (Envoy's ``LoadBalancerBase`` and ``EdfLoadBalancerBase``).  The cluster parts
its hosts when the membership or somebody's health changes (:mod:`sidecar.upstream.host_set`), so that a
choice is one call.  How one list of hosts is gone through is :mod:`sidecar.upstream.load_balancer_pickers`';
which balancer a policy needs is :mod:`sidecar.upstream.load_balancer_factory`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.core.dataclass import dataclass
from sidecar.upstream.host import Host
from sidecar.upstream.host_set import NO_HOSTS, HostSet
from sidecar.upstream.load_balancer_edf import Turns
from sidecar.upstream.load_balancer_pickers import Picker, RandomPicker
from sidecar.upstream.load_balancer_zones import (
    ZONE_AWARE,
    LocalityPicker,
    ZoneAwarePicker,
    ZoneAwareSettings,
    ZoneRouting,
    route_by_zone,
)
from sidecar.upstream.local_zone import NOWHERE, LocalZone
from sidecar.upstream.priority_loads import PriorityLoads, priority_loads

if TYPE_CHECKING:
    from sidecar.upstream.retry_priorities import PreviousPriorities

__all__ = ["LbContext", "LoadBalancer", "PriorityBalancer", "Steering"]

#: ``(priority, "healthy" | "degraded" | "all", number of the locality or -1)``: a list of hosts that a picker
#: goes through.
Source = tuple[int, str, int]
MakePicker = Callable[[Sequence[Host], Picker | None], Picker]

#: Enough to begin anywhere in a rotation.
_SEEDS = 1 << 16


class Steering:
    """What the tries of the request for which a host is being chosen leave of the priorities."""

    __slots__ = ("priorities",)

    def __init__(self) -> None:
        self.priorities: PreviousPriorities | None = None


@dataclass(frozen=True, slots=True)
class LbContext:
    """What every load balancer of one cluster is given beside its policy."""

    #: ``draw(n)`` is a random number below n.
    draw: Callable[[int], int]
    #: The cluster's (:class:`sidecar.upstream.cluster_stats.ClusterStats`).
    stats: Any
    panic_threshold: float = 50.0
    overprovisioning_factor: int = 140
    weighted_priority_health: bool = False
    #: The proxy's own locality and its peers.
    local: LocalZone = NOWHERE
    #: Seconds that only grow.
    clock: Callable[[], float] = monotonic
    #: The cluster's: set while it chooses a host for a request that says more.
    steering: Steering = field(default_factory=Steering)

    def loads(self, sets: Sequence[HostSet]) -> PriorityLoads:
        """How requests are spread over these priorities."""
        return priority_loads(
            sets, self.panic_threshold, self.overprovisioning_factor, self.weighted_priority_health
        )


class LoadBalancer(Protocol):
    """Chooses among the hosts given to :meth:`update`."""

    #: Where one picker serves every request: that picker, which the router then asks itself.
    only: Picker | None
    #: How requests are spread over the priorities.
    loads: PriorityLoads

    def update(self, sets: Sequence[HostSet]) -> None:
        """Go on with these hosts (the membership, a weight or somebody's health changed)."""
        ...

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        """The host for a request; None when there is none.

        ``attempt`` counts the hosts chosen before for this same try that the router refused.
        """
        ...


class PriorityBalancer:
    """A picker for every list of hosts that is in use; chance chooses among priorities by their load."""

    __slots__ = (
        "_context",
        "_is_weighted",
        "_make_picker",
        "_note",
        "_peers",
        "_pickers",
        "_routing",
        "_sets",
        "_single",
        "_tops",
        "_turns",
        "_zone_aware",
        "loads",
        "only",
    )

    def __init__(
        self,
        make_picker: MakePicker,
        context: LbContext,
        *,
        locality_weighted: bool = False,
        zone_aware: ZoneAwareSettings = ZONE_AWARE,
        note: Callable[[Sequence[Host]], None] | None = None,
    ) -> None:
        """``make_picker`` is given hosts and the picker that went through the same source before.

        ``note`` is shown all hosts of every update before.
        """
        self._make_picker = make_picker
        self._context = context
        self._is_weighted = locality_weighted
        self._zone_aware = zone_aware
        self._note = note
        self._sets: Sequence[HostSet] = (NO_HOSTS,)
        #: Those that were needed so far.
        self._pickers: dict[Source, Picker] = {}
        #: What chooses a host of a priority: one of these pickers, or one that chooses the locality first.
        self._tops: dict[tuple[int, str], Picker] = {}
        self._turns: dict[tuple[int, str], Turns] = {}
        self._routing: ZoneRouting | None = None
        self._peers: HostSet | None = None
        #: What serves every request, where it is one.
        self._single: Picker | None = None
        self.only: Picker | None = None
        self.loads = context.loads(self._sets)

    def update(self, sets: Sequence[HostSet]) -> None:
        self._sets = sets
        if self._note is not None:
            for each in sets:
                self._note(each.hosts)
        loads = self.loads = self._context.loads(sets)
        self._tops = {}
        self._routing = None
        context = self._context
        peers = self._peers = context.local.peers
        if peers is not None:
            self._routing = route_by_zone(self._zone_aware, sets[0], peers, context.stats)
        before, self._pickers = self._pickers, {}
        for source, picker in before.items():
            part = self._part(*source)
            if part is not None:
                self._pickers[source] = self._make_picker(part, picker)
        self.only = self._single = None
        if not any(loads.panic) and 100 in loads.healthy:
            priority = loads.healthy.index(100)
            self._single = self._top(priority, "healthy")
            if priority or self._routing is None:
                # A picker that may say no, and counts what it does, is not to be asked twice.
                self.only = self._single

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        if self._context.local.peers is not self._peers:
            # Who holds this for a part of the cluster is not told of the proxy's peers.
            self.update(self._sets)
        loads = self.loads
        steered = self._context.steering.priorities
        if steered is not None:
            loads = steered.loads(self._context, self._sets, loads)
        elif self._single is not None:
            return self._single.pick()
        value = self._context.draw(1 << 64)
        number = value % 100 + 1
        reached = 0
        for kind, shares in (("healthy", loads.healthy), ("degraded", loads.degraded)):
            for priority, share in enumerate(shares):
                reached += share
                if number <= reached:
                    if loads.panic[priority]:
                        self._context.stats.lb_healthy_panic.value += 1
                        if self._zone_aware.fail_traffic_on_panic:
                            return None
                        kind = "all"
                    top = self._top(priority, kind)
                    return top.pick_by(value) if isinstance(top, RandomPicker) else top.pick()
        return None

    def _top(self, priority: int, kind: str) -> Picker:
        found = self._tops.get((priority, kind))
        if found is None:
            found = self._tops[priority, kind] = self._choose_top(priority, kind)
        return found

    def _choose_top(self, priority: int, kind: str) -> Picker:
        if self._is_weighted and kind != "all":
            turns = self._locality_turns(priority, kind)
            if turns is not None:
                return LocalityPicker(turns, self._locality_pickers(priority, kind))
        plain = self._picker(priority, kind)
        if priority or self._routing is None or kind == "all":
            return plain
        context = self._context
        peers = context.local.peers
        return ZoneAwarePicker(
            self._routing,
            self._zone_aware,
            self._locality_pickers(priority, kind),
            plain,
            peers_are_well=peers is not None and not peers.is_in_panic(context.panic_threshold),
            draw=context.draw,
            stats=context.stats,
        )

    def _locality_pickers(self, priority: int, kind: str) -> list[Picker]:
        count = len(self._sets[priority].localities.keys)
        return [self._picker(priority, kind, number) for number in range(count)]

    def _locality_turns(self, priority: int, kind: str) -> Turns | None:
        """Turns of the localities by weight; None where none has any."""
        localities = self._sets[priority].localities
        part = localities.healthy if kind == "healthy" else localities.degraded
        factor = self._context.overprovisioning_factor
        weights = [(n, localities.effective_weight(n, part, factor)) for n in range(len(part))]
        weighted = tuple(each for each in weights if each[1] > 0)
        if not weighted:
            return None
        turns = self._turns.get((priority, kind))
        if turns is None or turns.weights != weighted:
            turns = self._turns[priority, kind] = Turns(weighted, self._context.draw(_SEEDS))
        return turns

    def _picker(self, priority: int, kind: str, locality: int = -1) -> Picker:
        picker = self._pickers.get((priority, kind, locality))
        if picker is None:
            part = self._part(priority, kind, locality)
            picker = self._pickers[priority, kind, locality] = self._make_picker(part or (), None)
        return picker

    def _part(self, priority: int, kind: str, locality: int) -> Sequence[Host] | None:
        """The hosts of a source; None where it is no more."""
        if priority >= len(self._sets):
            return None
        each = self._sets[priority]
        if locality >= 0:
            parts = each.localities.healthy if kind == "healthy" else each.localities.degraded
            return parts[locality] if locality < len(parts) else None
        if kind == "healthy":
            return each.healthy
        return each.degraded if kind == "degraded" else each.hosts
