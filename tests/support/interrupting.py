"""Doing something at the n-th place where any of several coroutines waits, for every n.

Used to show that an exchange leaves nothing behind wherever it is broken off: the strand of a request, and
whatever strands it had spawned by then (pumps, hedged tries, copies, connects), count alike.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.net.reactor import Reactor, Strand

__all__ = ["Interruption"]


class Interruption:
    """Calls ``act`` when the coroutines that it counts have waited ``number`` times together."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self.waits = 0
        self._number = number
        self._act = act

    def count(self, coroutine: Any) -> Any:
        """``coroutine``, its waits counted."""
        return _Counted(self, coroutine)

    def count_spawned(self, reactor: Reactor) -> None:
        """Count the waits of whatever ``reactor`` spawns from now on."""
        spawn = reactor.spawn

        def spawn_counted(
            name: str, body: Callable[[Strand], Coroutine[Any, Any, Any]], **options: Any
        ) -> Strand:
            return spawn(name, lambda strand: self.count(body(strand)), **options)

        reactor.spawn = spawn_counted  # type: ignore[method-assign]  # the reactor of one test

    def one_more(self) -> None:
        self.waits += 1
        if self.waits == self._number:
            self._act()


class _Counted:
    """A coroutine as reactor and owner see it."""

    def __init__(self, interruption: Interruption, coroutine: Any) -> None:
        self._interruption = interruption
        self._coroutine = coroutine

    def send(self, value: Any) -> Any:
        trap = self._coroutine.send(value)
        self._interruption.one_more()
        return trap

    def throw(self, error: BaseException) -> Any:
        trap = self._coroutine.throw(error)
        self._interruption.one_more()
        return trap

    def close(self) -> None:
        self._coroutine.close()
