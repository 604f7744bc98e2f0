"""Turns by weight: earliest deadline first, as in Envoy's ``EdfScheduler``.

A host's next turn is due ``1 / weight`` after its last; among those that are due together the one that has
waited longer is first.  A schedule begins anywhere, so that proxies do not all begin with the same host, and
goes on where it stood when its hosts change.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from sidecar.upstream.host import Host
from sidecar.upstream.host_set import common_start, compare_hosts

__all__ = ["EdfPicker", "Turns", "Weigh", "WeightedRoundRobinPicker"]

Weigh = Callable[[Host], float]

#: Bounds the turns that are walked when a schedule is made.
_MAX_STEPS = 1024
#: Up to so many hosts are taken in one by one.
_FEW = 64
_weight_of = attrgetter("weight")


class _Class:
    """The hosts of one weight: all of them are due at once, one after the other, ``turn / weight``."""

    __slots__ = ("hosts", "number", "place", "turn", "weight")

    def __init__(self, weight: int, number: int, turn: int) -> None:
        self.weight = weight
        self.number = number
        self.turn = turn
        self.place = 0
        self.hosts: list[Host] = []


class WeightedRoundRobinPicker:
    """Turns in proportion to weights that stay as they are until the next update.

    Hosts of the same weight come always together, so only the weights are scheduled.  Deadlines are divided
    and not added up: turns that fall together keep their order for ever.
    """

    __slots__ = ("_classes", "_hosts", "_numbers", "_queue", "_weights")

    def __init__(self, hosts: Sequence[Host], picks: int) -> None:
        """``picks`` turns are taken as already had."""
        self._hosts = tuple(hosts)
        self._weights = list(map(_weight_of, hosts))
        self._classes: dict[int, _Class] = {}
        #: (due, due before, number, class): a heap.
        self._queue: list[tuple[float, float, int, _Class]] = []
        total = sum(self._weights)
        picks %= max(1, total)
        for host in hosts:
            each = self._classes.get(host.weight)
            if each is None:
                turn = picks * host.weight // total + 1
                each = self._classes[host.weight] = _Class(host.weight, len(self._classes), turn)
            each.hosts.append(host)
        self._numbers = len(self._classes)
        self._schedule()
        taken = sum((each.turn - 1) * len(each.hosts) for each in self._classes.values())
        for _ in range(min(picks - taken, _MAX_STEPS)):
            self.pick()

    def pick(self) -> Host | None:
        queue = self._queue
        while queue:
            due, _, number, each = queue[0]
            hosts = each.hosts
            place = each.place
            if place >= len(hosts):
                self._pass(due)
                continue
            host = hosts[place]
            place += 1
            if place < len(hosts):
                each.place = place
            else:
                each.place = 0
                each.turn = turn = each.turn + 1
                heapq.heapreplace(queue, (turn / each.weight, due, number, each))
            return host
        return None

    def _pass(self, due: float) -> None:
        """Let the first class wait that lost the rest of its hosts; one that has none goes."""
        each = self._queue[0][3]
        if not each.hosts:
            heapq.heappop(self._queue)
            del self._classes[each.weight]
            return
        each.place = 0
        each.turn += 1
        heapq.heapreplace(self._queue, (each.turn / each.weight, due, each.number, each))

    def update(self, hosts: Sequence[Host]) -> None:
        """Go on with these hosts, their weights read anew."""
        before, old = self._hosts, self._weights
        self._hosts, self._weights = tuple(hosts), list(map(_weight_of, hosts))
        start, end = _middle(before, old, self._hosts, self._weights)
        left = before[start : len(before) - end]
        came = self._hosts[start : len(hosts) - end]
        if len(left) + len(came) > _FEW:
            self._regroup()
            return
        for host, weight in zip(left, old[start:], strict=False):
            self._remove(host, weight)
        now = self._queue[0][0] if self._queue else 0.0
        for host in came:
            self._find(host.weight, now).hosts.append(host)

    def _remove(self, host: Host, weight: int) -> None:
        each = self._classes[weight]
        place = each.hosts.index(host)
        del each.hosts[place]
        if place < each.place:
            each.place -= 1

    def _find(self, weight: int, now: float) -> _Class:
        found = self._classes.get(weight)
        if found is None:
            turn = int(now * weight) + 1
            found = self._classes[weight] = _Class(weight, self._numbers, turn)
            self._numbers += 1
            heapq.heappush(self._queue, (turn / weight, (turn - 1) / weight, found.number, found))
        return found

    def _regroup(self) -> None:
        now = self._queue[0][0] if self._queue else 0.0
        for each in self._classes.values():
            each.hosts = []
        for host in self._hosts:
            self._find(host.weight, now).hosts.append(host)

    def _schedule(self) -> None:
        self._queue = [
            (each.turn / each.weight, (each.turn - 1) / each.weight, each.number, each)
            for each in self._classes.values()
        ]
        heapq.heapify(self._queue)


def _middle(
    before: Sequence[Host], old: Sequence[int], now: Sequence[Host], new: Sequence[int]
) -> tuple[int, int]:
    """How many hosts both begin and end with, of the same weights, too."""
    start = min(common_start(before, now), common_start(old, new))
    ends = [each[start:][::-1] for each in (before, now, old, new)]
    return start, min(common_start(ends[0], ends[1]), common_start(ends[2], ends[3]))


class EdfPicker:
    """Turns in proportion to weights that change: ``weigh`` is asked anew at every turn of a host.

    Hosts that leave stay queued until they are due.  Those that have had no turn yet and weigh the same wait
    in one entry, so that a schedule of very many is quickly made.
    """

    __slots__ = ("_gone", "_hosts", "_now", "_queue", "_sequence", "_weigh")

    def __init__(self, hosts: Sequence[Host], weigh: Weigh, picks: int = 0) -> None:
        """``picks`` turns are taken as already had."""
        self._weigh = weigh
        self._now = 0.0
        self._sequence = 0
        self._hosts = tuple(hosts)
        self._gone: set[Host] = set()
        #: (deadline, order of insertion, host, further hosts of the same entry): a heap.
        self._queue: list[tuple[float, int, Host, list[Host]]] = []
        self._fill(hosts, picks)

    def pick(self) -> Host | None:
        queue = self._queue
        while queue:
            deadline, sequence, host, others = queue[0]
            self._now = deadline
            if self._gone and host in self._gone:
                self._gone.discard(host)
                if others:
                    heapq.heapreplace(queue, (deadline, sequence, others.pop(), others))
                else:
                    heapq.heappop(queue)
                continue
            self._sequence += 1
            entry = (deadline + 1.0 / self._weigh(host), self._sequence, host, _NONE)
            if others:
                # The entry stays where it is, and everything else behind it.
                queue[0] = (deadline, sequence, others.pop(), others)
                heapq.heappush(queue, entry)
            else:
                heapq.heapreplace(queue, entry)
            return host
        return None

    def update(self, hosts: Sequence[Host]) -> None:
        """Go on with these hosts; a weight is read anew at the host's next turn."""
        came, left = compare_hosts(self._hosts, tuple(hosts))
        self._hosts = tuple(hosts)
        self._gone.update(left)
        for host in came:
            if host in self._gone:
                self._gone.discard(host)
            else:
                self._sequence += 1
                entry = (self._now + 1.0 / self._weigh(host), self._sequence, host, _NONE)
                heapq.heappush(self._queue, entry)

    def _fill(self, hosts: Sequence[Host], picks: int) -> None:
        weigh = self._weigh
        groups: dict[float, list[Host]] = {}
        for host in hosts:
            weight = weigh(host)
            group = groups.get(weight)
            if group is None:
                group = groups[weight] = []
            group.append(host)
        total = sum(weight * len(group) for weight, group in groups.items())
        if not total:
            return
        taken = 0
        for number, (weight, group) in enumerate(groups.items()):
            had = int(picks * weight / total)
            taken += had * len(group)
            self._now = max(self._now, had / weight)
            group.reverse()
            self._queue.append(((had + 1) / weight, number, group.pop(), group))
        self._sequence = len(groups)
        heapq.heapify(self._queue)
        for _ in range(min(picks - taken, _MAX_STEPS)):
            self.pick()


_NONE: list[Host] = []


class Turns:
    """Turns among a few things of fixed weights above 0, such as localities: any number of them."""

    __slots__ = ("_queue", "_sequence", "weights")

    def __init__(self, weighted: Iterable[tuple[Any, float]], picks: int) -> None:
        """``picks`` turns are taken as already had."""
        #: What it was made of.
        self.weights = tuple(weighted)
        total = sum(weight for _, weight in self.weights)
        taken = 0
        self._queue: list[tuple[float, int, int, float, Any]] = []
        for number, (thing, weight) in enumerate(self.weights):
            had = int(picks * weight / total)
            taken += had
            self._queue.append(((had + 1) / weight, number, had + 1, weight, thing))
        self._sequence = len(self._queue)
        heapq.heapify(self._queue)
        for _ in range(min(picks - taken, _MAX_STEPS)):
            self.take()

    def take(self) -> Any:
        """Whose turn it is."""
        _, _, turn, weight, thing = self._queue[0]
        turn += 1
        heapq.heapreplace(self._queue, (turn / weight, self._sequence, turn, weight, thing))
        self._sequence += 1
        return thing
