"""Which host gets the next request: priorities and health first, then a picker over the hosts left.

Plain, synchronous arithmetic (Envoy's ``LoadBalancerBase`` and ``EdfLoadBalancerBase``).  The cluster parts
its hosts when the membership or somebody's health changes (:mod:`sidecar.upstream.host_set`), so that a
choice is one call.  How one list of hosts is gone through is :mod:`sidecar.upstream.load_balancer_pickers`';
which balancer a policy needs is :mod:`sidecar.upstream.load_balancer_factory`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from sidecar.upstream.host import Host
from sidecar.upstream.host_set import NO_HOSTS, HostSet
from sidecar.upstream.load_balancer_pickers import Picker
from sidecar.upstream.priority_loads import PriorityLoads, priority_loads

__all__ = ["LbContext", "LoadBalancer", "PriorityBalancer"]

#: ``(priority, "healthy" | "degraded" | "all")``: a list of hosts that a picker goes through.
Source = tuple[int, str]
MakePicker = Callable[[Sequence[Host], Picker | None], Picker]


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
    #: Seconds that only grow.
    clock: Callable[[], float] = monotonic

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

    __slots__ = ("_context", "_make_picker", "_pickers", "_sets", "loads", "only")

    def __init__(self, make_picker: MakePicker, context: LbContext) -> None:
        """``make_picker`` is given hosts and the picker that went through the same source before."""
        self._make_picker = make_picker
        self._context = context
        self._sets: Sequence[HostSet] = (NO_HOSTS,)
        #: Those that were needed so far.
        self._pickers: dict[Source, Picker] = {}
        self.only: Picker | None = None
        self.loads = context.loads(self._sets)

    def update(self, sets: Sequence[HostSet]) -> None:
        self._sets = sets
        loads = self.loads = self._context.loads(sets)
        before, self._pickers = self._pickers, {}
        for (priority, kind), picker in before.items():
            if priority < len(sets):
                self._pickers[priority, kind] = self._make_picker(self._part(priority, kind), picker)
        self.only = None
        if not any(loads.panic) and 100 in loads.healthy:
            self.only = self._picker(loads.healthy.index(100), "healthy")

    def choose(self, stream: Any = None, attempt: int = 0) -> Host | None:
        only = self.only
        if only is not None:
            return only.pick()
        loads = self.loads
        number = self._context.draw(100) + 1
        reached = 0
        for kind, shares in (("healthy", loads.healthy), ("degraded", loads.degraded)):
            for priority, share in enumerate(shares):
                reached += share
                if number <= reached:
                    if loads.panic[priority]:
                        self._context.stats.lb_healthy_panic.value += 1
                        kind = "all"
                    return self._picker(priority, kind).pick()
        return None

    def _picker(self, priority: int, kind: str) -> Picker:
        picker = self._pickers.get((priority, kind))
        if picker is None:
            picker = self._pickers[priority, kind] = self._make_picker(self._part(priority, kind), None)
        return picker

    def _part(self, priority: int, kind: str) -> Sequence[Host]:
        each = self._sets[priority]
        if kind == "healthy":
            return each.healthy
        return each.degraded if kind == "degraded" else each.hosts
