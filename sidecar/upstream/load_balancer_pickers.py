"""Ways through one list of hosts: in turns, at random, the least busy.

Each picker serves one source (the healthy hosts of one priority, say) and is made anew when that list
changes; a rotation goes on where it stood.  Turns by weight are :mod:`sidecar.upstream.load_balancer_edf`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Protocol

from sidecar.upstream.host import Host

__all__ = [
    "FullScanPicker",
    "LeastRequestPicker",
    "Picker",
    "RandomPicker",
    "RoundRobinPicker",
    "have_equal_weights",
]

Draw = Callable[[int], int]


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
    """Any of them, weights or not.

    Where chance has chosen the priority as well, Envoy takes the same number for both: :meth:`pick_by`.
    """

    __slots__ = ("_draw", "_hosts")

    def __init__(self, hosts: Sequence[Host], draw: Draw) -> None:
        self._hosts = tuple(hosts)
        self._draw = draw

    def pick(self) -> Host | None:
        hosts = self._hosts
        return hosts[self._draw(len(hosts))] if hosts else None

    def pick_by(self, number: int) -> Host | None:
        """The host for a number that was drawn."""
        hosts = self._hosts
        return hosts[number % len(hosts)] if hosts else None


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


class FullScanPicker:
    """The least busy of all; among several any, each as often (``selection_method: FULL_SCAN``)."""

    __slots__ = ("_draw", "_hosts")

    def __init__(self, hosts: Sequence[Host], draw: Draw) -> None:
        self._hosts = tuple(hosts)
        self._draw = draw

    def pick(self) -> Host | None:
        hosts = self._hosts
        if not hosts:
            return None
        active = [host.rq_active for host in hosts]
        least = min(active)
        number = self._draw(active.count(least))
        place = -1
        for _ in range(number + 1):
            place = active.index(least, place + 1)
        return hosts[place]


def have_equal_weights(hosts: Sequence[Host]) -> bool:
    """Whether turns by weight and plain turns are the same."""
    return len(set(map(_weight_of, hosts))) <= 1


_weight_of = attrgetter("weight")
