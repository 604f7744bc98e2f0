"""Timers of extensions: set at any time, run while the server runs.

An extension asks through ``FactoryContext.every``, when it is compiled or later (a Wasm guest sets its tick
period whenever it likes).  What is asked for before the server runs starts with it.

A callback that raises is a bug of the proxy's own: it is logged and counted, and called again when its time
comes, as what everybody else has from this process should not end with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from sidecar.observability.counting import Counter

__all__ = ["Timers"]

logger = logging.getLogger("sidecar.main")


class _Timer:
    """One callback and its period."""

    __slots__ = ("callback", "failures", "is_cancelled", "scope", "seconds")

    def __init__(self, seconds: float, callback: Callable[[], None], failures: Counter) -> None:
        self.seconds = seconds
        self.callback = callback
        self.failures = failures
        self.scope: trio.CancelScope | None = None
        self.is_cancelled = False

    async def run(self) -> None:
        if self.is_cancelled:
            return
        with trio.CancelScope() as self.scope:
            while True:
                await trio.sleep(self.seconds)
                try:
                    self.callback()
                except Exception:
                    self.failures.value += 1
                    logger.exception("a timer's callback failed; it is called again in %g s", self.seconds)

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.scope is not None:
            self.scope.cancel()


class Timers:
    """Every timer of one server."""

    def __init__(self, failures: Counter) -> None:
        """``failures`` counts the callbacks that raised."""
        self._failures = failures
        self._waiting: list[_Timer] = []
        self._nursery: trio.Nursery | None = None

    def every(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` every ``seconds``; the result ends that, also from inside the callback.

        One that raises is logged with its traceback and counted, and called again.
        """
        timer = _Timer(seconds, callback, self._failures)
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
