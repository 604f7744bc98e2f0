"""``envoy.retry_priorities.previous_priorities``: tries move on from the priorities that were tried.

Once ``update_frequency`` hosts were tried, and again after as many, their priorities get no more of this
request's tries; when none is left all count again (Envoy's ``PreviousPrioritiesRetryPriority``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sidecar.upstream.priority_loads import PriorityLoads

if TYPE_CHECKING:
    from sidecar.upstream.host import Host
    from sidecar.upstream.host_set import HostSet
    from sidecar.upstream.load_balancer import LbContext

__all__ = ["PreviousPriorities"]


class PreviousPriorities:
    """What one request's tries leave of the priorities."""

    __slots__ = ("_excluded", "_frequency", "_loads", "_tried")

    def __init__(self, update_frequency: int) -> None:
        self._frequency = update_frequency
        self._tried: list[Host] = []
        self._excluded: set[int] = set()
        #: As they were made last; None before.
        self._loads: PriorityLoads | None = None

    def add(self, host: Host) -> None:
        """``host`` was tried."""
        self._tried.append(host)

    def loads(self, context: LbContext, sets: Sequence[HostSet], original: PriorityLoads) -> PriorityLoads:
        """How the next try is spread over the priorities that a load balancer has."""
        count = len(self._tried)
        if count < self._frequency:
            return original
        if count % self._frequency == 0:
            self._excluded.update(host.priority for host in self._tried)
            self._loads = self._adjusted(context, sets, original.panic)
        return self._loads or original

    def _adjusted(
        self, context: LbContext, sets: Sequence[HostSet], panic: tuple[bool, ...]
    ) -> PriorityLoads | None:
        """Loads without the priorities that are left out; None where nobody is well anywhere."""
        factor, weighted = context.overprovisioning_factor, context.weighted_priority_health
        healthy = [each.percent(each.healthy, factor, weighted) for each in sets]
        degraded = [each.percent(each.degraded, factor, weighted) for each in sets]
        parts = [self._left(healthy), self._left(degraded)]
        total = min(100, sum(map(sum, parts)))
        if not total:
            self._excluded.clear()
            self._tried.clear()
            parts = [healthy, degraded]
            total = min(100, sum(map(sum, parts)))
        if not total:
            return None
        loads = [[0] * len(sets), [0] * len(sets)]
        left = 100
        while left:  # what rounding leaves goes to the first again
            for load, part in zip(loads, parts, strict=True):
                for priority, percent in enumerate(part):
                    share = min(left, percent * 100 // total)
                    load[priority] += share
                    left -= share
        return PriorityLoads(tuple(loads[0]), tuple(loads[1]), panic)

    def _left(self, percents: list[int]) -> list[int]:
        return [0 if priority in self._excluded else each for priority, each in enumerate(percents)]
