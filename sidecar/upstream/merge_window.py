"""Changes of hosts' health may wait for one another, so that the load balancer hears of them together.

``common_lb_config.update_merge_window``: what health checks and outlier detection find of a priority
shortly after another change of it is kept from the load balancer until the window is over, with all that
follows it (Envoy's ``ClusterManagerImpl::scheduleUpdate``).  What discovery says counts at once, be it
weights alone, and takes along what waits.  Plain arithmetic over a clock; the cluster manager keeps the time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from sidecar.core.dataclass import dataclass
from sidecar.observability.stats import Counter, Scope

__all__ = ["MergeStats", "MergeWindow"]

#: Ends a wait of so many seconds with a call; what it returns ends the wait without one.
Later = Callable[[float, Callable[[], None]], Callable[[], None]]


class MergeStats:
    """What ``cluster_manager.`` counts of the updates of all clusters."""

    __slots__ = ("cancelled", "merged", "out_of_window", "updated")

    def __init__(self, scope: Scope) -> None:
        #: Updates that counted at once; those of health by priority.
        self.updated: Counter = scope.counter("cluster_updated")
        #: Those that waited.
        self.merged: Counter = scope.counter("cluster_updated_via_merge")
        #: Waits that another update ended before their time.
        self.cancelled: Counter = scope.counter("update_merge_cancelled")
        #: Updates that might have waited, but were the first for long.
        self.out_of_window: Counter = scope.counter("update_out_of_merge_window")


@dataclass(slots=True)
class _Priority:
    """One priority of the cluster."""

    #: When its hosts were taken in last; None: never.
    at_s: float | None = None
    #: Ends the wait of what is kept back.
    cancel: Callable[[], None] | None = None


class MergeWindow:
    """That of one cluster, from when its first hosts are in use."""

    def __init__(
        self,
        window_s: float,
        stats: MergeStats,
        *,
        apply: Callable[[Collection[int]], None],
        later: Later,
        clock: Callable[[], float],
    ) -> None:
        """``apply`` takes in the hosts of these priorities; a window of 0 s keeps nothing back."""
        self._window_s = window_s
        self._stats = stats
        self._apply = apply
        self._later = later
        self._clock = clock
        self._priorities: dict[int, _Priority] = {}

    def take(self, priorities: Collection[int], *, is_mergeable: bool) -> None:
        """Hosts of these priorities have changed, by their health alone where that ``is_mergeable``."""
        at_once = [each for each in priorities if not self._keeps_back(each, is_mergeable=is_mergeable)]
        if at_once:
            # What discovery says is one update, of however many priorities.
            self._stats.updated.value += len(at_once) if is_mergeable else 1
            self._apply(at_once)

    def _keeps_back(self, priority: int, *, is_mergeable: bool) -> bool:
        if not self._window_s:
            return False
        state = self._priorities.setdefault(priority, _Priority())
        now = self._clock()
        # Envoy counts milliseconds.
        is_out = state.at_s is None or int((now - state.at_s) * 1000) > self._window_s * 1000
        if is_mergeable and not is_out:
            if state.cancel is None:
                state.cancel = self._later(self._window_s, partial(self._end, priority, state))
            return True
        self._stats.out_of_window.value += is_mergeable
        if state.cancel is not None:
            state.cancel()
            state.cancel = None
            self._stats.cancelled.value += 1
        state.at_s = now
        return False

    def _end(self, priority: int, state: _Priority) -> None:
        """The time of a wait is over."""
        state.cancel = None
        state.at_s = self._clock()
        self._stats.merged.value += 1
        self._apply((priority,))

    def close(self) -> None:
        """What waits counts for nothing: the cluster is not in use any more."""
        for each in self._priorities.values():
            if each.cancel is not None:
                each.cancel()
                each.cancel = None
