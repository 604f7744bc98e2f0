"""Which strands are late: a look at their deadlines every SWEEP_INTERVAL_S, however many wait for long.

A strand's deadlines are plain numbers, which cost nothing to set.  They are found by looking, and most need
not be looked at: a strand that waits for something, and whose first deadline is RESTS_FROM_S away or more,
*rests* in the set of the second in which that is, until it is stepped or the second is here.  So thousands
of idle connections cost nothing.  A resting strand's deadlines may move back freely.  Whoever moves one
ahead, and is not the strand itself, calls :meth:`sidecar.net.reactor.Strand.stir`; a timer that is started
does so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sidecar.core.errors import DeadlineExceeded
from sidecar.net.timer import run_timers

if TYPE_CHECKING:
    from sidecar.net.reactor import Strand

__all__ = ["RESTS_FROM_S", "SWEEP_INTERVAL_S", "Deadlines"]

#: Seconds between two looks at deadlines.
SWEEP_INTERVAL_S = 0.05
#: A strand rests from so many seconds before its first deadline.
RESTS_FROM_S = 2.0
#: The second of strands without a deadline.
_NEVER = 1 << 40


class Deadlines:
    """The strands of a reactor, by when they have to be looked at."""

    __slots__ = ("_next", "_resting", "watched")

    def __init__(self) -> None:
        #: Those that each look sees.
        self.watched: set[Strand] = set()
        #: Second → those that rest until then; ``strand.depth`` is the second, below zero.
        self._resting: dict[int, set[Strand]] = {}
        #: The first of these seconds.
        self._next: float = math.inf

    def __iter__(self) -> Iterator[Strand]:
        yield from tuple(self.watched)
        for strands in tuple(self._resting.values()):
            yield from tuple(strands)

    def discard(self, strand: Strand) -> None:
        """It is over."""
        if strand.depth < 0:
            self.stir(strand)
        self.watched.discard(strand)
        strand.timers = None

    def stir(self, strand: Strand) -> None:
        """Look again at a strand that rests."""
        second = -strand.depth
        strand.depth = 0
        strands = self._resting[second]
        strands.discard(strand)
        if not strands:
            del self._resting[second]
        self.watched.add(strand)

    def look(self, now: float) -> float:
        """Fail who is late and fire timers; when to look again, unless something happens before."""
        if now >= self._next:
            self._wake(now)
        soonest = math.inf
        late: list[Strand] = []
        rest: list[tuple[Strand, float]] = []
        for strand in self.watched:
            due = strand.deadline or math.inf
            if 0.0 < strand.idle_deadline < due:
                due = strand.idle_deadline
            for timer in strand.timers or ():
                if timer.when < due:
                    due = timer.when
            if now > due:
                late.append(strand)
            elif strand.parked is None or strand.depth:
                soonest = now  # in trio, where it may set one at any time
            elif due >= now + RESTS_FROM_S and not strand.is_ready:
                rest.append((strand, due))
            elif due < soonest:
                soonest = due
        for strand, due in rest:
            self._let_rest(strand, due)
        for strand in late:
            _fail(strand, now)
        return now if late else min(soonest, self._next)

    def _let_rest(self, strand: Strand, due: float) -> None:
        second = _NEVER if due == math.inf else int(due)
        self.watched.discard(strand)
        strands = self._resting.get(second)
        if strands is None:
            strands = self._resting[second] = set()
            if second < self._next and second != _NEVER:
                self._next = second
        strands.add(strand)
        strand.depth = -second

    def _wake(self, now: float) -> None:
        """Watch those whose second is here."""
        for second in [second for second in self._resting if second <= now]:
            strands = self._resting.pop(second)
            for strand in strands:
                strand.depth = 0
            self.watched |= strands
        self._next = min((second for second in self._resting if second != _NEVER), default=math.inf)


def _fail(strand: Strand, now: float) -> None:
    if strand.timers:
        run_timers(strand, now)
    if strand.deadline and now > strand.deadline:
        strand.deadline = 0.0
        strand.fail(DeadlineExceeded("total"))
    elif strand.idle_deadline and now > strand.idle_deadline:
        strand.idle_deadline = 0.0
        strand.fail(DeadlineExceeded("idle"))
