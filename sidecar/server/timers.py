"""Timers of extensions: set at any time, run while the server runs.

An extension asks through ``FactoryContext.every``, when it is compiled or later (a Wasm guest sets its tick
period whenever it likes).  What is asked for before the server runs starts with it.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["Timers"]


class _Timer:
    """One callback and its period."""

    __slots__ = ("callback", "is_cancelled", "scope", "seconds")

    def __init__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.seconds = seconds
        self.callback = callback
        self.scope: trio.CancelScope | None = None
        self.is_cancelled = False

    async def run(self) -> None:
        if self.is_cancelled:
            return
        with trio.CancelScope() as self.scope:
            while True:
                await trio.sleep(self.seconds)
                self.callback()

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.scope is not None:
            self.scope.cancel()


class Timers:
    """Every timer of one server."""

    def __init__(self) -> None:
        self._waiting: list[_Timer] = []
        self._nursery: trio.Nursery | None = None

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` every ``seconds``; the result ends that, also from inside the callback.

        ``callback`` must not raise: it runs in a task of its own, and the server would end with it.
        """
        timer = _Timer(seconds, callback)
        if self._nursery is None:
            self._waiting.append(timer)
        else:
            self._nursery.start_soon(timer.run, name="extension timer")
        return timer.cancel

    async def run(self) -> None:
        """Run the timers, those set later too, until cancelled."""
        async with trio.open_nursery() as nursery:
            waiting, self._waiting = self._waiting, []
            for timer in waiting:
                nursery.start_soon(timer.run, name="extension timer")
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
