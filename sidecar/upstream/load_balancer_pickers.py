"""Ways through one list of hosts: in turns, by weight, at random, the least busy.

Each picker serves one source (the healthy hosts of one priority, say) and is made anew when that list
changes; a rotation goes on where it stood.  Weighted turns are earliest deadline first, as in Envoy's
``EdfScheduler``: a host's next turn comes ``1 / weight`` after its last.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.upstream.host import Host

__all__ = ["EdfPicker", "LeastRequestPicker", "Picker", "RandomPicker", "RoundRobinPicker", "make_edf_or"]

Weigh = Callable[[Host], float]
Draw = Callable[[int], int]

#: Bounds the work of making a schedule.
_MAX_PICKS = 1024


class Picker(Protocol):
    """Goes through a list of hosts."""

    def pick(self) -> Host | None:
        """The next host; None when the list is empty."""
        ...


class RoundRobinPicker:
    """One after the other.  Envoy begins at a random place and keeps the place when hosts change."""

    __slots__ = ("_hosts", "_index")

    def __init__(self, hosts: Sequence[Host], index: int) -> None:
        self._hosts = tuple(hosts)
        self._index = index

    @property
    def index(self) -> int:
        """How many turns were taken, on top of the first."""
        return self._index

    def pick(self) -> Host | None:
        hosts = self._hosts
        if not hosts:
            return None
        index = self._index
        self._index = index + 1
        return hosts[index % len(hosts)]


class RandomPicker:
    """Any of them, weights or not."""

    __slots__ = ("_draw", "_hosts")

    def __init__(self, hosts: Sequence[Host], draw: Draw) -> None:
        self._hosts = tuple(hosts)
        self._draw = draw

    def pick(self) -> Host | None:
        hosts = self._hosts
        return hosts[self._draw(len(hosts))] if hosts else None


class LeastRequestPicker:
    """The least busy of ``choice_count`` drawn at random (with replacement)."""

    __slots__ = ("_choice_count", "_draw", "_hosts")

    def __init__(self, hosts: Sequence[Host], draw: Draw, choice_count: int = 2) -> None:
        self._hosts = tuple(hosts)
        self._draw = draw
        self._choice_count = choice_count

    def pick(self) -> Host | None:
        hosts = self._hosts
        if not hosts:
            return None
        draw, count = self._draw, len(hosts)
        best = hosts[draw(count)]
        for _ in range(self._choice_count - 1):
            other = hosts[draw(count)]
            if other.rq_active < best.rq_active:
                best = other
        return best


class EdfPicker:
    """Weighted turns.  ``weigh`` is asked anew whenever a host has had its turn."""

    __slots__ = ("_queue", "_sequence", "_weigh")

    def __init__(self, hosts: Sequence[Host], weigh: Weigh, picks: int) -> None:
        """``picks`` turns are taken as already had, so that proxies do not all begin with the same host."""
        self._weigh = weigh
        #: (deadline, order of insertion, host): a heap.
        self._queue = [(1.0 / weigh(host), number, host) for number, host in enumerate(hosts)]
        heapq.heapify(self._queue)
        self._sequence = len(self._queue)
        # The turns repeat after as many as the weights sum up to.
        cycle = max(1, sum(host.weight for host in hosts))
        for _ in range(picks % min(cycle, _MAX_PICKS)):
            self.pick()

    def pick(self) -> Host | None:
        queue = self._queue
        if not queue:
            return None
        deadline, _, host = queue[0]
        heapq.heapreplace(queue, (deadline + 1.0 / self._weigh(host), self._sequence, host))
        self._sequence += 1
        return host


def make_edf_or(hosts: Sequence[Host], weigh: Weigh, picks: int, otherwise: Callable[[], Picker]) -> Picker:
    """Weighted turns where the configured weights differ, else ``otherwise()``."""
    if len({host.weight for host in hosts}) <= 1:
        return otherwise()
    return EdfPicker(hosts, weigh, picks)
