"""Turns by weight: earliest deadline first, as in Envoy's ``EdfScheduler``.

A host's next turn is due ``1 / weight`` after its last; among those that are due together the one that has
waited longer is first.  A schedule begins anywhere, so that proxies do not all begin with the same host, and
goes on where it stood when its hosts change.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sidecar.upstream.host import Host

__all__ = ["EdfPicker", "Turns", "Weigh", "WeightedRoundRobinPicker"]

Weigh = Callable[[Host], float]

#: Bounds the turns that are walked when a schedule is made.
_MAX_STEPS = 1024


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

    __slots__ = ("_classes", "_numbers", "_queue")

    def __init__(self, hosts: Sequence[Host], picks: int) -> None:
        """``picks`` turns are taken as already had."""
        self._classes: dict[int, _Class] = {}
        #: (due, due before, number, class): a heap.
        self._queue: list[tuple[float, float, int, _Class]] = []
        total = sum([host.weight for host in hosts])
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
        if not queue:
            return None
        due, _, number, each = queue[0]
        hosts = each.hosts
        place = each.place
        host = hosts[place]
        place += 1
        if place < len(hosts):
            each.place = place
        else:
            each.place = 0
            each.turn = turn = each.turn + 1
            heapq.heapreplace(queue, (turn / each.weight, due, number, each))
        return host

    def update(self, hosts: Sequence[Host]) -> None:
        """Go on with these hosts, their weights read anew."""
        now = self._queue[0][0] if self._queue else 0.0
        classes = self._classes
        for each in classes.values():
            each.hosts = []
        for host in hosts:
            found = classes.get(host.weight)
            if found is None:
                turn = int(now * host.weight) + 1
                found = classes[host.weight] = _Class(host.weight, self._numbers, turn)
                self._numbers += 1
            found.hosts.append(host)
        for weight in [weight for weight, each in classes.items() if not each.hosts]:
            del classes[weight]
        for each in classes.values():
            if each.place >= len(each.hosts):
                each.place = 0
                each.turn += 1
        self._schedule()

    def _schedule(self) -> None:
        self._queue = [
            (each.turn / each.weight, (each.turn - 1) / each.weight, each.number, each)
            for each in self._classes.values()
        ]
        heapq.heapify(self._queue)


class EdfPicker:
    """Turns in proportion to weights that change: ``weigh`` is asked anew at every turn of a host.

    Hosts that leave stay queued until they are due.  Those that have had no turn yet and weigh the same wait
    in one entry, so that a schedule of very many is quickly made.
    """

    __slots__ = ("_gone", "_members", "_now", "_queue", "_sequence", "_weigh")

    def __init__(self, hosts: Sequence[Host], weigh: Weigh, picks: int = 0) -> None:
        """``picks`` turns are taken as already had."""
        self._weigh = weigh
        self._now = 0.0
        self._sequence = 0
        self._members: set[Host] | None = None
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
        members = set(hosts)
        before = self._members
        if before is None:
            before = {host for entry in self._queue for host in (entry[2], *entry[3])} - self._gone
        self._members = members
        for host in before - members:
            self._gone.add(host)
        for host in members - before:
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
