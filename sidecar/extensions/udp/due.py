"""When sessions are to be looked at: one timer of a strand for any number of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.net.timer import Timer, start_timer, stop_timer

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand

__all__ = ["Due"]


class Due:
    """A heap of moments and what is called then.

    A session stands in it once, however many datagrams it gets: when its time has come it says whether it was
    used meanwhile, and when it wants to be asked again.
    """

    def __init__(self, strand: Strand) -> None:
        self._strand = strand
        self._heap: list[tuple[float, int, Callable[[float], float]]] = []
        self._count = 0
        self._timer: Timer | None = None

    def add(self, when: float, look: Callable[[float], float]) -> None:
        """Call ``look(now)`` at ``when``; it gives the next moment, or 0.0 for no more."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, look))
        if self._timer is None or when < self._timer.when:
            self._arm()

    def forget(self, is_over: Callable[[Callable[[float], float]], bool]) -> None:
        """Let go of what is over; for whoever knows that much of it is."""
        self._heap = [each for each in self._heap if not is_over(each[2])]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def stop(self) -> None:
        """Call nobody any more."""
        self._heap.clear()
        if self._timer is not None:
            stop_timer(self._strand, self._timer)
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            stop_timer(self._strand, self._timer)
            self._timer = None
        if self._heap:
            self._timer = start_timer(
                self._strand, self._heap[0][0], self._fire, "idle_timeout", is_of_stream=False
            )

    def _fire(self) -> None:
        self._timer = None
        now = self._strand.reactor.clock()
        heap = self._heap
        while heap and heap[0][0] < now:
            _, _, look = heapq.heappop(heap)
            when = look(now)
            if when:
                self._count += 1
                heapq.heappush(heap, (when, self._count, look))
        self._arm()
