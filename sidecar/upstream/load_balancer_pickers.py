"""Ways through one list of hosts: in turns, by weight, at random, the least busy.

Each picker serves one source (the healthy hosts of one priority, say) and is made anew when that list
changes; a rotation goes on where it stood.  Weighted turns are earliest deadline first, as in Envoy's
``EdfScheduler``: a host's next turn is due ``1 / weight`` after its last.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.upstream.host import Host

__all__ = [
    "EdfPicker",
    "LeastRequestPicker",
    "Picker",
    "RandomPicker",
    "RoundRobinPicker",
    "WeightedRoundRobinPicker",
    "have_equal_weights",
]

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


class WeightedRoundRobinPicker:
    """Turns in proportion to fixed weights.

    The n-th turn of a host is due at ``n / weight``; divided and not added up, so that turns that fall
    together keep their order for ever.
    """

    __slots__ = ("_queue", "_sequence")

    def __init__(self, hosts: Sequence[Host], picks: int) -> None:
        """``picks`` turns are taken as already had, so that proxies do not all begin with the same host."""
        self._sequence = len(hosts)
        #: (due, order of insertion, number of the turn, host): a heap.
        self._queue = [(1 / host.weight, number, 1, host) for number, host in enumerate(hosts)]
        heapq.heapify(self._queue)
        # The turns repeat after as many as the weights sum up to.
        for _ in range(picks % min(max(1, sum(host.weight for host in hosts)), _MAX_PICKS)):
            self.pick()

    def pick(self) -> Host | None:
        queue = self._queue
        if not queue:
            return None
        _, _, turn, host = queue[0]
        turn += 1
        heapq.heapreplace(queue, (turn / host.weight, self._sequence, turn, host))
        self._sequence += 1
        return host


class EdfPicker:
    """Turns in proportion to weights that change: ``weigh`` is asked anew at every turn of a host."""

    __slots__ = ("_queue", "_sequence", "_weigh")

    def __init__(self, hosts: Sequence[Host], weigh: Weigh) -> None:
        self._weigh = weigh
        self._sequence = len(hosts)
        #: (deadline, order of insertion, host): a heap.
        self._queue = [(1.0 / weigh(host), number, host) for number, host in enumerate(hosts)]
        heapq.heapify(self._queue)

    def pick(self) -> Host | None:
        queue = self._queue
        if not queue:
            return None
        deadline, _, host = queue[0]
        heapq.heapreplace(queue, (deadline + 1.0 / self._weigh(host), self._sequence, host))
        self._sequence += 1
        return host


def have_equal_weights(hosts: Sequence[Host]) -> bool:
    """Whether turns by weight and plain turns are the same."""
    return len({host.weight for host in hosts}) <= 1
